"""Tools cross the border between two processes unchanged, and what they share crosses once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.dialects import RawTool
from utcp_bridge.dialects.crossing import ToolReader, ToolWriter

LEAF = st.sampled_from([None, True, 0, 1, 2, 2**70, -1, 0.5, "", "a", "é"])
PART = LEAF | st.sampled_from([{}, {"type": "string"}, {"a": {"b": 1}}, {"a": {"b": 1.0}}, [0]])
OBJECTS = st.dictionaries(st.sampled_from("abc"), PART, max_size=3)
SCHEMAS = OBJECTS | st.fixed_dictionaries({}, optional={"properties": OBJECTS, "$defs": OBJECTS, "type": PART})
TOOLS = st.lists(
    st.builds(
        RawTool,
        st.sampled_from("ab"),
        OBJECTS,
        SCHEMAS,
        outputs=st.none() | SCHEMAS,
        tags=st.sampled_from([(), ("x", "y")]),
        average_response_size=st.sampled_from([None, 0, 1, 5]),
        rest=OBJECTS,
    ),
    max_size=5,
)


def crossed(tools: list[RawTool]) -> tuple[list[RawTool], list[bytes]]:
    writer, reader = ToolWriter(), ToolReader()
    lines = [writer.line(tool) for tool in tools]
    return [reader.tool(line) for line in lines], lines


@given(TOOLS)
def test_tools_cross_unchanged_whatever_they_share(tools: list[RawTool]) -> None:
    read, lines = crossed(tools)
    assert read == tools
    assert repr([(one.inputs, one.outputs) for one in read]) == repr([(one.inputs, one.outputs) for one in tools])
    assert all(line.count(b"\n") == 1 and line.endswith(b"\n") for line in lines)


def test_definitions_cross_once_and_are_one_object_again() -> None:
    definitions = {f"D{number}": {"type": "object", "description": f"{number} " * 100} for number in range(100)}
    tools = [
        RawTool(f"t{number}", {"url": f"/{number}"}, {"properties": {f"p{number}": {}}, "$defs": dict(definitions)})
        for number in range(50)
    ]
    read, lines = crossed(tools)
    assert len(lines[0]) > 20_000
    assert all(len(line) < 2_500 for line in lines[1:])
    assert len({id(tool.inputs["$defs"]["D7"]) for tool in read}) == 1


def test_equal_objects_that_are_not_the_same_one_are_shared_too() -> None:
    tools = [
        RawTool(f"t{number}", {"url": "/a"}, {"type": "object", "properties": {"q": {"type": "string"}}}, outputs={})
        for number in range(3)
    ]
    read, lines = crossed(tools)
    assert len({id(tool.inputs) for tool in read}) == 1
    assert len({id(tool.template) for tool in read}) == 1
    assert len(lines[2]) < 100


def test_a_number_in_a_schema_is_not_taken_for_a_shared_object() -> None:
    tools = [
        RawTool("a", {"x": 1}, {"properties": {"q": {"type": "string"}}}),
        RawTool("b", {}, {"properties": {"q": 0}}),
    ]
    assert crossed(tools)[0] == tools


def test_numbers_of_any_length_and_half_characters_cross() -> None:
    tools = [
        RawTool(name, {}, {"properties": {"q": {"const": value}}}) for name, value in (("a", 2**80), ("b", "\ud800"))
    ]
    assert crossed([*tools, *tools])[0] == [*tools, *tools]
