"""Limits and URLs of entries in hosts' files."""

from typing import Any

import pytest
from tests.configuration.hosts.test_reading import fields, one

from utcp_bridge.configuration.hosts.reading import read_servers
from utcp_bridge.configuration.hosts.table import HOSTS


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"command": "c\0"}, "`command` contains a NUL character"),
        ({"command": "c", "args": ["a\0"]}, "`args` contains a NUL character"),
        ({"url": "example.com/mcp"}, "its `url` is 'example.com/mcp', which has no scheme"),
        ({"url": "example.com/mcp"}, "Did you mean 'https://example.com/mcp'?"),
        ({"serverUrl": "localhost:3000/mcp"}, "Did you mean 'http://localhost:3000/mcp'?"),
        ({"url": "127.0.0.1:3000"}, "Did you mean 'http://127.0.0.1:3000'?"),
        ({"url": "/mcp"}, "Begin it with https: and two slashes."),
        ({"url": "https://"}, "which has no host"),
        ({"url": "https://[::1/mcp"}, "which is not a URL"),
        ({"url": "https://x.example:99999/"}, "The port must be a number up to 65535"),
        ({"url": "https://exa mple.com/"}, "a blank in the name of its host"),
    ],
)
def test_a_value_that_no_server_can_have_is_named_with_its_key(entry: dict[str, Any], words: str) -> None:
    server = one(entry)
    assert server.template is None
    [note] = server.notes
    assert note.startswith("server 's': its `")
    assert words in note


@pytest.mark.parametrize(
    ("timeout", "limits"),
    [
        (5_000, {"discovery_timeout": 5.0}),
        (90_000, {"discovery_timeout": 90.0, "call_timeout": 90.0}),
        ({"startup": 2_000, "catalog": 9_000}, {"discovery_timeout": 9.0}),
        ({"startup": 2_000, "execution": 120_000}, {"discovery_timeout": 2.0, "call_timeout": 120.0}),
        ({"request": 3_000}, {"call_timeout": 3.0}),
        ({}, {}),
    ],
)
def test_limits_of_opencode_end_nothing_earlier_than_the_host(timeout: Any, limits: dict[str, float]) -> None:
    content = {"mcp": {"s": {"type": "local", "command": ["c"], "timeout": timeout}}}
    [server] = read_servers(content, host=HOSTS["opencode"], where="")
    assert fields(server) == {"command": "c", **limits}
    assert server.notes == ()


def test_a_message_about_a_url_has_no_secret_of_it() -> None:
    for url in ("example.com/mcp?token=S3cr3t-x9", "http://me:S3cr3t-x9@[::1/", "https://exa mple.com/?key=S3cr3t-x9"):
        [note] = one({"url": url}).notes
        assert "S3cr3t-x9" not in note
        assert "***" in note
