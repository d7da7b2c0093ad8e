"""Plain results have the members, and their order, of the SDK's models."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.server_client import StandIn

from utcp_bridge.catalogue.fitting import Budget
from utcp_bridge.catalogue.render import Rendering, TextResult, render_result
from utcp_bridge.errors import UpstreamError
from utcp_bridge.model import Result
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


VALUES = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | TEXT, st.lists, max_leaves=4)
ANSWERS = st.builds(
    Result,
    VALUES | st.dictionaries(TEXT, VALUES, max_size=3),
    truncated=st.none() | st.just("it is too long"),
    meta=st.dictionaries(st.sampled_from(["status", "links", "next"]), st.none() | st.integers() | TEXT, max_size=2),
    failure=st.none() | st.just(UpstreamError("it broke")),
)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("structured", [False, True])
@given(answer=ANSWERS)
def test_a_rendered_result_is_written_as_the_sdk_writes_it(calls, version, structured, answer):
    rendered = render_result(answer, Rendering(Budget(100_000), structured=structured))
    shaped = calls._shaper._serialize("tools/call", version, dict(rendered))
    assert json.dumps(calls.shaped(version, rendered)) == json.dumps(shaped)


def test_a_rendered_text_is_known_to_be_one():
    whole = Result({"a": 1}, meta={"status": 200})
    rendering = Rendering(Budget(100_000))
    assert type(render_result(whole, rendering)) is TextResult
    assert type(render_result(replace(whole, truncated="cut"), rendering)) is dict
    assert type(render_result(replace(whole, meta={"status": None}), rendering)) is dict
