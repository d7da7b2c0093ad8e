"""The oracle itself: it sees a wrong request, whatever is wrong with it."""

from dataclasses import replace

import pytest
from tests.openapi_oracle.judging import judge
from tests.openapi_oracle.loopback import Arrived
from tests.openapi_oracle.prescribing import Prescribed

WANTED = Prescribed(
    "POST", ["https://api.example.com/v1"], "/users/a b", [("q", "1"), ("q", "2")], {"x-h": "1"}, [("c", "é")],
    ("json", {"a": 1}), ["application/json"],
)  # fmt: skip
SENT = Arrived(
    "POST",
    "/v1/users/a%20b?q=1&q=2",
    [("Host", "api.example.com"), ("X-H", "1"), ("Cookie", "c=%C3%A9"), ("Content-Type", "application/json")],
    b'{"a":1}',
)


def test_the_prescribed_request_is_right():
    assert judge(WANTED, SENT) is None


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"method": "GET"}, "method"),
        ({"target": "/users/a%20b?q=1&q=2"}, "target"),
        ({"target": "/v1/users/a%2520b?q=1&q=2"}, "target"),
        ({"target": "/v1/users/a%20b?q=1"}, "query"),
        ({"target": "/v1/users/a%20b?q=1%2C2"}, "query"),
        ({"target": "/v1/users/a%20b?q=1+&q=2"}, "bare +"),
        ({"headers": [pair for pair in SENT.headers if pair[0] != "X-H"]}, "header"),
        ({"headers": [pair for pair in SENT.headers if pair[0] != "Cookie"]}, "cookies"),
        ({"headers": [*SENT.headers[:3], ("Content-Type", "text/plain")]}, "content type"),
        ({"headers": [("Host", "evil.example.com"), *SENT.headers[1:]]}, "target"),
        ({"body": b'{"a":2}'}, "JSON body"),
        ({"body": b""}, "no JSON"),
    ],
)
def test_a_wrong_request_is_seen(change, fault):
    assert fault in (judge(WANTED, replace(SENT, **change)) or "")


def test_a_body_that_was_not_asked_for_is_seen():
    assert judge(replace(WANTED, body=None), SENT) == "a body of 7 bytes"


@pytest.mark.parametrize(
    ("kind", "wanted", "content_type", "body"),
    [
        ("form", [("a", "1 &")], "application/x-www-form-urlencoded", b"a=1%20%26"),
        ("bytes", b"\x00", "application/octet-stream", b"\x00"),
        (
            "multipart",
            [("f", "x")],
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="f"\r\n\r\nx\r\n--b--\r\n',
        ),
    ],
)
def test_every_kind_of_body_is_compared(kind, wanted, content_type, body):
    prescribed = replace(WANTED, body=(kind, wanted), media_types=[content_type])
    arrived = replace(SENT, headers=[*SENT.headers[:3], ("Content-Type", content_type)], body=body)
    assert judge(prescribed, arrived) is None
    assert judge(
        prescribed, replace(arrived, body=body.replace(b"1", b"2").replace(b"\x00", b"\x01").replace(b"x\r", b"y\r"))
    )
