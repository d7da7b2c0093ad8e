"""Web pages where something else was expected."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.net.web_page import is_web_page, words_of

PAGE = """<!DOCTYPE html><html><head><meta charset=utf-8><title>502 Bad
 Gateway</title><style>body { color: red }</style></head><body><script>var x = "<p>no</p>";</script>
<!-- hidden --><h1>Bad Gateway</h1><p>The server is&nbsp;<b>busy</b>.<br>Try again &amp; again.</p>
<div style="display: none">unseen</div><div hidden><p>unseen</p></div><svg><text>unseen</text></svg>
<noscript>unseen</noscript><ul><li>one<li>two</ul></body></html>"""


def test_a_page_is_reduced_to_its_title_and_its_visible_words() -> None:
    expected = ["502 Bad Gateway", "Bad Gateway", "The server is busy.", "Try again & again.", "one", "two"]
    assert words_of(PAGE, 1000).split("\n") == expected


def test_the_title_is_not_repeated() -> None:
    assert words_of("<title>Not Found</title><h1>Not  Found</h1>", 100) == "Not Found"


def test_a_head_that_is_not_closed_hides_nothing() -> None:
    assert words_of("<head><title>T<body>seen", 100).endswith("seen") or "seen" in words_of("<head><body>seen", 100)


@given(st.text(alphabet=st.sampled_from("<>/!-=\"' abtitle&;#p"), max_size=60), st.integers(1, 40))
def test_any_text_gives_words_within_the_limit(page: str, limit: int) -> None:
    assert len(words_of(page, limit)) <= limit


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"<!doctype HTML>", True),
        (b"\xef\xbb\xbf \n<!-- a --><html>", True),
        (b"<body class=x>", True),
        (b"<?xml version='1.0'?><a/>", False),
        (b'{"html": 1}', False),
        (b"<!-- open", False),
        (b"<header/>", False),
        (b"", False),
    ],
)
def test_a_page_is_known_by_its_first_tag(body: bytes, expected: bool) -> None:
    assert is_web_page(body) is expected


@pytest.mark.parametrize("lead", ["", "<script>", "<title>", "<svg>"])
@pytest.mark.parametrize(
    "piece",
    ["<!--", "<!", "<?", "<![CDATA[", "</", "</a ", "<a href='", '<a b="', "<a x ", "<a/", "<svg></p>", "<script>"],
)
def test_a_page_of_unfinished_pieces_is_read_in_one_pass(lead, piece):
    """A parser that starts again at each piece needs hours for this one, so a test of another parser would not end."""
    words = words_of(f"<body>Out of order<p>{lead}{piece * (512 * 1024 // len(piece))}", 100)
    assert "Out of order" in words
    assert len(words) <= 100


def test_a_quoted_sign_does_not_end_a_tag_and_a_long_number_is_replaced():
    page = '<p title="a > b" class="hidden x">One<b aria-hidden=true>two</b> &#' + "1" * 5_000 + ";"
    assert words_of(page, 100) == "Onetwo \ufffd"
