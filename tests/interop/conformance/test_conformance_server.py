"""The server suites of the protocol's makers against the bridge: with MCP servers behind it, and with UTCP tools.

A target is what stands behind the bridge. The suite of the stable version and both revisions of the newest one run
against each. Scenarios that do not count for a revision are written to the page, passed or not.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from tests.interop.conformance import fixture
from tests.interop.conformance.suite import ACTIVE, ALPHA, REVISIONS, STABLE, judge_server
from tests.interop.serving import free_port, serving
from tests.interop.software import Npm, Sdist, Software
from tests.upstreams.registry_service import served

pytestmark = pytest.mark.timeout(300)

PYTHON = Sdist("mcp==2.3.0", newest="mcp>=2,<3", part="examples/servers/everything-server")
"""The server that the Python SDK is tested with; only the sources of the SDK contain it."""
NODE = Npm(
    "@modelcontextprotocol/server@2.4.0 @modelcontextprotocol/node@2.1.2 node@22",
    "node",
    light=True,
    newest="@modelcontextprotocol/server@latest @modelcontextprotocol/node@latest node@22",
)
SERVERS = Path(__file__).parents[1] / "servers"
SERVE = (sys.executable, "-m", "utcp_bridge", "serve")


def python_server(stack: ExitStack) -> list[dict[str, Any]]:
    """Start the everything-server of the Python SDK."""
    port = free_port()
    command = [PYTHON.command, "-m", "mcp_everything_server", "--port", str(port)]
    stack.enter_context(serving(command, port=port, environment=PYTHON.environment))
    return [{"name": "up", "call_template_type": "mcp", "server_url": f"http://127.0.0.1:{port}/mcp"}]


def node_server(stack: ExitStack, *words: str) -> list[dict[str, Any]]:
    """Start a server on the TypeScript SDK. With the word `asking` it offers only what other protocols cannot."""
    port = free_port()
    program = shutil.copy(SERVERS / "conformance.mjs", NODE.folder / "conformance.mjs")
    stack.enter_context(serving([NODE.command, program, str(port), *words], port=port, environment=NODE.environment))
    return [{"name": "up", "call_template_type": "mcp", "server_url": f"http://127.0.0.1:{port}/mcp"}]


def utcp_service(stack: ExitStack) -> list[dict[str, Any]]:
    """Start the UTCP service, and an MCP server for what UTCP cannot express."""
    service = {
        "name": "service",
        "call_template_type": "http",
        "url": f"{stack.enter_context(served(fixture.app))}/utcp",
        "allowed_communication_protocols": ["http", "streamable_http", "sse"],
    }
    return [service, *node_server(stack, "asking")]


@dataclass(frozen=True)
class Target:
    """What is behind the bridge: how the page calls it, and the function that starts it and returns its manuals."""

    title: str
    start: Callable[[ExitStack], list[dict[str, Any]]]
    url: str = ""
    """The bridge in front of it."""


TARGETS = [
    pytest.param(
        Target("an MCP server on the Python SDK", python_server), id="python", marks=pytest.mark.needs(PYTHON)
    ),
    pytest.param(
        Target("an MCP server on the TypeScript SDK", node_server),
        id="node",
        marks=(pytest.mark.needs(NODE), pytest.mark.long),
    ),
    pytest.param(
        Target("a UTCP service, and MCP for what it cannot express", utcp_service),
        id="utcp",
        marks=pytest.mark.needs(NODE),
    ),
]
SUITES = [
    pytest.param(ACTIVE, marks=pytest.mark.needs(STABLE)),
    *(pytest.param(revision, marks=pytest.mark.needs(ALPHA)) for revision in REVISIONS),
]


@pytest.fixture(scope="module", params=TARGETS)
def target(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, installed: Callable[[Software], None]
) -> Iterator[Target]:
    """One target, with the bridge in front of it."""
    chosen: Target = request.param
    for mark in request.node.iter_markers("needs"):
        for software in mark.args:
            installed(software)
    with ExitStack() as stack:
        bridge = {"naming": "short", "exposure": "all"}
        path = tmp_path_factory.mktemp("conformance") / "utcp.json"
        config = {"manual_call_templates": chosen.start(stack), "bridge": bridge}
        path.write_text(json.dumps(config), encoding="utf-8")
        port = free_port()
        stack.enter_context(serving([*SERVE, path, "--http", "--port", str(port)], port=port))
        yield replace(chosen, url=f"http://127.0.0.1:{port}/mcp")


@pytest.mark.parametrize("suite", SUITES)
def test_every_scenario_of_the_suite_is_passed(
    target: Target, suite: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    report = judge_server(target.url, suite, tmp_path)
    record_property("suite", report.line(target.title, suite))
    if report.failures:
        pytest.fail(report.described, pytrace=False)
