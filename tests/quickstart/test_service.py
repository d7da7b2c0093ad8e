"""The sample services through the UTCP client; GraphQL and plain sockets also directly."""

import json
import platform
import socket
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from aiohttp import ClientSession

from utcp_bridge import UtcpClient
from utcp_bridge.errors import InvalidArguments, Rejected
from utcp_bridge.quickstart import service
from utcp_bridge.quickstart.service import FOLDER, configuration, serving

pytestmark = pytest.mark.anyio


@pytest.fixture
async def client():
    with anyio.fail_after(60):
        async with serving() as places, await UtcpClient.create(configuration(places)) as opened:
            yield opened


async def test_every_manual_is_ready_without_a_fault(client):
    reported = {
        state.name: (state.status, state.tools, [str(fault) for fault in state.faults]) for state in client.report()
    }
    assert reported == {
        "desk": ("ready", 8, []),
        "studio": ("ready", 3, []),
        "calendar": ("ready", 2, []),
        "books": ("ready", 2, []),
        "workshop": ("ready", 4, []),
        "guide": ("ready", 1, []),
    }


async def test_the_manuals_are_of_several_dialects(client):
    dialects = {state.name: state.dialect for state in client.report()}
    assert dialects == {
        "desk": "openapi",
        "studio": "extended",
        "calendar": "v0.x",
        "books": "graphql",
        "workshop": "extended",
        "guide": "v1.x",
    }


async def test_every_tool_says_what_it_does(client):
    assert [tool.qualified_name for tool in client.tools() if not tool.description] == []


async def test_units_words_and_dates_are_computed(client):
    converted = await client.call_tool("desk.convert_units", {"value": 1, "from": "mi", "to": "km"})
    words = await client.call_tool("desk.top_words", {"text": "a b a"})
    measured = await client.call_tool("desk.text_statistics", {"text": "one two"})
    between = await client.call_tool("calendar.days_between", {"start": "2026-01-01", "end": "2026-01-08"})
    moved = await client.call_tool("calendar.add_to_date", {"start": "2026-01-01", "weeks": 1})
    assert converted["result"] == 1.609344
    assert words == [{"word": "a", "count": 2}, {"word": "b", "count": 1}]
    assert measured["words"] == 2
    assert between["weekdays"] == 5
    assert moved["date"] == "2026-01-08"


async def test_a_note_can_be_created_found_changed_and_deleted(client):
    note = await client.call_tool("desk.create_note", {"text": "one", "tags": ["a"]})
    assert await client.call_tool("desk.list_notes", {"tag": "a"}) == [note]
    assert await client.call_tool("desk.list_notes", {"tag": "b"}) == []
    changed = await client.call_tool("desk.replace_note", {"id": note["id"], "text": "two"})
    assert await client.call_tool("desk.read_note", {"id": note["id"]}) == changed
    await client.call_tool("desk.delete_note", {"id": note["id"]})
    for tool, arguments in [("read_note", {}), ("delete_note", {}), ("replace_note", {"text": "x"})]:
        with pytest.raises(Rejected) as caught:
            await client.call_tool(f"desk.{tool}", {"id": note["id"], **arguments})
        assert caught.value.status == 404


async def test_a_full_store_of_notes_refuses_another(client, monkeypatch):
    monkeypatch.setattr(service, "_MAX_NOTES", 1)
    await client.call_tool("desk.create_note", {"text": "one"})
    with pytest.raises(Rejected) as caught:
        await client.call_tool("desk.create_note", {"text": "two"})
    assert caught.value.status == 409


async def test_a_chart_is_an_image(client):
    image = await client.call_tool("studio.bar_chart", {"values": [1, 2]})
    assert image.media_type == "image/png"
    assert image.data.startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("tool", "expected"),
    [
        ("studio.count_slowly", [{"progress": 1, "total": 2}, {"progress": 2, "total": 2}]),
        ("studio.count_down", [{"left": 2}, {"left": 1}, {"left": 0}]),
    ],
)
async def test_streams_arrive_item_by_item(client, tool, expected):
    assert [partial async for partial in client.call_tool_streaming(tool, {"to": 2})] == expected


async def test_websocket_tcp_udp_and_cli_tools_work(client):
    dice = await client.call_tool("workshop.throw_dice", {"sides": 2, "count": 3})
    assert dice["sum"] == sum(dice["throws"])
    assert set(dice["throws"]) <= {1, 2}
    assert await client.call_tool("workshop.shout", {"text": "grüße"}) == "GRÜSSE"
    assert await client.call_tool("workshop.reverse", {"text": "grüße"}) == "eßürg"
    assert (await client.call_tool("workshop.describe_computer")).strip() == platform.platform(aliased=True)


async def test_books_are_found_and_added(client, monkeypatch):
    assert [book["title"] for book in await client.call_tool("books.books", {"author": "lem"})] == ["Solaris"]
    added = {"title": "Momo", "author": "Michael Ende", "year": 1973}
    assert await client.call_tool("books.addBook", {"book": added}) == added
    assert await client.call_tool("books.books", {"author": "Ende"}) == [added]


async def test_leaving_a_stream_early_leaves_the_service_working(client, caplog):
    stream = client.call_tool_streaming("studio.count_slowly", {"to": 50})
    assert await anext(stream) == {"progress": 1, "total": 50}
    await stream.aclose()
    assert (await client.call_tool("guide.read_guide")).startswith("# What to try next")
    assert caplog.records == []


async def test_wrong_arguments_are_refused_by_the_client_and_by_the_service(client):
    with pytest.raises(InvalidArguments):
        await client.call_tool("desk.convert_units", {"value": 1})
    with pytest.raises(Rejected) as caught:
        await client.call_tool("desk.convert_units", {"value": 1, "from": "mi", "to": "kg"})
    assert "cannot be converted" in caught.value.detail["error"]


@pytest.mark.parametrize(
    ("path", "words"),
    [("/units/convert?value=1", "from is missing"), ("/count?to=0", "1 to 100"), ("/dates/add?start=x", "not a date")],
)
async def test_the_service_names_the_wrong_argument_of_a_request(path, words):
    async with serving() as places:
        template = {"call_template_type": "http", "url": f"{places.base}{path}"}
        content = {"utcp_version": "1.0.1", "tools": [{"name": "ask", "tool_call_template": template}]}
        entry = {"name": "m", "call_template_type": "text", "content": content}
        async with await UtcpClient.create({"manual_call_templates": [entry]}) as client:
            with pytest.raises(Rejected) as caught:
                await client.call_tool("m.ask")
    assert caught.value.status == 400
    assert words in caught.value.detail["error"]


async def test_the_example_file_equals_the_packaged_configuration():
    example = Path(__file__).parents[2] / "configs" / "quickstart.json"
    assert json.loads(example.read_text()) == json.loads((FOLDER / "configuration.json").read_text())


# GraphQL without the client.


@pytest.fixture
async def ask():
    async with serving() as places, ClientSession() as session:

        async def post(query, **variables):
            async with session.post(f"{places.base}/graphql", json={"query": query, "variables": variables}) as reply:
                return await reply.json()

        yield post


async def test_books_are_found_by_a_part_of_the_authors_name(ask):
    query = "query ($who: String) { books(author: $who) { title } }"
    assert await ask(query, who="GUIN") == {"data": {"books": [{"title": "The Left Hand of Darkness"}]}}
    assert len((await ask(query))["data"]["books"]) == 3


async def test_a_full_shelf_refuses_another_book(ask, monkeypatch):
    monkeypatch.setattr(service, "_MAX_BOOKS", 4)
    mutation = "mutation ($book: NewBook!) { addBook(book: $book) { title } }"
    assert await ask(mutation, book={"title": "a", "author": "b"}) == {"data": {"addBook": {"title": "a"}}}
    refused = await ask(mutation, book={"title": "c", "author": "d"})
    assert "4 books" in refused["errors"][0]["message"]


async def test_an_invalid_query_returns_an_error(ask):
    assert "nothing" in (await ask("{ nothing }"))["errors"][0]["message"]


# Plain sockets without the client.


async def test_tcp_returns_capitals_and_udp_returns_the_text_backwards():
    def talk(tcp_port, udp_port):
        with socket.create_connection(("127.0.0.1", tcp_port), timeout=60) as line, line.makefile("rw") as stream:
            stream.write("one\ntwo\n")
            stream.flush()
            lines = [stream.readline(), stream.readline()]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
            datagrams.settimeout(60)
            datagrams.sendto(b"abc", ("127.0.0.1", udp_port))
            return lines, datagrams.recv(100)

    with anyio.fail_after(60):
        async with serving() as places:
            assert await anyio.to_thread.run_sync(talk, places.tcp_port, places.udp_port) == (
                ["ONE\n", "TWO\n"],
                b"cba",
            )


async def test_a_tcp_line_without_end_closes_the_connection():
    def talk(tcp_port):
        with socket.create_connection(("127.0.0.1", tcp_port), timeout=60) as line:
            try:
                line.sendall(b"x" * 1_000_000)
                return line.recv(1)
            except ConnectionError:
                return b""

    with anyio.fail_after(60):
        async with serving() as places:
            assert await anyio.to_thread.run_sync(talk, places.tcp_port) == b""
