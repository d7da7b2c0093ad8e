"""A tool with a placeholder in an unsafe place is refused by itself: `check` and `validate` name it, others work."""

import json
from pathlib import Path

import pytest

from utcp_bridge import UtcpClient
from utcp_bridge.cli.command import run

pytestmark = pytest.mark.anyio


def manual() -> dict:
    def tool(name: str, command: str) -> dict:
        template = {"call_template_type": "cli", "commands": [{"command": command}]}
        inputs = {"type": "object", "properties": {"n": {"type": "string"}}}
        return {"name": name, "inputs": inputs, "tool_call_template": template}

    good, bad = "echo got UTCP_ARG_n_UTCP_END", "echo $((UTCP_ARG_n_UTCP_END * 2))"
    return {"utcp_version": "1.1.0", "tools": [tool("good", good), tool("bad", bad)]}


def configuration() -> dict:
    entry = {"name": "m", "call_template_type": "text", "allowed_communication_protocols": ["cli"]}
    return {"manual_call_templates": [{**entry, "content": json.dumps(manual())}]}


async def test_the_other_tools_of_the_manual_work() -> None:
    async with await UtcpClient.create(configuration()) as client:
        assert [tool.name for tool in client.tools()] == ["good"]
        assert await client.call_tool("m.good", {"n": "x[$(id)]"}) == "got x[$(id)]"


@pytest.mark.parametrize("verb", ["check", "validate"])
def test_check_and_validate_name_tool_argument_and_place(verb: str, tmp_path: Path, capfd) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps(configuration() if verb == "check" else manual()))
    run([verb, str(path)])
    shown = "".join(capfd.readouterr())
    for word in ("bad", "'n'", "$(( ))"):
        assert word in shown
    assert "'good'" not in shown
