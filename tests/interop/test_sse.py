"""sse: events of sse-starlette with names, ids, CRLF and pings."""

import sys
from pathlib import Path

import pytest
from tests.interop.manuals import manual
from tests.interop.serving import free_port, serving
from tests.interop.software import Installed

SSE_STARLETTE = Installed("sse-starlette")

pytestmark = [pytest.mark.anyio, pytest.mark.needs(SSE_STARLETTE)]

SERVER = Path(__file__).parent / "servers" / "fastapi_sse.py"


@pytest.mark.parametrize("body", [None, {"since": "noon"}])
async def test_events_of_several_lines_arrive_whole_by_get_and_by_post(opened, body) -> None:
    port = free_port()
    watch = {"url": f"http://127.0.0.1:{port}/events/{{topic}}", "body_field": "filter"}
    arguments = {"topic": "tea"} if body is None else {"topic": "tea", "filter": body}
    with serving([sys.executable, SERVER, str(port)], port=port):
        async with opened(manual("feed", "sse", watch=watch)) as client:
            events = await client.call_tool("feed.watch", arguments)
    assert events == [{"topic": "tea", "n": number, "asked": body} for number in range(1, 6)]


async def test_only_events_of_the_wanted_name_are_kept(opened) -> None:
    port = free_port()
    watch = {"url": f"http://127.0.0.1:{port}/events/{{topic}}", "event_type": "even"}
    with serving([sys.executable, SERVER, str(port)], port=port):
        async with opened(manual("feed", "sse", watch=watch)) as client:
            events = [event["n"] async for event in client.call_tool_streaming("feed.watch", {"topic": "tea"})]
    assert events == [2, 4]


async def test_a_broken_stream_is_taken_up_again_where_it_broke(opened) -> None:
    port = free_port()
    watch = {"url": f"http://127.0.0.1:{port}/events/{{topic}}"}
    with serving([sys.executable, SERVER, str(port)], port=port):
        async with opened(manual("feed", "sse", watch=watch)) as client:
            events = await client.call_tool("feed.watch", {"topic": "tea", "break_at": 3})
    assert [event["n"] for event in events] == [1, 2, 3, 4, 5]
