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
from pathlib import Path
from typing import Any

import pytest
from tests.interop.conformance import fixture
from tests.interop.conformance.suite import ACTIVE, ALPHA, REVISIONS, STABLE, judge_server
from tests.interop.serving import free_port, serving
from tests.interop.software import Npm, Sdist
from tests.upstreams.registry_service import served

pytestmark = [pytest.mark.timeout(300), pytest.mark.needs(STABLE, ALPHA)]

PYTHON = Sdist("mcp==2.3.0", newest="mcp>=2,<3", part="examples/servers/everything-server")
"""The server that the Python SDK is tested with; only the sources of the SDK contain it."""
NODE = Npm(
    "@modelcontextprotocol/server@2.4.0 @modelcontextprotocol/node@2.1.2 node@22",
    "node",
    newest="@modelcontextprotocol/server@latest @modelcontextprotocol/node@latest node@22",
)
SERVERS = Path(__file__).parents[1] / "servers"
SERVE = (sys.executable, "-m", "utcp_bridge", "serve")


def python_server(stack: ExitStack) -> dict[str, Any]:
    """Start the everything-server of the Python SDK, and return its manual."""
    port = free_port()
    command = [PYTHON.command, "-m", "mcp_everything_server", "--port", str(port)]
    stack.enter_context(serving(command, port=port, environment=PYTHON.environment))
    return {"name": "up", "call_template_type": "mcp", "server_url": f"http://127.0.0.1:{port}/mcp"}


def node_server(stack: ExitStack) -> dict[str, Any]:
    """Start a server on the TypeScript SDK, and return its manual."""
    port = free_port()
    program = shutil.copy(SERVERS / "conformance.mjs", NODE.folder / "conformance.mjs")
    stack.enter_context(serving([NODE.command, program, str(port)], port=port, environment=NODE.environment))
    return {"name": "up", "call_template_type": "mcp", "server_url": f"http://127.0.0.1:{port}/mcp"}


def utcp_service(stack: ExitStack) -> list[dict[str, Any]]:
    """Start the UTCP service, and an MCP server for what UTCP cannot express; return both manuals."""
    service = {
        "name": "service",
        "call_template_type": "http",
        "url": f"{stack.enter_context(served(fixture.app))}/utcp",
        "allowed_communication_protocols": ["http", "streamable_http", "sse"],
    }
    others = python_server(stack)
    return [service, {**others, "exclude": {"names": [f"*{name}" for name in fixture.TOOLS]}}]


TARGETS = [
    pytest.param(python_server, id="mcp-python", marks=pytest.mark.needs(PYTHON)),
    pytest.param(node_server, id="mcp-node", marks=pytest.mark.needs(NODE)),
    pytest.param(utcp_service, id="utcp", marks=pytest.mark.needs(PYTHON)),
]


@pytest.fixture(scope="module", params=TARGETS)
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The bridge in front of one target."""
    start: Callable[[ExitStack], Any] = request.param
    with ExitStack() as stack:
        manuals = start(stack)
        bridge = {"naming": "short", "exposure": "all"}
        entries = manuals if isinstance(manuals, list) else [manuals]
        path = tmp_path_factory.mktemp("conformance") / "utcp.json"
        path.write_text(json.dumps({"manual_call_templates": entries, "bridge": bridge}), encoding="utf-8")
        port = free_port()
        stack.enter_context(serving([*SERVE, path, "--http", "--port", str(port)], port=port))
        yield f"http://127.0.0.1:{port}/mcp"


@pytest.mark.parametrize("revision", [ACTIVE, *REVISIONS])
def test_every_scenario_of_the_suite_is_passed(
    url: str, revision: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    report = judge_server(url, revision, tmp_path)
    record_property("score", report.score)
    record_property("others", report.others)
    if report.failures:
        pytest.fail(report.described, pytrace=False)
