"""x-mcp-header annotations."""

import pytest
from mcp.shared.inbound import find_invalid_x_mcp_header

from utcp_bridge.catalogue.schemas.headers import keep_valid_headers

HEADER = {"type": "string", "x-mcp-header": "Region"}
BARE = {"type": "string"}


def test_a_valid_annotation_stays_also_below_another_property():
    schema = {"type": "object", "properties": {"a": {"type": "object", "properties": {"b": HEADER}}}}
    assert keep_valid_headers(schema) == schema


@pytest.mark.parametrize(
    ("schema", "kept"),
    [
        ({"x-mcp-header": "Root"}, {}),
        ({"properties": {"a": {"type": "number", "x-mcp-header": "N"}}}, {"properties": {"a": {"type": "number"}}}),
        ({"properties": {"a": {"x-mcp-header": "N"}}}, {"properties": {"a": {}}}),
        ({"properties": {"a": {**BARE, "x-mcp-header": "no token"}}}, {"properties": {"a": BARE}}),
        ({"properties": {"a": {**BARE, "x-mcp-header": 3}}}, {"properties": {"a": BARE}}),
        ({"properties": {"a": {**BARE, "x-mcp-header": ""}}}, {"properties": {"a": BARE}}),
        (
            {"properties": {"a": HEADER, "b": {**BARE, "x-mcp-header": "REGION"}}},
            {"properties": {"a": HEADER, "b": BARE}},
        ),
        ({"properties": {"a": {"items": HEADER}}}, {"properties": {"a": {"items": BARE}}}),
        ({"anyOf": [{"properties": {"a": HEADER}}]}, {"anyOf": [{"properties": {"a": BARE}}]}),
        ({"$defs": {"d": {"properties": {"a": HEADER}}}}, {"$defs": {"d": {"properties": {"a": BARE}}}}),
    ],
)
def test_an_invalid_annotation_is_taken_out(schema, kept):
    assert find_invalid_x_mcp_header(schema) is not None
    assert keep_valid_headers(schema) == kept
    assert find_invalid_x_mcp_header(kept) is None


def test_data_that_looks_like_an_annotation_is_data():
    schema = {"properties": {"a": {"type": "object", "default": {"x-mcp-header": "x"}}}}
    assert keep_valid_headers(schema) == schema
