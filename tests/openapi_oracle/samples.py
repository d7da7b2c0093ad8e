"""Sample documents: those beside the repository if they are there, and the few in tests/data/openapi."""

import gzip
from pathlib import Path

from utcp_bridge.dialects.documents import parse_document
from utcp_bridge.dialects.openapi import external_references

SHARED = Path(__file__).parents[2].parent / "shared" / "openapi-samples"
OWN = Path(__file__).parents[1] / "data" / "openapi"
_SUFFIXES = {".json", ".yaml", ".yml", ".gz"}


def sample_files(folder):
    files = sorted(path for path in folder.glob("*") if path.suffix in _SUFFIXES)
    return [*files, *sorted(folder.glob("*/spec/swagger.json"))]


def load(path):
    """(document, url, files): a document of several files has its path for a URL, the others one on the network."""
    document = _parse(path)
    files = {}
    waiting = [(document, str(path))]
    while waiting:
        part, url = waiting.pop()
        for place in external_references(part, url):
            if place not in files and Path(place).is_file():
                files[place] = _parse(Path(place))
                waiting.append((files[place], place))
    return document, str(path) if files else f"https://docs.example.com/specs/{path.name}", files


def _parse(path):
    data = path.read_bytes()
    return parse_document(gzip.decompress(data) if path.suffix == ".gz" else data, where=path.name)
