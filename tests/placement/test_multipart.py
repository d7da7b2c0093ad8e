import base64
import email.parser
import email.policy

import pytest

from utcp_bridge.errors import InvalidArguments
from utcp_bridge.placement.multipart import Part, concrete_media_type, decode_base64, encode_multipart, file_part


def parse(boundary, body):
    head = f"Content-Type: multipart/form-data; boundary={boundary}\r\n\r\n".encode()
    return list(email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body).iter_parts())


def test_parts_arrive_with_name_file_name_type_and_bytes():
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


def test_no_parts_still_make_a_complete_body():
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
def test_base64_is_decoded_and_other_text_stands_for_itself(text, data):
    assert decode_base64(text, argument="f") == data


def test_text_without_bytes_is_refused():
    with pytest.raises(InvalidArguments, match="'f'"):
        decode_base64("\ud800!", argument="f")


def test_a_file_may_bring_its_own_name_and_type():
    value = {"content": base64.b64encode(b"x").decode(), "filename": "a.txt", "media_type": "text/plain"}
    assert file_part("f", value, None) == Part("f", b"x", "text/plain", "a.txt")
    assert file_part("f", "eA==", "text/csv") == Part("f", b"x", "text/csv", "f")


@pytest.mark.parametrize("value", [5, None, {"filename": "a"}, {"content": "eA==", "media_type": "a\r\nb"}])
def test_what_is_no_file_is_refused_by_name(value):
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
def test_a_range_of_media_types_becomes_what_the_bytes_look_like(declared, data, concrete):
    assert concrete_media_type(declared, data) == concrete
