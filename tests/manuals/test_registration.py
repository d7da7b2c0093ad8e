import logging
from hashlib import sha256
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from tests.upstreams.http_service import HttpService
from tests.upstreams.registry_service import Answers, served

from utcp_bridge import UtcpClient
from utcp_bridge.auth.tokens import TokenCache
from utcp_bridge.errors import ConfigError, PolicyError, Unreachable
from utcp_bridge.manuals.binding import Binder
from utcp_bridge.manuals.registration import ManualState, Registration, as_manual_entry, manual_name
from utcp_bridge.manuals.repository import InMemoryToolRepository
from utcp_bridge.model import Call, Document, Emit, Trust
from utcp_bridge.placement.compiling import CallTemplate
from utcp_bridge.testing.services import LOOPBACK, open_services
from utcp_bridge.transport import Services, Target, Transport
from utcp_bridge.transports.registry import TransportRegistry
from utcp_bridge.variables import Variables

pytestmark = pytest.mark.anyio


class MoodyTemplate(CallTemplate):
    mood: str = "fine"


class MoodyTransport(Transport[MoodyTemplate]):
    """Discovery raises the errors in `moods`, one after the other, and then succeeds."""

    kinds = ("moody",)
    template = MoodyTemplate
    moods: list[Exception | None] = []  # noqa: RUF012 - set by each test
    forgotten: list[str] = []  # noqa: RUF012 - see above

    async def discover(self, target: Target[MoodyTemplate]) -> Document:
        mood = self.moods.pop(0) if self.moods else None
        if mood is not None:
            raise mood
        return Document({"tools": [{"name": "smile"}]}, generated=True)

    async def call(self, target: Target[MoodyTemplate], call: Call, emit: Emit) -> Any:
        raise NotImplementedError

    async def forget(self, manual: str) -> None:
        self.forgotten.append(manual)


def make(services: Services) -> Registration:
    registry = TransportRegistry((MoodyTransport,))
    binder = Binder(Variables(environ={}), TokenCache(services.http), lambda _secret: None)
    return Registration(services, registry, binder, InMemoryToolRepository())


def announce(registration: Registration, entry: dict[str, Any]) -> ManualState:
    return registration.announce(as_manual_entry(entry))


ENTRY = {"name": "m", "call_template_type": "moody"}


@pytest.mark.parametrize(("name", "registered"), [("my-api", "my_api"), ("a.b c", "a_b_c"), ("é1", "_1"), ("ok", "ok")])
def test_other_characters_in_names_become_underscores(name: str, registered: str) -> None:
    assert manual_name({"name": name}) == registered


@pytest.mark.parametrize("name", ["", None, "--", "é"])
def test_a_name_without_word_characters_is_refused(name: Any) -> None:
    with pytest.raises(ConfigError, match="no name"):
        manual_name({"name": name})


async def test_an_exception_in_a_transport_fails_its_manual_and_shows_no_traceback() -> None:
    MoodyTransport.moods = [RuntimeError("s3cret-value")]
    async with open_services() as services:
        registration = make(services)
        state = announce(registration, ENTRY)
        await registration.load(state)
        assert state.status == "failed"
        assert "RuntimeError" in str(state.error)
        assert "s3cret-value" not in str(state.error)


async def test_a_failed_manual_is_loaded_again_with_growing_pauses_until_it_is_ready(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("utcp_bridge.manuals.registration._FIRST_PAUSE", 0.001)
    MoodyTransport.moods = [Unreachable("down"), Unreachable("still down"), None]
    async with open_services() as services:
        registration = make(services)
        state = announce(registration, ENTRY)
        await registration.load(state)
        with anyio.fail_after(60), caplog.at_level(logging.INFO):
            await registration.keep_trying(state)
        assert (state.status, state.error, state.tools) == ("ready", None, 1)
        assert "Manual m is ready again; it has 1 tool." in caplog.text
        await registration.keep_trying(state)


async def test_a_manual_that_only_its_operator_can_correct_is_not_retried() -> None:
    MoodyTransport.moods = [PolicyError("no")]
    async with open_services() as services:
        registration = make(services)
        state = announce(registration, ENTRY)
        await registration.load(state)
        with anyio.fail_after(60):
            await registration.keep_trying(state)
        assert state.status == "failed"


async def test_a_deregistered_manual_is_not_retried() -> None:
    MoodyTransport.moods = [Unreachable("down")]
    async with open_services() as services:
        registration = make(services)
        state = announce(registration, ENTRY)
        await registration.load(state)
        assert await registration.deregister("m")
        assert MoodyTransport.forgotten[-1] == "m"
        with anyio.fail_after(60):
            await registration.keep_trying(state)
        assert registration.states() == []


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"name": "m", "call_template_type": "nothing"}, "no transport"),
        ({"name": "m"}, "no transport"),
        ({**ENTRY, "mood": 7}, "mood"),
        ({**ENTRY, "call_timeout": "soon"}, "call_timeout"),
        ({**ENTRY, "mood": "${NOT_SET}"}, "NOT_SET"),
        ({**ENTRY, "call_template_type": "http", "url": "not a url"}, "URL"),
    ],
)
async def test_an_invalid_entry_fails_with_the_wrong_field_named(entry: dict[str, Any], words: str) -> None:
    async with open_services() as services:
        registration = make(services)
        state = announce(registration, entry)
        await registration.load(state)
        assert state.status == "failed"
        assert words in str(state.error)


async def test_a_fetched_manual_has_the_trust_and_origin_of_its_url() -> None:
    async with HttpService() as service, open_services() as services:
        registration = make(services)
        entry = {
            "name": "m",
            "call_template_type": "http",
            "url": f"{service.base}/utcp",
            "base_url": "https://api.example.com/v1",
            "allow_networks": list(LOOPBACK),
            "trusted": True,
        }
        state = announce(registration, entry)
        await registration.load(state)
        assert state.status == "ready"
        repository = registration._repository
        source = repository.tools()[0].source
        assert (source.trust, source.origin, source.trusted) == (Trust.REMOTE, service.base, True)
        assert source.exempt == {service.base.removeprefix("http://")}
        assert source.allowed_origins == {"https://api.example.com"}
        assert registration.bind(repository.tools()[0]).template.url.startswith(service.base)
        await registration.aclose()


async def test_a_manual_must_have_the_hash_in_its_entry(tmp_path) -> None:
    path = tmp_path / "m.json"
    path.write_text('{"tools": []}', encoding="utf-8")
    entry = {"name": "m", "call_template_type": "file", "file_path": str(path)}
    digest = sha256(path.read_bytes()).hexdigest()
    async with open_services() as services:
        for pin, status in ((digest.upper(), "ready"), ("0" * 64, "failed"), ("short", "failed")):
            registration = make(services)
            state = announce(registration, {**entry, "sha256": pin})
            await registration.load(state)
            assert state.status == status
        registration = make(services)
        generated = announce(registration, {**ENTRY, "sha256": digest})
        await registration.load(generated)
    assert "has no document" in str(generated.error)


@pytest.mark.parametrize("document", ["utcp", "openapi.json"])
async def test_the_same_overrides_work_for_a_utcp_manual_and_an_openapi_description(document: str) -> None:
    override = {"name": "seven", "defaults": {"id": 7}, "result": "target"}
    async with HttpService() as service:
        url = f"{service.base}/{document}"
        rules = {"include": {"paths": ["/ECHO/*"], "methods": ["get"]}, "overrides": {"GET_i*": override}}
        entry = {"name": "api", "call_template_type": "http", "url": url, **rules}
        async with await UtcpClient.create([entry]) as client:
            [tool] = client.tools()
            assert (tool.name, tool.inputs.get("required"), tool.outputs) == ("seven", None, None)
            assert await client.call_tool("api.seven") == "/echo/items/7"
            assert await client.call_tool("api.seven", {"id": 8}) == "/echo/items/8"


def fetches(service: HttpService) -> int:
    return sum(request.target == "/utcp" for request in service.requests)


async def test_a_manual_of_several_entries_is_fetched_once() -> None:
    async with HttpService() as service:
        bare = {"call_template_type": "http", "url": f"{service.base}/utcp"}
        entries = [{"name": name, **bare, "call_timeout": 5} for name in ("a", "b", "c")]
        async with await UtcpClient.create({"manual_call_templates": entries}) as client:
            assert {state.status for state in client.report()} == {"ready"}
            assert fetches(service) == 1
            await client.refresh("a")
            assert fetches(service) == 2


async def test_entries_that_ask_in_different_ways_are_fetched_each() -> None:
    async with HttpService() as service:
        bare = {"call_template_type": "http", "url": f"{service.base}/utcp"}
        key = {"auth_type": "api_key", "api_key": "k", "var_name": "X-Key"}
        entries = [
            {"name": "a", **bare},
            {"name": "b", **bare, "auth": key},
            {"name": "c", **bare, "headers": {"X-Key": "$KEY"}},
            {"name": "d", **bare, "headers": {"X-Key": "other"}},
        ]
        config = {"manual_call_templates": entries, "variables": {"c_KEY": "c"}}
        async with await UtcpClient.create(config) as client:
            assert [state.status for state in client.report()] == ["ready"] * 4
        assert fetches(service) == 4


async def test_each_entry_reports_the_failure_of_a_shared_fetch() -> None:
    async with HttpService() as service:
        entries = [
            {"name": name, "call_template_type": "http", "url": f"{service.base}/nothing-here"} for name in ("a", "b")
        ]
        async with await UtcpClient.create({"manual_call_templates": entries}) as client:
            errors = [str(state.error) for state in client.report()]
        assert errors[0] == errors[1]
        assert "404" in errors[0]


async def test_a_source_that_is_a_manual_is_fetched_once_on_its_way_to_live_tools() -> None:
    async with HttpService() as service, await UtcpClient.create(f"{service.base}/utcp") as client:
        assert client.tools()
        assert fetches(service) == 1
        await client.refresh(client.report()[0].name)
        assert fetches(service) == 2


async def test_a_manual_that_is_deregistered_while_it_loads_leaves_no_tools() -> None:
    async with HttpService() as service, await UtcpClient.create() as client, anyio.create_task_group() as group:
        entry = {"name": "m", "call_template_type": "http", "url": f"{service.base}/utcp"}
        group.start_soon(client.register_manual, entry)
        with anyio.fail_after(60):
            while not client.report():
                await anyio.lowlevel.checkpoint()
        await client.deregister_manual("m")
    assert list(client.tools()) == []


async def test_the_tools_of_a_fetched_v0_manual_may_be_streams_of_its_own_origin() -> None:
    service = Answers({"/s": {"answer": 42}})
    with served(service.app) as base:
        provider = {"provider_type": "http_stream", "url": f"{base}/s", "http_method": "GET"}
        service.answers["/utcp"] = {"version": "0.1.1", "tools": [{"name": "t", "tool_provider": provider}]}
        entry = {"name": "m", "provider_type": "http", "url": f"{base}/utcp", "http_method": "GET"}
        async with await UtcpClient.create([entry]) as client:
            assert [tool.kind for tool in client.tools()] == ["streamable_http"], client.report()[0].errors
            assert await client.call_tool("m.t") == {"answer": 42}


THREE = {
    "tools": [{"name": name, "tool_call_template": {"call_template_type": "text", "content": name}} for name in "abc"]
}


@pytest.mark.parametrize(
    ("only", "more", "expected"),
    [
        ("m.b", {}, ["b"]),
        ("m.x", {}, ["a", "b", "c"]),
        ("n.b", {}, ["a", "b", "c"]),
        ("m.b", {"exclude": {"names": ["a"]}}, ["b", "c"]),
        ("m.b", {"overrides": {"b": {"name": "d"}}}, ["a", "c", "d"]),
    ],
)
async def test_only_the_tool_that_is_wanted_is_loaded_unless_the_others_matter(
    only: str, more: dict[str, Any], expected: list[str]
) -> None:
    async with open_services() as services:
        registration = make(services)
        registration.only = only
        state = announce(registration, {"name": "m", "call_template_type": "text", "content": THREE, **more})
        await registration.load(state)

        assert state.repository is not None
        assert [tool.name for tool in state.repository.tools()] == expected

        await registration.widen()

        assert len(state.repository.tools()) == (2 if "exclude" in more else 3)
        assert not state.is_narrowed
