"""How bytes become values: media types, charsets, and JSON that must be refused."""

import json
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.errors import MalformedReply, Rejected, ReplyTooLarge
from utcp_bridge.foreign import visible_json
from utcp_bridge.model import Binary, JsonObject
from utcp_bridge.net.reply import MAX_JSON_DEPTH, Reply, decode_reply, json_or_text, parse_json, retry_after_seconds
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


@pytest.mark.parametrize(
    ("content_type", "body", "value"),
    [
        ("text/plain", b"a\xffb", "a\ufffdb"),
        ("text/plain; charset=utf-8", "\ufeffé".encode(), "é"),
        ("text/plain", "é".encode("utf-16"), "é"),
        ("text/plain; charset=utf-16", "é".encode("utf-16-le"), "é"),
        ("text/plain; charset=us-ascii", b"\x93x\x94", "“x”"),
        ("text/xml", b'<?xml version="1.0" encoding="ISO-8859-1"?><a>\xe9</a>', None),
        ("text/html", b"<meta charset=windows-1252><p>\xe9", None),
        ("application/json", '\ufeff{"a":"é"}'.encode(), {"a": "é"}),
        ("application/json", '{"a":"é"}'.encode("utf-16"), {"a": "é"}),
        ("application/json", '{"a":"é"}'.encode("utf-16-be"), {"a": "é"}),
        ("application/json; charset=utf-32", '{"a":"é"}'.encode("utf-32-le"), {"a": "é"}),
        ("application/json; charset=ISO-8859-1", b'{"a":"\xe9"}', {"a": "é"}),
        ("application/json", b'{"a":"\xe9"}', {"a": "\ufffd"}),
        ("application/json", b'{"a":"\\ud83d \\\\ud83d \\ud83d\\ude00"}', {"a": "\ufffd \\ud83d 😀"}),
        (None, '\ufeff{"a":1}'.encode(), {"a": 1}),
        (None, "é".encode("utf-16"), "é"),
    ],
)
def test_text_is_decoded_by_its_mark_then_its_charset_then_as_utf_8(content_type, body, value):
    found = reply(body, content_type).value()
    assert found == value if value is not None else "é" in found


def test_a_web_page_in_place_of_json_is_named_with_its_words():
    with pytest.raises(MalformedReply, match=r"returned a web page instead of JSON: 'Sign in Please sign in\.'"):
        reply(b"<html><title>Sign in</title><body><p>Please sign in.</p>", "application/json").value()


MIXED = (
    b"--x\r\nContent-Type: text/plain; charset=latin-1\r\n\r\ncaf\xe9\r\n"
    b'--x\r\nContent-Type: application/json\r\n\r\n{"a": 1}\r\n'
    b"--x\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\niVBO\r\nRw==\r\n"
    b"--x\r\nContent-Type: audio/wav\r\n\r\nRIFF\r\n"
    b"--x\r\nContent-Type: multipart/alternative; boundary=y\r\n\r\n--y\r\n\r\ninner\r\n--y--\r\n"
    b"--x\r\nContent-Type: text/plain\r\nContent-Location: notes/1\r\n\r\nnote\r\n"
    b"--x\r\nContent-Type: application/pdf\r\n\r\n%PDF\r\n--x--\r\nepilogue"
)


@pytest.mark.parametrize("kind", ["mixed", "related", "form-data"])
def test_a_multipart_reply_is_one_block_for_each_part(kind):
    blocks = reply(MIXED, f'multipart/{kind}; boundary="x"').value().content
    assert blocks == [
        {"type": "text", "text": "café"},
        {"type": "text", "text": '{"a": 1}'},
        {"type": "image", "data": "iVBORw==", "mimeType": "image/png"},
        {"type": "audio", "data": "UklGRg==", "mimeType": "audio/wav"},
        {"type": "text", "text": "inner"},
        {
            "type": "resource",
            "resource": {"uri": "https://api.example.com/notes/1", "mimeType": "text/plain", "text": "note"},
        },
        {
            "type": "resource",
            "resource": {
                "uri": "https://api.example.com/things#part-7",
                "mimeType": "application/pdf",
                "blob": "JVBERg==",
            },
        },
    ]


def test_a_multipart_reply_without_parts_stays_bytes():
    assert reply(b"nothing", "multipart/mixed; boundary=x").value() == Binary(b"nothing", "multipart/mixed")


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"NaN",
        b"[Infinity]",
        b"1e999",
        b"9" * 5000,
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
    for size in (0, 1_000):  # the depth of a longer body is looked at by writing its value
        filler = b'"%b"' % (b"x" * size)
        most = b"[" * MAX_JSON_DEPTH + filler + b"]" * MAX_JSON_DEPTH
        assert reply(most, "application/json").value()
        with pytest.raises(MalformedReply, match="200 levels"):
            reply(b"[%b]" % most, "application/json").value()
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


_TEXT = st.text(max_size=8) | st.text(st.sampled_from('ab \x00\x1b[0m\x7f\b\r\n\\"\u200b\u202e\x85é'), max_size=8)
_SHORT = st.recursive(_TEXT | st.none() | st.integers(), lambda one: st.lists(one) | st.dictionaries(_TEXT, one))


@given(
    _SHORT, st.sampled_from(["utf-8", "utf-16", "utf-16-le", "utf-32", "latin-1"]), st.booleans(), st.binary(max_size=2)
)
def test_short_json_is_read_as_any_other_and_known_to_be_clean_only_if_it_is(value, charset, is_ascii, more):
    body = json.dumps(value, ensure_ascii=is_ascii).encode(charset, "replace") + more
    found = reply(body, f"application/json; charset={charset}")
    try:
        expected = parse_json(body, "x", charset)
    except MalformedReply:
        with pytest.raises(MalformedReply):
            found.value()
        return
    assert found.value() == expected
    if found.clean is not None:
        assert found.clean == expected == visible_json(expected)


def test_a_short_plain_value_is_known_to_be_clean():
    found = reply(b'{"a": ["b c", 1]}', "application/json")
    assert found.value() is found.clean
    escaped = reply(b'{"a": "\\u001b[0m"}', "application/json")
    assert escaped.value() == {"a": "\x1b[0m"}
    assert escaped.clean is None


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
        (b"<html><title>Oops</title><style>b{}</style>sorry</html>", "text/html", "Oops\nsorry"),
        (b"<!DOCTYPE html><p>sorry", "application/json", "sorry"),
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


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the time zone of a process cannot be changed here")
@pytest.mark.parametrize(
    "date", ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
)
def test_a_date_in_any_form_is_compared_with_the_replys_own_clock(date, monkeypatch):
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        assert retry_after_seconds(date, "Sun, 06 Nov 1994 08:49:00 GMT") == 37.0
        assert retry_after_seconds(date, "not a date") == 0.0
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_refusal_says_when_to_try_again():
    headers = {"Retry-After": "Sun, 06 Nov 1994 08:49:37 GMT", "Date": "Sun, 06 Nov 1994 08:49:00 GMT"}
    refusal = Reply(503, headers, b"", "http://a.example/x")
    with pytest.raises(Rejected, match=r"^http://a.example/x returned 503 Service Unavailable. Try again in 37 s.$"):
        refusal.raise_for_status()


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


@pytest.mark.parametrize(("fields", "data"), [({"response_format": "json"}, b"{"), ({"response_format": "json"}, b"")])
def test_a_reply_that_cannot_be_read_is_malformed_and_names_the_peer(fields: JsonObject, data: bytes) -> None:
    with pytest.raises(MalformedReply, match="h:7"):
        decode_reply(_socket_template(**fields), data)


MANY = b"[" + b"[]," * 60_000 + b"0]"


@pytest.mark.parametrize("content_type", ["application/json", None, "application/problem+json"])
def test_json_of_too_many_values_is_refused_with_the_limit_and_the_setting(content_type):
    headers = {} if content_type is None else {"Content-Type": content_type}
    with pytest.raises(ReplyTooLarge, match=r"more than 100,000 values.*`max_reply_bytes`") as caught:
        Reply(200, headers, MANY, URL, 1_000).value()
    assert "canary" not in str(caught.value)
    assert len(Reply(200, headers, MANY, URL, 10_000_000).value()) == 60_001


def test_an_error_of_too_many_values_is_its_text():
    with pytest.raises(Rejected) as caught:
        Reply(500, {"Content-Type": "application/json"}, MANY, URL, 1_000).raise_for_status()
    assert caught.value.detail.startswith("[[],[],")


def test_text_that_may_be_json_has_a_limit_in_values_too():
    with pytest.raises(ReplyTooLarge):
        json_or_text(MANY.decode(), "The command", 1_000)
    assert json_or_text("\x1b[1m[1]\x1b[0m", "The command") == [1]


def test_parts_inside_parts_make_at_most_a_thousand_blocks():
    inner = b"--i\r\n\r\nx\r\n" * 900
    part = b'--o\r\nContent-Type: multipart/mixed; boundary="i"\r\n\r\n' + inner + b"--i--\r\n"
    value = reply(part * 3 + b"--o--", "multipart/mixed; boundary=o").value()
    assert len(value.content) == 1_000


@pytest.mark.parametrize("name", ["punycode", "idna", "utf-7", "zlib"])
@pytest.mark.parametrize("place", ["header", "page", "part", "template"])
def test_no_place_names_a_codec_that_is_not_a_charset(name, place):
    data = b"xn--a-" + "é".encode()
    if place == "header":
        assert reply(data, f"text/plain; charset={name}").text() == data.decode()
    elif place == "page":
        body = f'<?xml version="1.0" encoding="{name}"?>'.encode() + data + b"\xff"
        assert reply(body, "text/xml").text() == body.decode("utf-8", "replace")
    elif place == "part":
        body = f"--b\r\nContent-Type: text/plain; charset={name}\r\n\r\n".encode() + data + b"\r\n--b--"
        assert reply(body, "multipart/mixed; boundary=b").value().content[0]["text"] == data.decode()
    else:
        with pytest.raises(ValueError, match="character encoding"):
            _socket_template(response_byte_format=name)
