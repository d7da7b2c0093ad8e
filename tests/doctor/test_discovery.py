"""A manual's state in words."""

import pytest

from utcp_bridge.doctor.discovery import loaded
from utcp_bridge.errors import ManualError
from utcp_bridge.manuals.registration import ManualState
from utcp_bridge.model import Fault


def test_tools_are_counted_and_the_dialect_is_named():
    assert loaded(ManualState("shop", "http", "ready", tools=2, dialect="v1.x")).message == "2 tools (v1.x)."


def test_faults_are_a_warning_and_each_is_told():
    state = ManualState("shop", "http", "ready", tools=1, dialect="v1.x")
    state.faults = [Fault("tool 'a'", "it has no name.", "Name it.")]
    found = loaded(state)
    assert (found.message, found.status) == ("1 tool (v1.x), 1 fault.", "warning")
    assert found.details == ("error: tool 'a': it has no name. Name it.",)


def test_a_manual_without_a_tool_is_a_warning():
    assert loaded(ManualState("shop", "http", "ready")).status == "warning"


def test_a_registry_is_told_by_its_manuals():
    state = ManualState("all", "registry", "ready", dialect="registry", description="3 manuals")
    assert loaded(state).message == "3 manuals (registry)."


def test_a_failure_is_raised():
    with pytest.raises(ManualError):
        loaded(ManualState("shop", "http", "failed", error=ManualError("No manual.")))
