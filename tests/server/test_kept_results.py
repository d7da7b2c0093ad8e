"""Results that were cut are read on by their handle, by the caller that got them."""

import json
import math
import re

import anyio
import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcp import Client, MCPError, types
from mcp.client._memory import InMemoryTransport
from mcp.client.streamable_http import streamable_http_client
from tests.server.test_http import serve, server_of

from utcp_bridge.catalogue.fitting import json_size
from utcp_bridge.errors import InvalidArguments
from utcp_bridge.model import Binary, ContentBlocks, discard
from utcp_bridge.server.kept_results import KeptResults, handle_and_offset, page_of, resource_contents, selected
from utcp_bridge.server.meta_tools import Caller

pytestmark = pytest.mark.anyio

ROWS = [{"id": number, "name": f"Item {number}", "tags": ["new"] if number % 2 else []} for number in range(4_000)]
ERAS = ["auto", "legacy"]


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def store(max_bytes=10_000_000, seconds=60.0):
    clock = Clock()
    return KeptResults(max_bytes, seconds, clock), clock


def kept(value):
    results, _ = store()
    return results.find("me", results.keep("me", value))


@pytest.mark.parametrize("value", [{"a": [1, None]}, [1, 2], "täxt\n", Binary(b"\x00\xff", "image/png")])
def test_a_kept_value_is_found_unchanged_by_its_owner_only(value):
    results, _ = store()
    handle = results.keep("me", value)
    assert re.fullmatch("[0-9a-f]{32}", handle)
    assert results.find("me", handle).value == value
    assert results.find("another", handle) is None
    assert [one for one, _ in results.handles("me")] == [handle]
    assert results.handles("another") == []


def test_a_handle_ends_after_its_lifetime_and_reading_prolongs_it():
    results, clock = store(seconds=60)
    first, second = results.keep("me", "first"), results.keep("me", "second")
    clock.now = 50
    assert results.find("me", first) is not None
    clock.now = 70
    assert results.find("me", second) is None
    assert results.find("me", first) is not None
    clock.now = 200
    assert results.find("me", first) is None
    assert results.size == 0


async def test_a_result_that_has_ended_is_forgotten_although_nobody_asks():
    results = KeptResults(10_000_000, 0.02)
    results.keep("me", "x" * 200_000)
    results.keep("me", "y" * 200_000)
    with anyio.fail_after(60):
        while results.size:
            await anyio.lowlevel.checkpoint()


def test_the_oldest_results_go_first_and_a_too_large_one_is_not_kept():
    results, _ = store(max_bytes=1_000)
    handles = [results.keep("me", "x" * 400) for _ in range(3)]
    assert [results.find("me", handle) is not None for handle in handles] == [False, True, True]
    assert results.size == 800
    assert results.keep("me", "x" * 1_001) is None


def test_the_number_of_kept_results_is_limited():
    results, _ = store()
    handles = [results.keep("me", "x") for _ in range(1_001)]
    assert [results.find("me", handle) is None for handle in (handles[0], handles[1])] == [True, False]


@settings(deadline=None)
@given(
    st.text(max_size=300) | st.lists(st.integers() | st.text(max_size=30) | st.none(), max_size=40),
    st.integers(min_value=250, max_value=600),
)
def test_the_pages_of_a_result_are_the_whole(value, limit):
    collected = type(value)()
    offset = 0
    while True:
        page = page_of(value, offset, limit)
        assert json_size(page.text) <= limit
        collected += page.text if isinstance(value, str) else json.loads(page.text)
        assert page.next > offset or page.is_last
        offset = page.next
        if page.is_last:
            break
    assert collected == value


def test_the_pages_of_an_object_have_all_of_its_members():
    value = {f"key {number}": "x" * number for number in range(200)}
    collected, offset = {}, 0
    while offset < len(value):
        page = page_of(value, offset, 1_000)
        assert page.cuts == []
        collected |= json.loads(page.text)
        offset = page.next
    assert collected == value


def test_a_row_above_the_limit_is_shortened_and_named():
    page = page_of(["x" * 5_000, 1], 0, 1_000)
    assert page.next == 1
    assert page.notice("Go on.").startswith("[Rows 1 to 1 of 2 are shown. ")
    assert re.search(r"\d+ of 5,000 characters of `\[0\]` are shown. Go on.]$", page.notice("Go on."))


@pytest.mark.parametrize(
    ("value", "arguments", "found"),
    [
        ({"items": ROWS}, {"jmespath": "items[2:4].name"}, ["Item 2", "Item 3"]),
        ({"items": ROWS}, {"jmespath": "items[?tags] | length(@)"}, 2_000),
        (ROWS, {"grep": "item 399"}, [row for row in ROWS if "Item 399" in row["name"]]),
        (ROWS, {"jmespath": "[].name", "grep": "ITEM 3999"}, ["Item 3999"]),
        ("one\nTwo\nthree\n", {"grep": "T"}, "2: Two\n3: three\n"),
        (
            {"a": {"b c": ["x", "Needle"]}, "needles": 3, "d": None},
            {"grep": "needle"},
            {'a."b c"[1]': "Needle", "needles": 3},
        ),
        (["a"], {"grep": "z"}, []),
        (["a", "b"], {"jmespath": "join(', ', @)"}, "a, b"),
    ],
)
async def test_a_part_is_selected_by_expression_and_by_text(value, arguments, found):
    assert selected(kept(value), arguments) == found


@pytest.mark.parametrize(
    ("value", "arguments", "words"),
    [
        (ROWS, {"jmespath": "[?"}, "cannot be applied"),
        (ROWS, {"jmespath": "length(`1`)"}, "cannot be applied"),
        (ROWS, {"jmespath": "(" * 900}, "nested too deep|cannot be applied"),
        (ROWS, {"jmespath": "a" * 1_001}, "1 to 1,000 characters"),
        (ROWS, {"jmespath": "|".join(["[@, @]"] * 20)}, "repeats the same part too often"),
        ([ROWS] * 10, {"jmespath": "[@,@,@,@,@,@,@,@]|[@,@,@,@,@,@,@,@]"}, "repeats the same part too often"),
        (ROWS, {"jmespath": "join(to_string(@), @[*].name)"}, "separator of `join`"),
        (ROWS, {"jmespath": "@[*].{a: [join(name, ['x'])]}"}, "separator of `join`"),
        ([0] * 300_000, {"jmespath": f'@[*].{{a: `"{"x" * 900}"`}}'}, "repeats the same part too often"),
        ([0] * 300_000, {"jmespath": f'@[*].{{"{"x" * 900}": @}}'}, "repeats the same part too often"),
        ("text", {"jmespath": "a"}, "is text, not JSON"),
        (ROWS, {"grep": 3}, "`grep` must be a text"),
        (Binary(b"x"), {}, "which are not text"),
    ],
)
async def test_a_selection_that_does_not_fit_is_one_sentence(value, arguments, words):
    with pytest.raises(InvalidArguments, match=words):
        selected(kept(value), arguments)


def test_an_offset_behind_the_end_is_an_error():
    with pytest.raises(InvalidArguments, match="there are 2 rows"):
        page_of([1, 2], 2, 1_000)


@pytest.mark.parametrize("uri", ["utcp-result://", "utcp-result://xyz", "http://abc", "utcp-result://ab?offset=-1"])
def test_another_uri_is_not_a_resource(uri):
    with pytest.raises(InvalidArguments, match="matches no kept result"):
        handle_and_offset(uri)


def test_a_resource_that_does_not_fit_one_message_goes_on_at_another_uri():
    one = kept(ROWS)
    rows, uri = [], "utcp-result://ab"
    while uri:
        contents = resource_contents(one, *handle_and_offset(uri), 20_000)
        assert json_size(contents) <= 20_000
        rows += json.loads(contents[0]["text"])
        uri = contents[1]["uri"] if len(contents) > 1 else None
    assert rows == ROWS
    with pytest.raises(InvalidArguments, match="too many for one message"):
        resource_contents(kept(Binary(b"x" * 30_000)), "ab", 0, 20_000)


# --- through a real client ---


def bridge(**options):
    server = server_of(**options)

    async def rows(_arguments, _emit):
        return {"items": ROWS}

    async def mixed(_arguments, _emit):
        return ContentBlocks([{"type": "text", "text": "x" * 300_000}], {"ok": True})

    async def image(_arguments, _emit):
        return Binary(b"y" * 2_000_000, "image/png")

    shape = {"type": "object", "properties": {"items": {"type": "array", "items": {"type": "object"}}}}
    server.client.add("m", "rows", rows, outputs=shape)
    server.client.add("m", "mixed", mixed, outputs={"type": "object"})
    server.client.add("m", "image", image)
    return server


def notice_of(result):
    text = next(block.text for block in result.content if block.type == "text" and "was cut" in block.text)
    call = json.loads(text[text.index("call_tool {") + len("call_tool ") : text.rindex("}") + 1])
    assert call["name"] == "read_result"
    return call["arguments"]


async def read_on(client, arguments):
    """Return all further rows."""
    rows = []
    while arguments:
        result = await client.call_tool("read_result", arguments)
        assert not result.is_error, result.content[0].text
        assert json_size(result.model_dump(mode="json", by_alias=True)) <= 100_500
        rows += json.loads(result.content[0].text)
        found = re.search(r"Read on with (\{.*\})\.", result.content[1].text)
        arguments = json.loads(found[1]) if found else None
    return rows


@pytest.mark.parametrize("mode", ERAS)
async def test_a_client_reads_the_rest_of_a_cut_result_over_http(mode):
    async def work(url):
        async with Client(url, mode=mode) as client:
            await client.list_tools()
            result = await client.call_tool("m_rows", {})
            assert not result.is_error
            shown = json.loads(result.content[0].text)["items"]
            assert shown == ROWS[: len(shown)]
            assert shown + await read_on(client, notice_of(result)) == ROWS
            link = next(block for block in result.content if block.type == "resource_link")
            listed = [str(one.uri) for one in (await client.list_resources()).resources]
            assert listed == ([str(link.uri)] if mode == "legacy" else [])
            assert (await client.list_resource_templates()).resource_templates == []
            contents = (await client.read_resource(str(link.uri))).contents
            assert json.loads(contents[0].text) == {"items": ROWS}

    await serve(bridge(), work, seconds=30)


@pytest.mark.parametrize("mode", ERAS)
async def test_a_client_of_one_process_reads_on_without_a_network(mode):
    async with Client(InMemoryTransport(bridge()), mode=mode) as client:
        await client.list_tools()
        result = await client.call_tool("m_mixed", {})
        assert result.structured_content == {"ok": True}
        arguments = notice_of(result)
        text = result.content[0].text
        while arguments:
            page = await client.call_tool("read_result", arguments)
            text += page.content[0].text
            found = re.search(r"Read on with (\{.*\})\.", page.content[1].text)
            arguments = json.loads(found[1]) if found else None
        assert text == "x" * 300_000
        image = await client.call_tool("m_image", {})
        contents = (await client.read_resource(str(image.content[1].uri))).contents
        assert len(contents[0].blob) > 2_000_000


async def test_a_handle_of_another_session_or_token_is_unknown():
    async def work(url):
        async with Client(url, mode="legacy") as one, Client(url, mode="legacy") as two, Client(url) as three:
            arguments = notice_of(await one.call_tool("m_rows", {}))
            for other in (two, three):
                result = await other.call_tool("read_result", arguments)
                assert result.is_error
                assert "unknown or has ended" in result.content[0].text
                with pytest.raises(MCPError, match="unknown or has ended"):
                    await other.read_resource(f"utcp-result://{arguments['handle']}")
            assert not (await one.call_tool("read_result", arguments)).is_error

    await serve(bridge(), work, seconds=30)


async def test_clients_of_2026_with_another_token_have_other_handles():
    server = bridge(bearer_token="right")
    callers = [Caller(owner=f"token {number}") for number in range(2)]
    handle = server.budgets.of(callers[0]).rest.keep("text")
    assert (await server.meta_tools.call("read_result", {"handle": handle}, discard, callers[1]))["isError"]
    assert not (await server.meta_tools.call("read_result", {"handle": handle}, discard, callers[0]))["isError"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [({}, "missing"), ({"handle": "0" * 32}, "Call the tool again"), ({"handle": 3}, "not text")],
)
async def test_an_unknown_handle_is_explained(arguments, words):
    result = await bridge().meta_tools.call("read_result", arguments, discard)
    assert result["isError"]
    assert words in result["content"][0]["text"]


@pytest.mark.parametrize("offset", ["3", 3, 3.0])
async def test_an_offset_is_a_number_or_its_text(offset):
    server = bridge()
    handle = server.budgets.of(Caller()).rest.keep([0, 1, 2, 3])
    page = await server.meta_tools.call("read_result", {"handle": handle, "offset": offset}, discard)
    assert page["content"][0]["text"] == "[3]"
    for bad in (-1, "x", True, 1.5, math.inf, math.nan):
        page = await server.meta_tools.call("read_result", {"handle": handle, "offset": bad}, discard)
        assert "`offset` must be a whole number" in page["content"][0]["text"]


async def test_a_client_before_links_gets_none_and_pinned_tools_come_without_a_reader():
    server = bridge(exposure="pinned", pinned=("*",))
    budget = server.budgets.of(Caller(understands_links=False))
    assert (budget.rest.reader, budget.rest.links) == (None, False)


@pytest.mark.parametrize("size", [10_000_000, 90_000])
async def test_no_event_to_a_client_of_the_handshake_has_512_kib(size):
    server, longest = bridge(max_result_bytes=size), 0

    async def work(url):
        nonlocal longest

        async def measured(response):
            nonlocal longest
            if response.request.method == "POST":
                longest = max(longest, len(await response.aread()))

        async with (
            httpx2.AsyncClient(event_hooks={"response": [measured]}, timeout=60) as http,
            Client(streamable_http_client(url, http_client=http), mode="legacy") as client,
        ):
            for name in ("m_rows", "m_mixed", "m_image"):
                result = await client.call_tool(name, {})
                assert not result.is_error
            link = next(block for block in result.content if block.type == "resource_link")
            with pytest.raises(MCPError, match="too many for one message"):
                await client.read_resource(str(link.uri))

    await serve(server, work, seconds=30)
    assert 0 < longest < 512 * 1024


def test_the_types_of_the_sdk_accept_the_contents():
    contents = resource_contents(kept("text"), "ab", 0, 20_000)
    types.ReadResourceResult.model_validate({"contents": contents})
