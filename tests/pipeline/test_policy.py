"""Policy: rules of the embedding program, asked in order before anything is sent."""

import pytest
from tests.support.steps import Step, make_call, make_tool, run

from utcp_bridge.errors import PolicyError
from utcp_bridge.model import Call
from utcp_bridge.pipeline.policy import Policy

pytestmark = pytest.mark.anyio


def test_without_rules_the_layer_is_left_out() -> None:
    innermost = Step()
    assert Policy()(make_tool(), innermost) is innermost


async def test_rules_see_the_call_in_order_before_it_is_sent() -> None:
    seen: list[tuple[str, object]] = []

    async def first(call: Call) -> None:
        seen.append(("first", call.arguments["amount"]))

    async def second(call: Call) -> None:
        seen.append(("second", call.arguments["amount"]))

    step = Step("value")
    assert await run(Policy([first, second])(make_tool(), step), make_call(arguments={"amount": 7})) == "value"
    assert seen == [("first", 7), ("second", 7)]
    assert len(step.calls) == 1


async def test_a_rule_that_refuses_ends_the_call_before_later_rules_and_the_tool() -> None:
    async def refuse(_call: Call) -> None:
        raise PolicyError("Payments above 5 need an approval.")

    async def never(_call: Call) -> None:
        raise AssertionError("asked after a refusal")

    step = Step()
    with pytest.raises(PolicyError, match="need an approval"):
        await run(Policy([refuse, never])(make_tool(), step))
    assert step.calls == []
