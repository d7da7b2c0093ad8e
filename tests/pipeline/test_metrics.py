"""Metrics: every hook is reported about every call, and no hook can break one."""

import logging

import anyio
import pytest
from tests.support.steps import Step, make_tool, run

from utcp_bridge.errors import Busy
from utcp_bridge.model import Call, Emit
from utcp_bridge.pipeline.metrics import CallDetails, Metrics

pytestmark = pytest.mark.anyio


def test_without_hooks_the_layer_is_left_out() -> None:
    innermost = Step()
    assert Metrics()(make_tool(), innermost) is innermost


async def test_every_hook_receives_a_finished_call() -> None:
    first: list[CallDetails] = []
    second: list[CallDetails] = []
    step = Metrics([first.append, second.append])(make_tool(), Step("value"))
    assert await run(step) == "value"
    assert first == second
    (details,) = first
    assert (details.tool, details.manual, details.kind, details.outcome) == ("shop.search", "shop", "test", "ok")
    assert 0 <= details.seconds < 5


@pytest.mark.parametrize(("fault", "outcome"), [(Busy("full"), "busy"), (KeyError("bug"), "internal")])
async def test_a_failed_call_is_reported_with_its_code(fault: Exception, outcome: str) -> None:
    reported: list[CallDetails] = []
    with pytest.raises(type(fault)):
        await run(Metrics([reported.append])(make_tool(), Step(faults=[fault])))
    assert [details.outcome for details in reported] == [outcome]


async def test_a_cancelled_call_is_reported_as_cancelled() -> None:
    reported: list[CallDetails] = []
    started = anyio.Event()

    async def hang(_call: Call, _emit: Emit) -> None:
        started.set()
        await anyio.sleep_forever()

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(run, Metrics([reported.append])(make_tool(), Step(does=hang)))
            await started.wait()
            group.cancel_scope.cancel()
    assert [details.outcome for details in reported] == ["cancelled"]


async def test_a_hook_that_raises_is_logged_and_others_still_run(caplog: pytest.LogCaptureFixture) -> None:
    reported: list[CallDetails] = []

    def broken(_details: CallDetails) -> None:
        raise RuntimeError("exporter gone")

    with caplog.at_level(logging.WARNING):
        assert await run(Metrics([broken, reported.append])(make_tool(), Step("value"))) == "value"
    assert len(reported) == 1
    assert "A metrics hook failed." in caplog.text
