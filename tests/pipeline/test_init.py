"""Composition: the order of layers, and what a layer without work costs."""

import pytest
from tests.support.steps import Step, make_tool, run

from utcp_bridge.errors import Busy
from utcp_bridge.model import Call, Emit, Result, Tool
from utcp_bridge.pipeline import Layer, Next, compose, outcome_of
from utcp_bridge.upstream import InputRequired, ProtocolError

pytestmark = pytest.mark.anyio


def noting(name: str, seen: list[str]) -> Layer:
    def layer(_tool: Tool, inner: Next) -> Next:
        async def step(call: Call, emit: Emit) -> Result:
            seen.append(f"{name} in")
            result = await inner(call, emit)
            seen.append(f"{name} out")
            return result

        return step

    return layer


async def test_the_first_layer_is_the_outermost() -> None:
    seen: list[str] = []
    step = compose(make_tool(), [noting("a", seen), noting("b", seen)], Step("value"))
    assert await run(step) == "value"
    assert seen == ["a in", "b in", "b out", "a out"]


def test_a_layer_without_work_leaves_no_trace() -> None:
    innermost = Step()
    assert compose(make_tool(), [lambda _tool, inner: inner] * 3, innermost) is innermost


def test_every_layer_is_given_the_tool() -> None:
    tool = make_tool()
    given: list[Tool] = []

    def layer(one: Tool, inner: Next) -> Next:
        given.append(one)
        return inner

    compose(tool, [layer, layer], Step())
    assert given == [tool, tool]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, "ok"),
        (Busy("full"), "busy"),
        (InputRequired({"q": {}}), "input_required"),
        (ProtocolError(-32042, "Open a page."), "protocol_error"),
        (KeyError("bug"), "internal"),
        (KeyboardInterrupt(), "cancelled"),
    ],
)
def test_each_end_of_a_call_has_one_word(error: BaseException | None, outcome: str) -> None:
    assert outcome_of(error) == outcome
