"""Hosts of URLs among arguments."""

import pytest

from utcp_bridge.access.urls import refused_host

ALLOWED = ("example.com", "*.example.com")


@pytest.mark.parametrize(
    "value",
    [
        {"a": "https://example.com/x"},
        {"a": ["see http://a.b.EXAMPLE.com:8080/?q=1 and ftp://user:pw@example.com."]},
        {"a": "no URL", "n": 1, "b": None, "c": "key: value", "d": "a//b"},
    ],
)
def test_hosts_that_match_are_allowed(value):
    assert refused_host(value, ALLOWED) is None


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("https://evil.com/https://example.com", "'evil.com'"),
        ("https://example.com@evil.com/", "'evil.com'"),
        ("https://example.com.evil.com", "'example.com.evil.com'"),
        ("https:\\\\evil.com\\example.com", "'evil.com'"),
        ("https:/evil.com", "'evil.com'"),
        ("//evil.com/x", "'evil.com'"),
        ("see https://example.com and https://evil.com", "'evil.com'"),
        ("https://[::1]/", "'[::1]'"),
        ("https://notexample.com", "'notexample.com'"),
        ("https://exämple.com", "'xn--exmple-cua.com'"),
        ("https:///path", "'path'"),
        ("https://exam%70le.com", "an unknown host"),
    ],
)
def test_other_hosts_are_refused(text, host):
    assert refused_host({"deep": [{"url": text}]}, ALLOWED) == host
    assert refused_host({text: 1}, ALLOWED) == host
