"""Portability: the tools of published documents, as the bridge lists them, pass the converters of hosts."""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.interop.hosting import HOSTS, Host, HostKind, hosted
from tests.interop.serving import free_port, serving
from tests.interop.software import Software
from tests.openapi_oracle.samples import SHARED, sample_files

pytestmark = pytest.mark.timeout(500)

CONVERTERS = [kind for kind in HOSTS if kind.can("converts", "http")]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The bridge with every published document as a manual."""
    documents = sample_files(SHARED)
    if not documents:
        pytest.skip("the folder of sample documents is not beside the repository")
    folder = tmp_path_factory.mktemp("samples")
    config = folder / "utcp.json"
    config.write_text(json.dumps({"manual_call_templates": manuals(documents, folder)}), encoding="utf-8")
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "utcp_bridge",
        "serve",
        config,
        "--set",
        "startup_wait=100",
        "--exposure",
        "all",
        "--http",
        "--port",
        str(port),
    ]
    with serving(command, port=port, seconds=120):
        yield f"http://127.0.0.1:{port}/mcp"


def manuals(documents: list[Path], folder: Path) -> list[dict[str, Any]]:
    """Return an entry for each document; what is compressed is unpacked first."""
    entries = []
    for number, given in enumerate(documents):
        path = given
        if given.suffix == ".gz":
            path = folder / given.stem
            path.write_bytes(gzip.decompress(given.read_bytes()))
        entries.append({"name": f"m{number}", "call_template_type": "text", "file_path": str(path)})
    return entries


@pytest.fixture(
    scope="module",
    params=[pytest.param(kind, id=kind.name, marks=pytest.mark.needs(kind.software)) for kind in CONVERTERS],
)
def converter(request: pytest.FixtureRequest, url: str, installed: Callable[[Software], None]) -> Iterator[Host]:
    kind: HostKind = request.param
    installed(kind.software)
    with hosted(kind, {"url": url}) as running:
        yield running


def test_the_converter_takes_every_tool_of_the_published_documents(converter: Host) -> None:
    assert len(converter.ask("list")) > 1_000
    assert converter.ask("convert") == {}
