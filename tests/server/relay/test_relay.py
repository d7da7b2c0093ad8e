"""Resources, prompts and completions of real MCP servers reach real clients, in every pair of protocol eras."""

from __future__ import annotations

import anyio
import mcp_types as types
import pytest
from mcp import MCPError
from tests.support.relayed import ERAS, bridge, host, relayed, upstream
from tests.upstreams.mcp_offers import ICON, OffersServer

from utcp_bridge.transports.mcp import upstream_port

pytestmark = pytest.mark.anyio
pairs = pytest.mark.parametrize(("host_era", "upstream_era"), [(one, two) for one in ERAS for two in ERAS])


@pairs
async def test_resources_of_an_upstream_are_listed_and_read(host_era: str, upstream_era: str) -> None:
    with anyio.fail_after(60):
        async with relayed(upstream_era, "shop") as (server, _), host(server, host_era) as client:
            listed = {one.uri: one for one in (await client.list_resources()).resources}
            assert set(listed) == {"memo://guide", "shop://own"}
            guide = listed["memo://guide"]
            assert (guide.name, guide.mime_type, guide.meta) == ("the memo://guide", "text/plain", {"a/b": 1})
            assert [icon.src for icon in guide.icons or ()] == [ICON["src"]]
            templates = (await client.list_resource_templates()).resource_templates
            assert [one.uri_template for one in templates] == ["shop://notes/{id}", "memo://pages/{number}"]
            for uri, text in (("memo://guide", "Read me first."), ("shop://notes/7", "shop has shop://notes/7")):
                [part] = (await client.read_resource(uri)).contents
                assert isinstance(part, types.TextResourceContents)
                assert (part.uri, part.text) == (uri, text)


@pairs
async def test_prompts_of_an_upstream_are_listed_and_filled_in(host_era: str, upstream_era: str) -> None:
    with anyio.fail_after(60):
        async with relayed(upstream_era, "shop") as (server, _), host(server, host_era) as client:
            prompts = (await client.list_prompts()).prompts
            assert [one.name for one in prompts] == ["greet", "shop_only"]
            assert prompts[0].title == "The greet"
            assert [(one.name, one.required) for one in prompts[0].arguments or ()] == [("who", True)]
            result = await client.get_prompt("greet", {"who": "Ada"})
            assert result.description == "A prompt."
            text, link = (message.content for message in result.messages)
            assert isinstance(text, types.TextContent)
            assert text.text == "shop greet Ada"
            assert isinstance(link, types.ResourceLink)
            assert link.uri == "memo://guide"


@pairs
async def test_completions_come_from_the_owner(host_era: str, upstream_era: str) -> None:
    with anyio.fail_after(60):
        async with relayed(upstream_era, "shop", "store") as (server, _), host(server, host_era) as client:
            for ref, expected in (
                (types.PromptReference(type="ref/prompt", name="shop_only"), "shop shop_only who A {'b': 'c'}"),
                (types.PromptReference(type="ref/prompt", name="store_greet"), "store greet who A {'b': 'c'}"),
                (
                    types.ResourceTemplateReference(type="ref/resource", uri="store://notes/{id}"),
                    "store store://notes/{id} who A {'b': 'c'}",
                ),
                (
                    types.ResourceTemplateReference(
                        type="ref/resource", uri="utcp-bridge://store/memo://pages/{number}"
                    ),
                    "store memo://pages/{number} who A {'b': 'c'}",
                ),
            ):
                result = await client.complete(ref, {"name": "who", "value": "A"}, {"b": "c"})
                assert result.completion.values == [expected]
                assert (result.completion.total, result.completion.has_more) == (1, False)
            unknown = types.PromptReference(type="ref/prompt", name="nobody")
            assert (await client.complete(unknown, {"name": "who", "value": ""})).completion.values == []


@pytest.mark.parametrize("host_era", ERAS)
async def test_what_two_upstreams_have_gets_a_prefix_and_is_read_from_its_own(host_era: str) -> None:
    with anyio.fail_after(60):
        async with relayed("2026-07-28", "shop", "store") as (server, served), host(server, host_era) as client:
            served[1].notes["memo://guide"] = "The other guide."
            uris = [one.uri for one in (await client.list_resources()).resources]
            assert uris == [
                "utcp-bridge://shop/memo://guide",
                "shop://own",
                "utcp-bridge://store/memo://guide",
                "store://own",
            ]
            texts = {}
            for uri in uris:
                [part] = (await client.read_resource(uri)).contents
                assert part.uri == uri
                texts[uri] = part.model_dump()["text"]
            assert texts[uris[0]] == "Read me first."
            assert texts[uris[2]] == "The other guide."
            names = [one.name for one in (await client.list_prompts()).prompts]
            assert names == ["shop_greet", "shop_only", "store_greet", "store_only"]
            said = await client.get_prompt("store_greet", {"who": "Ada"})
            assert said.messages[0].content.model_dump()["text"] == "store greet Ada"
            link = said.messages[1].content
            assert isinstance(link, types.ResourceLink)
            assert link.uri == "utcp-bridge://store/memo://guide"


@pytest.mark.parametrize("host_era", ERAS)
async def test_errors_of_an_upstream_stay_errors_of_the_protocol(host_era: str) -> None:
    with anyio.fail_after(60):
        async with relayed("2026-07-28", "shop") as (server, _), host(server, host_era) as client:
            with pytest.raises(MCPError) as caught:
                await client.read_resource("memo://missing")
            assert caught.value.code == (-32002 if host_era == "legacy" else -32602)
            assert caught.value.error.data == {"uri": "memo://missing"}
            with pytest.raises(MCPError) as caught:
                await client.get_prompt("nobody")
            assert caught.value.code == -32602


@pytest.mark.parametrize("host_era", ["legacy", "auto"])
async def test_capabilities_are_those_that_an_upstream_has(host_era: str) -> None:
    with anyio.fail_after(60):
        async with relayed("legacy", "shop") as (server, _), host(server, host_era) as client:
            offered = client.server_capabilities
            assert offered.resources is not None
            assert (offered.resources.subscribe, offered.resources.list_changed) == (True, True)
            assert offered.prompts is not None
            assert offered.completions is not None
            assert "Use shop for notes." in (client.instructions or "")
        async with bridge({}, max_kept_bytes=0) as server, host(server, host_era) as client:
            offered = client.server_capabilities
            assert (offered.resources, offered.prompts, offered.completions) == (None, None, None)
            assert offered.tools is not None


@pairs
async def test_tools_keep_their_icons_meta_execution_and_annotations(host_era: str, upstream_era: str) -> None:
    with anyio.fail_after(60):
        async with relayed(upstream_era, "shop") as (server, _), host(server, host_era) as client:
            tool = next(one for one in (await client.list_tools()).tools if one.name == "shop_meta")
            assert [icon.src for icon in tool.icons or ()] == [ICON["src"]]
            assert (tool.meta or {})["example.com/kind"] == "meta"
            assert (tool.meta or {})["utcp/name"] == "shop.meta"
            assert tool.annotations is not None
            assert tool.annotations.destructive_hint is True
            assert tool.title == "Does meta"
            if upstream_era == "legacy":
                assert tool.execution is not None
                assert tool.execution.task_support == "optional"
            result = await client.call_tool("shop_meta", {})
            assert (result.meta or {})["example.com/result"] == 2
            assert (result.content[0].meta or {}) == {"example.com/block": 1}


@pytest.mark.parametrize("host_era", ERAS)
async def test_what_a_tool_links_to_can_be_read_through_the_bridge(host_era: str) -> None:
    with anyio.fail_after(60):
        async with relayed("2026-07-28", "shop", "store") as (server, _), host(server, host_era) as client:
            for uri, expected in (
                ("store://own", "store://own"),
                ("memo://guide", "utcp-bridge://store/memo://guide"),
                ("odd://unlisted", "utcp-bridge://store/odd://unlisted"),
                ("file:///etc/of/the/server", "utcp-bridge://store/file:///etc/of/the/server"),
                ("https://example.com/page", "https://example.com/page"),
            ):
                result = await client.call_tool("store_link", {"uri": uri})
                link, embedded = result.content
                assert isinstance(link, types.ResourceLink)
                assert isinstance(embedded, types.EmbeddedResource)
                assert (link.uri, embedded.resource.uri) == (expected, expected)
                if uri.startswith(("store:", "odd:", "file:")):
                    [part] = (await client.read_resource(link.uri)).contents
                    assert isinstance(part, types.TextResourceContents)
                    assert part.text in {f"store has {uri}", "Only store has this."}


async def test_one_upstream_alone_keeps_the_uris_of_its_links() -> None:
    with anyio.fail_after(60):
        async with relayed("legacy", "shop") as (server, _), host(server, "legacy") as client:
            result = await client.call_tool("call_tool", {"name": "shop_link", "arguments": {"uri": "odd://x"}})
            link = result.content[0]
            assert isinstance(link, types.ResourceLink)
            assert link.uri == "odd://x"
            [part] = (await client.read_resource("odd://x")).contents
            assert part.model_dump()["text"] == "shop has odd://x"


async def test_a_capability_that_a_tool_requires_of_the_host_stays_an_error_of_the_protocol() -> None:
    with anyio.fail_after(60):
        async with relayed("2026-07-28", "shop") as (server, _), host(server, "2026-07-28") as client:
            for name, arguments in (
                ("shop_refuse", {"uri": "-32021"}),
                ("call_tool", {"name": "shop_refuse", "arguments": {"uri": "-32021"}}),
            ):
                with pytest.raises(MCPError) as caught:
                    await client.call_tool(name, arguments)
                assert (caught.value.code, caught.value.error.data) == (-32021, {"why": "because"})


@pairs
async def test_other_errors_of_a_tool_are_results_that_a_model_can_read(host_era: str, upstream_era: str) -> None:
    with anyio.fail_after(60):
        async with relayed(upstream_era, "shop") as (server, _), host(server, host_era) as client:
            result = await client.call_tool("shop_refuse", {"uri": "-32602"})
            assert result.is_error
            assert "not like this" in result.content[0].model_dump()["text"]


@pytest.mark.parametrize("upstream_era", ERAS)
async def test_caching_hints_are_on_every_list_and_read(upstream_era: str) -> None:
    with anyio.fail_after(60):
        async with relayed(upstream_era, "shop") as (server, _), host(server, "2026-07-28") as client:
            lists = [
                await client.list_tools(),
                await client.list_resource_templates(),
                await client.list_prompts(),
            ]
            assert {(one.cache_scope, one.ttl_ms) for one in lists} == {("public", 60_000)}
            own = await client.list_resources()
            assert (own.cache_scope, own.ttl_ms) == ("private", 0)
            guide = await client.read_resource("memo://guide")
            picture = await client.read_resource("memo://picture")
            assert (guide.cache_scope, guide.ttl_ms) == ("private", 0)
            expected = ("public", 5_000) if upstream_era != "legacy" else ("private", 0)
            assert (picture.cache_scope, picture.ttl_ms) == expected


@pytest.mark.parametrize("manner", ["hang", "fail"])
async def test_a_list_that_does_not_come_costs_nothing_else(manner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream_port, "LIST_SECONDS", 1.0)
    shop = OffersServer("shop")
    shop.odd["prompts"] = manner
    with anyio.fail_after(60):
        async with upstream(shop, "legacy") as entry, bridge({"shop": entry}) as server:
            [state] = server.client.report()
            assert (state.status, state.tools) == ("ready", 7)
            [fault] = [str(fault) for fault in state.faults]
            assert "`prompts/list` failed: " in fault
            async with host(server, "legacy") as client:
                assert len((await client.list_resources()).resources) == 2
                assert (await client.list_prompts()).prompts == []


@pytest.mark.parametrize("upstream_era", ERAS)
@pytest.mark.parametrize("code", [-32097, -32098, -32099, -32100])
async def test_no_error_of_an_upstream_is_taken_for_one_of_the_bridge(upstream_era: str, code: int) -> None:
    with anyio.fail_after(60):
        async with relayed(upstream_era, "shop") as (server, _), host(server, "legacy") as client:
            result = await client.call_tool("shop_refuse", {"uri": str(code)})
            [block] = result.content
            assert isinstance(block, types.TextContent)
            assert f"returned error {code}." in block.text
            assert "not like this" in block.text
