"""The image, built in a clean root by the steps of the Dockerfile, and started as an engine starts it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.interop.deploy.clean_root import Builder, Container, Stage, as_user, run, started, why_not
from tests.support.source import ROOT

pytestmark = [pytest.mark.skipif(why_not() is not None, reason=str(why_not())), pytest.mark.timeout(600)]
TOKEN = "token-of-the-test-0123456789"
CALL = {"Authorization": f"Bearer {TOKEN}"}
GIVEN = {"UTCP_BRIDGE_BEARER_TOKEN": TOKEN}
DAEMON = "setsid sh -c 'sleep 0.2 & exit' >/dev/null 2>&1; echo started"


@pytest.fixture(scope="session")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    return Builder(tmp_path_factory.mktemp("image"))


@pytest.fixture(scope="session")
def slim(builder: Builder) -> Stage:
    return builder.build("slim")


def until_serving(container: Container) -> str:
    assert container.process.stderr is not None
    said: list[str] = []
    for line in container.process.stderr:
        said.append(line.decode())
        if "Serving MCP on" in said[-1]:
            return said[-1]
    pytest.fail("".join(said))


def ended(container: Container) -> int:
    """Send SIGTERM to process 1, as `docker stop` does, and return the exit code."""
    os.kill(container.first, signal.SIGTERM)
    return container.process.wait(60)


@pytest.mark.parametrize(
    "user", [as_user("10001"), as_user("1234567", "0")], ids=["its own user", "a user of the cluster"]
)
def test_it_serves_on_a_read_only_root_without_privileges(slim: Stage, user: list[str]) -> None:
    with started(slim, user=user, environment=GIVEN) as container:
        assert "0.0.0.0:8000/mcp" in until_serving(container)
        healthy = container.execute(slim.health)
        assert (healthy.returncode, healthy.stdout) == (0, "Process 1 is alive on port 8000.\n"), healthy.stderr
        assert container.execute(["sh", "-c", "touch /srv/x"]).returncode != 0
        found = container.fetch("/utcp", **CALL)
        assert len(found["tools"]) > 5
        named = next(tool["name"] for tool in found["tools"] if "convert" in tool["name"])
        arguments = {"value": 10, "from": "km", "to": "mi"}
        schema = next(tool["inputs"]["properties"] for tool in found["tools"] if tool["name"] == named)
        assert set(arguments) <= set(schema), schema
        assert container.fetch(f"/utcp/tools/{named}", arguments, **CALL)
        status = Path(f"/proc/{container.first}/status").read_text(encoding="ascii")
        facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert (facts["NSpid"].split()[-1], facts["NoNewPrivs"], int(facts["CapBnd"], 16)) == ("1", "1", 0)
        assert ended(container) == 0


def test_the_health_check_follows_the_port_and_the_mode(slim: Stage) -> None:
    moved = ["serve", "--quickstart", "--port", "9123"]
    with started(slim, moved, environment=GIVEN) as container:
        until_serving(container)
        assert container.execute(slim.health).stdout == "Process 1 is alive on port 9123.\n"
    with started(slim, ["serve", "--quickstart", "--transport", "stdio"]) as container:
        process = container.process
        assert process.stdin is not None
        assert process.stdout is not None
        hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
        request = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["result"]["serverInfo"]["name"] == "utcp-bridge"
        healthy = container.execute(slim.health)
        assert (healthy.returncode, "stdio" in healthy.stdout) == (0, True), healthy.stderr
        process.stdin.close()
        assert process.wait(60) == 0


def processes(container: Container) -> list[str]:
    """Return the names of all processes inside, also of zombies."""
    listed = container.execute(["sh", "-c", "cat /proc/[0-9]*/stat"]).stdout.splitlines()
    return [line[line.index("(") + 1 : line.rindex(")")] for line in listed]


@pytest.fixture
def with_command(slim: Stage) -> Iterator[dict[str, Any]]:
    template = {"call_template_type": "cli", "commands": [{"command": DAEMON}]}
    tool = {"name": "daemon", "inputs": {"type": "object"}, "tool_call_template": template}
    manual = {"utcp_version": "1.0.1", "tools": [tool]}
    entry = {"name": "m", "call_template_type": "text", "content": manual,
             "allowed_communication_protocols": ["text", "cli"]}  # fmt: skip
    path = slim.root / "srv" / "utcp.json"
    path.write_text(json.dumps({"manual_call_templates": [entry]}), encoding="utf-8")
    yield entry
    path.unlink()


@pytest.mark.usefixtures("with_command")
def test_as_process_1_it_leaves_no_zombies_without_an_init(slim: Stage) -> None:
    with started(slim, ["serve", "utcp.json"], environment=GIVEN) as container:
        until_serving(container)
        for _ in range(3):
            assert container.fetch("/utcp/tools/m_daemon", {}, **CALL) == "started"
        # An orphan that nobody reaps would stay in the list, as a zombie.
        while "sleep" in processes(container):
            pass
        assert ended(container) == 0


def test_the_configuration_of_compose_serves_a_guarded_call_and_its_metrics(slim: Stage) -> None:
    compose = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8"))
    folder = slim.root / "etc" / "utcp-bridge"
    folder.mkdir()
    (folder / "utcp.yaml").write_text(compose["configs"]["bridge"]["content"], encoding="utf-8")
    (slim.root / "run" / "secrets").mkdir(parents=True)
    for name in compose["services"]["bridge"]["secrets"]:
        (slim.root / "run" / "secrets" / name).write_text(f"{TOKEN}-{name}\n", encoding="utf-8")
    with started(slim, compose["services"]["bridge"]["command"]) as container:
        until_serving(container)
        given = {"Authorization": f"Bearer {TOKEN}-bearer-token"}
        assert container.fetch("/utcp/tools/first_door", {}, **given) == "Mind the step."
        assert container.fetch("/admin/api/manuals", **given)["manuals"][0]["name"] == "first"
        assert ">Manuals</h2>" in container.fetch("/", Accept="text/html", **given)
        with pytest.raises(AssertionError, match="401"):
            container.fetch("/utcp/tools/first_door", {})
        metrics = {"Authorization": f"Bearer {TOKEN}-metrics-token", "Host": "bridge:8000"}
        assert 'utcp_bridge_calls_total{manual="first",outcome="ok"' in container.fetch("/metrics", **metrics)


@pytest.mark.long
def test_the_full_image_has_node_and_uv(builder: Builder) -> None:
    full = builder.build("full")
    assert run(full, ["node", "--version"]).startswith("v")
    assert run(full, ["npx", "--version"])
    assert run(full, ["uvx", "--version"]).startswith("uvx ")
    assert run(full, ["utcp-bridge", "--version"]).startswith("utcp-bridge ")
