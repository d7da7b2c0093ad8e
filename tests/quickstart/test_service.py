"""The sample service, through the client that it is made for."""

import json
import platform
from pathlib import Path

import anyio
import pytest

from utcp_bridge import UtcpClient
from utcp_bridge.errors import InvalidArguments, Rejected
from utcp_bridge.quickstart.service import FOLDER, configuration, serving

pytestmark = pytest.mark.anyio


@pytest.fixture
async def client():
    with anyio.fail_after(20):
        async with serving() as places, await UtcpClient.create(configuration(places)) as opened:
            yield opened


async def test_every_manual_is_ready_without_a_fault(client):
    told = {
        state.name: (state.status, state.tools, [str(fault) for fault in state.faults]) for state in client.report()
    }
    assert told == {
        "desk": ("ready", 8, []),
        "studio": ("ready", 3, []),
        "calendar": ("ready", 2, []),
        "books": ("ready", 2, []),
        "workshop": ("ready", 4, []),
        "guide": ("ready", 1, []),
    }


async def test_the_manuals_are_of_three_generations(client):
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


async def test_units_words_and_dates_are_worked_out(client):
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


async def test_a_note_is_written_found_changed_and_deleted(client):
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


async def test_the_store_has_an_end(client, monkeypatch):
    monkeypatch.setattr("utcp_bridge.quickstart.service._MOST_NOTES", 1)
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
async def test_streams_come_piece_by_piece(client, tool, expected):
    assert [partial async for partial in client.call_tool_streaming(tool, {"to": 2})] == expected


async def test_every_other_way_to_a_tool_has_one(client):
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


async def test_whoever_leaves_a_stream_early_does_no_harm(client, caplog):
    stream = client.call_tool_streaming("studio.count_slowly", {"to": 50})
    assert await anext(stream) == {"progress": 1, "total": 50}
    await stream.aclose()
    assert (await client.call_tool("guide.read_guide")).startswith("# What to try next")
    assert caplog.records == []


async def test_wrong_arguments_are_refused_before_and_by_the_service(client):
    with pytest.raises(InvalidArguments):
        await client.call_tool("desk.convert_units", {"value": 1})
    with pytest.raises(Rejected) as caught:
        await client.call_tool("desk.convert_units", {"value": 1, "from": "mi", "to": "kg"})
    assert "cannot be converted" in caught.value.detail["error"]


@pytest.mark.parametrize(
    ("path", "words"),
    [("/units/convert?value=1", "from is missing"), ("/count?to=0", "1 to 100"), ("/dates/add?start=x", "no date")],
)
async def test_the_service_names_what_is_wrong_with_a_request(path, words):
    async with serving() as places:
        template = {"call_template_type": "http", "url": f"{places.base}{path}"}
        content = {"utcp_version": "1.0.1", "tools": [{"name": "ask", "tool_call_template": template}]}
        entry = {"name": "m", "call_template_type": "text", "content": content}
        async with await UtcpClient.create({"manual_call_templates": [entry]}) as client:
            with pytest.raises(Rejected) as caught:
                await client.call_tool("m.ask")
    assert caught.value.status == 400
    assert words in caught.value.detail["error"]


async def test_the_example_is_the_same_configuration():
    example = Path(__file__).parents[2] / "configs" / "quickstart.json"
    assert json.loads(example.read_text()) == json.loads((FOLDER / "configuration.json").read_text())
