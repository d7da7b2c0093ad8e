"""Mapped resources and prompts through a real client: tools, files, texts, prompts, completions and changes."""

import json
from pathlib import Path
from typing import Any

import anyio
import pytest
from aiohttp import web
from tests.support.local_manuals import entry, http_tool
from tests.upstreams.http_service import PNG, HttpService

from utcp_bridge import UtcpClient
from utcp_bridge.errors import Unreachable, UtcpError
from utcp_bridge.model import JsonObject
from utcp_bridge.upstream import ProtocolError, Upstream

pytestmark = pytest.mark.anyio
RESOURCES: JsonObject = {
    "docs://readme": {"file": "readme.md", "title": "Read me"},
    "docs://logo": {"file": "logo.png"},
    "docs://pages/{page}": {"file": "pages/{page}.md", "values": {"page": ["alpha", "beta", "alphabet"]}},
    "note://price": {"text": "It costs $5 for ${WHO}."},
    "note://{who}": {"text": "Hello {who}."},
    "bytes://one": {"blob": "AA==", "mimeType": "application/zip"},
}


async def opened(root: Path, *entries: JsonObject) -> UtcpClient:
    (root / "pages").mkdir()
    (root / "readme.md").write_text("# Read me\n", encoding="utf-8")
    (root / "logo.png").write_bytes(PNG)
    (root / "pages" / "alpha.md").write_text("Alpha", encoding="utf-8")
    (root / "secret.md").write_text("secret", encoding="utf-8")
    return await UtcpClient.create({"manual_call_templates": list(entries)}, root=root)


def only(client: UtcpClient) -> Upstream:
    [upstream] = client.upstreams()
    return upstream


async def read(upstream: Upstream, uri: str) -> JsonObject:
    [content] = (await upstream.request("resources/read", {"uri": uri}))["contents"]
    return content


async def test_files_texts_and_bytes_are_read(tmp_path: Path) -> None:
    async with await opened(tmp_path, entry("docs", resources=RESOURCES)) as client:
        upstream = only(client)
        offers = upstream.offers
        assert client.report()[0].errors == []
        assert offers is not None
        assert [one["uri"] for one in offers.resources] == [uri for uri in RESOURCES if "{" not in uri]
        assert [one["uriTemplate"] for one in offers.resource_templates] == [uri for uri in RESOURCES if "{" in uri]
        assert (await read(upstream, "docs://readme"))["text"] == "# Read me\n"
        assert (await read(upstream, "docs://readme"))["mimeType"] == "text/markdown"
        assert (await read(upstream, "docs://logo"))["mimeType"] == "image/png"
        assert (await read(upstream, "docs://pages/alpha"))["text"] == "Alpha"
        assert (await read(upstream, "note://price"))["text"] == "It costs $5 for ${WHO}."
        assert (await read(upstream, "note://A%20B"))["text"] == "Hello A B."
        assert (await read(upstream, "bytes://one"))["blob"] == "AA=="


@pytest.mark.parametrize(
    "uri",
    ["docs://pages/none", "docs://pages/..%2Fsecret", "docs://pages/%2Fetc%2Fhosts", "none://x", "docs://pages/a/b"],
)
async def test_a_uri_leads_to_nothing_outside_its_folder(tmp_path: Path, uri: str) -> None:
    async with await opened(tmp_path, entry("docs", resources=RESOURCES)) as client:
        with pytest.raises(ProtocolError) as caught:
            await only(client).request("resources/read", {"uri": uri})
        assert (caught.value.code, caught.value.data) == (-32002, {"uri": uri})


async def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    async with await opened(tmp_path, entry("docs", resources={"a://b": {"file": "gone.md"}})) as client:
        with pytest.raises(Unreachable, match=r"gone\.md"):
            await only(client).request("resources/read", {"uri": "a://b"})


async def test_a_tool_gives_the_contents_with_arguments_from_the_uri(tmp_path: Path) -> None:
    async with HttpService() as service:
        inputs = {
            "type": "object",
            "properties": {"q": {"type": "string"}, "n": {"type": "integer"}},
            "required": ["q"],
        }
        tool = http_tool("echo", f"{service.base}/echo", inputs)
        resources = {
            "echo://{q}": {"tool": "echo"},
            "more://{q}{?n}": {"tool": "shop.echo", "arguments": {"q": "<{q}>", "n": "{n}"}},
            "wrong://{x}": {"tool": "echo"},
        }
        async with await opened(tmp_path, entry("shop", tool, resources=resources)) as client:
            upstream = only(client)
            await read(upstream, "echo://r%20x")
            assert json.loads(service.last.body) == {"q": "r x"}
            await read(upstream, "more://a?n=7")
            assert json.loads(service.last.body) == {"q": "<a>", "n": 7}
            await read(upstream, "more://a")
            assert json.loads(service.last.body) == {"q": "<a>"}
            with pytest.raises(UtcpError, match="q"):
                await read(upstream, "wrong://a")


PROMPTS: JsonObject = {
    "plan": {
        "description": "Plan a trip.",
        "arguments": {
            "city": {"required": True, "values": ["Berlin", "Bern", "Oslo"]},
            "days": {"description": "How long."},
        },
        "messages": [
            {"role": "user", "text": "Plan {days} days in {city}."},
            {
                "role": "assistant",
                "content": {"type": "resource", "resource": {"uri": "docs://{city}", "text": "{city}"}},
            },
            {"role": "user", "file": "logo.png"},
        ],
    },
    "page": {"file": "pages/alpha.md"},
}


async def test_prompts_are_filled_in(tmp_path: Path) -> None:
    async with await opened(tmp_path, entry("trips", prompts=PROMPTS)) as client:
        upstream = only(client)
        got = await upstream.request("prompts/get", {"name": "plan", "arguments": {"city": "{days}", "days": "2"}})
        text, resource, image = got["messages"]
        assert got["description"] == "Plan a trip."
        assert text == {"role": "user", "content": {"type": "text", "text": "Plan 2 days in {days}."}}
        assert resource["content"]["resource"] == {"uri": "docs://{days}", "text": "{days}"}
        assert image["content"]["mimeType"] == "image/png"
        page = await upstream.request("prompts/get", {"name": "page"})
        assert page == {"messages": [{"role": "user", "content": {"type": "text", "text": "Alpha"}}]}


@pytest.mark.parametrize(
    ("method", "params", "code", "words"),
    [
        ("prompts/get", {"name": "plan"}, -32602, "needs these arguments: 'city'"),
        ("prompts/get", {"name": "none"}, -32602, "does not have a prompt 'none'"),
        ("prompts/get", {}, -32602, "`name` must be text"),
        ("completion/complete", {"ref": {"type": "ref/prompt", "name": "plan"}}, -32602, "needs `ref` and `argument`"),
        ("tools/list", {}, -32601, "does not offer tools/list"),
    ],
)
async def test_a_request_that_cannot_be_answered_says_why(
    tmp_path: Path, method: str, params: JsonObject, code: int, words: str
) -> None:
    async with await opened(tmp_path, entry("trips", prompts=PROMPTS)) as client:
        with pytest.raises(ProtocolError, match=words) as caught:
            await only(client).request(method, params)
        assert caught.value.code == code


async def completed(upstream: Upstream, ref: JsonObject, name: str, value: str) -> list[str]:
    params = {"ref": ref, "argument": {"name": name, "value": value}}
    return (await upstream.request("completion/complete", params))["completion"]["values"]  # type: ignore[no-any-return]


async def test_completions_are_the_values_of_the_map(tmp_path: Path) -> None:
    async with await opened(tmp_path, entry("trips", prompts=PROMPTS, resources=RESOURCES)) as client:
        upstream = only(client)
        prompt, template = (
            {"type": "ref/prompt", "name": "plan"},
            {"type": "ref/resource", "uri": "docs://pages/{page}"},
        )
        assert await completed(upstream, prompt, "city", "be") == ["Berlin", "Bern"]
        assert await completed(upstream, prompt, "city", "LO") == ["Oslo"]
        assert await completed(upstream, prompt, "days", "") == []
        assert await completed(upstream, template, "page", "a") == ["alpha", "alphabet", "beta"]


async def test_a_subscriber_hears_of_a_changed_file(tmp_path: Path) -> None:
    async with await opened(tmp_path, entry("docs", resources=RESOURCES)) as client:
        heard: list[Any] = []
        changed = anyio.Event()

        def hear(upstream: Upstream, method: str, params: JsonObject) -> None:
            heard.append((upstream.manual, method, params))
            changed.set()

        end = client.on_upstream(hear)
        upstream = only(client)
        assert await upstream.request("resources/subscribe", {"uri": "docs://readme"}) == {}
        assert await upstream.request("resources/subscribe", {"uri": "note://price"}) == {}
        (tmp_path / "readme.md").write_text("# Another\n\ntext", encoding="utf-8")
        with anyio.fail_after(100):
            await changed.wait()
        assert heard == [("docs", "notifications/resources/updated", {"uri": "docs://readme"})]
        assert await upstream.request("resources/unsubscribe", {"uri": "docs://readme"}) == {}
        end()


async def served(document: JsonObject) -> tuple[web.AppRunner, str]:
    async def answer(_request: web.Request) -> web.Response:
        return web.json_response(document)

    app = web.Application()
    app.router.add_get("/utcp", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}/utcp"


async def test_a_fetched_manual_maps_its_own_tools_and_no_files(tmp_path: Path) -> None:
    document: JsonObject = {
        "utcp_version": "1.0.1",
        "tools": [],
        "resources": {"far://a": {"text": "A"}, "far://b": {"file": "readme.md"}, "far://c": {"text": "theirs"}},
        "prompts": {"p": {"text": "Hello."}},
    }
    runner, url = await served(document)
    mine = {"name": "far", "call_template_type": "http", "url": url, "resources": {"far://c": {"text": "mine"}}}
    try:
        async with await opened(tmp_path, mine) as client:
            upstream = only(client)
            offers = upstream.offers
            assert offers is not None
            assert sorted(one["uri"] for one in offers.resources) == ["far://a", "far://c"]
            assert (await read(upstream, "far://c"))["text"] == "mine"
            assert [one["name"] for one in offers.prompts] == ["p"]
            [fault] = client.report()[0].faults
            assert fault.where == "manual 'far', resource 'far://b', `file`"
    finally:
        await runner.cleanup()


async def test_a_manual_that_changes_announces_its_lists(tmp_path: Path) -> None:
    document: JsonObject = {"utcp_version": "1.0.1", "tools": [], "prompts": {"p": {"text": "Hello."}}}
    runner, url = await served(document)
    try:
        async with await opened(tmp_path, {"name": "far", "call_template_type": "http", "url": url}) as client:
            heard: list[str] = []
            end = client.on_upstream(lambda _upstream, method, _params: heard.append(method))
            upstream = only(client)
            await client.refresh("far")
            assert heard == []
            document["prompts"]["q"] = {"text": "Bye."}
            await client.refresh("far")
            assert only(client) is upstream
            assert heard == ["notifications/resources/list_changed", "notifications/prompts/list_changed"]
            await client.deregister_manual("far")
            assert client.upstreams() == []
            assert len(heard) == 4
            end()
    finally:
        await runner.cleanup()


async def test_what_an_entry_maps_is_there_while_its_manual_cannot_be_loaded(tmp_path: Path) -> None:
    async with HttpService() as service:
        entry_of_it = {
            "name": "far",
            "call_template_type": "http",
            "url": service.refusing,
            "resources": {"a://b": {"text": "x"}},
        }
        async with await opened(tmp_path, entry_of_it) as client:
            assert client.report()[0].status == "failed"
            assert (await read(only(client), "a://b"))["text"] == "x"
