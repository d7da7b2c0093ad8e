"""Links in results of other programs: which become text."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.catalogue.links import refused_link

CLOSED = st.sampled_from(["127.0.0.1", "10.1.2.3", "172.16.0.9", "192.168.7.7", "169.254.169.254", "100.64.1.1"])
SCHEMES = st.sampled_from(["http", "https", "HTTP", "ws", "ftp", "redis", "hTtPs"])
TAILS = st.sampled_from(["", "/", "/x?y#z", ":80/", ":8080", "?q", "#f"])
USERS = st.sampled_from(["", "u@", "u:p@", "example.com@", "example.com:80@"])


def forms(address: str) -> list[str]:
    number = int(ipaddress.IPv4Address(address))
    bytes_of = address.split(".")
    return [
        address,
        str(number),
        hex(number),
        ".".join(hex(int(one)) for one in bytes_of),
        ".".join(f"0{int(one):o}" for one in bytes_of),
        f"[::ffff:{address}]",
        f"[64:ff9b::{number >> 16:x}:{number & 65535:x}]",
        address + ".",
        address.replace(".", "%2e"),
        address.replace(".", "\u3002"),
    ]


@given(SCHEMES, USERS, CLOSED, st.integers(0, 9), TAILS, st.sampled_from(["//", "\\\\", "/\\", "/\t/"]))
def test_a_closed_address_is_refused_in_every_spelling(
    scheme: str, user: str, address: str, form: int, tail: str, slashes: str
) -> None:
    assert refused_link(f"{scheme}:{slashes}{user}{forms(address)[form]}{tail}") is not None


@pytest.mark.parametrize(
    "uri",
    [
        "file:///etc/passwd",
        " FILE:/etc/passwd",
        "fi\tle:///x",
        "C:\\secret.txt",
        "/etc/passwd",
        "~/.ssh/id_rsa",
        "../x",
        "smb://host/share",
        "javascript:alert(1)",
        "java\nscript:alert(1)",
        "data:text/html,<script>",
        "vscode://x",
        "ms-msdt:/id",
        "http://localhost/x",
        "//localhost:9/x",
        "http://metadata.google.internal/",
    ],
)
def test_what_a_remote_upstream_must_not_link_to(uri: str) -> None:
    assert refused_link(uri) is not None


@pytest.mark.parametrize(
    "uri", ["https://example.com/a", "http://8.8.8.8/", "mailto:a@example.com", "data:image/png;base64,AA", "log:today"]
)
def test_public_links_pass(uri: str) -> None:
    assert refused_link(uri) is None


def test_a_program_on_this_machine_may_name_files_and_not_code() -> None:
    assert refused_link("file:///tmp/report.pdf", is_local=True) is None
    assert refused_link("http://127.0.0.1:3000/x", is_local=True) is None
    assert refused_link("javascript:alert(1)", is_local=True) is not None


def test_an_endpoint_of_the_configuration_passes() -> None:
    assert refused_link("http://127.0.0.1:3000/x", written={"127.0.0.1:3000"}) is None
    assert refused_link("http://127.0.0.1:3001/x", written={"127.0.0.1:3000"}) is not None
