"""The shared suite for inline text, and the forms of `content`."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, ClassVar

import anyio
import pytest

from utcp_bridge.errors import ManualError, ReplyTooLarge
from utcp_bridge.model import JsonObject, discard
from utcp_bridge.testing.contract import LIMIT, Bench, Case, Peer
from utcp_bridge.testing.services import make_call
from utcp_bridge.transports.text import TRANSPORT, TextTemplate, TextTransport

pytestmark = pytest.mark.anyio

_TOOL = {"name": "echo", "inputs": {"type": "object"}}


class TextPeer(Peer):
    transport = TextTransport
    impossible: ClassVar[dict[str, str]] = dict.fromkeys(
        ("auth", "refused", "reset", "malformed", "slow"), "inline text has no other side"
    )

    async def start(self) -> None:
        """Nothing runs."""

    async def stop(self) -> None:
        """Nothing runs."""

    def manual(self, dialect: str) -> JsonObject:
        kind, head, place = (
            ("provider_type", {"version": "0.2.0"}, "tool_provider")
            if dialect == "v0"
            else ("call_template_type", {"utcp_version": "1.0.1", "manual_version": "1.0.0"}, "tool_call_template")
        )
        tool = {**_TOOL, place: {kind: "http", "url": "https://api.example.com/echo"}}
        return {kind: "text", "content": json.dumps({**head, "tools": [tool]})}

    def echo(self, text: str) -> Case:
        return Case({"call_template_type": "text", "content": json.dumps({"text": text})})

    def echoed(self, value: Any) -> str:
        return json.loads(value)["text"]

    def fault(self, name: str) -> Case:
        assert name == "oversized"
        return Case({"call_template_type": "text", "content": "x" * (LIMIT + 1)})

    def with_secret(self, case: Case, secret: str) -> Case:
        auth = {"auth_type": "api_key", "api_key": secret}
        return replace(case, template={**case.template, "content": secret * LIMIT, "auth_tools": auth})


PEER = TextPeer


async def _call(bench: Bench, content: Any) -> Any:
    with anyio.fail_after(60):
        return await bench.call(Case({"content": content}))


@pytest.mark.parametrize("content", ["plain words", "tools: []\n", "costs $5 and ${MORE}", {"a": 1}])
async def test_a_call_returns_the_content_unchanged(bench: Bench, content: Any) -> None:
    assert await _call(bench, content) == content


@pytest.mark.parametrize("content", [{"utcp_version": "1.0.0", "tools": [_TOOL]}, [_TOOL]])
async def test_content_may_be_an_object_or_list_instead_of_its_text(bench: Bench, content: Any) -> None:
    with anyio.fail_after(60):
        document = await bench.transport.discover(bench.target({"content": content}))
    assert document.content == content
    assert document.url is None


@pytest.mark.parametrize("content", ["", "  \n", {}, []])
async def test_empty_content_is_not_a_manual(bench: Bench, content: Any) -> None:
    with anyio.fail_after(60), pytest.raises(ManualError, match="empty"):
        await bench.transport.discover(bench.target({"content": content}))


async def test_the_limit_counts_bytes_not_characters(bench: Bench) -> None:
    with pytest.raises(ReplyTooLarge):
        await _call(bench, "\u00e9" * (LIMIT // 2 + 1))
    assert len(await _call(bench, "\u00e9" * (LIMIT // 2))) == LIMIT // 2


async def test_a_limit_of_the_manual_wins_over_the_setting(bench: Bench) -> None:
    with anyio.fail_after(60), pytest.raises(ReplyTooLarge):
        await bench.transport.call(
            bench.target({"content": "12345"}), make_call({}, limits={"max_reply_bytes": 4}), discard
        )


async def test_reading_text_is_read_only_and_idempotent() -> None:
    template = TextTemplate(call_template_type="text", content="x")
    assert TRANSPORT.annotations(template) == {"readOnlyHint": True, "idempotentHint": True, "openWorldHint": False}
    assert TRANSPORT.endpoint(template) is None


async def test_variables_in_the_content_are_filled_in_per_call() -> None:
    assert "content" in TRANSPORT.raw_fields
