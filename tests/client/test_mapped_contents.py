"""Values of tools and files as contents of resources and prompts."""

import pytest

from utcp_bridge.client.mapped import contents_of, filled_in, message_of_file
from utcp_bridge.errors import MalformedReply
from utcp_bridge.model import Binary, ContentBlocks


@pytest.mark.parametrize(
    ("value", "contents"),
    [
        ("x", [{"uri": "a://b", "mimeType": "text/plain", "text": "x"}]),
        ({"n": 1}, [{"uri": "a://b", "mimeType": "application/json", "text": '{"n":1}'}]),
        (None, [{"uri": "a://b", "mimeType": "application/json", "text": "null"}]),
        (Binary(b"\x00", "image/png"), [{"uri": "a://b", "mimeType": "image/png", "blob": "AA=="}]),
        (
            [Binary(b"\x00", "image/png"), "x"],
            [
                {"uri": "a://b", "mimeType": "image/png", "blob": "AA=="},
                {"uri": "a://b", "mimeType": "text/plain", "text": "x"},
            ],
        ),
        (
            ContentBlocks(
                [
                    {"type": "text", "text": "x"},
                    {"type": "image", "data": "AA==", "mimeType": "image/png"},
                    {"type": "resource", "resource": {"uri": "c://d", "text": "y"}},
                    {"type": "film"},
                ]
            ),
            [
                {"uri": "a://b", "mimeType": "text/plain", "text": "x"},
                {"uri": "a://b", "mimeType": "image/png", "blob": "AA=="},
                {"uri": "c://d", "text": "y"},
            ],
        ),
    ],
)
def test_each_kind_of_value_becomes_contents(value, contents):
    assert contents_of("a://b", value, None) == contents


def test_the_media_type_of_the_map_wins():
    [content] = contents_of("a://b", {"n": 1}, "application/geo+json")
    assert content["mimeType"] == "application/geo+json"


def test_an_error_of_the_tool_is_an_error_of_the_resource():
    with pytest.raises(MalformedReply, match="no such city"):
        contents_of("a://b", ContentBlocks([{"type": "text", "text": "no such city"}], is_error=True), None)


@pytest.mark.parametrize(
    ("value", "block"),
    [
        ("x", {"type": "text", "text": "x"}),
        (Binary(b"\x00", "image/png"), {"type": "image", "data": "AA==", "mimeType": "image/png"}),
        (Binary(b"\x00", "audio/wav"), {"type": "audio", "data": "AA==", "mimeType": "audio/wav"}),
        (
            Binary(b"\x00", "application/zip"),
            {
                "type": "resource",
                "resource": {"uri": "file:///x.zip", "mimeType": "application/zip", "blob": "AA=="},
            },
        ),
    ],
)
def test_a_file_becomes_a_block_of_its_kind(value, block):
    assert message_of_file("x.zip", value) == block


def test_texts_at_any_depth_are_filled_in():
    assert filled_in({"a": ["{x}", {"b": "-{x}-"}], "c": 1}, {"x": "1"}) == {"a": ["1", {"b": "-1-"}], "c": 1}
