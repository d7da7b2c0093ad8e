"""Lists in pages: all entries in order, whatever their sizes are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp import MCPError

from utcp_bridge.server.relay.pages import page_of_list


@given(st.lists(st.integers(0, 600_000), max_size=8))
def test_the_pages_have_every_entry_once(sizes: list[int]) -> None:
    entries = [{"name": f"{number}", "description": "x" * size} for number, size in enumerate(sizes)]
    found, cursor, pages = [], None, 0
    while pages == 0 or cursor is not None:
        page, cursor = page_of_list(entries, cursor)
        found += page
        pages += 1
        assert page or not entries
    assert found == entries
    assert pages == 1 or sum(sizes) > 480 * 1024 - 2_000


@pytest.mark.parametrize("cursor", ["", "x", "MA", "===", "OTk5.abc", "é"])
def test_a_strange_cursor_is_an_error_of_the_protocol(cursor: str) -> None:
    with pytest.raises(MCPError) as caught:
        page_of_list([{"name": "one"}], cursor)
    assert caught.value.code == -32602


def test_a_cursor_of_an_earlier_list_is_refused() -> None:
    entries = [{"name": "x" * 300_000}, {"name": "y" * 300_000}]
    _, cursor = page_of_list(entries, None)
    with pytest.raises(MCPError):
        page_of_list([*entries, {"name": "new"}], cursor)
