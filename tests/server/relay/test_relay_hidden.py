"""Characters that people do not see, in every field of an MCP server: none reaches a host, and nothing else is lost."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp import MCPError
from mcp_types import ElicitResult, PromptReference
from tests.support.relayed import bridge, bridge_url, host
from tests.upstreams.hostile_mcp import HostileMcp, Message, Wire, answer, notification, result_of

from utcp_bridge.auth.redaction import Redactor
from utcp_bridge.auth.results import shown_to_hosts
from utcp_bridge.foreign import is_clean_json, visible_json

pytestmark = pytest.mark.anyio
HIDDEN = "\u202e\x1b[31m\u200b\x07\u2066\x00\ufeff\U000e0041"
ERAS = {"2025-06-18": "legacy", "2026-07-28": "2026-07-28"}
ARGUMENT = f"topic{HIDDEN}"
OBJECT = {"type": "object"}


def dirty(text: str) -> str:
    return f"{text}{HIDDEN}"


META = {"_meta": {"a/b": dirty("meta"), dirty("a/c"): [dirty("more")]}}
ICONS = {
    "icons": [{"src": dirty("data:image/png;base64,AAAA"), "mimeType": dirty("image/png"), "sizes": [dirty("1x1")]}]
}
ENTRY = {"title": dirty("title"), "description": dirty("description"), **META, **ICONS}
NOTES = {"annotations": {"lastModified": dirty("2026"), "priority": 0.5}, "mimeType": dirty("text/plain")}
FORM = {
    "message": dirty("who?"),
    "requestedSchema": {
        "type": "object",
        "properties": {
            dirty("name"): {"type": "string", "title": dirty("Name"), "description": dirty("yours")},
            "kind": {"type": "string", "enum": [dirty("a"), "b"], "enumNames": [dirty("A"), "B"]},
        },
        "required": [dirty("name")],
    },
    **META,
}
TEXT = {"type": "text", "text": dirty("text"), **META}
RESULT = {"content": [TEXT], "structuredContent": {dirty("key"): dirty("value")}, **META, "resultType": "complete"}
LISTS: dict[str, Any] = {
    "tools/list": {"tools": [{"name": "bad", "inputSchema": OBJECT, **ENTRY}]},
    "resources/list": {
        "resources": [
            {"uri": "memo://a", "name": dirty("a"), **ENTRY, **NOTES},
            {"uri": dirty("memo://b"), "name": "left out"},
        ]
    },
    "resources/templates/list": {
        "resourceTemplates": [{"uriTemplate": "memo://{x}", "name": dirty("t"), **ENTRY, **NOTES}]
    },
    "prompts/list": {
        "prompts": [
            {
                "name": dirty("p"),
                **ENTRY,
                "arguments": [{"name": ARGUMENT, "title": dirty("Topic"), "description": dirty("d"), "required": True}],
            }
        ]
    },
    "resources/read": {
        "contents": [{"uri": dirty("memo://a"), "mimeType": dirty("text/plain"), "text": dirty("text"), **META}],
        **META,
    },
    "prompts/get": {"description": dirty("d"), "messages": [{"role": "user", "content": TEXT}], **META},
    "completion/complete": {"completion": {"values": [dirty("value")]}, **META},
}


class Hiding:
    """The attacks of a server that hides characters in what it says during a call, and asks the host for input."""

    def __init__(self) -> None:
        self.answered = asyncio.Event()

    async def call(self, server: HostileMcp, wire: Wire, message: Message) -> None:
        params = message["params"]
        token = params.get("_meta", {}).get("progressToken", message["id"])
        said = [
            notification("notifications/progress", progressToken=token, progress=1, message=dirty("half")),
            notification("notifications/message", level="error", logger=dirty("log"), data={dirty("k"): dirty("v")}),
        ]
        if server.version >= "2026":
            if "inputResponses" not in params:
                wants = {"q": {"method": "elicitation/create", "params": FORM}}
                given: Any = {"resultType": "input_required", "inputRequests": wants, "requestState": dirty("state")}
            else:
                given = RESULT
            await wire.events(*said, result_of(message, given))
            return
        ask = {"jsonrpc": "2.0", "id": "ask", "method": "elicitation/create", "params": FORM}
        await wire.events(*said, ask)
        await self.answered.wait()
        await wire.event(result_of(message, RESULT))

    async def take(self, server: HostileMcp, wire: Wire, message: Message) -> None:
        self.answered.set()
        await answer(server, wire, message)

    async def read(self, server: HostileMcp, wire: Wire, message: Message) -> None:
        if message["params"]["uri"] == "memo://a":
            await answer(server, wire, message)
            return
        error = {"code": -32000, "message": dirty("refused"), "data": {dirty("why"): dirty("because")}}
        await wire.json({"jsonrpc": "2.0", "id": message["id"], "error": error})


def dumped(model: Any) -> Any:
    return model.model_dump(by_alias=True, mode="json", exclude_none=True)


async def everything(client: Any, seen: list[Any]) -> None:
    """Add to `seen` what a host gets for each request that it can make."""
    for ask in (client.list_tools, client.list_resources, client.list_resource_templates, client.list_prompts):
        found = await ask()
        seen.append(dumped(found))
    [prompt] = seen[-1]["prompts"]
    [argument] = prompt["arguments"]
    seen.append(dumped(await client.read_resource("memo://a")))
    seen.append(dumped(await client.get_prompt(prompt["name"], {argument["name"]: "rain"})))
    ref = PromptReference(name=prompt["name"])
    completed = await client.complete(ref, {"name": argument["name"], "value": "r"}, {argument["name"]: "x"})
    seen.append(dumped(completed))
    with pytest.raises(MCPError, match="refused") as refused:
        await client.read_resource("memo://none")
    seen.append([str(refused.value), refused.value.error.data])

    async def progress(done: float, total: float | None, message: str | None) -> None:
        seen.append([done, total, message])

    seen.append(dumped(await client.call_tool("s_bad", {}, progress_callback=progress, meta=LEVEL)))


LEVEL: Any = {"io.modelcontextprotocol/logLevel": "debug"}


@pytest.mark.parametrize("version", ERAS)
async def test_no_field_of_a_server_brings_hidden_characters_to_a_host(version: str) -> None:
    seen: list[Any] = []

    async def log(params: Any) -> None:
        seen.append(dumped(params))

    async def elicit(_context: Any, params: Any) -> Any:
        seen.append(dumped(params))
        return ElicitResult(action="accept", content={"name": "Ada"})

    hiding = Hiding()
    attacks = {"tools/call": hiding.call, "answer": hiding.take, "resources/read": hiding.read}
    offered: dict[str, Any] = {"resources": {}, "prompts": {}, "completions": {}, "logging": {}}
    async with HostileMcp(version, attacks, results=LISTS, **offered) as server:
        with anyio.fail_after(120):
            async with (
                bridge({"s": {"url": server.url}}) as served,
                bridge_url(served) as url,
                host(url, ERAS[version], logging_callback=log, elicitation_callback=elicit) as client,
            ):
                await everything(client, seen)
        heard = {message["method"]: message.get("params", {}) for message in server.heard if "method" in message}
    text = json.dumps(seen, ensure_ascii=False)
    for words in ("who?", "enumNames", "half", "meta", "because", "left out", "image/png", "1x1", "structuredContent"):
        assert (words in text) is (words != "left out"), words
    assert [one for one in seen if not is_clean_json(one) and visible_json(one) != one] == []
    assert heard["prompts/get"] == heard["prompts/get"] | {"name": dirty("p"), "arguments": {ARGUMENT: "rain"}}
    assert heard["completion/complete"]["argument"] == {"name": ARGUMENT, "value": "r"}
    assert heard["completion/complete"]["context"] == {"arguments": {ARGUMENT: "x"}}


TEXTS = st.text(st.sampled_from(["a", "b", *HIDDEN, "\u202a", "\x7f", "\r", "\n", "\u2028", "é", "\ud800"]), max_size=8)
VALUES = st.recursive(TEXTS | st.integers() | st.none(), lambda one: st.lists(one) | st.dictionaries(TEXTS, one))


@given(VALUES)
def test_what_is_shown_to_hosts_has_visible_characters_only(value: Any) -> None:
    shown = anyio.run(shown_to_hosts, value, Redactor())
    assert visible_json(shown) == shown
