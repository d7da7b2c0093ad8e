import base64
import email.parser
import email.policy
import json

import pytest

from utcp_bridge.errors import InvalidArguments
from utcp_bridge.placement.body import (
    Part,
    compile_body,
    concrete_media_type,
    decode_base64,
    encode_form,
    encode_multipart,
    file_part,
    media_kind,
    reserved_text,
)
from utcp_bridge.placement.plan_models import BodyPlan, PropertyPlan


def write(arguments, **plan):
    return compile_body(BodyPlan(**plan))(arguments)


@pytest.mark.parametrize(
    ("media_type", "kind"),
    [
        ("application/json; charset=utf-8", "json"),
        ("application/problem+json", "json"),
        ("application/*", "json"),
        ("application/x-www-form-urlencoded", "form"),
        ("multipart/mixed", "multipart"),
        ("application/x-ndjson", "lines"),
        ("text/csv", "text"),
        ("application/soap+xml", "text"),
        ("application/yaml", "text"),
        ("image/png", "binary"),
    ],
)
def test_media_kind_returns_how_a_media_type_is_written(media_type, kind):
    assert media_kind(media_type) == kind


def test_flat_members_become_one_json_object_with_nulls():
    body = write({"a": 1, "b": None, "q": 2}, media_type="application/json", members=("a", "b", "c"))
    assert body == ("application/json", b'{"a":1,"b":null}')


def test_the_plain_form_of_a_flattened_body_overrides_defaults():
    body = write({"a": 1, "body": {"a": 2, "c": 3}}, media_type="application/json", members=("a", "c"))
    assert json.loads(body.content) == {"a": 2, "c": 3}
    assert write({"body": [1]}, media_type="application/json", members=("a",)).content == b"[1]"


def test_a_member_called_body_is_a_member():
    assert write({"body": "text"}, media_type="application/json", members=("body",)).content == b'{"body":"text"}'


@pytest.mark.parametrize(
    ("plan", "content"),
    [
        ({"members": ("a",), "required": True}, b"{}"),
        ({"members": ("a",)}, None),
        ({"required": True, "empty_object": True}, b"{}"),
        ({}, None),
    ],
)
def test_a_missing_body_becomes_an_empty_object_only_if_required(plan, content):
    body = write({}, media_type="application/json", **plan)
    assert (body and body.content) == content


def test_the_error_names_a_missing_required_body():
    with pytest.raises(InvalidArguments, match="'body'"):
        write({}, media_type="application/json", required=True)


@pytest.mark.parametrize(
    ("media_type", "value", "content"),
    [
        ("text/plain", "hi é", "hi é".encode()),
        ("text/plain", 5, b"5"),
        ("application/xml", "<a/>", b"<a/>"),
        ("application/x-ndjson", [{"a": 1}, 2], b'{"a":1}\n2\n'),
        ("application/x-ndjson", "{}\n", b"{}\n"),
        ("application/octet-stream", "AAE=", b"\x00\x01"),
        ("application/octet-stream", {"a": 1}, b'{"a":1}'),
    ],
)
def test_text_lines_and_bytes_are_sent_with_their_media_type(media_type, value, content):
    assert write({"body": value}, media_type=media_type) == (media_type, content)


def test_a_range_of_binary_types_becomes_one_type():
    body = write({"body": "iVBORw0KGgo="}, media_type="image/*", binary=True)
    assert body.content_type == "image/png"


@pytest.mark.parametrize(
    ("media_type", "value"),
    [
        ("application/xml", {"a": 1}),
        ("text/plain", "\ud800"),
        ("application/x-www-form-urlencoded", [1]),
        ("multipart/form-data", "x"),
    ],
)
def test_a_value_that_does_not_fit_its_media_type_is_refused(media_type, value):
    with pytest.raises(InvalidArguments, match="'body'"):
        write({"body": value}, media_type=media_type)


@pytest.mark.parametrize(
    ("value", "encoding", "text"),
    [
        ({"a": "1 &", "n": None, "b": True}, {}, "a=1%20%26&b=true"),
        ({"a": [1, "x"]}, {}, "a=1&a=x"),
        ({"a": {"k": 1}}, {}, "a=%7B%22k%22%3A1%7D"),
        ({"a": [1, 2]}, {"a": {"style": "form", "explode": False}}, "a=1,2"),
        ({"a": {"k": [1]}}, {"a": {"style": "deepObject"}}, "a%5Bk%5D%5B%5D=1"),
        ({"a": [1, 2]}, {"a": {"content_type": "application/json"}}, "a=%5B1%2C2%5D"),
        ({"a": "/x?"}, {"a": {"style": "form", "allow_reserved": True}}, "a=/x?"),
    ],
)
def test_a_form_writes_each_property_as_its_encoding_says(value, encoding, text):
    assert encode_form(value, {name: PropertyPlan(**about) for name, about in encoding.items()}) == text


def test_a_form_comes_from_one_object_or_from_flat_arguments():
    assert write({"a": 1}, media_type="application/x-www-form-urlencoded", members=("a",)).content == b"a=1"
    assert write({"body": {"a": 1}}, media_type="application/x-www-form-urlencoded").content == b"a=1"


def test_reserved_text_keeps_characters_that_cannot_end_the_value():
    assert reserved_text("/a?b:c@d&e#f+g h", "q") == "/a?b:c@d%26e%23f%2Bg%20h"


@pytest.mark.parametrize(
    ("value", "about", "expected"),
    [
        ("x", {}, [b"\r\n\r\nx\r\n"]),
        ([1, 2], {}, [b"\r\n\r\n1\r\n", b"\r\n\r\n2\r\n"]),
        ({"k": 1}, {}, [b'Content-Type: application/json\r\n\r\n{"k":1}']),
        ("x", {"content_type": "text/csv"}, [b"Content-Type: text/csv\r\n\r\nx"]),
        ("x", {"content_type": "application/json"}, [b'Content-Type: application/json\r\n\r\n"x"']),
        ([1], {"content_type": "application/json"}, [b"Content-Type: application/json\r\n\r\n[1]"]),
        ([1, 2], {"style": "form", "explode": False}, [b"\r\n\r\n1,2\r\n"]),
        ("AAE=", {"binary": True}, [b'filename="p"', b"application/octet-stream\r\n\r\n\x00\x01"]),
        (["eA==", "eQ=="], {"binary": True}, [b"\r\n\r\nx\r\n", b"\r\n\r\ny\r\n"]),
    ],
)
def test_a_multipart_body_writes_each_property_as_its_encoding_says(value, about, expected):
    plan = {"p": PropertyPlan(**about)}
    body = write({"p": value, "n": None}, media_type="multipart/form-data", members=("p", "n"), encoding=plan)
    assert body.content_type.startswith("multipart/form-data; boundary=")
    assert all(part in body.content for part in expected)
    assert b'name="n"' not in body.content


def test_multipart_refuses_invalid_unicode_and_ranges_become_form_data():
    assert write({"body": {}}, media_type="multipart/*").content_type.startswith("multipart/form-data;")
    with pytest.raises(InvalidArguments, match="'p'"):
        write({"p": "\ud800"}, media_type="multipart/form-data", members=("p",))


def parse(boundary, body):
    head = f"Content-Type: multipart/form-data; boundary={boundary}\r\n\r\n".encode()
    return list(email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body).iter_parts())


def test_a_parser_finds_name_file_name_type_and_bytes_of_each_part():
    boundary, body = encode_multipart([Part("note", b"hi"), Part("f", b"\x00\r\n--", "image/png", "a.png")])
    note, file = parse(boundary, body)
    assert note.get_param("name", header="content-disposition") == "note"
    assert note["content-type"] is None
    assert file.get_filename() == "a.png"
    assert file.get_content_type() == "image/png"
    assert file.get_payload(decode=True) == b"\x00\r\n--"


def test_names_cannot_add_header_lines():
    _, body = encode_multipart([Part('a"\r\nX-Evil: 1', b"", None, 'f"\n')])
    assert b"\r\nX-Evil" not in body
    assert b'name="a%22%0D%0AX-Evil: 1"; filename="f%22%0A"' in body


def test_a_multipart_body_without_parts_is_complete():
    boundary, body = encode_multipart([])
    assert body == f"--{boundary}--\r\n".encode()


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("aGVsbG8=", b"hello"),
        ("aGVsbG8", b"aGVsbG8"),
        ("v1", b"v1"),
        ("data:text/plain;base64,aGVsbG8", b"hello"),
        ("aGVs\n bG8=", b"hello"),
        ("_-8=", b"\xff\xef"),
        ("data:image/png;base64,aGVsbG8=", b"hello"),
        ("hello, world", b"hello, world"),
        ("é", "é".encode()),
    ],
)
def test_base64_is_decoded_and_other_text_is_kept(text, data):
    assert decode_base64(text, argument="f") == data


def test_invalid_unicode_is_refused_in_base64_text():
    with pytest.raises(InvalidArguments, match="'f'"):
        decode_base64("\ud800!", argument="f")


def test_a_file_may_have_its_own_name_and_type():
    value = {"content": base64.b64encode(b"x").decode(), "filename": "a.txt", "media_type": "text/plain"}
    assert file_part("f", value, None) == Part("f", b"x", "text/plain", "a.txt")
    assert file_part("f", "eA==", "text/csv") == Part("f", b"x", "text/csv", "f")


@pytest.mark.parametrize("value", [5, None, {"filename": "a"}, {"content": "eA==", "media_type": "a\r\nb"}])
def test_the_error_names_an_argument_that_cannot_be_a_file(value):
    with pytest.raises(InvalidArguments, match="'f'"):
        file_part("f", value, None)


@pytest.mark.parametrize(
    ("declared", "data", "concrete"),
    [
        ("image/jpeg, image/png", b"", "image/jpeg"),
        ("image/*", b"\x89PNG....", "image/png"),
        ("image/*", b"\xff\xd8\xff", "image/jpeg"),
        (None, b"%PDF-1.7", "application/pdf"),
        ("*/*", b"?", "application/octet-stream"),
    ],
)
def test_a_range_of_media_types_becomes_the_type_of_the_bytes(declared, data, concrete):
    assert concrete_media_type(declared, data) == concrete


def test_a_form_that_is_described_as_text_is_sent_as_it_is():
    media_type = "application/x-www-form-urlencoded"
    assert write({"body": "a=b&a=%20"}, media_type=media_type) == (media_type, b"a=b&a=%20")
