"""What a server offers besides tools: an odd entry costs itself alone, and every host accepts the others."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp_types.methods import serialize_server_result
from mcp_types.version import KNOWN_PROTOCOL_VERSIONS

from utcp_bridge.transports.mcp.listing import LISTS, icons_of, tidy

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = (
    "uri",
    "uriTemplate",
    "name",
    "title",
    "description",
    "mimeType",
    "size",
    "annotations",
    "icons",
    "_meta",
    "arguments",
)
ENTRY = st.fixed_dictionaries({}, optional={key: JSON | st.text(min_size=1) for key in KEYS})


@pytest.mark.parametrize("field", list(LISTS))
@given(entries=st.lists(JSON | ENTRY, max_size=5))
def test_every_host_accepts_what_is_kept(field: str, entries: list[Any]) -> None:
    kind = LISTS[field]
    kept, wrong = tidy(kind, [*entries, {"uri": "a:b", "uriTemplate": "a:{b}", "name": "good"}])
    assert len(kept) + len(wrong) == len(entries) + 1
    assert any(one["name"] == "good" for one in kept) or any("same" in what for what in wrong)
    for version in KNOWN_PROTOCOL_VERSIONS:
        hints = {"ttlMs": 0, "cacheScope": "private", "resultType": "complete"}
        serialize_server_result(kind.method, version, {kind.field: list(kept), **hints})


def test_what_is_left_out_is_named() -> None:
    kept, wrong = tidy(LISTS["resources"], [{"uri": "a:b", "size": "many"}, {"name": "x"}, 7, {"uri": "a:b"}])
    assert kept == ({"uri": "a:b", "name": "a:b"},)
    assert wrong == [
        "entry 2 of `resources` has no `uri`",
        "entry 3 of `resources` has no `uri`",
        "entry 4 of `resources` has the same `uri` as an earlier one",
    ]


def test_icons_are_on_the_web_or_data() -> None:
    given = [{"src": "file:///etc/passwd"}, {"src": "https://x.example/i", "sizes": "any", "theme": "blue"}, "icon", {}]
    assert icons_of(given) == [{"src": "https://x.example/i", "sizes": ["any"]}]
    assert icons_of([{"src": f"https://x.example/{number}"} for number in range(50)])[-1]["src"].endswith("/7")
    assert icons_of("no list") == []
