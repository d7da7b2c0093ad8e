"""Hooks of mkdocs.yml: files outside docs/ that a page links to become part of the site, so that each link works."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
OUTSIDE = re.compile(r"\]\((?:\.\./)+(?P<name>[\w./-]+)(?P<anchor>#[\w-]*)?\)")
"""A link with one `../` at least. Pages in a folder of docs/ also link to other pages in this way."""

INTO_DOCS = re.compile(r"\]\(docs/(?=[\w./-]+\.md)")
"""The start of a link from a page of the top folder to one in docs/."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add each file outside docs/ that a page links to, by its own path. A folder becomes a list of its files."""
    for page in list(files.documentation_pages()):
        for match in OUTSIDE.finditer(page.content_string):
            path = _outside(match["name"])
            if path is not None:
                _add(files, path, config)
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Make each link between docs/ and the files outside it a link within the site."""
    if not (ROOT / "docs" / page.file.src_uri).exists():  # a page of the project's top folder
        return INTO_DOCS.sub("](", markdown)

    def inside(match: re.Match[str]) -> str:
        path = _outside(match["name"])
        if path is None:
            return match[0]
        up = "../" * page.file.src_uri.count("/")
        return f"]({up}{_uri(path)}{match['anchor'] or ''})"

    return OUTSIDE.sub(inside, markdown)


def _outside(name: str) -> Path | None:
    """Return the path that a link names, if it is in the project and outside docs/."""
    path = ROOT / name
    inside = ROOT / "docs" / name
    return path if path.exists() and not inside.exists() else None


def _uri(path: Path) -> str:
    name = path.relative_to(ROOT).as_posix()
    return f"{name}/index.md" if path.is_dir() else name


def _add(files: Files, path: Path, config: MkDocsConfig) -> None:
    if files.get_file_from_path(_uri(path)) is not None:
        return
    if not path.is_dir():
        files.append(File.generated(config, _uri(path), abs_src_path=str(path)))
        return
    listed = sorted(entry for entry in path.iterdir() if entry.is_file())
    for entry in listed:
        _add(files, entry, config)
    lines = [f"# {path.name}/\n", *(f"- [{entry.name}]({entry.name})" for entry in listed)]
    files.append(File.generated(config, _uri(path), content="\n".join(lines)))
