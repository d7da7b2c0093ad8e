"""How manuals are, in words."""

import pytest

from utcp_bridge.manuals.registration import ManualState
from utcp_bridge.manuals.states import source_of, word_of
from utcp_bridge.model import Fault
from utcp_bridge.upstream import ServerState


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"url": "https://user:secret@api.example/x?key=secret"}, "https://api.example/x"),
        ({"command": ["run", "--key", "secret"]}, "run"),
        ({"command_name": "run --key secret"}, "run"),
        ({"config": {"mcpServers": {"a": {}, "b": {}}}}, "a, b"),
        ({"file_path": "tools.json"}, "tools.json"),
        ({}, "the configuration"),
    ],
)
def test_the_source_of_a_manual_has_no_secret(entry, words):
    assert source_of(entry) == words


def test_the_word_of_a_manual_is_that_of_its_status_its_faults_or_its_servers():
    state = ManualState("m", "mcp", status="ready")
    assert word_of(state, []) == "ready"
    assert word_of(state, [ServerState("m", "s", "disabled")]) == "disabled"
    state.faults.append(Fault("m", "broken"))
    assert word_of(state, [ServerState("other", "s", "disabled")]) == "degraded"
