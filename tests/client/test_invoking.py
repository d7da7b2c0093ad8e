"""What a transport returns, emits and raises, on its way to the pipeline."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

import pytest

from utcp_bridge.client.client import UtcpClient
from utcp_bridge.client.extensions import Extensions
from utcp_bridge.errors import Rejected
from utcp_bridge.model import Call, Document, Emit, Result
from utcp_bridge.pipeline.reading import as_arguments
from utcp_bridge.placement.compiling import CallTemplate
from utcp_bridge.tasks import current_work
from utcp_bridge.transport import Target, Transport

pytestmark = pytest.mark.anyio

RED = "\x1b[31mred\u202e"


class _LoudTemplate(CallTemplate):
    pass


class _LoudTransport(Transport[_LoudTemplate]):
    """Does what a test says."""

    kinds = ("loud",)
    template = _LoudTemplate
    streaming = True
    does: ClassVar[Callable[[Emit], Awaitable[Any]]]

    async def discover(self, target: Target[_LoudTemplate]) -> Document:
        return Document({"tools": [{"name": "call", "inputs": {"type": "object"}}]}, generated=True)

    async def call(self, target: Target[_LoudTemplate], call: Call, emit: Emit) -> Any:
        return await type(self).does(emit)


async def called(does: Callable[[Emit], Awaitable[Any]], partials: list[Any]) -> Result:
    """Return the result of a call through a whole client."""
    _LoudTransport.does = staticmethod(does)

    async def keep(partial: Any) -> None:
        partials.append(partial)

    config = {"manual_call_templates": [{"name": "m", "call_template_type": "loud"}]}
    async with await UtcpClient.create(config, extensions=Extensions(transports=(_LoudTransport,))) as client:
        return await client.call("m.call", as_arguments({}), keep)


async def test_what_a_transport_returns_and_emits_is_cleaned() -> None:
    async def does(emit: Emit) -> Any:
        await emit({RED: RED})
        return Result({"a": RED}, meta={"link": RED})

    partials: list[Any] = []
    result = await called(does, partials)
    assert (result.value, result.meta, partials) == ({"a": "red"}, {"link": "red"}, [{"red": "red"}])


async def test_what_a_transport_raises_is_cleaned() -> None:
    async def does(_emit: Emit) -> Any:
        raise Rejected(RED, status=1, detail={"why": RED}, remedy=RED)

    with pytest.raises(Rejected) as caught:
        await called(does, [])
    assert (str(caught.value), caught.value.detail) == ("red red", {"why": "red"})


async def test_a_failure_that_a_transport_returns_is_cleaned() -> None:
    async def does(_emit: Emit) -> Any:
        return Result(None, failure=Rejected(RED, status=1, remedy=RED))

    assert str((await called(does, [])).failure) == "red red"


async def test_a_call_is_one_work_of_its_own_until_it_ends() -> None:
    works: list[Any] = []

    async def does(_emit: Emit) -> Any:
        works.append(current_work())
        return 1

    assert (await called(does, [])).value == 1
    assert [work.has_ended for work in works] == [True]
    assert current_work() is None
