"""The client: manuals, tools, calls, explanations, and the names of the UTCP reference libraries."""

import json
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import anyio
import pytest
from pydantic import BaseModel
from tests.upstreams.http_service import PNG, HttpService

from utcp_bridge import Extensions, Result, UtcpClient, UtcpClientConfig
from utcp_bridge.errors import (
    Busy,
    ConfigError,
    DeadlineExceeded,
    InvalidArguments,
    ManualError,
    PolicyError,
    Rejected,
    Unexplainable,
    UnknownTool,
    Unreachable,
    VariableNotFound,
)
from utcp_bridge.model import Call, Document, Emit, JsonObject
from utcp_bridge.pipeline.metrics import CallDetails
from utcp_bridge.placement.compiling import CallTemplate
from utcp_bridge.providers import HttpProvider
from utcp_bridge.settings import BridgeSettings
from utcp_bridge.transport import Endpoint, Target, Transport

pytestmark = pytest.mark.anyio


@pytest.fixture
async def service() -> AsyncIterator[HttpService]:
    async with HttpService() as service:
        yield service


def http_entry(service: HttpService, path: str = "/utcp", **fields: Any) -> JsonObject:
    return {"name": "peer", "call_template_type": "http", "url": service.base + path, **fields}


class CounterTemplate(CallTemplate):
    up_to: int = 3


class CounterTransport(Transport[CounterTemplate]):
    """Streams numbers. Its discovery makes its own tool."""

    kinds = ("counter",)
    template = CounterTemplate
    streaming = True

    async def discover(self, target: Target[CounterTemplate]) -> Document:
        tool = {"name": "count", "inputs": {"type": "object", "properties": {}}, "overlay": {"up_to": 4}}
        return Document({"tools": [tool], "info": {"title": "Numbers"}}, generated=True)

    async def call(self, target: Target[CounterTemplate], call: Call, emit: Emit) -> Any:
        if call.arguments.get("explode"):
            raise Busy("Not now, token-of-six.")
        if call.arguments.get("wait"):
            await anyio.sleep_forever()
        numbers = list(range(call.arguments.get("to", target.template.up_to)))
        if not call.arguments.get("quiet"):
            for number in numbers:
                await emit(number)
        return numbers


COUNTER = {"name": "numbers", "call_template_type": "counter"}
WITH_COUNTER = Extensions(transports=(CounterTransport,))


async def test_a_v0_provider_and_a_v1_manual_are_called_by_their_utcp_names(service: HttpService) -> None:
    old = {"name": "old", "provider_type": "http", "url": f"{service.base}/utcp/v0"}
    async with (
        await UtcpClient.create([old]) as client,
        await UtcpClient.create({"manual_call_templates": [http_entry(service)]}) as other,
    ):
        assert (await client.call_tool("old.echo", {"text": "hello"}))["text"] == "hello"
        assert (await other.call_tool("peer.echo", {"text": "hello"}))["text"] == "hello"
        assert [state.dialect for state in (*client.report(), *other.report())] == ["v0.x", "v1.x"]


async def test_an_openapi_description_becomes_tools(service: HttpService) -> None:
    async with await UtcpClient.create([http_entry(service, "/openapi.json")]) as client:
        assert {tool.name for tool in client.tools()} == {"echo", "get_item", "create_item"}
        assert (await client.call_tool("peer.get_item", {"id": 7}))["target"] == "/echo/items/7"
        assert client.report()[0].title == "Echo service"


async def test_one_manual_that_fails_leaves_the_others_and_says_why(service: HttpService) -> None:
    config = [
        http_entry(service, name="good"),
        http_entry(service, "/page", name="page"),
        {"name": "down", "call_template_type": "http", "url": f"{service.refusing}/utcp"},
        http_entry(service, name="good"),
    ]
    async with await UtcpClient.create(UtcpClientConfig(manual_call_templates=tuple(config))) as client:
        states = {state.name: state for state in client.report()}
        assert states["good"].status == "ready"
        assert states["page"].status == "failed"
        assert "page" in str(states["page"].error) or "HTML" in str(states["page"].error)
        assert states["down"].error is not None
        assert states["down"].error.code == "unreachable"
        assert len(states) == 3


async def test_create_returns_after_the_wait_and_loading_continues(service: HttpService) -> None:
    slow = http_entry(service, "/together/2", name="slow", discovery_timeout=60)
    with anyio.fail_after(60):
        async with await UtcpClient.create([http_entry(service), slow], wait=0.05) as client:
            assert {state.name: state.status for state in client.report()}["slow"] == "loading"
            assert not await client.wait_loaded(0.01)
            service.meet("/together/2")
            assert await client.wait_loaded()
            assert {state.name: state.status for state in client.report()}["slow"] == "ready"


async def test_loading_ends_at_the_discovery_timeout(service: HttpService) -> None:
    slow = http_entry(service, "/slow", name="slow", discovery_timeout=0.2)
    async with await UtcpClient.create([slow]) as client:
        with anyio.fail_after(60):
            assert await client.wait_loaded()
        [state] = client.report()
        assert isinstance(state.error, DeadlineExceeded)


async def test_an_unknown_tool_is_an_error_with_the_nearest_names(service: HttpService) -> None:
    async with await UtcpClient.create([http_entry(service)]) as client:
        with pytest.raises(UnknownTool, match=r"peer\.echo"):
            await client.call_tool("peer.ecko")


@pytest.mark.parametrize("form", ["own name", "UTCP name", "Tool"])
async def test_every_method_takes_a_tool_or_its_names(service: HttpService, form: str) -> None:
    async with await UtcpClient.create([http_entry(service)]) as client:
        found = client.find_tool("peer.echo")
        tool = {"own name": "echo", "UTCP name": "peer.echo", "Tool": found}[form]
        arguments = {"text": "hi"}
        assert client.find_tool(tool) is found
        assert client.streams(tool) is False
        assert (await client.explain(tool, arguments)).line == (await client.explain(found, arguments)).line
        values = [(await client.call(tool, arguments)).value, await client.call_tool(tool, arguments)]
        values += [value async for value in client.call_tool_streaming(tool, arguments)]
        assert [value["text"] for value in values] == ["hi"] * 3
        assert await client.get_required_variables_for_registered_tool(tool) == []
        assert client.find(found) is found


async def test_an_unknown_tool_is_an_error_with_tools_of_the_same_words(service: HttpService) -> None:
    async with await UtcpClient.create([http_entry(service)]) as client:
        with pytest.raises(UnknownTool) as caught:
            await client.call_tool("sends back whatever was sent: echo")
        assert "Did you mean peer.echo" in str(caught.value)
        with pytest.raises(UnknownTool, match=r"There is no tool 'zzz'\. `list_tools\(\)` lists the tools\."):
            client.streams("zzz")


async def test_arguments_are_checked_before_anything_is_sent(service: HttpService) -> None:
    async with await UtcpClient.create([http_entry(service)]) as client:
        sent = len(service.requests)
        with pytest.raises(InvalidArguments, match="text"):
            await client.call_tool("peer.echo", {})
        assert len(service.requests) == sent


async def test_secrets_that_an_upstream_echoes_are_masked_in_errors(service: HttpService) -> None:
    tool = {
        "name": "fail",
        "inputs": {"type": "object", "properties": {}},
        "tool_call_template": {
            "call_template_type": "http",
            "url": f"{service.base}/status/400",
            "headers": {"X-Token": "${TOKEN}"},
        },
    }
    content = {"utcp_version": "1.0.1", "tools": [tool]}
    config = {
        "manual_call_templates": [{"name": "local", "call_template_type": "text", "content": content}],
        "variables": {"TOKEN": "as asked"},
    }
    async with await UtcpClient.create(config) as client:
        with pytest.raises(Rejected) as caught:
            await client.call_tool("local.fail")
        assert "as asked" not in str(caught.value) + str(caught.value.detail)
        assert "***" in str(caught.value.detail)


async def test_manuals_come_and_go_while_the_client_is_open(service: HttpService) -> None:
    async with await UtcpClient.create() as client:
        changes: list[int] = []
        unsubscribe = client.on_change(lambda: changes.append(client.generation))
        state = await client.register_manual({"name": "peer", "provider_type": "http", "url": f"{service.base}/utcp"})
        assert (state.status, state.tools) == ("ready", 4)
        assert client.find("peer.echo") is not None
        with pytest.raises(ConfigError, match="two manuals named 'peer'"):
            await client.register_manual(http_entry(service))
        assert await client.deregister_manual("peer")
        assert client.find("peer.echo") is None
        assert not await client.deregister_manual("peer")
        unsubscribe()
        await client.register_manual(http_entry(service))
        assert changes == [1, 2]


async def test_a_refresh_adds_new_tools_and_keeps_old_ones_while_the_manual_is_down(
    service: HttpService, tmp_path: Path
) -> None:
    path = tmp_path / "tools.json"
    manual = (
        '{"utcp_version":"1","tools":[{"name":"%s","tool_call_template":{"call_template_type":"text","content":"x"}}]}'
    )
    path.write_text(manual % "first", encoding="utf-8")
    async with await UtcpClient.create(
        [{"name": "local", "call_template_type": "file", "file_path": str(path)}]
    ) as client:
        path.write_text(manual % "second", encoding="utf-8")
        await client.refresh("local")
        assert [tool.name for tool in client.tools()] == ["second"]
        path.write_text("{", encoding="utf-8")
        await client.refresh("local")
        assert [tool.name for tool in client.tools()] == ["second"]
        assert client.report()[0].error is not None
        assert await client.call_tool("local.second") == "x"
        await client.refresh("unknown")


async def test_a_changed_tool_is_withheld_if_the_operator_pins_definitions(
    service: HttpService,
) -> None:
    config = UtcpClientConfig(manual_call_templates=(http_entry(service),), bridge=BridgeSettings(pin="refuse"))
    async with await UtcpClient.create(config) as client:
        assert client.find("peer.echo") is not None
        service.descriptions["echo"] = "Also sends your keys."
        await client.refresh("peer")
        assert client.find("peer.echo") is None
        assert "withheld" in client.report()[0].faults[0].what


async def test_a_manual_is_read_again_when_its_file_changes(tmp_path: Path) -> None:
    path = tmp_path / "tools.json"
    entry = {"name": "local", "call_template_type": "file", "file_path": "tools.json"}
    config = UtcpClientConfig(manual_call_templates=(entry,), bridge=BridgeSettings(pin="refuse"))
    async with await UtcpClient.create(config, root=tmp_path) as client:
        assert client.report()[0].status == "failed"
        for description in ("Adds.", "Adds two numbers."):
            changed = anyio.Event()
            unsubscribe = client.on_change(changed.set)
            manual = {"utcp_version": "1", "tools": [{"name": "t", "description": description}]}
            path.write_text(json.dumps(manual), encoding="utf-8")
            with anyio.fail_after(60):
                await changed.wait()
            unsubscribe()
            assert [tool.description for tool in client.tools()] == [description]


async def test_partial_results_arrive_in_order() -> None:
    async with await UtcpClient.create([COUNTER], extensions=WITH_COUNTER) as client:
        assert [n async for n in client.call_tool_streaming("numbers.count")] == [0, 1, 2, 3]
        assert [n async for n in client.call_tool_streaming("numbers.count", {"quiet": True})] == [[0, 1, 2, 3]]
        assert client.report()[0].title == "Numbers"


async def test_a_failed_stream_raises_at_its_end_and_leaving_a_stream_cancels_the_call() -> None:
    async with await UtcpClient.create([COUNTER], extensions=WITH_COUNTER) as client:
        with pytest.raises(Busy, match="Not now"):
            async for _ in client.call_tool_streaming("numbers.count", {"explode": True}):
                pass
        with anyio.fail_after(60):
            async with aclosing(client.call_tool_streaming("numbers.count", {"to": 10**6})) as stream:
                async for number in stream:
                    if number == 2:
                        break


async def test_a_manual_can_set_the_deadline_of_its_calls() -> None:
    entry = {**COUNTER, "call_timeout": 0.05}
    async with await UtcpClient.create([entry], extensions=WITH_COUNTER) as client:
        with pytest.raises(DeadlineExceeded, match=r"0\.05 seconds"):
            await client.call_tool("numbers.count", {"wait": True})


async def test_rules_hooks_and_audit_of_the_embedding_program_see_every_call() -> None:
    audit: list[bytes] = []
    details: list[CallDetails] = []

    async def no_big_counts(call: Call, /) -> None:
        if call.arguments.get("to", 0) > 100:
            raise PolicyError("Too far.")

    extensions = Extensions(
        transports=(CounterTransport,), rules=(no_big_counts,), metrics=(details.append,), audit=audit.append
    )
    async with await UtcpClient.create([COUNTER], extensions=extensions) as client:
        with pytest.raises(PolicyError, match="Too far"):
            await client.call_tool("numbers.count", {"to": 101})
        tool = client.find("numbers.count")
        assert tool is not None
        assert await client.call(tool, {}) == Result([0, 1, 2, 3])
    assert [one.outcome for one in details] == ["policy", "ok"]
    assert len(audit) == 2


async def test_search_finds_new_tools_and_no_removed_tools(service: HttpService) -> None:
    async with await UtcpClient.create() as client:
        assert await client.search_tools("echo") == []
        await client.register_manual(http_entry(service))
        assert [tool.name for tool in await client.search_tools("echo endpoint", limit=1)] == ["echo"]
        assert [hit.tool.name for hit in client.search("echo endpoint", tags=["http"], limit=1)] == ["echo"]
        await client.deregister_manual("peer")
        assert await client.search_tools("echo") == []


async def test_the_configured_search_strategy_is_used(service: HttpService) -> None:
    strategy = {"tool_search_strategy_type": "tag_and_description_word_match", "tag_weight": 5}
    config = {"manual_call_templates": [http_entry(service)], "tool_search_strategy": strategy}
    async with await UtcpClient.create(config) as client:
        assert type(client.search_strategy).__name__ == "TagStrategy"


async def test_a_missing_dotenv_file_is_logged_and_the_rest_works(
    service: HttpService, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = {
        "manual_call_templates": [http_entry(service)],
        "load_variables_from": [{"variable_loader_type": "dotenv", "env_file_path": "nothing.env"}],
    }
    with caplog.at_level(logging.WARNING):
        async with await UtcpClient.create(config, root=tmp_path) as client:
            assert len(client.tools()) == 4
    assert "nothing.env" in caplog.text


async def test_manuals_load_at_the_same_time(service: HttpService) -> None:
    entries = [http_entry(service, f"/together/20?n={n}", name=f"m{n}", discovery_timeout=60) for n in range(20)]
    async with await UtcpClient.create(entries) as client:
        with anyio.fail_after(60):
            assert await client.wait_loaded()
        assert {state.status for state in client.report()} == {"ready"}


async def test_a_manual_that_was_down_is_loaded_again_in_the_background(
    service: HttpService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("utcp_bridge.manuals.registration._FIRST_PAUSE", 0.01)
    async with HttpService() as late:
        entry = http_entry(late, "/status/503")
        async with await UtcpClient.create([entry]) as client:
            assert client.report()[0].status == "failed"
            changed = anyio.Event()
            client.on_change(changed.set)
            client.report()[0].entry.template["url"] = f"{late.base}/utcp"
            with anyio.fail_after(60):
                await changed.wait()
            assert len(client.tools()) == 4


async def test_manuals_are_read_again_at_their_interval(tmp_path: Path) -> None:
    path = tmp_path / "tools.json"
    manual = (
        '{"utcp_version":"1","tools":[{"name":"%s","tool_call_template":{"call_template_type":"text","content":"x"}}]}'
    )
    path.write_text(manual % "first", encoding="utf-8")
    entry = {"name": "local", "call_template_type": "file", "file_path": str(path), "refresh_interval": 0.02}
    async with await UtcpClient.create([entry]) as client:
        changed = anyio.Event()
        client.on_change(changed.set)
        path.write_text(manual % "second", encoding="utf-8")
        with anyio.fail_after(60):
            await changed.wait()
        assert [tool.name for tool in client.tools()] == ["second"]


async def test_a_full_queue_is_busy_at_once(service: HttpService) -> None:
    settings = BridgeSettings(concurrency=1, queue=0)
    config = UtcpClientConfig(manual_call_templates=(COUNTER,), bridge=settings)
    client = await UtcpClient.create(config, extensions=WITH_COUNTER)
    async with client, anyio.create_task_group() as group:
        group.start_soon(client.call_tool, "numbers.count", {"wait": True})
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(Busy, match="calls in flight"):
            await client.call_tool("numbers.count")
        group.cancel_scope.cancel()


TEXT = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}


class _Template(CallTemplate):
    call_template_type: str = "pigeon"


class _Pigeon(Transport[_Template]):
    kinds = ("pigeon",)
    template = _Template

    async def discover(self, target):
        raise NotImplementedError

    async def call(self, target, call, emit):
        return "arrived"


def config_of(template, **more):
    tool = {"name": "echo", "inputs": TEXT, "tool_call_template": template}
    entry = {
        "name": "peer",
        "call_template_type": "text",
        "content": {"utcp_version": "1.0.1", "tools": [tool]},
        "allowed_communication_protocols": [template["call_template_type"]],
    }
    return {"manual_call_templates": [entry], **more}


class _Echo(_Pigeon):
    async def call(self, target, call, emit):
        return call.arguments


DIALECTS = {
    "v1": {"manual_call_templates": [{"name": "peer", "call_template_type": "text"}]},
    "v0": [{"name": "peer", "provider_type": "text"}],
    "one call template": {"name": "peer", "call_template_type": "text"},
}


def with_entry(form: str, **more: Any) -> Any:
    """A configuration in one dialect, whose one manual has one tool of the type `pigeon` and more keys."""
    tool = {"name": "echo", "inputs": TEXT, "tool_call_template": {"call_template_type": "pigeon"}}
    more["content"] = {"utcp_version": "1.0.1", "tools": [tool]}
    more["allowed_communication_protocols"] = ["pigeon"]
    config: Any = DIALECTS[form]
    if isinstance(config, list):
        return [{**config[0], **more}]
    if "name" in config:
        return {**config, **more}
    return {"manual_call_templates": [{**config["manual_call_templates"][0], **more}]}


@pytest.mark.parametrize("form", DIALECTS)
async def test_a_manual_sets_how_its_arguments_are_checked_in_every_dialect(form: str) -> None:
    echo = Extensions(transports=(_Echo,))
    for check, sent in (("off", {"text": 5}), ("warn", {"text": 5}), ("strict", None), (None, None)):
        more = {} if check is None else {"validation": check}
        async with await UtcpClient.create(with_entry(form, **more), extensions=echo) as client:
            if sent is None:
                with pytest.raises(InvalidArguments, match="text: is not of type"):
                    await client.call_tool("peer.echo", {"text": 5})
            else:
                assert await client.call_tool("peer.echo", {"text": 5}) == sent


async def test_the_setting_is_for_manuals_without_a_validation_of_their_own() -> None:
    config = {**with_entry("v1"), "bridge": {"policy": {"validation": "off"}}}
    async with await UtcpClient.create(config, extensions=Extensions(transports=(_Echo,))) as client:
        assert await client.call_tool("peer.echo", {}) == {}
    config = {**with_entry("v1", validation="strict"), "bridge": {"validation": "off"}}
    async with await UtcpClient.create(config, extensions=Extensions(transports=(_Echo,))) as client:
        with pytest.raises(InvalidArguments, match="required"):
            await client.call_tool("peer.echo", {})


async def test_a_validation_that_there_is_not_fails_the_manual_with_its_name() -> None:
    async with await UtcpClient.create(with_entry("v1", validation="loose")) as client:
        error = client.report()[0].error
        assert error is not None
        assert "validation" in str(error)


async def test_arguments_may_be_json_text_for_the_methods_that_take_a_mapping() -> None:
    async with await UtcpClient.create(with_entry("v1"), extensions=Extensions(transports=(_Echo,))) as client:
        assert await client.call_tool("peer.echo", '{"text": "x"}') == {"text": "x"}
        assert [one async for one in client.call_tool_streaming("peer.echo", '{"text": "x"}')] == [{"text": "x"}]
        with pytest.raises(InvalidArguments, match="not an object"):
            await client.call_tool("peer.echo", "words")


def files_document(service: HttpService) -> JsonObject:
    """An OpenAPI description with an upload, a body of bytes, and a reply of bytes."""
    octets = {"schema": {"type": "string", "format": "binary"}}
    upload = {
        "type": "object",
        "required": ["file"],
        "properties": {"file": octets["schema"], "n": {"type": "integer"}},
    }
    fine = {"200": {"description": "fine", "content": {"application/json": {"schema": {"type": "object"}}}}}

    def post(name: str, media_type: str, media: JsonObject) -> JsonObject:
        body = {"required": True, "content": {media_type: media}}
        return {"post": {"operationId": name, "requestBody": body, "responses": fine}}

    return {
        "openapi": "3.1.0",
        "info": {"title": "files", "version": "1"},
        "servers": [{"url": service.base}],
        "paths": {
            "/echo": post("upload", "multipart/form-data", {"schema": upload}),
            "/echo/raw": post("raw", "application/octet-stream", octets),
            "/image": {
                "get": {
                    "operationId": "image",
                    "responses": {"200": {"description": "fine", "content": {"image/png": octets}}},
                }
            },
        },
    }


async def files_client(service: HttpService, folder: Path, *, roots: tuple[str, ...] = ("files",)) -> UtcpClient:
    """A client with one folder that callers may use."""
    (folder / "files").mkdir()
    (folder / "files" / "logo.png").write_bytes(PNG)
    (folder / "files.json").write_text(json.dumps(files_document(service)), encoding="utf-8")
    entry = {"name": "files", "call_template_type": "file", "file_path": "files.json"}
    config = {"manual_call_templates": [entry], "bridge": {"policy": {"file_roots": list(roots)}}}
    return await UtcpClient.create(config, root=folder)


async def test_an_upload_and_a_body_of_bytes_may_name_files_in_the_folders(
    service: HttpService, tmp_path: Path
) -> None:
    async with await files_client(service, tmp_path) as client:
        await client.call_tool("files.upload", {"file": "logo.png", "n": "3"})
        assert b'name="file"; filename="logo.png"\r\nContent-Type: image/png\r\n\r\n' + PNG in service.last.body
        await client.call_tool("files.raw", {"body": (tmp_path / "files" / "logo.png").as_uri()})
        assert service.last.body == PNG
        explained = await client.explain("files.raw", {"body": "logo.png"})
        assert str(len(PNG)) in explained.as_text()
        sent = len(service.requests)
        with pytest.raises(PolicyError, match="file_roots"):
            await client.call_tool("files.raw", {"body": "../files.json"})
        assert len(service.requests) == sent


async def test_without_folders_the_name_of_a_file_is_content(service: HttpService, tmp_path: Path) -> None:
    async with await files_client(service, tmp_path, roots=()) as client:
        await client.call_tool("files.raw", {"body": "../files.json"})
        assert service.last.body == b"../files.json"


async def test_a_reply_of_bytes_is_written_to_the_output_path(service: HttpService, tmp_path: Path) -> None:
    async with await files_client(service, tmp_path) as client:
        tool = client.find_tool("files.image")
        assert tool.returns_bytes
        value = await client.call_tool(tool, {"output_path": "new/image.png"})
        path = tmp_path / "files" / "new" / "image.png"
        assert value == {"path": str(path), "bytes": len(PNG), "media_type": "image/png"}
        assert path.read_bytes() == PNG
        assert not client.find_tool("files.raw").returns_bytes


async def test_reach_returns_a_target_without_a_request(service: HttpService) -> None:
    entry = {"name": "my shop", "call_template_type": "http", "url": f"{service.base}/${{PART}}"}
    async with await UtcpClient.create({}) as client:
        assert client.unset_variables(entry) == ["my__shop_PART"]
        with pytest.raises(VariableNotFound):
            client.reach(entry)
    async with await UtcpClient.create({"variables": {"PART": "utcp"}}) as client:
        target, needs = client.reach(entry)
        assert client.unset_variables(entry) == []
        assert client.report() == []
    assert (target.source.name, list(needs)) == ("my_shop", [Endpoint(f"{service.base}/utcp")])
    assert service.requests == []


async def test_an_explained_call_is_not_made(service: HttpService) -> None:
    template = {"call_template_type": "http", "url": f"{service.base}/echo"}
    async with await UtcpClient.create(config_of(template)) as client:
        request = await client.explain(client.find("peer.echo"), {"text": "a b"})
    assert request.line == f"GET {service.base}/echo?text=a%20b"
    assert service.requests == []


async def test_an_explanation_masks_secrets_of_any_length_in_every_part(service: HttpService) -> None:
    template = {
        "call_template_type": "http",
        "http_method": "POST",
        "url": f"{service.base}/echo",
        "body_template": {"pin": "${PIN}", "text": "{{text}}"},
        "auth": {"auth_type": "basic", "username": "ada", "password": "${PIN}"},
    }
    async with await UtcpClient.create(config_of(template, variables={"peer_PIN": "x9z"})) as client:
        request = await client.explain(client.find("peer.echo"), {"text": "t"})
    assert request.messages == (b'{"pin":"***","text":"t"}',)
    assert dict(request.fields)["Authorization"] == "Basic ***"


async def test_an_explanation_checks_arguments_and_requires_variables(service: HttpService) -> None:
    template = {"call_template_type": "http", "url": f"{service.base}/echo", "headers": {"X-Key": "${KEY}"}}
    async with await UtcpClient.create(config_of(template)) as client:
        tool = client.find("peer.echo")
        with pytest.raises(InvalidArguments):
            await client.explain(tool, {})
        with pytest.raises(VariableNotFound):
            await client.explain(tool, {"text": "a"})


async def test_a_transport_without_explanations_is_an_error() -> None:
    extensions = Extensions(transports=(_Pigeon,))
    async with await UtcpClient.create(config_of({"call_template_type": "pigeon"}), extensions=extensions) as client:
        assert await client.call_tool("peer.echo", {"text": "a"}) == "arrived"
        with pytest.raises(Unexplainable, match="The pigeon transport cannot show what it would send"):
            await client.explain(client.find("peer.echo"), {"text": "a"})


class HttpCallTemplate(BaseModel):
    """A model as in programs with the reference library."""

    name: str
    call_template_type: str = "http"
    url: str
    headers: dict[str, str] | None = None


async def test_the_methods_of_v0_register_list_call_and_remove_providers() -> None:
    async with HttpService() as service, await UtcpClient.create() as client:
        provider = HttpProvider(name="peer", url=f"{service.base}/utcp", http_method="GET")
        tools = await client.register_manual_provider(provider)
        assert "peer.echo" in [tool.qualified_name for tool in tools]
        assert await client.list_tools() == tools
        result = await client.call_tool(tool_name="peer.echo", arguments={"text": "hi"})
        assert result["text"] == "hi"
        assert [tool.name for tool in await client.search_tools(query="echo", limit=1)] == ["echo"]
        assert await client.deregister_tool_provider("peer")
        assert await client.list_tools() == []


async def test_a_template_may_be_a_pydantic_model() -> None:
    async with HttpService() as service, await UtcpClient.create() as client:
        state = await client.register_manual(HttpCallTemplate(name="peer", url=f"{service.base}/utcp"))
        assert (state.success, state.errors) == (True, [])


async def test_a_provider_that_cannot_be_loaded_raises_and_is_not_registered() -> None:
    async with HttpService() as service, await UtcpClient.create() as client:
        provider = HttpProvider(name="down", url=f"{service.refusing}/utcp")
        with pytest.raises(Unreachable):
            await client.register_tool_provider(provider)
        assert client.report() == []
        state = await client.register_manual(provider)
        assert not state.success
        assert "No connection" in state.errors[0]
        with pytest.raises(ConfigError):
            await client.register_tool_provider({"name": "nothing"})


def text_manual(*tools: dict[str, Any]) -> dict[str, Any]:
    return {"name": "m", "call_template_type": "text", "content": {"utcp_version": "1.0.1", "tools": [*tools]}}


async def test_a_provider_without_usable_tools_raises_and_is_not_registered() -> None:
    bad = {"name": "bad", "tool_call_template": {"call_template_type": "htttp", "url": "https://api.example.com"}}
    good = {"name": "good", "tool_call_template": {"call_template_type": "text", "content": "Mind the step."}}
    async with await UtcpClient.create() as client:
        with pytest.raises(ManualError, match=r"No tool of manual 'm' can be used\. .*'htttp'.* Did you mean http"):
            await client.register_tool_provider(text_manual(bad))
        assert client.report() == []
        assert [tool.name for tool in await client.register_tool_provider(text_manual(bad, good))] == ["good"]
        await client.deregister_manual("m")
        assert await client.register_tool_provider(text_manual()) == []


async def test_required_variables_are_the_keys_to_set() -> None:
    template = {"call_template_type": "http", "url": "https://api.example.com/${PLACE}", "headers": {"X": "${KEY}"}}
    content = {"utcp_version": "1.0", "tools": [{"name": "t", "tool_call_template": template}]}
    entry = {"name": "my_api", "call_template_type": "text", "content": content}
    async with await UtcpClient.create() as client:
        needed = await client.get_required_variables_for_manual_and_tools(entry)
        assert needed == ["my__api_PLACE", "my__api_KEY"]
        remote = {"name": "far", "call_template_type": "http", "url": "https://${HOST}/utcp"}
        assert await client.get_required_variables_for_manual_and_tools(remote) == ["far_HOST"]
        assert client.report() == []
        await client.register_manual(entry)
        assert await client.get_required_variables_for_registered_tool("my_api.t") == ["my__api_PLACE", "my__api_KEY"]
        with pytest.raises(UnknownTool):
            await client.get_required_variables_for_registered_tool("my_api.none")
