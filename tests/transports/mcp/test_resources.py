"""Resources as tools, and what reading them comes to."""

import base64

from utcp_bridge.model import Binary, ContentBlocks
from utcp_bridge.transports.mcp.resources import ResourceTemplate, resource_tools, resource_value


def test_each_resource_is_a_tool_without_arguments_under_a_name_of_its_own() -> None:
    resources = [
        {"name": "a b", "uri": "x://1"},
        {"name": "a.b", "uri": "x://2", "description": "Two."},
        {"uri": "x://é"},
    ]
    first, second, third = resource_tools("s", resources, [], flat=False)
    assert [tool["name"] for tool in (first, second, third)] == ["s.resource_a_b", "s.resource_a_b_2", "s.resource_x"]
    assert (first["description"], second["description"]) == ("Read x://1.", "Two.")
    assert first["inputs"]["properties"] == {}
    assert second["overlay"] == {"server": "s", "resource_uri": "x://2"}


def test_a_templates_variables_are_arguments() -> None:
    template = ResourceTemplate({"name": "note", "uriTemplate": "x://{id}{?lang}"}, {"id": True, "lang": False})
    [tool] = resource_tools("s", [], [template], flat=True)
    assert tool["name"] == "resource_note"
    assert tool["inputs"]["required"] == ["id"]
    assert set(tool["inputs"]["properties"]) == {"id", "lang"}


def test_one_part_is_text_or_bytes_and_several_are_blocks() -> None:
    text, blob = {"uri": "x://1", "text": "hi"}, {"uri": "x://1", "blob": base64.b64encode(b"\x00").decode()}
    assert resource_value([text]) == "hi"
    assert resource_value([blob]) == Binary(b"\x00", "application/octet-stream")
    assert resource_value([text, blob]).content[0] == {"type": "resource", "resource": text}
    assert isinstance(resource_value([{"uri": "x://1", "blob": "no base64!"}]), ContentBlocks)
    assert resource_value([]).content == []
