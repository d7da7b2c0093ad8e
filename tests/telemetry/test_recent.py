"""The last calls, and the spans of time that pictures show."""

import json

import pytest

from utcp_bridge.client.client import UtcpClient
from utcp_bridge.client.extensions import Extensions
from utcp_bridge.telemetry.counting import CallDetails
from utcp_bridge.telemetry.recent import MAX_CALLS, RecentCalls, slices

TOOL = {
    "name": "get",
    "inputs": {"type": "object", "properties": {"city": {"type": "string"}, "password": {"type": "string"}}},
    "tool_call_template": {"call_template_type": "text", "content": "sunny"},
}
MANUAL = {"name": "weather", "call_template_type": "text", "content": {"utcp_version": "1.0.1", "tools": [TOOL]}}


def call_of(outcome="ok", seconds=0.1, tool="m.t"):
    return CallDetails(tool, "m", "text", outcome, seconds)


def test_only_the_last_calls_are_kept_the_newest_first():
    recent = RecentCalls(is_on=True)
    for number in range(MAX_CALLS + 5):
        recent(call_of(tool=f"m.{number}"))
    found = [*recent.found()]
    assert (recent.number, len(found), found[0]["tool"]) == (MAX_CALLS + 5, MAX_CALLS, f"m.{MAX_CALLS + 4}")


def test_savings_are_counted_while_it_is_on_and_only_the_last_are_kept():
    recent = RecentCalls()
    recent.note_saved(10)
    assert (recent.saved, recent.savings()) == (0, [])
    recent.is_on = True
    for size in [-1, 0, *[2] * (MAX_CALLS + 5)]:
        recent.note_saved(size)
    assert (recent.saved, len(recent.savings())) == (2 * (MAX_CALLS + 5), MAX_CALLS)


def test_savings_are_in_the_span_of_their_time_and_those_before_the_first_call_in_none():
    calls = [{"time": 1_000.0, "outcome": "ok", "seconds": 0.1}]
    found = slices(calls, [(500.0, 1), (1_000.0, 2), (1_299.0, 4)], number=3, now=1_300.0)
    assert [one.saved for one in found] == [2, 0, 4]


def test_a_line_of_another_call_or_a_long_one_is_not_shown():
    recent = RecentCalls(is_on=True)
    recent(call_of())
    for line in (
        b'{"tool": "m.other", "outcome": "ok"}',
        json.dumps({"tool": "m.t", "outcome": "ok", "x": "y" * 5_000}).encode(),
    ):
        recent.note(line)
        assert "audit" not in next(recent.found())


@pytest.mark.anyio
@pytest.mark.parametrize(("record", "arguments"), [("none", None), ("full", {"city": "Paris", "password": "***"})])
async def test_a_call_has_its_audit_line_with_what_the_operator_records(record, arguments):
    lines = []
    config = {"manual_call_templates": [MANUAL], "bridge": {"audit_arguments": record}}
    async with await UtcpClient.create(config, extensions=Extensions(audit=lines.append)) as client:
        client.keep_recent_calls()
        await client.call("weather.get", {"city": "Paris", "password": "s3cret-value"})
        [call] = client.recent.found()
        assert (call["tool"], call["outcome"], call["audit"]["tool"]) == ("weather.get", "ok", "weather.get")
        assert call["audit"].get("arguments") == arguments
        assert "s3cret" not in str(call)
        assert (len(lines), client.audit_lost) == (1, 0)


@pytest.mark.anyio
async def test_nothing_is_kept_while_it_is_off():
    async with await UtcpClient.create({"manual_call_templates": [MANUAL]}) as client:
        await client.call("weather.get", {})
        assert ([*client.recent.found()], client.recent.number) == ([], 0)
        client.keep_recent_calls()
        await client.call("weather.get", {})
        assert client.recent.number == 1


def test_calls_are_in_equal_spans_until_now():
    calls = [
        {"time": 0.0, "outcome": "ok", "seconds": 0.1},
        {"time": 299.0, "outcome": "timeout", "seconds": 3.0},
        {"time": 300.0, "outcome": "ok", "seconds": 1.0},
    ]
    found = slices(calls, number=3, now=300.0)
    assert [(one.begins, one.ok, one.failed) for one in found] == [(0, 1, 0), (100, 0, 0), (200, 1, 1)]
    assert (found[2].share(0.5), found[2].share(0.95), found[1].share(0.5)) == (3.0, 3.0, 0.0)
    assert [one.begins for one in slices([], number=2, now=60.0)] == [0, 30]
