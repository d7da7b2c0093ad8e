"""The parts of multipart replies."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.work import calls_made_by

from utcp_bridge.net.multipart import ReplyPart, parameter, split_parts

LINES = st.binary(max_size=20).filter(lambda data: b"--b" not in data and not data.startswith((b"\r", b"\n")))


@given(st.lists(LINES, min_size=1, max_size=4), st.sampled_from([b"\r\n", b"\n"]))
def test_each_part_keeps_its_bytes(bodies: list[bytes], end: bytes) -> None:
    written = b"".join(b"--b" + end + b"Content-Type: a/b" + end * 2 + body + end for body in bodies) + b"--b--" + end
    parts = [part.body for part in split_parts(written, "multipart/mixed; boundary=b")]
    assert parts == [body if end == b"\r\n" else body.removesuffix(b"\r") for body in bodies]


def test_headers_are_unfolded_and_the_transfer_encoding_is_removed() -> None:
    body = (
        b"preamble\r\n--b \r\ncontent-type: text/plain;\r\n charset=utf-8\r\n"
        b"Content-Transfer-Encoding: quoted-printable\r\n\r\ncaf=C3=A9=\r\n!\r\n"
        b"--b\r\nContent-Transfer-Encoding: base64\r\n\r\n%%%\r\n--b--\r\n--b\r\n\r\nepilogue"
    )
    first, second = split_parts(body, "multipart/mixed; boundary=b")
    assert first.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert first.body == "café!".encode()
    assert second.body == b"%%%"


@pytest.mark.parametrize(
    ("content_type", "body", "expected"),
    [
        ("multipart/mixed", b"--x\r\n\r\nfound\r\n--x--", [ReplyPart({}, b"found")]),
        ("multipart/mixed; boundary=wrong", b"--x\r\n\r\nfound\r\n--x--", [ReplyPart({}, b"found")]),
        ("multipart/mixed; boundary=x", b"--x\r\n\r\nno end", [ReplyPart({}, b"no end")]),
        (
            "multipart/mixed; boundary=x",
            b"--x\r\nA: b\r\nno body\r\n--x--",
            [ReplyPart({"A": "b", "No Body": ""}, b"")],
        ),
        ("multipart/mixed; boundary=x", b"nothing", []),
        ("multipart/mixed; boundary=x", b"", []),
    ],
)
def test_a_broken_body_is_read_as_far_as_it_goes(content_type: str, body: bytes, expected: list[ReplyPart]) -> None:
    assert split_parts(body, content_type) == expected


@given(st.binary(max_size=60), st.text(max_size=10))
def test_any_body_is_split(body: bytes, boundary: str) -> None:
    assert all(isinstance(part.body, bytes) for part in split_parts(body, f"multipart/mixed; boundary={boundary}"))


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ('a/b; boundary="x y; z"', "x y; z"),
        ('a/b; Boundary = "a\\"b" ; c=d', 'a"b'),
        ("a/b;boundary=x;c=d", "x"),
        ("a/b; boundary='x'", "x"),
        ("a/b", ""),
    ],
)
def test_a_parameter_is_read_with_and_without_quotation_marks(header: str, value: str) -> None:
    assert parameter(header, "boundary") == value


@pytest.mark.parametrize(
    "body",
    [b"--a" + b" " * 500_000 + b"x", b" \t" * 500_000, b"--b\r\nA: " + b"\r\n " * 300_000, b"--b\n--b \t" * 100_000],
)
def test_a_body_of_blanks_takes_little_work(body: bytes) -> None:
    assert calls_made_by(lambda: split_parts(body, "multipart/mixed; boundary=b")) < 100_000


def test_base64_with_many_blanks_is_decoded() -> None:
    body = b"--b\r\nContent-Transfer-Encoding: base64\r\n\r\n" + b" \r\nY" + b"\t \n" * 1_000 + b"Q==\r\n--b--"
    assert [part.body for part in split_parts(body, "multipart/mixed; boundary=b")] == [b"a"]
