"""Audit lines of requests that were refused before they reached a tool: one at once, and one for all that follow."""

from __future__ import annotations

import json
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from utcp_bridge.auth.redaction import Redactor
from utcp_bridge.model import Requester
from utcp_bridge.pipeline import audit
from utcp_bridge.pipeline.audit import Refusals

pytestmark = pytest.mark.anyio
WHO = Requester("token:ci", address="192.0.2.1", client="robot", session="0123", profile="shop")


class Sink:
    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def __call__(self, line: bytes) -> None:
        self.lines.append(line)

    def read(self) -> list[dict[str, Any]]:
        lines, self.lines = self.lines, []
        return [json.loads(line) for line in lines]


async def test_the_first_refusal_is_a_line_and_those_that_follow_are_one_more() -> None:
    sink = Sink()
    redactor = Redactor()
    redactor.learn(["s3cret-value"])
    refusals = Refusals(sink, redactor)
    refusals.note("unknown_tool", WHO, "shop.s3cret-value")
    [first] = sink.read()
    assert first.pop("time")
    assert first == {
        "refused": 1, "outcome": "unknown_tool", "principal": "token:ci", "profile": "shop", "client": "robot",
        "address": "192.0.2.1", "asked": "shop.***",
    }  # fmt: skip
    for _ in range(500):
        refusals.note("unknown_tool", WHO, "other")
    assert sink.read() == [], "they are counted"
    refusals.note("unauthorized", Requester("", address="192.0.2.1"))
    [other] = sink.read()
    assert (other["outcome"], "principal" in other, "asked" in other) == ("unauthorized", False, False)
    refusals.end()
    [rest] = sink.read()
    assert (rest["refused"], rest["outcome"], "asked" in rest) == (500, "unknown_tool", False)
    assert rest["since"] <= rest["time"]
    refusals.end()
    assert sink.read() == []
    refusals.note("unknown_tool", WHO)
    assert [line["refused"] for line in sink.read()] == [1], "a new minute begins with a line"
    refusals.end()


async def test_a_flood_of_many_addresses_is_a_bounded_number_of_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "_MAX_REFUSED", 10)
    sink = Sink()
    refusals = Refusals(sink, Redactor())
    for number in range(1_000):
        refusals.note("unauthorized", Requester("", address=f"192.0.2.{number}"))
    assert len(sink.read()) == 10
    refusals.end()
    [rest] = sink.read()
    assert (rest["refused"], "address" in rest) == (990, False)


async def test_the_minute_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "_REFUSAL_SECONDS", 0.0)
    sink = Sink()
    refusals = Refusals(sink, Redactor())
    refusals.note("forbidden", WHO)
    refusals.note("forbidden", WHO)
    with anyio.fail_after(60):
        while len(sink.lines) < 2:
            await anyio.lowlevel.checkpoint()
    assert [line["refused"] for line in sink.read()] == [1, 1]


async def test_a_sink_that_fails_refuses_nothing_and_without_one_nothing_is_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def full(_line: bytes) -> None:
        raise OSError

    refusals = Refusals(full, Redactor())
    refusals.note("forbidden", WHO)
    refusals.end()
    assert caplog.text.count("are not written (OSError)") == 1
    without = Refusals(None, Redactor())
    without.note("forbidden", WHO)
    assert without._counts == {}
