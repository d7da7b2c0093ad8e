"""The sample services: HTTP, WebSocket, GraphQL, TCP and UDP on loopback, in this process, with all data in memory."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final, cast

from aiohttp import WSMsgType, web

from utcp_bridge.quickstart import toolbox

__all__ = ["FOLDER", "PORT", "Places", "configuration", "serving"]

FOLDER: Final = Path(__file__).parent / "data"
PORT: Final = 8765
"""The HTTP port in the data files and in configs/quickstart.json. TCP uses the next port and UDP the one after it.
`configuration` replaces them by the real ports."""
_BASE: Final = f"http://127.0.0.1:{PORT}"
_MAX_NOTES: Final = 1000
_MAX_DICE: Final = 100
_MAX_COUNT: Final = 100
_COUNTING_PAUSE: Final = 0.2
"""Seconds."""
_MAX_BOOKS: Final = 1000
_MAX_LINE: Final = 10_000
"""Bytes of a TCP line or WebSocket message."""
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Places:
    """Where the services listen: the base URL of HTTP, and the ports of TCP and UDP."""

    base: str
    tcp_port: int
    udp_port: int


def configuration(places: Places) -> dict[str, Any]:
    """Return the client configuration of the sample tools, for services that listen at these places."""
    text = (FOLDER / "configuration.json").read_text(encoding="utf-8")
    for written, real in (
        (_BASE, places.base),
        (_BASE.replace("http", "ws"), places.base.replace("http", "ws")),
        (f'"port": {PORT + 1}', f'"port": {places.tcp_port}'),
        (f'"port": {PORT + 2}', f'"port": {places.udp_port}'),
        ('"python3"', json.dumps(sys.executable)),
    ):
        text = text.replace(written, real)
    found: dict[str, Any] = json.loads(text)
    return found


@asynccontextmanager
async def serving(port: int = 0) -> AsyncGenerator[Places]:
    """Run the services on loopback.

    `port` is the port of HTTP, and TCP and UDP use the two ports after it; 0 chooses free ports.
    """
    runner = web.AppRunner(_application(), access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        async with _serving_sockets(*((port + 1, port + 2) if port else ())) as (tcp_port, udp_port):
            yield Places(f"http://127.0.0.1:{runner.addresses[0][1]}", tcp_port, udp_port)
    finally:
        await runner.cleanup()


def _application() -> web.Application:
    application = web.Application(middlewares=[_report_faults], client_max_size=1024 * 1024)
    notes = _Notes()
    application.add_routes(
        [
            web.get("/openapi.json", _document("openapi.json")),
            web.get("/utcp", _document("manual.json")),
            web.get("/utcp/v0", _document("manual-v0.json")),
            web.get("/units/convert", _convert),
            web.post("/text/statistics", _statistics),
            web.post("/text/top-words", _top_words),
            web.get("/notes", notes.list),
            web.post("/notes", notes.create),
            web.get("/notes/{id}", notes.read),
            web.put("/notes/{id}", notes.replace),
            web.delete("/notes/{id}", notes.delete),
            web.get("/dates/between", _between),
            web.get("/dates/add", _add),
            web.post("/chart", _chart),
            web.get("/count", _count),
            web.get("/countdown", _countdown),
            web.get("/dice", _dice),
            web.post("/graphql", _BookShelf().answer),
        ]
    )
    return application


@web.middleware
async def _report_faults(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Return a 400 with the reason as JSON for a wrong argument. Ignore a client that leaves a stream."""
    try:
        return await handler(request)
    except ConnectionResetError:
        return web.Response()
    except (ValueError, KeyError, TypeError) as error:
        what = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
        return web.json_response({"error": what}, status=400)


def _document(name: str) -> _Handler:
    text = (FOLDER / name).read_text(encoding="utf-8")

    async def handler(request: web.Request) -> web.Response:
        return web.Response(text=text.replace(_BASE, str(request.url.origin())), content_type="application/json")

    return handler


async def _convert(request: web.Request) -> web.Response:
    query = request.query
    return web.json_response(toolbox.convert_units(float(query["value"]), query["from"], query["to"]))


async def _statistics(request: web.Request) -> web.Response:
    body = await request.json()
    return web.json_response(toolbox.text_statistics(str(body["text"])))


async def _top_words(request: web.Request) -> web.Response:
    body = await request.json()
    return web.json_response(toolbox.top_words(str(body["text"]), int(body.get("limit", 5))))


async def _between(request: web.Request) -> web.Response:
    return web.json_response(toolbox.days_between(request.query["start"], request.query["end"]))


async def _add(request: web.Request) -> web.Response:
    query = request.query
    return web.json_response(
        toolbox.add_to_date(query["start"], int(query.get("days", "0")), int(query.get("weeks", "0")))
    )


async def _chart(request: web.Request) -> web.Response:
    body = await request.json()
    image = toolbox.bar_chart([float(value) for value in body["values"]])
    return web.Response(body=image, content_type="image/png")


async def _count(request: web.Request) -> web.StreamResponse:
    """Send JSON lines with a pause between them."""
    to = _up_to(request)
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    await response.prepare(request)
    for number in range(1, to + 1):
        await response.write(json.dumps({"progress": number, "total": to}).encode() + b"\n")
        await asyncio.sleep(_COUNTING_PAUSE if number < to else 0)
    return response


async def _countdown(request: web.Request) -> web.StreamResponse:
    """Count down as server-sent events."""
    start = _up_to(request)
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for number in range(start, -1, -1):
        await response.write(f"id: {number}\ndata: {json.dumps({'left': number})}\n\n".encode())
        await asyncio.sleep(_COUNTING_PAUSE if number else 0)
    return response


async def _dice(request: web.Request) -> web.WebSocketResponse:
    """Reply to each WebSocket message `{"sides": n, "count": n}` with `count` throws."""
    opened = web.WebSocketResponse(max_msg_size=_MAX_LINE)
    await opened.prepare(request)
    async for message in opened:
        if message.type is not WSMsgType.TEXT:
            break
        try:
            asked = json.loads(message.data)
            sides, count = max(2, int(asked.get("sides", 6))), min(max(1, int(asked.get("count", 1))), _MAX_DICE)
            throws = [random.randint(1, sides) for _ in range(count)]  # noqa: S311 - a game
        except (ValueError, TypeError, AttributeError):
            await opened.send_json({"error": "sides and count must be whole numbers"})
        else:
            await opened.send_json({"throws": throws, "sum": sum(throws)})
    return opened


def _up_to(request: web.Request) -> int:
    to = int(request.query.get("to", "5"))
    if not 1 <= to <= _MAX_COUNT:
        raise ValueError(f"`to` must be 1 to {_MAX_COUNT}.")
    return to


class _Notes:
    """The notes, kept in memory."""

    def __init__(self) -> None:
        self._notes: dict[int, dict[str, Any]] = {}
        self._ids = itertools.count(1)

    async def list(self, request: web.Request) -> web.Response:
        tag = request.query.get("tag")
        return web.json_response([note for note in self._notes.values() if tag is None or tag in note["tags"]])

    async def create(self, request: web.Request) -> web.Response:
        if len(self._notes) >= _MAX_NOTES:
            return web.json_response(
                {"error": f"The store is full ({_MAX_NOTES} notes). Delete one first."}, status=409
            )
        note = {"id": next(self._ids), **await _note_in(request)}
        self._notes[note["id"]] = note
        return web.json_response(note, status=201)

    async def read(self, request: web.Request) -> web.Response:
        note = self._notes.get(_id_in(request))
        return _missing(request) if note is None else web.json_response(note)

    async def replace(self, request: web.Request) -> web.Response:
        number = _id_in(request)
        if number not in self._notes:
            return _missing(request)
        self._notes[number] = note = {"id": number, **await _note_in(request)}
        return web.json_response(note)

    async def delete(self, request: web.Request) -> web.Response:
        note = self._notes.pop(_id_in(request), None)
        return _missing(request) if note is None else web.Response(status=204)


async def _note_in(request: web.Request) -> dict[str, Any]:
    body = await request.json()
    return {"text": str(body["text"]), "tags": [str(tag) for tag in body.get("tags", [])]}


def _id_in(request: web.Request) -> int:
    return int(request.match_info["id"])


def _missing(request: web.Request) -> web.Response:
    return web.json_response({"error": f"There is no note {request.match_info['id']}."}, status=404)


_BOOK_SCHEMA: Final = """
"A book on the shelf."
type Book { title: String!, author: String!, year: Int }
input NewBook { title: String!, author: String!, year: Int }
type Query {
  "The books on the shelf, all of them or those of one author."
  books("Part of the author's name." author: String): [Book!]!
}
type Mutation {
  "Put a book on the shelf."
  addBook(book: NewBook!): Book!
}
"""


class _BookShelf:
    """A GraphQL API of books, kept in memory."""

    def __init__(self) -> None:
        self._schema: Any = None
        self._books: list[dict[str, Any]] = [
            {"title": "The Left Hand of Darkness", "author": "Ursula K. Le Guin", "year": 1969},
            {"title": "Solaris", "author": "Stanisław Lem", "year": 1961},
            {"title": "Invisible Cities", "author": "Italo Calvino", "year": 1972},
        ]

    async def answer(self, request: web.Request) -> web.Response:
        """Execute one GraphQL request."""
        graphql: Any = import_module("graphql")

        if self._schema is None:
            self._schema = graphql.build_schema(_BOOK_SCHEMA)
        asked = await request.json()
        result = graphql.graphql_sync(
            self._schema,
            str(asked["query"]),
            {"books": self._find, "addBook": self._add},
            variable_values=asked.get("variables"),
            operation_name=asked.get("operationName"),
        )
        return web.json_response(result.formatted)

    def _find(self, _info: Any, author: str | None = None) -> list[dict[str, Any]]:
        return [book for book in self._books if author is None or author.casefold() in book["author"].casefold()]

    def _add(self, _info: Any, book: dict[str, Any]) -> dict[str, Any]:
        if len(self._books) >= _MAX_BOOKS:
            raise ValueError(f"The shelf is full ({_MAX_BOOKS} books).")
        self._books.append(book)
        return book


@asynccontextmanager
async def _serving_sockets(tcp_port: int = 0, udp_port: int = 0) -> AsyncGenerator[tuple[int, int]]:
    """Run the TCP and the UDP service on loopback; yields their ports. Port 0 chooses a free one."""
    server = await asyncio.start_server(_answer_line, "127.0.0.1", tcp_port, limit=_MAX_LINE)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(_Reversing, ("127.0.0.1", udp_port))
    try:
        async with server:
            yield server.sockets[0].getsockname()[1], transport.get_extra_info("sockname")[1]
    finally:
        transport.close()


async def _answer_line(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send each line back in capitals."""
    try:
        while line := await reader.readline():
            writer.write(line.decode("utf-8", "replace").upper().encode())
            await writer.drain()
    except (ConnectionError, ValueError):
        pass  # the caller left, or its line is too long
    finally:
        writer.close()


class _Reversing(asyncio.DatagramProtocol):
    """Send the text of each datagram back, last letter first."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._transport.sendto(data.decode("utf-8", "replace")[::-1].encode(), addr)
