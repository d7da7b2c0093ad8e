import pytest

from utcp_bridge.errors import ConfigError
from utcp_bridge.net.listening import bind, for_url, is_loopback


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.0.2.1", False),
        ("localhost.example.com", False),
    ],
)
def test_loopback_means_reachable_only_from_this_machine(host, own):
    assert is_loopback(host) is own


def test_ipv6_is_in_brackets_in_a_url():
    assert [for_url(host) for host in ("::1", "[::1]", "127.0.0.1")] == ["[::1]", "[::1]", "127.0.0.1"]


def test_a_port_is_bound_once():
    with bind("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(ConfigError, match=f"Cannot listen on 127.0.0.1:{port}"):
            bind("127.0.0.1", port)
    with pytest.raises(ConfigError, match="Cannot listen on no such host"):
        bind("no such host", 0)
