"""Who hears of changed tools."""

import gc

import anyio
import pytest
from mcp.shared.subscriptions import ToolsListChanged
from tests.support.redis_server import until
from tests.support.server_client import Manual, StandIn

from utcp_bridge.server.app import BridgeServer
from utcp_bridge.server.changes import PagesAhead, page_in_turns
from utcp_bridge.settings import BridgeSettings
from utcp_bridge.tasks import collector

pytestmark = pytest.mark.anyio


class Session:
    """What the announcements need of a session of the handshake era."""

    def __init__(self, fails=False):
        self.told = 0
        self.fails = fails

    async def send_tool_list_changed(self):
        self.told += 1
        if self.fails:
            raise OSError("gone")


class Running:
    """A server with its announcements, on which a test lists, changes tools, and waits until all has been said."""

    def __init__(self, server):
        self.server, self.client = server, server.part.whole
        self.changes, self.catalogue = server.changes, server.catalogue

    async def list(self, session, client=None, cursor=None):
        view = self.catalogue.view(client)
        page = await page_in_turns(view, view.position(cursor), composed=False)
        self.changes.given(session, client, view, page)
        return page

    async def settle(self):
        """Return when the announcements of all changes until now have been made."""
        done, tell = anyio.Event(), self.changes._tell

        async def told():
            await tell()
            done.set()

        self.changes._tell = told
        self.changes.mark()
        with anyio.fail_after(60):
            await done.wait()
        self.changes._tell = tell


@pytest.fixture
async def running(request):
    client = StandIn(BridgeSettings(**getattr(request, "param", {})))
    client.add("m", "first")
    server = BridgeServer(client)
    async with server.lifespan(server):
        yield Running(server)


async def test_a_session_that_was_given_no_list_hears_nothing(running):
    silent, listing = Session(), Session()
    await running.list(listing)
    running.client.add("m", "second")
    await running.settle()
    assert (silent.told, listing.told) == (0, 1)


async def test_nothing_is_said_after_the_first_load_nor_of_a_change_that_changes_no_byte(running):
    session = Session()
    await running.list(session)
    await running.settle()
    running.client.add("m", "first")
    running.client.generation += 1
    await running.settle()
    assert session.told == 0


async def test_a_burst_of_changes_is_one_notification_also_with_a_broken_session(running):
    broken, session = Session(fails=True), Session()
    await running.list(broken)
    await running.list(session)
    for number in range(20):
        running.client.add("m", f"more{number}")
    await running.settle()
    assert (broken.told, session.told) == (1, 1)


async def test_a_change_is_said_once_until_the_session_lists_again(running):
    session = Session()
    await running.list(session)
    running.client.add("m", "second")
    await running.settle()
    await running.settle()
    assert session.told == 1
    running.client.add("m", "third")
    await running.settle()
    assert session.told == 2
    await running.list(session)
    await running.settle()
    assert session.told == 2
    running.client.add("m", "third", description="It is another one now.")
    await running.settle()
    assert session.told == 3


async def test_a_change_that_is_taken_back_is_not_said(running):
    session = Session()
    await running.list(session)
    running.client.add("m", "second")
    del running.client._tools["m.second"]
    running.client.generation += 1
    await running.settle()
    assert session.told == 0


async def test_a_change_while_the_list_is_made_is_said(running):
    session = Session()
    view = running.catalogue.view()
    page = view.page()
    running.client.add("m", "second")
    await running.settle()
    running.changes.given(session, None, view, page)
    await running.settle()
    assert session.told == 1


@pytest.mark.parametrize(
    "running", [{"exposure_by_client": {"quiet": "pinned"}, "pinned": ("m.first",)}], indirect=True
)
async def test_a_change_is_said_to_the_clients_that_see_it(running):
    quiet, other = Session(), Session()
    await running.list(quiet, "quiet")
    await running.list(other, "other")
    running.client.add("m", "second")
    await running.settle()
    assert (quiet.told, other.told) == (0, 1)
    running.client.add("m", "first", description="Changed.")
    await running.settle()
    assert (quiet.told, other.told) == (1, 2)


@pytest.mark.parametrize("running", [{"exposure": "search"}], indirect=True)
async def test_with_search_alone_a_change_within_a_tool_is_not_said(running):
    session = Session()
    await running.list(session)
    running.client.add("m", "first", description="Changed.")
    await running.settle()
    assert session.told == 0


@pytest.mark.parametrize("running", [{"page_size": 2}], indirect=True)
async def test_a_session_that_read_the_first_page_alone_hears_what_changes_there(running):
    reader, all_pages = Session(), Session()
    running.client.add_many("m", ["second", "third"])
    page = await running.list(reader)
    await running.list(all_pages)
    await running.list(all_pages, cursor=page.next_cursor)
    running.client.add("m", "third", description="Changed on the second page.")
    await running.settle()
    assert (reader.told, all_pages.told) == (0, 1)
    running.client.add("m", "fourth")
    await running.settle()
    assert (reader.told, all_pages.told) == (1, 2)


async def test_a_session_that_is_gone_is_forgotten(running):
    session = Session()
    await running.list(session)
    del session
    gc.collect()
    assert len(running.changes._sessions) == 0


async def test_a_list_that_cannot_be_made_does_not_end_the_announcements(running, monkeypatch):
    session = Session()
    await running.list(session)
    with monkeypatch.context() as broken:
        broken.setattr(running.server.client, "tools", lambda: 1 / 0)
        running.client.generation += 1
        failed, attempt = anyio.Event(), running.changes._attempt

        async def attempted(step):
            await attempt(step)
            failed.set()

        broken.setattr(running.changes, "_attempt", attempted)
        running.changes.mark()
        with anyio.fail_after(60):
            await failed.wait()
    running.client.add("m", "second")
    await running.settle()
    assert session.told == 1


class Streams:
    """Open listen streams, as `subscriptions/listen` opens them, without a transport."""

    def __init__(self, running, group, client=None):
        self.heard = []
        self.opened = anyio.Event()
        group.start_soon(self._serve, running, client)

    async def _serve(self, running, client):
        with running.changes._opened(client) as streams:
            streams.bus.subscribe(self.heard.append)
            self.opened.set()
            await anyio.sleep_forever()


@pytest.mark.parametrize(
    "running", [{"exposure_by_client": {"quiet": "pinned"}, "pinned": ("m.first",)}], indirect=True
)
async def test_a_stream_hears_what_changes_the_list_of_its_client(running):
    await running.settle()
    async with anyio.create_task_group() as group:
        quiet, other = Streams(running, group, "quiet"), Streams(running, group)
        await quiet.opened.wait()
        await other.opened.wait()
        await running.settle()
        assert (quiet.heard, other.heard) == ([], [])
        running.client.add("m", "second")
        await running.settle()
        await running.settle()
        assert (quiet.heard, other.heard) == ([], [ToolsListChanged()])
        group.cancel_scope.cancel()


async def test_a_stream_that_opens_before_the_first_load_ends_starts_from_what_has_loaded():
    client = StandIn(BridgeSettings(startup_wait=30))
    client.manuals = [Manual("m", "loading")]
    server = BridgeServer(client)
    running = Running(server)
    async with server.lifespan(server), anyio.create_task_group() as group:
        stream = Streams(running, group)
        await stream.opened.wait()
        client.add("m", "first")
        client.manuals[0].status = "ready"
        client.moved.set()
        await running.settle()
        assert stream.heard == []
        client.add("m", "second")
        await running.settle()
        assert stream.heard == [ToolsListChanged()]
        group.cancel_scope.cancel()


# --- pages that are made while other work goes on ---


def _server_of_pages(tools, page_size):
    client = StandIn(BridgeSettings(exposure="all", page_size=page_size))
    part = {"type": "object", "properties": {f"p{number}": {"type": "string"} for number in range(400)}}
    for number in range(tools):
        inputs = {"type": "object", "properties": {"body": {"$ref": "#/$defs/Part"}}, "$defs": {"Part": part}}
        client.add("m", f"tool{number}", inputs=inputs)
    return BridgeServer(client).catalogue.view()


async def test_the_next_page_is_made_while_a_client_reads_one_and_only_once():
    view = _server_of_pages(6, page_size=2)
    ahead, began = PagesAhead(), list[int]()
    made = view.steps_at

    def watched(start, *, composed=False):
        began.append(start)
        yield from made(start, composed=composed)

    view.steps_at = watched
    async with anyio.create_task_group() as group:
        ahead.start = group.start_soon
        first = await ahead.page(view, 0, composed=True)
        assert began == [0]
        second = await ahead.page(view, first.end, composed=True)  # it waits for the one that is being made
        assert second is view.page_at(2, composed=True)
        await until(lambda: (4, True) in view._pages)
        assert (await ahead.page(view, 0, composed=True)) is first
    assert began == [0, 2, 2, 4, 0]
    whole = _server_of_pages(6, page_size=2)
    assert [[tool["name"] for tool in view.page_at(start, composed=True).tools] for start in (0, 2, 4)] == [
        [tool["name"] for tool in whole.page_at(start, composed=True).tools] for start in (0, 2, 4)
    ]


async def test_a_page_that_was_begun_when_the_server_ends_is_made_by_who_asks_for_it():
    view, ahead = _server_of_pages(4, page_size=2), PagesAhead()
    ahead.start = lambda *_work: None  # the work is cancelled before it begins
    first = await ahead.page(view, 0, composed=False)
    ahead.close()
    assert (await ahead.page(view, first.end, composed=False)).start == 2


async def test_parts_of_schemas_wait_for_the_next_page_and_end_with_the_last_one():
    view = _server_of_pages(4, page_size=2)
    first = await page_in_turns(view, 0, composed=True)
    assert first.next_cursor is not None
    assert view.has_parts
    last = await page_in_turns(view, view.position(first.next_cursor), composed=True)
    assert last.next_cursor is None
    await until(lambda: not view.has_parts and not any(entry.parts.prepared for entry in view.listed))


@pytest.mark.parametrize("was_enabled", [True, False])
async def test_the_collector_rests_while_a_page_is_made_and_is_as_before_afterwards(was_enabled):
    view, seen = _server_of_pages(4, page_size=4), set()
    made = view.steps_at

    def watched(start, *, composed=False):
        for _ in made(start, composed=composed):
            seen.add(gc.isenabled())
            yield

    view.steps_at = watched
    try:
        (gc.enable if was_enabled else gc.disable)()
        await page_in_turns(view, 0, composed=True)
        assert seen == {False}
        assert gc.isenabled() is was_enabled
    finally:
        gc.enable()


async def test_what_a_long_list_leaves_is_frozen_where_the_process_thaws_it(monkeypatch):
    monkeypatch.setattr(collector, "freezes", True)
    frozen = gc.get_freeze_count()
    kept = []
    try:
        with collector.at_rest():
            kept.extend([[]] for _ in range(30_000))
        assert gc.get_freeze_count() > frozen + 30_000
    finally:
        gc.unfreeze()
