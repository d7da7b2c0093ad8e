"""Lists of servers, page by page and entry by entry: an odd one costs itself."""

from __future__ import annotations

import itertools
import json
from functools import partial
from typing import Any

import anyio
import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.errors import ConnectionLost
from utcp_bridge.model import Faults, JsonObject
from utcp_bridge.transports.mcp.listing import LISTS, ListLimits, read_list, tidy, usable_templates, usable_tools
from utcp_bridge.transports.mcp.schemas import usable_schema
from utcp_bridge.upstream import ProtocolError

pytestmark = pytest.mark.anyio

GOOD: JsonObject = {
    "name": "good",
    "title": "Good",
    "description": "A good tool.",
    "inputSchema": {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
    "outputSchema": {"type": "object", "properties": {"b": {"type": "array", "items": {"type": "integer"}}}},
    "annotations": {"readOnlyHint": True},
}
VALUES: list[Any] = [
    None, True, False, 0, -1, 1.5, 10**30, "", " ", "text", "int", "\ud83d", [], [None], ["a", "a"], [["x"]], {},
    {"a": None},
    {"type": "int"}, {"type": ["object", 5]}, {"type": "string"}, {"$ref": "#/nowhere"}, {"anyOf": "x"},
    {"type": "object", "properties": {"c": {"type": "string"}, "required": ["c"]}},
    {"type": "object", "properties": {"x": True, "y": None, "z": "string", "w": [1], "v": 5}},
    {"type": "object", "required": True}, {"properties": []}, {"items": [{"type": "foo"}]},
    {"enum": "x", "minLength": "2"},
]  # fmt: skip
FIELDS = [
    "name", "title", "description", "inputSchema", "outputSchema", "annotations", "icons", "_meta", "execution", "tags",
]  # fmt: skip
ODD_TOOLS: list[Any] = [
    *VALUES,
    *({**GOOD, "name": f"{field}{number}", field: value} for field in FIELDS for number, value in enumerate(VALUES)),
    *({key: value for key, value in GOOD.items() if key != field} for field in FIELDS),
]
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=6)
    | st.sampled_from(VALUES),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*FIELDS, "type", "properties", "items", "required", "anyOf", "x"]), inner)
    ),
    max_leaves=12,
)


def named(number: int) -> JsonObject:
    return {**GOOD, "name": f"good{number}"}


@pytest.mark.parametrize("odd", ODD_TOOLS, ids=lambda odd: json.dumps(odd)[:60])
def test_a_good_tool_survives_any_neighbour_and_what_is_listed_is_well_formed(odd: Any) -> None:
    faults = Faults()
    tools = usable_tools([named(1), odd, named(2)], "MCP server 's'", faults)
    assert [tool for tool in tools if tool["name"] in {"good1", "good2"}] == [named(1), named(2)]
    assert len(tools) == 3 or faults.faults
    for tool in tools:
        assert tool["name"].strip()
        assert tool["inputSchema"]["type"] == "object" or "object" in tool["inputSchema"]["type"]
        assert all(isinstance(tool.get(key, ""), str) for key in ("title", "description"))
        assert isinstance(tool.get("outputSchema", {}), dict)
        assert all(isinstance(value, bool) for key, value in tool.get("annotations", {}).items() if "Hint" in key)


@given(st.lists(JSON, max_size=5))
def test_no_list_of_anything_raises_or_costs_a_good_tool(entries: list[Any]) -> None:
    tools = usable_tools([*entries, GOOD], "s", Faults())
    assert sum(tool == GOOD for tool in tools) == 1 or any(tool["name"] == "good" for tool in tools[:-1])
    resources, _ = tidy(LISTS["resources"], [*entries, {"uri": "a:b"}])
    assert resources[-1]["uri"] == "a:b"
    templates, _ = tidy(LISTS["resource_templates"], [*entries, {"uriTemplate": "a:{b}"}])
    assert usable_templates(templates, "s", Faults())[-1].variables == {"b": True}


@given(JSON)
def test_a_mended_schema_stays_as_it_is_and_a_valid_one_is_not_touched(raw: Any) -> None:
    mended = usable_schema(raw, "t", Faults())
    faults = Faults()
    assert usable_schema(mended, "t", faults) is mended
    assert not faults.faults
    if isinstance(raw, dict) and raw.get("type") == "object" and jsonschema_rs.meta.is_valid(raw):
        kept = usable_schema(raw, "t", faults)
        assert all(kept.get(key) == value for key, value in raw.items()) or "items" in str(raw) or "Of" in str(raw)


@pytest.mark.parametrize(
    ("schema", "mended"),
    [
        ({"type": "object", "properties": {"n": {"type": "int"}}}, {"n": {"type": "integer"}}),
        ({"type": "object", "properties": {"n": {"type": ["str", None, "str"]}}}, {"n": {"type": ["string"]}}),
        ({"type": "object", "properties": {"n": "string", "m": None}}, {"n": {"type": "string"}, "m": {}}),
        ({"type": "object", "properties": {"n": {"enum": "x", "minLength": -1}}}, {"n": {}}),
        (
            {"properties": {"a": {"properties": {"b": {"type": "Dict"}}}}},
            {"a": {"properties": {"b": {"type": "object"}}}},
        ),
    ],
)
def test_types_are_mended_at_any_depth(schema: JsonObject, mended: JsonObject) -> None:
    faults = Faults()
    found = usable_schema(schema, "t", faults)
    assert found == {"type": "object", "properties": mended}
    assert jsonschema_rs.meta.is_valid(found)
    [fault] = faults.faults
    assert fault.severity == "warning"
    assert "was mended" in fault.what


def test_of_two_tools_with_one_name_the_first_is_used_and_equal_ones_are_one() -> None:
    faults = Faults()
    other = {**GOOD, "description": "Another."}
    assert usable_tools([GOOD, GOOD, other], "s", faults) == [GOOD]
    assert [fault.where for fault in faults.faults] == ["s, tool 'good'"]


# --- pages ---


async def read(pages: Any, limit: int = 1_000, size: int = 1 << 24) -> tuple[list[Any], list[str], int]:
    """Return the entries of pages, the faults, and how often was asked. `pages` yields results or errors."""
    replies, asked, faults = iter(pages), itertools.count(), Faults()

    async def ask(method: str, params: JsonObject) -> JsonObject:
        next(asked)
        reply = next(replies)
        if isinstance(reply, Exception):
            raise reply
        return reply

    found = await read_list(ask, "tools/list", "tools", limits=ListLimits(limit, size), where="s", faults=faults)
    return found, [str(fault) for fault in faults.faults], next(asked)


@pytest.mark.parametrize(
    ("pages", "entries", "asked", "is_told"),
    [
        ([{"tools": [1], "nextCursor": "a"}, {"tools": [2]}], [1, 2], 2, False),
        ([{"tools": [1], "nextCursor": 7}, {"tools": [2], "nextCursor": ""}], [1, 2], 2, False),
        ([{"tools": [1], "nextCursor": "a"}, {"tools": [2], "nextCursor": "a"}], [1, 2], 2, True),
        ([{"tools": [1], "nextCursor": "a"}, ConnectionLost("gone")], [1], 2, True),
        ([{"tools": [1], "nextCursor": {"page": 2}}, ProtocolError(-32602, "no such cursor")], [1], 2, True),
        ([{"tools": [1], "nextCursor": "a"}, {"tools": 5}], [1], 2, True),
        ([{"tools": {"a": {"x": 1}, "b": 5}}], [{"name": "a", "x": 1}, 5], 1, False),
        ([{"content": [1, 2]}], [1, 2], 1, False),
        ([{}], [], 1, False),
        ([{"tools": None}], [], 1, False),
    ],
)
async def test_pages_of_any_kind_are_read_to_their_end(
    pages: list[Any], entries: list[Any], asked: int, is_told: bool
) -> None:
    found, faults, count = await read(pages)
    assert (found, count, bool(faults)) == (entries, asked, is_told)


async def test_pages_without_end_end() -> None:
    same = ({"tools": [1], "nextCursor": str(number)} for number in itertools.count())
    found, faults, asked = await read(same)
    assert (set(found), asked, len(faults)) == ({1}, 11, 1)
    new = ({"tools": [number], "nextCursor": str(number)} for number in itertools.count())
    found, faults, asked = await read(new, limit=50)
    assert (len(found), asked, faults) == (50, 50, [])


async def test_the_bytes_of_all_pages_are_limited_and_the_cut_is_named() -> None:
    page = {"tools": [1], "nextCursor": "a"}
    junk = ({**page, "tools": [number], "nextCursor": str(number), "_meta": "x" * 100} for number in itertools.count())
    found, faults, asked = await read(junk, size=1_000)
    assert (found, asked) == (list(range(8)), 8)
    assert "the pages of `tools/list` have more than 1,000 bytes. The bridge uses the first 8." in faults[0]
    found, faults, asked = await read([{"tools": ["x" * 2_000]}], size=1_000)  # the whole list is there
    assert (len(found), asked, faults) == (1, 1, [])


async def test_what_came_before_a_late_page_is_kept() -> None:
    faults, limits = Faults(), ListLimits(10, 1_000, 0.01)

    async def ask(_method: str, params: JsonObject) -> JsonObject:
        return await anyio.sleep_forever() if params else {"tools": [1], "nextCursor": "a"}  # type: ignore[return-value]

    assert await read_list(ask, "tools/list", "tools", limits=limits, where="s", faults=faults) == [1]
    assert "page 2 of `tools/list` could not be read: it took more than 0.01 seconds." in str(faults.faults[0])
    with pytest.raises(TimeoutError):
        await read_list(partial(ask_late, ask), "tools/list", "tools", limits=limits, where="s", faults=Faults())


async def ask_late(ask: Any, method: str, _params: JsonObject) -> JsonObject:
    return await ask(method, {"cursor": "late"})


async def test_a_first_page_that_cannot_be_read_is_an_error() -> None:
    with pytest.raises(ConnectionLost):
        await read([ConnectionLost("gone")])
