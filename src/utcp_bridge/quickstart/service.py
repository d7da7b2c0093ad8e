"""The sample services: HTTP, WebSocket, GraphQL, TCP and UDP on loopback, in process, with their notes in memory."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aiohttp import WSMsgType, web

from utcp_bridge.quickstart import toolbox
from utcp_bridge.quickstart.books import Shelf
from utcp_bridge.quickstart.chart import bar_chart
from utcp_bridge.quickstart.sockets import serving_sockets

__all__ = ["FOLDER", "PORT", "Places", "configuration", "serving"]

FOLDER: Final = Path(__file__).parent / "data"
PORT: Final = 8765
"""The port that the data files and configs/quickstart.json name, TCP is on the next one and UDP on the one after;
`configuration` puts the real ones in their place."""
_BASE: Final = f"http://127.0.0.1:{PORT}"
_MOST_NOTES: Final = 1000
_MOST_DICE: Final = 100
_MOST_COUNTED: Final = 100
_COUNTING_PAUSE: Final = 0.2
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Places:
    """Where the services listen: HTTP's base URL, the ports of TCP and UDP."""

    base: str
    tcp_port: int
    udp_port: int


def configuration(places: Places) -> dict[str, Any]:
    """The UTCP client configuration of the sample tools, for services that listen there."""
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
    """Run the services on loopback. Port 0 is any free ones, another is HTTP's; TCP and UDP take the two after it."""
    runner = web.AppRunner(_application(), access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        async with serving_sockets(*((port + 1, port + 2) if port else ())) as (tcp_port, udp_port):
            yield Places(f"http://127.0.0.1:{runner.addresses[0][1]}", tcp_port, udp_port)
    finally:
        await runner.cleanup()


def _application() -> web.Application:
    application = web.Application(middlewares=[_tell_faults], client_max_size=1024 * 1024)
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
            web.post("/graphql", Shelf().answer),
        ]
    )
    return application


@web.middleware
async def _tell_faults(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """A wrong argument is a 400 that says which, as JSON. A client that leaves a stream is no fault."""
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
    image = bar_chart([float(value) for value in body["values"]])
    return web.Response(body=image, content_type="image/png")


async def _count(request: web.Request) -> web.StreamResponse:
    """One JSON line after the other, with a pause before each but the first."""
    to = _up_to(request)
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    await response.prepare(request)
    for number in range(1, to + 1):
        await response.write(json.dumps({"progress": number, "total": to}).encode() + b"\n")
        await asyncio.sleep(_COUNTING_PAUSE if number < to else 0)
    return response


async def _countdown(request: web.Request) -> web.StreamResponse:
    """The same downwards, as server-sent events."""
    start = _up_to(request)
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for number in range(start, -1, -1):
        await response.write(f"id: {number}\ndata: {json.dumps({'left': number})}\n\n".encode())
        await asyncio.sleep(_COUNTING_PAUSE if number else 0)
    return response


async def _dice(request: web.Request) -> web.WebSocketResponse:
    """A WebSocket: each message `{"sides": n, "count": n}` is answered with so many throws."""
    opened = web.WebSocketResponse(max_msg_size=10_000)
    await opened.prepare(request)
    async for message in opened:
        if message.type is not WSMsgType.TEXT:
            break
        try:
            asked = json.loads(message.data)
            sides, count = max(2, int(asked.get("sides", 6))), min(max(1, int(asked.get("count", 1))), _MOST_DICE)
            throws = [random.randint(1, sides) for _ in range(count)]  # noqa: S311 - a game
        except (ValueError, TypeError, AttributeError):
            await opened.send_json({"error": "sides and count are whole numbers"})
        else:
            await opened.send_json({"throws": throws, "sum": sum(throws)})
    return opened


def _up_to(request: web.Request) -> int:
    to = int(request.query.get("to", "5"))
    if not 1 <= to <= _MOST_COUNTED:
        raise ValueError(f"`to` is 1 to {_MOST_COUNTED}.")
    return to


class _Notes:
    """A store of notes that lives as long as the service."""

    def __init__(self) -> None:
        self._notes: dict[int, dict[str, Any]] = {}
        self._ids = itertools.count(1)

    async def list(self, request: web.Request) -> web.Response:
        tag = request.query.get("tag")
        return web.json_response([note for note in self._notes.values() if tag is None or tag in note["tags"]])

    async def create(self, request: web.Request) -> web.Response:
        if len(self._notes) >= _MOST_NOTES:
            return web.json_response({"error": f"There are {_MOST_NOTES} notes already."}, status=409)
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
