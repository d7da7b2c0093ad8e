"""Origins and endpoints: all forms of one address are equal."""

import pytest

from utcp_bridge.errors import ConfigError
from utcp_bridge.urls import (
    at_pointer,
    bare_url,
    endpoint_of,
    endpoint_of_url,
    origin_of,
    redirected_to,
    split_url,
    steps_of,
    url_fault,
)


@pytest.mark.parametrize(
    ("url", "origin", "endpoint"),
    [
        ("https://API.Example.com/x?y#z", "https://api.example.com", "api.example.com:443"),
        ("https://api.example.com.:443", "https://api.example.com", "api.example.com:443"),
        ("http://api.example.com:8080/", "http://api.example.com:8080", "api.example.com:8080"),
        ("wss://api.example.com/ws", "https://api.example.com", "api.example.com:443"),
        ("ws://[::1]:9000/ws", "http://[::1]:9000", "[::1]:9000"),
        ("http://[::1]/", "http://[::1]", "[::1]:80"),
        ("grpc://api.example.com:50051", "grpc://api.example.com:50051", "api.example.com:50051"),
        ("tcp://api.example.com", "tcp://api.example.com", "api.example.com:0"),
        ("https://user:pass@api.example.com/", "https://api.example.com", "api.example.com:443"),
    ],
)
def test_an_origin_is_the_same_for_every_spelling(url, origin, endpoint):
    assert origin_of(url) == origin
    assert endpoint_of_url(url) == endpoint


@pytest.mark.parametrize("url", ["", "api.example.com", "/x", "https:///x", "http://a:b/", "http://[::1/"])
def test_a_url_that_is_not_absolute_is_a_configuration_error(url):
    with pytest.raises(ConfigError, match="A URL"):
        origin_of(url)


def test_an_endpoint_has_its_ipv6_address_in_brackets():
    assert endpoint_of("::1", 80) == endpoint_of("[::1]", 80) == "[::1]:80"
    assert endpoint_of("LOCALHOST.", 80) == "localhost:80"


def test_a_url_in_a_message_has_no_query_fragment_or_user():
    assert bare_url("https://u:p@api.example.com:1/a/b?key=1#f") == "https://api.example.com:1/a/b"
    assert bare_url("http://[::1/") == "the upstream"


ROOT = {"$defs": {"a/b": {"~": 1}, "list": [10, 20], "": "empty", "ä": 2}, "n": None}


@pytest.mark.parametrize(
    ("reference", "value"),
    [
        ("#", ROOT),
        ("#/$defs/a~1b", {"~": 1}),
        ("#/$defs/a~1b/~0", 1),
        ("#/%24defs/list/1", 20),
        ("#/$defs/", "empty"),
        ("#/$defs/%C3%A4", 2),
    ],
)
def test_a_pointer_leads_to_its_value(reference, value):
    assert at_pointer(ROOT, reference) == value


@pytest.mark.parametrize(
    "reference",
    [
        "",
        "#anchor",
        "other.json#/a",
        "#/nothing",
        "#/$defs/list/2",
        "#/$defs/list/x",
        "#/$defs/list/0/more",
        f"#/$defs/list/{'9' * 5000}",
        "#/n/more",
    ],
)
def test_a_pointer_without_a_target_gives_none(reference):
    assert at_pointer(ROOT, reference) is None


def test_steps_are_read_with_and_without_the_hash():
    assert steps_of("#/a~1b/~0") == steps_of("/a~1b/~0") == ["a/b", "~"]
    assert steps_of("") == steps_of("#") == []


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("https://user:word@Other.Example:8443/p?key=secret#f", "https://other.example:8443"),
        ("/login?key=secret", "https://api.example"),
        (None, "https://api.example"),
        ("https://[broken", "an address that cannot be read"),
        ("mailto:secret@example.com", "an address that cannot be read"),
        ("https://a\x1b[31m.example/", "an address that cannot be read"),
    ],
)
def test_messages_about_a_redirect_name_its_origin_only(location, target):
    assert redirected_to("https://api.example/x?key=own", location) == target


@pytest.mark.parametrize(
    ("url", "start"),
    [
        ("api.example.com/x?key=S3cr3t", "Did you mean https://api.example.com/…? "),
        ("localhost:8000", "Did you mean http://localhost:8000/…? "),
        ("127.0.0.1:9/x", "Did you mean http://127.0.0.1:9/…? "),
        ("eyJhbGciOi.eyJzdWIi.c2ln", ""),
        ("a-word", ""),
        ("file:///etc/passwd", ""),
    ],
)
def test_a_url_without_a_scheme_has_the_one_that_is_meant_and_no_secret(url, start):
    with pytest.raises(ConfigError) as caught:
        split_url(url)
    assert caught.value.remedy == f"{start}Write scheme://host[:port]/path, such as http://127.0.0.1:8000/utcp."


@pytest.mark.parametrize("url", ["https://x.example/", "ws://[::1]:9/x", "http://me:p@127.0.0.1:65535"])
def test_a_url_that_can_be_used_has_no_fault(url):
    assert url_fault(url) is None
