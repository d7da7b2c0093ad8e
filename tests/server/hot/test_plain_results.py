"""Plain results have the members, and their order, of the SDK's models."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.server_client import StandIn

from utcp_bridge.server.app import BridgeServer
from utcp_bridge.server.hot.plain_results import in_order
from utcp_bridge.settings import BridgeSettings

VERSIONS = ("2025-06-18", "2025-11-25", "2026-07-28")
TEXT = st.text(max_size=10)
BLOCKS = st.fixed_dictionaries({"type": st.just("text"), "text": TEXT}) | st.fixed_dictionaries(
    {"type": st.just("resource_link"), "uri": TEXT, "name": TEXT},
    optional={"description": TEXT, "title": TEXT, "mimeType": TEXT},
)
RESULTS = st.fixed_dictionaries(
    {"content": st.lists(BLOCKS, max_size=3), "isError": st.booleans(), "resultType": st.just("complete")},
    optional={"structuredContent": st.dictionaries(TEXT, st.integers(), max_size=2)},
)


@pytest.fixture(scope="module")
def calls():
    return BridgeServer(StandIn(BridgeSettings())).hot


@pytest.mark.parametrize("version", VERSIONS)
@given(result=RESULTS)
def test_a_plain_result_is_written_as_the_sdk_writes_it(calls, version, result):
    shaped = calls._shaper._serialize("tools/call", version, result)
    stamp = calls._stamp if version == "2026-07-28" else None
    assert json.dumps(in_order(result, stamp)) == json.dumps(shaped)


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image", "data": "", "mimeType": "image/png"},
        {"type": "resource_link", "uri": "a:b"},
        {"type": "resource_link", "uri": "a:b", "name": "n", "size": 3},
        {"type": "resource_link", "uri": "a:b", "name": None},
        {"type": "text", "text": "a", "annotations": {}},
        None,
    ],
)
def test_any_other_block_is_left_to_the_sdk(block):
    assert in_order({"content": [block], "isError": False, "resultType": "complete"}, None) is None
