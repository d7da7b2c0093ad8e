"""How bytes become values: media types, charsets, and JSON that must be refused."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.errors import MalformedReply, Rejected
from utcp_bridge.model import Binary, JsonObject
from utcp_bridge.net.reply import MAX_JSON_DEPTH, Reply, decode_reply, parse_json, retry_after_seconds
from utcp_bridge.placement.message import SocketTemplate

URL = "https://user:pass@api.example.com/things?key=canary"


def reply(body, content_type=None, status=200, **headers):
    headers = {name.replace("_", "-").title(): value for name, value in headers.items()}
    if content_type is not None:
        headers["Content-Type"] = content_type
    return Reply(status, headers, body, URL)


@pytest.mark.parametrize(
    ("content_type", "body", "value"),
    [
        ("application/json", b'{"a":[1,2.5,null,true,"\xc3\xa9"]}', {"a": [1, 2.5, None, True, "é"]}),
        ("Application/JSON; charset=utf-8", b"1", 1),
        ("application/vnd.api+json", b"[]", []),
        ("text/json", b'"x"', "x"),
        ("application/json", b"", None),
        ("text/plain", b"hi", "hi"),
        ("text/plain; charset=iso-8859-1", b"\xe9", "é"),
        ("text/plain; x=y; charset='latin-1'", b"\xe9", "é"),
        ("text/plain; charset=no-such", "é".encode(), "é"),
        ("text/plain; charset=hex", b"a", "a"),
        ("text/plain; charset=", b"a", "a"),
        ("application/xml", b"<a/>", "<a/>"),
        ("application/atom+xml", b"<a/>", "<a/>"),
        ("application/x-ndjson", b'{"a":1}\n{"a":2}\n', '{"a":1}\n{"a":2}\n'),
        ("image/png", b"\x89PNG", Binary(b"\x89PNG", "image/png")),
        ("application/octet-stream", b"ab", Binary(b"ab", "application/octet-stream")),
        (None, b'{"a":1}', {"a": 1}),
        (None, b"plain", "plain"),
        (None, b"\xff\xfe\x00", Binary(b"\xff\xfe\x00")),
        ("", b"", None),
    ],
)
def test_a_body_becomes_a_value_by_its_media_type(content_type, body, value):
    assert reply(body, content_type).value() == value


def test_no_content_is_none_for_any_media_type():
    assert reply(b"x", "application/json", status=204).value() is None


def test_the_caller_may_override_the_media_type():
    assert reply(b"[1]", "text/plain").value("application/json") == [1]


def test_undecodable_text_is_malformed():
    with pytest.raises(MalformedReply, match="not utf-8"):
        reply(b"\xff\xfe\x00", "text/plain").value()


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"NaN",
        b"[Infinity]",
        b"1e999",
        b"9" * 5000,
        b'"\xff"',
        b'"\\ud800"',
        b"[" * 100_000,
        b"[" * 5000 + b"]" * 5000,
        b"[" * (MAX_JSON_DEPTH + 1) + b"]" * (MAX_JSON_DEPTH + 1),
        b'{"a":' * (MAX_JSON_DEPTH + 1) + b"1" + b"}" * (MAX_JSON_DEPTH + 1),
        b'{"a":' * 250 + b"1" + b"}" * 250,
        b"<html>",
    ],
)
def test_invalid_json_is_malformed_and_the_message_has_no_query(body):
    with pytest.raises(MalformedReply) as caught:
        reply(body, "application/json").value()
    assert "https://api.example.com/things returned" in caught.value.message
    assert "canary" not in str(caught.value)
    assert "pass" not in str(caught.value)


def test_nesting_up_to_the_limit_is_accepted():
    deep = b"[" * MAX_JSON_DEPTH + b"]" * MAX_JSON_DEPTH
    assert orjson.dumps(parse_json(deep, "x")) == deep
    objects = '{"a":' * MAX_JSON_DEPTH + '"["' + "}" * MAX_JSON_DEPTH
    assert orjson.dumps(parse_json(objects, "x")).decode() == objects
    assert len(parse_json("[" + ",".join(["[{}]"] * 5000) + "]", "x")) == 5000


@given(st.binary(max_size=200))
def test_any_body_is_a_value_or_malformed_and_a_json_value_can_be_written_again(body):
    for content_type in ("application/json", "text/plain", None):
        try:
            value = reply(body, content_type).value()
        except MalformedReply:
            continue
        if content_type == "application/json":
            orjson.dumps(value)


def test_success_and_redirects_raise_nothing():
    for status in (200, 204, 304):
        reply(b"", status=status).raise_for_status()


@pytest.mark.parametrize(
    ("status", "retryable", "phrase"),
    [
        (400, False, "Bad Request"),
        (404, False, "Not Found"),
        (429, True, "Too Many Requests"),
        (500, False, "Internal"),
        (502, True, "Bad Gateway"),
        (503, True, "Service"),
        (504, True, "Gateway"),
        (599, False, "error"),
    ],
)
def test_an_error_status_is_a_rejection_that_may_be_retryable(status, retryable, phrase):
    problem = {"type": "about:blank", "title": "no", "detail": "not today"}
    with pytest.raises(Rejected) as caught:
        reply(orjson.dumps(problem), "application/problem+json", status, retry_after="7").raise_for_status()
    error = caught.value
    assert error.message.startswith(f"https://api.example.com/things returned {status} {phrase}")
    assert (error.status, error.detail, error.retry_after, error.retryable) == (status, problem, 7.0, retryable)


@pytest.mark.parametrize(
    ("body", "content_type", "detail"),
    [
        (b"<html>sorry</html>", "text/html", "<html>sorry</html>"),
        (b"not json \xff", "application/json", "not json \N{REPLACEMENT CHARACTER}"),
        (b"x" * 5000, "text/plain", "x" * 4096),
        (b"\x89PNG", "image/png", None),
        (b"", None, None),
    ],
)
def test_the_detail_of_a_rejection_is_readable_or_none(body, content_type, detail):
    with pytest.raises(Rejected) as caught:
        reply(body, content_type, 500).raise_for_status()
    assert caught.value.detail == detail


def test_retry_after_is_seconds_or_a_date():
    assert retry_after_seconds("120") == 120.0
    soon = retry_after_seconds(format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True))
    assert soon is not None
    assert 3000 < soon <= 3600
    assert retry_after_seconds("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    for unreadable in (None, "", "soon", "-5", "٣", "Wed, 99 Oct 2015"):
        assert retry_after_seconds(unreadable) is None


def test_the_repr_of_a_reply_does_not_show_its_body():
    assert repr(reply(b"canary")) == "<Reply 200 6 bytes>"


def _socket_template(**fields: Any) -> SocketTemplate:
    return SocketTemplate.model_validate({"call_template_type": "tcp", "host": "h", "port": 7, **fields})


@pytest.mark.parametrize(
    ("fields", "data", "value"),
    [
        ({}, b'{"a": 1}', {"a": 1}),
        ({}, b" [1]", [1]),
        ({}, b"12", "12"),
        ({}, b"{not json", "{not json"),
        ({"response_format": "text"}, b"[1]", "[1]"),
        ({"response_format": "json"}, b"12", 12),
        ({"response_byte_format": None}, b"\xff", Binary(b"\xff")),
        ({"response_byte_format": "latin-1"}, b"\xfc", "\u00fc"),
    ],
)
def test_a_reply_is_read_as_the_template_says(fields: JsonObject, data: bytes, value: Any) -> None:
    assert decode_reply(_socket_template(**fields), data) == value


@pytest.mark.parametrize(("fields", "data"), [({}, b"\xff"), ({"response_format": "json"}, b"{")])
def test_a_reply_that_cannot_be_read_is_malformed_and_names_the_peer(fields: JsonObject, data: bytes) -> None:
    with pytest.raises(MalformedReply, match="h:7"):
        decode_reply(_socket_template(**fields), data)
