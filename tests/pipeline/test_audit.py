"""Audit: one line per call, whatever happens, with no value in it."""

import logging
from datetime import UTC, datetime, timedelta

import anyio
import orjson
import pytest
from tests.support.steps import Step, make_call, make_tool, run

from utcp_bridge.errors import Busy, Unreachable
from utcp_bridge.model import CALLER, Call, Emit
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
    step = Audit(lines.append, names=True)(tool, Step("value"))
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
    await run(Audit(lines.append, names=True)(tool, Step()), make_call(tool, {"\ud800": 1, "b": 2}))
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
        CALLER.set(caller)
        lines: list[bytes] = []
        await run(Audit(lines.append)(tool, Step()))
        assert caller.encode() not in lines[0]
        digests.append(read(lines)["caller"])
    assert digests[0] == digests[1] != digests[2]
