"""The transport contract: what a minimal transport inherits, and what it must define."""

from typing import Any

import anyio
import pytest

from utcp_bridge.model import Call, Document, Emit, discard
from utcp_bridge.placement.compiling import CallTemplate
from utcp_bridge.testing.services import make_call, make_target, open_services
from utcp_bridge.transport import Endpoint, Services, Target, Transport

pytestmark = pytest.mark.anyio


class EchoTemplate(CallTemplate):
    """A template with a word to say."""

    call_template_type: str = "echo"
    word: str = "hello"


class Echo(Transport[EchoTemplate]):
    """The smallest transport."""

    kinds = ("echo",)
    template = EchoTemplate

    async def discover(self, target: Target[EchoTemplate]) -> Document:
        return Document({"tools": []}, url=target.template.word)

    async def call(self, target: Target[EchoTemplate], call: Call, emit: Emit) -> Any:
        await emit(target.template.word)
        return {"word": target.template.word, "given": call.arguments}


async def test_a_transport_needs_kinds_a_template_and_two_methods() -> None:
    async with open_services() as services:
        transport = Echo(services)
        target = make_target(transport, {"word": "tea"})
        assert transport.services is services
        assert await transport.call(target, make_call({"a": 1}), discard) == {"word": "tea", "given": {"a": 1}}
        assert (await transport.discover(target)).url == "tea"
        await transport.forget("peer")
        await transport.aclose()


@pytest.mark.parametrize("missing", ["discover", "call"])
def test_a_transport_without_discover_or_call_cannot_be_created(missing: str) -> None:
    body = {"kinds": ("x",), "template": EchoTemplate, missing: getattr(Transport, missing)}
    incomplete = type("Incomplete", (Echo,), body)
    with pytest.raises(TypeError, match=missing):
        incomplete(None)


def test_the_defaults_are_the_most_restrictive() -> None:
    template = EchoTemplate()
    assert Echo.endpoint(template) is None, "no URL, so no credentials go anywhere"
    assert Echo.annotations(template) == {}
    assert (Echo.local, Echo.remote, Echo.implicit, Echo.streaming) == (False, True, True, False)
    assert Echo.raw_fields == Echo.braced_only == frozenset()


def test_the_repr_of_a_target_shows_no_template_and_no_credentials() -> None:
    target = make_target(Echo, {"word": "canary-5512", "auth": {"api_key": "canary-5512"}})
    assert "canary" not in repr(target)
    assert "peer" in repr(target)


async def test_services_run_background_tasks_until_the_client_closes() -> None:
    started, ended = anyio.Event(), anyio.Event()

    async def work() -> None:
        started.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    with anyio.fail_after(60):
        async with open_services() as services:
            assert isinstance(services, Services)
            services.spawn(work)
            await started.wait()
    assert ended.is_set()


async def test_a_transport_needs_its_endpoint_if_it_has_one() -> None:
    class Far(Echo):
        @classmethod
        def endpoint(cls, template: EchoTemplate) -> str | None:
            return f"http://{template.word}.example/"

    async with open_services() as services:
        assert list(Echo(services).needs(make_target(Echo, {}))) == []
        assert list(Far(services).needs(make_target(Far, {}))) == [Endpoint("http://hello.example/")]
        assert "hello" not in repr(Endpoint("http://hello.example/"))
