"""Post-processing of results: UTCP's processors, projections, scopes, and what passes untouched.

Projections by JMESPath.
"""

import pytest
from tests.support.tools import make_tool

from utcp_bridge.errors import ConfigError, MalformedReply
from utcp_bridge.model import Binary, Call, ContentBlocks, Result, WrittenValue, discard
from utcp_bridge.pipeline.post_processing import PostProcessing, compile_projection, read_post_processors
from utcp_bridge.telemetry.recent import RecentCalls

pytestmark = pytest.mark.anyio

FILTER = "filter_dict"
LIMIT = "limit_strings"


def processors(*entries):
    made, faults = read_post_processors([{"tool_post_processor_type": kind, **options} for kind, options in entries])
    assert faults == []
    return made


async def through(value, *entries, tool=None, partials=(), emit=discard):
    tool = tool or make_tool("echo")

    async def inner(_call, emit):
        for partial in partials:
            await emit(partial)
        return Result(value)

    step = PostProcessing(processors(*entries))(tool, inner)
    return (await step(Call(tool, {}), emit)).value


BOOK = {"title": "Solaris", "meta": {"isbn": 1, "secret": 2}, "tags": [{"secret": 3}, {"id": 4}, "new"]}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"exclude_keys": ["secret"]}, {"title": "Solaris", "meta": {"isbn": 1}, "tags": [{"id": 4}, "new"]}),
        ({"only_include_keys": ["isbn", "id"]}, {"meta": {"isbn": 1}, "tags": [{"id": 4}]}),
        ({"only_include_keys": ["meta"]}, {"meta": {"isbn": 1, "secret": 2}}),
        ({"only_include_keys": ["meta", "isbn"]}, {"meta": {"isbn": 1}}),
        ({"exclude_keys": ["meta"], "only_include_keys": ["isbn", "title"]}, {"title": "Solaris"}),
        ({}, BOOK),
    ],
)
async def test_keys_are_dropped_or_kept_at_every_depth(options, expected):
    assert await through(BOOK, (FILTER, options)) == expected


async def test_texts_are_cut_and_processors_run_in_order():
    value = {"a": "long text", "b": ["x" * 20, 7, None], "secret": "s"}
    cut = await through(value, (FILTER, {"exclude_keys": ["secret"]}), (LIMIT, {"limit": 4}))
    assert cut == {"a": "long", "b": ["xxxx", 7, None]}
    assert await through("x" * 10_001, (LIMIT, {})) == "x" * 10_000


@pytest.mark.parametrize(
    ("scope", "applies"),
    [
        ({"only_include_tools": ["peer.echo"]}, True),
        ({"only_include_tools": ["peer.*"]}, True),
        ({"only_include_tools": ["other.*"]}, False),
        ({"exclude_tools": ["*.echo"]}, False),
        ({"only_include_manuals": ["pe*"]}, True),
        ({"exclude_manuals": ["peer"]}, False),
        ({"only_include_manuals": []}, False),
    ],
)
async def test_a_processor_is_for_the_tools_and_manuals_that_it_names(scope, applies):
    assert await through("abc", (LIMIT, {"limit": 1, **scope})) == ("a" if applies else "abc")


async def test_partial_results_go_the_same_way():
    seen = []

    async def emit(partial):
        seen.append(partial)

    await through([], (LIMIT, {"limit": 2}), partials=["abc", {"a": "xyz"}], emit=emit)
    assert seen == ["ab", {"a": "xy"}]


async def test_bytes_and_pictures_pass_and_texts_of_blocks_are_cut():
    image = {"type": "image", "data": "x" * 9}
    blocks = ContentBlocks([{"type": "text", "text": "abcdef"}, image], {"a": "abcdef"}, is_error=True)
    assert await through(Binary(b"abcdef"), (LIMIT, {"limit": 2})) == Binary(b"abcdef")
    cut = await through(blocks, (LIMIT, {"limit": 2}))
    assert cut == ContentBlocks([{"type": "text", "text": "ab"}, image], {"a": "ab"}, is_error=True)


async def test_a_projection_comes_first_and_a_failing_one_is_an_error():
    tool = make_tool("echo", projection="items[].name")
    value = {"items": [{"name": "abc"}, {"name": "def"}]}
    assert await through(value, (LIMIT, {"limit": 1}), tool=tool) == ["a", "d"]
    with pytest.raises(MalformedReply, match="does not fit"):
        await through({"items": 5}, tool=make_tool("echo", projection="length(items)"))


async def test_a_processor_that_changes_the_value_itself_leaves_no_old_bytes():
    class Careless:
        applies = staticmethod(lambda tool: True)

        def process(self, value):
            value["a"] = 2
            return value

    async def inner(_call, _emit):
        value = {"a": 1}
        return Result(value, written=WrittenValue(value, b'{"a":1}'))

    tool = make_tool("echo")
    result = await PostProcessing([Careless()])(tool, inner)(Call(tool, {}), discard)
    assert (result.value, result.data) == ({"a": 2}, None)


def test_the_layer_leaves_itself_out_if_nothing_applies():
    async def inner(_call, _emit):
        return Result(1)

    layer = PostProcessing(processors((LIMIT, {"only_include_tools": ["other.tool"]})))
    assert layer(make_tool("echo"), inner) is inner


def test_a_faulty_entry_is_reported_and_leaves_the_others():
    made, faults = read_post_processors(
        [
            {"tool_post_processor_type": "shout"},
            {"tool_post_processor_type": LIMIT, "limit": -1},
            {"limit": 3},
            {"tool_post_processor_type": LIMIT, "limit": 3},
        ]
    )
    assert len(made) == 1
    assert [fault.where for fault in faults] == [f"post_processing[{number}]" for number in range(3)]
    assert "filter_dict" in faults[0].remedy
    assert "limit" in faults[1].what


def test_an_expression_gives_the_part_it_names() -> None:
    project = compile_projection("items[?n > `1`].name | [0]")
    assert project({"items": [{"n": 1, "name": "a"}, {"n": 2, "name": "b"}]}) == "b"
    assert project({}) is None


def test_an_invalid_expression_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="not a JMESPath expression"):
        compile_projection("items[")


def test_a_value_of_the_wrong_type_is_an_error_with_the_expression() -> None:
    with pytest.raises(MalformedReply, match="length"):
        compile_projection("length(@)")(5)


@pytest.mark.parametrize(("is_on", "saved"), [(True, len('"b":[1,2,3],')), (False, 0)])
async def test_what_a_projection_leaves_out_is_counted_if_somebody_looks(is_on, saved):
    tool = make_tool("echo", projection="{a: a}")
    recent = RecentCalls(is_on=is_on)

    async def inner(_call, _emit):
        return Result({"b": [1, 2, 3], "a": 1})

    await PostProcessing((), recent)(tool, inner)(Call(tool, {}), discard)
    assert recent.saved == saved
