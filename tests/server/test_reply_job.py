"""The job of a worker makes the same bytes as the server itself, whatever the reply and the way it is rendered."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utcp_bridge.catalogue.fitting import Budget, Rest
from utcp_bridge.catalogue.render import Rendering, render_result
from utcp_bridge.catalogue.schemas.conforming import Conformer
from utcp_bridge.errors import MalformedReply, Rejected, ReplyTooLarge, UtcpError
from utcp_bridge.model import JsonObject, Result
from utcp_bridge.net.reply import read_body
from utcp_bridge.pipeline.cleaning import clean_in_steps
from utcp_bridge.pipeline.post_processing import process
from utcp_bridge.server import reply_job
from utcp_bridge.server.kept_results import KeptResult, KeptResults, Shelf
from utcp_bridge.server.replicas.place import ProcessPlace
from utcp_bridge.server.reply_job import ReplyJob
from utcp_bridge.tasks import at_once
from utcp_bridge.workers.failures import rebuilt_error

READ = "utcp_bridge.net.reply:read_body"
CLEAN = "utcp_bridge.pipeline.cleaning:clean_in_steps"
PROCESS = "utcp_bridge.pipeline.post_processing:process"
HANDLE = re.compile(rb"[0-9a-f]{32}|result-[0-9a-f]{8}")
MOST = 16 * 1024 * 1024

TEXTS = st.text(max_size=8) | st.sampled_from(["\x1b[31mred", "a\u200db", "x\u202e", 'q"\\', "line\n" * 60, "é" * 90])
SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | TEXTS
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=20
)
WORK = st.lists(
    st.sampled_from(
        [
            {"projection": "@", "processors": []},
            {"projection": "[0]", "processors": []},
            {"projection": None, "processors": [{"tool_post_processor_type": "limit_strings", "limit": 5}]},
            {
                "projection": None,
                "processors": [{"tool_post_processor_type": "filter_dict", "exclude_keys": ["", "0", "a"]}],
            },
        ]
    ),
    max_size=2,
)
SCHEMAS = st.sampled_from(
    [
        None,
        {"type": "object", "properties": {"result": {"type": "array", "items": {"type": "object"}}}},
        {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": {"type": "string"}},
    ]
)
PLACE = ProcessPlace(3, 5)
TYPES = st.sampled_from(["application/json", "text/plain", "", "image/png", "application/pdf", "text/html"])


def about(*, schema: Any, wrapped: bool, most: int, prefers: bool, reader: str | None) -> JsonObject:
    rest = {"seconds": 600.0, "reader": reader, "through": "call_tool", "links": True}
    budget = {"max_bytes": most, "prefers_structure": prefers, "max_message_bytes": 1_000_000, "rest": rest}
    given: JsonObject = {"structured": schema is not None, "schema": schema, "wrapped": wrapped, "budget": budget}
    return {**given, "uri": "utcp:m_t", "is_local": False, "written": ["127.0.0.1:80"]}


RENDERINGS = st.builds(
    about,
    schema=SCHEMAS,
    wrapped=st.booleans(),
    most=st.sampled_from([8_192, 20_000]),
    prefers=st.booleans(),
    reader=st.sampled_from([None, "read_result"]),
)


def there(data: bytes, work: list[tuple[str, JsonObject]], rendering: JsonObject) -> tuple[bytes, list[KeptResult]]:
    """Return the bytes that the job makes, and what is kept of them."""
    request = {"step": "render", "work": work, "truncated": "it was cut", "meta": {"status": 200}, "max_kept": MOST}
    request["place"] = [PLACE.index, PLACE.count]
    last, *pieces = ReplyJob().reply(json.loads(json.dumps({**request, "rendering": rendering})), data)
    found = json.loads(last[1:])
    if "error" in found:
        raise rebuilt_error(found["error"])
    assert found["sizes"] == [len(piece) for piece in pieces]
    assert all(PLACE.of(handle) == PLACE.index for handle, *_ in found["kept"])
    kept = [KeptResult("me", piece, *one[1:]) for one, piece in zip(found["kept"], pieces[1:], strict=True)]
    return pieces[0], kept


def here(
    data: bytes, reading: JsonObject, steps: list[JsonObject], rendering: JsonObject
) -> tuple[bytes, list[KeptResult]]:
    value = at_once(clean_in_steps(read_body(data, **reading)))
    for step in steps:
        value = process(value, **step)
    results = KeptResults(MOST, 600)
    budget = dict(rendering["budget"])
    rest = Rest(keep=Shelf(results, "me"), **budget.pop("rest"))
    result = render_result(
        Result(value, "it was cut", {"status": 200}),
        Rendering(
            Budget(**budget, rest=rest),
            rendering["structured"],
            None if rendering["schema"] is None else Conformer(rendering["schema"]),
            rendering["wrapped"],
            rendering["uri"],
        ),
    )
    return orjson.dumps(result), [kept for _, kept in results.handles("me")]


@given(VALUES, st.sampled_from([1, 1, 300]), TYPES, WORK, RENDERINGS)
@settings(max_examples=100, deadline=None)
def test_the_bytes_of_a_result_are_those_that_the_server_makes(
    value: Any, count: int, kind: str, steps: list[JsonObject], rendering: JsonObject
) -> None:
    data = json.dumps(value if count == 1 else [value] * count).encode()
    reading = {"status": 200, "headers": {"Content-Type": kind}, "url": "http://a.example/x", "max_bytes": MOST}
    work = [(READ, reading), (CLEAN, {}), *((PROCESS, step) for step in steps)]
    expected, kept = attempt(lambda: here(data, reading, steps, rendering))
    found, kept_there = attempt(lambda: there(data, work, rendering))
    assert HANDLE.sub(b"H", found) == HANDLE.sub(b"H", expected)
    assert [(one.value, one.media_type, one.size) for one in kept_there] == [
        (one.value, one.media_type, one.size) for one in kept
    ]


def attempt(work: Callable[[], tuple[bytes, list[KeptResult]]]) -> tuple[bytes, list[KeptResult]]:
    try:
        return work()
    except UtcpError as error:
        return f"{error.code}: {error}".encode(), []


PLAIN = about(schema=None, wrapped=False, most=10_000, prefers=False, reader="read_result")


def read(kind: str, max_bytes: int = MOST) -> list[tuple[str, JsonObject]]:
    return [
        (READ, {"status": 200, "headers": {"Content-Type": kind}, "url": "http://a.example/x", "max_bytes": max_bytes})
    ]


@pytest.mark.parametrize(
    ("data", "kind", "error", "said"),
    [
        (b"[1,", "application/json", MalformedReply, "invalid JSON"),
        (b"[" * 300 + b"]" * 300, "application/json", MalformedReply, "levels deep"),
        (b"<html><body>Out of order", "application/json", MalformedReply, "Out of order"),
        (b"[" + b"[]," * 200_000 + b"0]", "application/json", ReplyTooLarge, "values"),
    ],
)
def test_an_error_of_reading_is_the_error_of_the_call(
    data: bytes, kind: str, error: type[UtcpError], said: str
) -> None:
    with pytest.raises(error, match=said):
        there(data, read(kind, 1_000), PLAIN)


def test_large_details_of_an_error_are_cut() -> None:
    work = [("utcp_bridge.transports.graphql.transport:read_response", {"charset": None, "where": "it", "field": "a"})]
    errors = [{"message": "\x1b[31mno", "path": list(range(50_000))}]
    with pytest.raises(Rejected) as caught:
        there(json.dumps({"data": None, "errors": errors}).encode(), work, PLAIN)
    assert caught.value.detail.startswith('[{"message":"no"')
    assert len(caught.value.detail) < 10_000


def test_what_is_above_the_room_of_kept_results_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    data = json.dumps([{"id": number} for number in range(50_000)]).encode()
    assert [one.is_packed for one in there(data, read("application/json"), PLAIN)[1]] == [True]
    monkeypatch.setattr(f"{__name__}.MOST", 1_000)
    found, kept = there(data, read("application/json"), PLAIN)
    assert kept == []
    assert b"Ask for less." in found


def test_a_failure_of_the_job_itself_is_reported_without_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("secret")

    monkeypatch.setattr(reply_job, "render_result", broken)
    with pytest.raises(UtcpError, match=r"Reading a large reply failed \(KeyError\)") as caught:
        there(b"[]", read("application/json"), PLAIN)
    assert caught.value.code == "internal"


@pytest.mark.parametrize(
    ("failure", "said"), [(MemoryError(), "memory or processor"), (RecursionError(), "too deeply")]
)
def test_limits_within_the_job_are_reported(monkeypatch: pytest.MonkeyPatch, failure: Exception, said: str) -> None:
    def broken(*_: object) -> None:
        raise failure

    monkeypatch.setattr(reply_job, "render_result", broken)
    with pytest.raises(UtcpError, match=said):
        there(b"[]", read("application/json"), PLAIN)
