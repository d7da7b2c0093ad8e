"""MCP content from elsewhere."""

import json

import mcp_types as types
import pytest
from pydantic import TypeAdapter

from utcp_bridge.catalogue.content_blocks import well_formed

CONTENT = TypeAdapter(types.ContentBlock)


def checked(block):
    kept = well_formed(block, json.dumps)
    CONTENT.validate_python(kept)
    return kept


@pytest.mark.parametrize(
    "block",
    [
        {"type": "text", "text": "x"},
        {
            "type": "text",
            "text": "x",
            "annotations": {"audience": ["user"], "priority": 0.5, "lastModified": "2026-01-01"},
        },
        {"type": "image", "data": "eA==", "mimeType": "image/png", "_meta": {"k": 1}},
        {"type": "audio", "data": "eA==", "mimeType": "audio/wav"},
        {
            "type": "resource_link",
            "uri": "a:b",
            "name": "n",
            "title": "t",
            "description": "d",
            "mimeType": "text/plain",
            "size": 3,
        },
        {"type": "resource", "resource": {"uri": "a:b", "text": "t", "mimeType": "text/plain", "_meta": {}}},
        {"type": "resource", "resource": {"uri": "a:b", "blob": "eA=="}},
    ],
)
def test_a_well_formed_block_passes_unchanged(block):
    assert checked(block) == block


@pytest.mark.parametrize(
    "block",
    [
        "text",
        None,
        {},
        {"type": "weird"},
        {"type": ["text"], "text": "x"},
        {"type": "text"},
        {"type": "text", "text": 3},
        {"type": "image", "data": "eA=="},
        {"type": "resource", "resource": {"uri": "a:b"}},
        {"type": "resource", "resource": {"text": "x"}},
        {"type": "resource", "resource": "x"},
        {"type": "resource_link", "uri": "a:b"},
    ],
)
def test_what_is_no_block_becomes_text(block):
    assert checked(block) == {"type": "text", "text": json.dumps(block)}


@pytest.mark.parametrize(
    ("extra", "kept"),
    [
        ({"annotations": "x"}, {}),
        ({"annotations": {"priority": 7}}, {}),
        (
            {"annotations": {"priority": True, "audience": ["robot"], "lastModified": "now"}},
            {"annotations": {"lastModified": "now"}},
        ),
        ({"annotations": {"audience": [3]}}, {}),
        ({"annotations": {"audience": "user"}}, {}),
        ({"_meta": [1]}, {}),
        ({"unknown": 1}, {}),
    ],
)
def test_malformed_fields_are_left_out(extra, kept):
    assert checked({"type": "text", "text": "x", **extra}) == {"type": "text", "text": "x", **kept}


def test_a_malformed_optional_field_of_a_link_is_left_out():
    assert checked({"type": "resource_link", "uri": "a:b", "name": "n", "size": "big", "title": 3}) == {
        "type": "resource_link",
        "uri": "a:b",
        "name": "n",
    }
