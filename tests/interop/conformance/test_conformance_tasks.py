"""The scenarios of tasks in the conformance suite: a server with tasks behind the bridge, and a host that takes them.

The suite also has `tasks-required-task-error`. It wants an error for a host that takes no tasks; the bridge waits for
the task and returns its result, so it need not refuse the call (2026-07-28, extension of tasks).
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.interop.conformance.suite import ALPHA, judge_scenario
from tests.interop.serving import free_port, serving

pytestmark = [pytest.mark.timeout(300), pytest.mark.needs(ALPHA)]
SERVER = Path(__file__).parents[1] / "servers" / "tasks.py"
SCENARIOS = [
    "tasks-lifecycle",
    "tasks-capability-negotiation",
    "tasks-wire-fields",
    "tasks-request-state-removal",
    "tasks-mrtr-input",
    "tasks-request-headers",
    "tasks-dispatch-and-envelope",
    "tasks-mrtr-composition",
]


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the URL of a bridge in front of the server."""
    path = tmp_path_factory.mktemp("tasks") / "utcp.json"
    entry = {"name": "up", "call_template_type": "mcp", "command": sys.executable, "args": [str(SERVER)]}
    config = {"manual_call_templates": [entry], "bridge": {"naming": "short", "exposure": "all"}}
    path.write_text(json.dumps(config), encoding="utf-8")
    port = free_port()
    with serving([sys.executable, "-m", "utcp_bridge", "serve", path, "--http", "--port", str(port)], port=port):
        yield f"http://127.0.0.1:{port}/mcp"


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_check_of_the_scenario_is_passed(bridge: str, scenario: str, tmp_path: Path) -> None:
    verdict = judge_scenario(bridge, scenario, "2026-07-28", tmp_path)
    assert verdict.passed, "\n".join(verdict.reasons)
