"""Whatever an upstream returns, hosts of every protocol version get a result that their protocol accepts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp_types.methods import serialize_server_result
from mcp_types.version import KNOWN_PROTOCOL_VERSIONS

from utcp_bridge.catalogue.links import refused_link
from utcp_bridge.server.relay.results import completion_result, prompt_result, read_result

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
PART = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("uri", "text", "blob", "mimeType", "_meta", "type", "role", "content", "data"), JSON)
)
TEXTS = st.lists(JSON | st.text(), max_size=4)


def same(uri: str, _is_refused: bool = False) -> str:
    return uri


def passed(_uri: str) -> None:
    """Refuse no link."""


def accepted(method: str, result: dict[str, Any]) -> None:
    hints = {"ttlMs": 0, "cacheScope": "private"} if method == "resources/read" else {}
    for version in KNOWN_PROTOCOL_VERSIONS:
        if method != "completion/complete" or version >= "2025-03-26":
            serialize_server_result(method, version, {**hints, **result})


@given(st.fixed_dictionaries({}, optional={"contents": JSON | st.lists(JSON | PART, max_size=4), "_meta": JSON}))
def test_any_contents_are_accepted(result: dict[str, Any]) -> None:
    made = read_result(result, "memo://asked", same)
    accepted("resources/read", made)
    given_parts = result.get("contents")
    if isinstance(given_parts, list):
        assert len(made["contents"]) == len(given_parts)


@given(
    st.fixed_dictionaries(
        {}, optional={"messages": JSON | st.lists(JSON | PART, max_size=4), "description": JSON, "_meta": JSON}
    )
)
def test_any_messages_are_accepted(result: dict[str, Any]) -> None:
    accepted("prompts/get", prompt_result(result, passed, same))


@given(
    st.fixed_dictionaries(
        {}, optional={"completion": JSON | st.fixed_dictionaries({}, optional={"values": TEXTS, "total": JSON})}
    )
)
def test_any_completion_is_accepted(result: dict[str, Any]) -> None:
    accepted("completion/complete", completion_result(result))


def test_at_most_a_hundred_values_complete_an_argument() -> None:
    made = completion_result({"completion": {"values": [str(number) for number in range(500)], "hasMore": True}})
    assert len(made["completion"]["values"]) == 100
    assert made["completion"]["hasMore"] is True


def test_a_message_with_several_blocks_becomes_several_messages() -> None:
    blocks = [{"type": "text", "text": "one"}, {"type": "text", "text": "two\u202e"}, {"type": "odd"}]
    made = prompt_result(
        {"messages": [{"role": "assistant", "content": blocks}, {"role": "king", "content": "x"}]}, passed, same
    )
    assert [(one["role"], one["content"]["text"]) for one in made["messages"]] == [
        ("assistant", "one"),
        ("assistant", "two"),
        ("assistant", '{"type":"odd"}'),
        ("user", "x"),
    ]


@pytest.mark.parametrize("key", ["io.modelcontextprotocol/serverInfo", "io.modelcontextprotocol/subscriptionId"])
def test_what_belongs_to_the_connection_of_an_upstream_does_not_pass(key: str) -> None:
    made = read_result({"contents": [], "_meta": {key: {"name": "up"}, "example.com/kept": 1}}, "memo://x", same)
    assert made["_meta"] == {"example.com/kept": 1}


def test_a_link_in_a_message_that_hosts_must_not_open_is_read_through_the_bridge_or_becomes_text() -> None:
    links = [{"type": "resource_link", "name": "n", "uri": uri} for uri in ("memo://x", "file:///etc/passwd")]
    embedded = {"type": "resource", "resource": {"uri": "javascript:x", "text": "kept"}}
    messages = {"messages": [{"role": "user", "content": [*links, embedded]}]}

    def show(uri: str, is_refused: bool) -> str | None:
        return f"utcp-bridge://up/{uri}" if is_refused else uri

    read = [one["content"] for one in prompt_result(messages, refused_link, show)["messages"]]
    assert [one["uri"] for one in read[:2]] == ["memo://x", "utcp-bridge://up/file:///etc/passwd"]
    assert read[2]["resource"]["uri"] == "utcp-bridge://up/javascript:x"
    left_out = prompt_result(messages, refused_link, lambda uri, is_refused: None if is_refused else uri)
    accepted("prompts/get", left_out)
    text = str(left_out)
    assert "kept" in text
    assert "memo://x" in text
    assert "passwd" not in text
    assert "javascript:x" not in text
