"""Audit: one line per call, whatever happens, with no value in it."""

import logging
from datetime import UTC, datetime, timedelta

import anyio
import orjson
import pytest
from tests.support.steps import Step, make_call, make_tool, run

from utcp_bridge.auth.redaction import Redactor
from utcp_bridge.client_request import CLIENT_REQUEST, KnownClientRequest
from utcp_bridge.errors import Busy, Unreachable
from utcp_bridge.model import (
    REQUESTER,
    TRAIL,
    Binary,
    Call,
    ContentBlocks,
    Emit,
    Requester,
)
from utcp_bridge.pipeline.audit import Audit

pytestmark = pytest.mark.anyio


def read(lines: list[bytes]) -> dict[str, object]:
    assert len(lines) == 1, "one call, one line"
    assert lines[0].endswith(b"\n")
    assert lines[0].count(b"\n") == 1
    return orjson.loads(lines[0])


def test_without_a_sink_the_layer_is_left_out() -> None:
    innermost = Step()
    assert Audit()(make_tool(), innermost) is innermost


async def test_a_line_tells_call_tool_kind_outcome_and_time_and_on_request_argument_names() -> None:
    lines: list[bytes] = []
    tool = make_tool()
    step = Audit(lines.append, "names")(tool, Step("value"))
    assert await run(step, make_call(tool, {"zeta": "hidden-1", "alpha": {"deep": "hidden-2"}})) == "value"
    record = read(lines)
    assert record["call"] == "call-1"
    assert record["tool"] == "shop.search"
    assert record["kind"] == "test"
    assert record["arguments"] == ["alpha", "zeta"]
    assert record["outcome"] == "ok"
    assert isinstance(record["seconds"], float)
    time = datetime.fromisoformat(str(record["time"]))
    assert abs(datetime.now(UTC) - time) < timedelta(minutes=1)
    assert b"hidden" not in lines[0]


@pytest.mark.parametrize(
    ("fault", "outcome"), [(Busy("full"), "busy"), (Unreachable("away"), "unreachable"), (KeyError("bug"), "internal")]
)
async def test_a_failed_call_is_written_with_its_code_and_raised_on(fault: Exception, outcome: str) -> None:
    lines: list[bytes] = []
    with pytest.raises(type(fault)):
        await run(Audit(lines.append)(make_tool(), Step(faults=[fault])))
    assert read(lines)["outcome"] == outcome


async def test_a_cancelled_call_is_written_as_cancelled() -> None:
    lines: list[bytes] = []
    started = anyio.Event()

    async def hang(_call: Call, _emit: Emit) -> None:
        started.set()
        await anyio.sleep_forever()

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(run, Audit(lines.append)(make_tool(), Step(does=hang)))
            await started.wait()
            group.cancel_scope.cancel()
    assert read(lines)["outcome"] == "cancelled"


async def test_a_failing_sink_is_logged_and_does_not_change_the_call(caplog: pytest.LogCaptureFixture) -> None:
    def full(_line: bytes) -> None:
        raise OSError(28, "No space left on device", "/secret/place")

    with caplog.at_level(logging.ERROR):
        assert await run(Audit(full)(make_tool(), Step("value"))) == "value"
    assert "audit line of call call-1 was not written (OSError)" in caplog.text
    assert "/secret/place" not in caplog.text


async def test_names_with_lone_surrogates_do_not_prevent_the_audit() -> None:
    lines: list[bytes] = []
    tool = make_tool()
    await run(Audit(lines.append, "names")(tool, Step()), make_call(tool, {"\ud800": 1, "b": 2}))
    assert read(lines)["arguments"] == ["?", "b"]


async def test_by_default_a_line_has_nothing_of_the_arguments() -> None:
    lines: list[bytes] = []
    tool = make_tool()
    await run(Audit(lines.append)(tool, Step()), make_call(tool, {"name-of-an-argument": "value-of-it"}))
    assert "arguments" not in read(lines)
    assert b"of-a" not in lines[0]
    assert b"of-it" not in lines[0]


async def test_calls_of_one_caller_have_the_same_digest_and_not_its_session_id() -> None:
    digests: list[object] = []
    tool = make_tool()
    for caller in ("session-1", "session-1", "session-2"):
        CLIENT_REQUEST.set(KnownClientRequest(caller))
        lines: list[bytes] = []
        await run(Audit(lines.append)(tool, Step()))
        assert caller.encode() not in lines[0]
        digests.append(read(lines)["caller"])
    assert digests[0] == digests[1] != digests[2]


async def test_a_line_tells_who_called_from_where_and_how_much() -> None:
    lines: list[bytes] = []
    REQUESTER.set(Requester("team-a", client="ide", address="127.0.0.1", session="ab12", profile="read"))
    await run(Audit(lines.append)(make_tool(), Step({"a": 1})), make_call(arguments={"b": 22}))
    record = read(lines)
    names = ("principal", "client", "address", "session", "profile", "manual", "bytes_in", "bytes_out")
    assert [record[name] for name in names] == ["team-a", "ide", "127.0.0.1", "ab12", "read", "shop", 8, 7]


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ("é", 2),
        (Binary(b"123"), 3),
        ([Binary(b"123"), "ab"], 5),
        (ContentBlocks([{"type": "text", "text": "x"}]), len('[[{"type":"text","text":"x"}],null]')),
        ({"a": object()}, None),
    ],
)
async def test_sizes_of_results_of_all_kinds(value: object, size: int | None) -> None:
    lines: list[bytes] = []
    await run(Audit(lines.append)(make_tool(), Step(value)))
    assert read(lines).get("bytes_out") == size


async def test_decisions_of_inner_layers_are_in_the_line() -> None:
    lines: list[bytes] = []

    async def decide(_call: Call, _emit: Emit) -> str:
        trail = TRAIL.get()
        assert trail is not None
        trail.append({"rule": "r", "decision": "allow"})
        return "done"

    await run(Audit(lines.append)(make_tool(), Step(does=decide)))
    assert read(lines)["decisions"] == [{"rule": "r", "decision": "allow"}]
    assert TRAIL.get() is None


async def test_digests_are_equal_for_equal_arguments_under_one_key_only() -> None:
    async def digest(arguments: dict[str, object], key: str | None) -> object:
        lines: list[bytes] = []
        await run(Audit(lines.append, "digest", key)(make_tool(), Step()), make_call(arguments=arguments))
        assert b"hidden" not in lines[0]
        return read(lines)["arguments_digest"]

    first = await digest({"a": "hidden", "b": 1}, "k" * 16)
    assert first == await digest({"b": 1, "a": "hidden"}, "k" * 16)
    assert first != await digest({"a": "hidden", "b": 1.0}, "k" * 16)
    assert first != await digest({"a": "hidden", "b": 1}, "l" * 16)
    assert await digest({"a": 1}, None) == await digest({"a": 1}, None)


async def test_full_arguments_have_no_secrets_and_no_hidden_characters_and_are_not_large() -> None:
    redactor = Redactor()
    redactor.learn(["s3cret-value"])
    lines: list[bytes] = []
    step = Audit(lines.append, "full", None, redactor)(make_tool(), Step())
    arguments = {"q": "the s3cret-value", "password": "short", "deep": [{"api_key": 12}], "t": "a\u202eb", "n": None}
    await run(step, make_call(arguments=arguments))
    assert read(lines)["arguments"] == {
        "q": "the ***",
        "password": "***",
        "deep": [{"api_key": "***"}],
        "t": "ab",
        "n": None,
    }
    lines.clear()
    await run(step, make_call(arguments={"q": "x" * 20_000}))
    assert len(lines[0]) < 1_000
    assert "arguments_digest" in read(lines)
