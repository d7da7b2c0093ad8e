"""What clients send: read, or refused with an error that reaches the sender."""

from __future__ import annotations

import json
import logging
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any

import mcp_types as types
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.server.incoming import UnreadableMessage, mended_body, read_message, refuse_long

PARSE, INVALID = types.PARSE_ERROR, types.INVALID_REQUEST


def request(text: str, **more: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"x": text}, **more}).encode()


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (request("\ud83d half"), "\ufffd half"),
        (request("é").replace(b"\\u00e9", b"\xe9"), "\ufffd"),
        (b"\xef\xbb\xbf" + request("é"), "é"),
        (request("\\ud83d"), "\\ud83d"),
    ],
)
def test_characters_that_are_not_text_are_replaced(line: bytes, text: str) -> None:
    message = read_message(line)
    assert isinstance(message, types.JSONRPCRequest)
    assert (message.id, message.params) == (1, {"x": text})


@pytest.mark.parametrize(
    ("line", "code", "identifiers"),
    [
        (b"{bad", PARSE, [None]),
        (b"\x00\x01", PARSE, [None]),
        (request("x").decode().encode("utf-16-le")[:-1], PARSE, [1]),
        (request("x")[:-1] + b', "y": ' + b"9" * 5000 + b"}", PARSE, [1]),
        (request("x")[:-1], PARSE, [1]),
        (b'{"jsonrpc": "2.0", "id": 1, "result": {bad}}', PARSE, [None]),
        (b"null", INVALID, [None]),
        (b'"text"', INVALID, [None]),
        (b"[]", INVALID, [None]),
        (b"[" + request("x") + b"," + request("y", id="b") + b"]", INVALID, [1, "b"]),
        (b'{"id": 3, "method": "ping"}', INVALID, [3]),
        (b'{"jsonrpc": "2.0", "id": 3}', INVALID, [3]),
        (request("x", method=5), INVALID, [1]),
        (request("x", params=[1]), INVALID, [1]),
        (request("x", id=1.5), INVALID, [None]),
        (request("x", id={"a": 1}), INVALID, [None]),
        (request("x", id=None), INVALID, [None]),
        (request("x", id=True), INVALID, [None]),
        (request("x")[:-1] + b', "y": ' + b"[" * 400 + b"]" * 400 + b"}", INVALID, [1]),
        (request("x")[:-1] + b', "y": ' + b"[" * 9000 + b"]" * 9000 + b"}", INVALID, [1]),
        (b'{"jsonrpc": "2.0", "result": 1}', INVALID, []),
    ],
)
def test_a_message_that_cannot_be_read_is_refused_and_logged_without_its_content(
    line: bytes, code: int, identifiers: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), pytest.raises(UnreadableMessage) as caught:
        read_message(line)
    assert [error.id for error in caught.value.errors] == identifiers
    assert {error.error.code for error in caught.value.errors} <= {code}
    assert len(caplog.records) == 1
    assert "ping" not in caplog.text


def test_a_message_that_is_too_long_is_refused() -> None:
    for excerpt, ident in ((b"", None), (b'{"id": 3, "x', 3), (b'{"x": "y", "id": "a"}', "a")):
        assert [(error.error.code, error.id) for error in refuse_long(10, excerpt).errors] == [(PARSE, ident)]


@given(
    st.binary(max_size=60) | st.text(max_size=30).map(lambda text: request(text)[:-1] + text.encode("utf-8", "replace"))
)
def test_any_line_is_a_message_or_refused(line: bytes) -> None:
    with suppress(UnreadableMessage):
        read_message(line)


@pytest.mark.anyio
@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_a_body_over_http_is_mended_as_a_whole(size: int) -> None:
    body = b"\xef\xbb\xbf" + request("\ud83d").replace(b"ping", "é".encode() + b"\xff")
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    messages += [{"type": "http.request", "more_body": False}, {"type": "http.disconnect"}]

    async def receive() -> MutableMapping[str, Any]:
        return messages.pop(0)

    mended = mended_body(receive)
    first = await mended()
    assert json.loads(first["body"]) == json.loads(request("\ufffd", method="é\ufffd"))
    assert not first["more_body"]
    assert (await mended())["type"] == "http.disconnect"


@pytest.mark.parametrize("place", ["first", "last", "middle"])
def test_a_message_of_too_many_values_is_refused_before_it_is_parsed(place: str, caplog: Any) -> None:
    many = {"x": [[]] * 300_000}
    members: dict[str, Any] = {"jsonrpc": "2.0", "method": "tools/call", "params": many}
    if place == "middle":
        members = {"a": many, "id": "seven", "b": many, **members}
    else:
        members = {"id": 7, **members} if place == "first" else {**members, "id": 7}
    with caplog.at_level(logging.WARNING), pytest.raises(UnreadableMessage, match="more than 524,288 values") as caught:
        read_message(json.dumps(members).encode())
    (error,) = caught.value.errors
    assert error.id == (None if place == "middle" else 7)
    assert error.error.code == INVALID


def test_a_large_argument_of_text_is_not_too_many_values() -> None:
    message = read_message(request('[{",' * 900_000))
    assert isinstance(message, types.JSONRPCRequest)
