"""Clients that account for every reply: over stdio by id, over HTTP by exchange."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import IO, Any, Literal, Protocol, Self

import aiohttp
from benchmarks.harness.messages import Address, Era, initialize, message, payload

Json = dict[str, Any]
Kind = Literal["ok", "error", "refused", "hang", "broken"]


@dataclass(frozen=True)
class Outcome:
    """What became of a call: a result, a typed error (`code`), a JSON-RPC error, silence, or a broken connection."""

    kind: Kind
    code: str
    text: str
    seconds: float

    @property
    def key(self) -> str:
        return f"{self.kind}:{self.code}" if self.code else self.kind


class AccountingClient(Protocol):
    """What the soak needs of a client."""

    async def call(self, name: str, arguments: Json, patience: float) -> Outcome: ...
    async def leave(self, name: str, arguments: Json, after: float) -> None: ...
    async def tools(self) -> list[str]: ...


@dataclass
class Account:
    """The replies of a stdio server, by the ids of its requests."""

    waiting: dict[str, asyncio.Future[Json]] = field(default_factory=dict[str, "asyncio.Future[Json]"])
    replied: set[str] = field(default_factory=set[str])
    leaving: set[str] = field(default_factory=set[str])
    """Requests whose cancellation the server may not have read yet: a reply may cross with it."""
    cancelled: set[str] = field(default_factory=set[str])
    faults: list[str] = field(default_factory=list[str])

    def note(self, line: bytes) -> None:
        """Take one line of the server's stdout."""
        try:
            said: Json = json.loads(line)
        except ValueError:
            self.faults.append(f"a line that is not JSON: {line[:120]!r}")
            return
        if "method" in said:
            return
        ident = str(said.get("id"))
        if ident in self.replied:
            self.faults.append(f"a second reply to {ident}")
        elif ident in self.leaving:
            self.replied.add(ident)
        elif ident in self.cancelled:
            self.faults.append(f"a reply to {ident}, which was cancelled")
        elif ident not in self.waiting:
            self.faults.append(f"a reply to {ident}, which nobody sent")
        else:
            self.replied.add(ident)
            reply = self.waiting.pop(ident)
            if not reply.done():
                reply.set_result(said)


class StdioAccount(asyncio.Protocol):
    """One stdio server with any number of requests in flight."""

    def __init__(self, writer: asyncio.WriteTransport, era: Era) -> None:
        self.account = Account()
        self._writer = writer
        self._era: Era = era
        self._numbers = itertools.count(1)
        self._rest = bytearray()

    @classmethod
    async def open(cls, stdin: IO[bytes], stdout: IO[bytes], era: Era) -> StdioAccount:
        loop = asyncio.get_running_loop()
        writer, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, stdin)
        _, client = await loop.connect_read_pipe(lambda: cls(writer, era), stdout)
        await client.start()
        return client

    async def start(self) -> None:
        if self._era == "2025-11-25":
            await self._request("initialize", initialize(self._era))
            self._send(None, "notifications/initialized", {})

    def close(self) -> None:
        self._writer.close()

    def data_received(self, data: bytes) -> None:
        self._rest += data
        if b"\n" not in data:
            return
        *lines, rest = bytes(self._rest).split(b"\n")
        self._rest = bytearray(rest)
        for line in lines:
            self.account.note(line)

    def connection_lost(self, _error: Exception | None) -> None:
        for reply in self.account.waiting.values():
            if not reply.done():
                reply.set_exception(ConnectionError("the server closed its output"))

    async def call(self, name: str, arguments: Json, patience: float) -> Outcome:
        """Call a tool. A call that gets no reply in `patience` seconds hangs."""
        params = {"name": name, "arguments": arguments}
        return await _outcome(self._request("tools/call", params), patience)

    async def leave(self, name: str, arguments: Json, after: float) -> None:
        """Cancel a call after some seconds."""
        ident, reply = self._begin("tools/call", {"name": name, "arguments": arguments})
        await asyncio.sleep(after)
        if not reply.done():
            self.account.leaving.add(ident)
            del self.account.waiting[ident]
            self._send(None, "notifications/cancelled", {"requestId": ident, "reason": "not needed"})
            await self._request("ping", {})  # its reply says that the cancellation was read
            self.account.leaving.discard(ident)
            self.account.cancelled.add(ident)

    async def tools(self) -> list[str]:
        return await _all_tools(self._request)

    async def _request(self, method: str, params: Json) -> Json:
        return await self._begin(method, params)[1]

    def _begin(self, method: str, params: Json) -> tuple[str, asyncio.Future[Json]]:
        ident = f"s{next(self._numbers)}"
        reply: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
        self.account.waiting[ident] = reply
        self._send(ident, method, params)
        return ident, reply

    def _send(self, ident: str | None, method: str, params: Json) -> None:
        self._writer.write(message(self._era, ident, method, params) + b"\n")


class HttpAccount:
    """One client of an HTTP server."""

    def __init__(self, session: aiohttp.ClientSession, address: Address, era: Era) -> None:
        self._session = session
        self._url = f"http://{address.host}:{address.port}{address.path}"
        self._era: Era = era
        self._numbers = itertools.count(1)
        self._id: str | None = None

    async def start(self) -> Self:
        if self._era == "2025-11-25":
            await self._request("initialize", initialize(self._era))
            await self._post(None, "notifications/initialized", {})
        return self

    async def call(self, name: str, arguments: Json, patience: float) -> Outcome:
        """Call a tool. A call that gets no reply in `patience` seconds hangs."""
        params = {"name": name, "arguments": arguments}
        return await _outcome(self._request("tools/call", params), patience)

    async def leave(self, name: str, arguments: Json, after: float) -> None:
        """Close the connection of a call after some seconds."""
        await self.call(name, arguments, after)

    async def tools(self) -> list[str]:
        return await _all_tools(self._request)

    async def _request(self, method: str, params: Json) -> Json:
        ident = f"h{next(self._numbers)}"
        body = await self._post(ident, method, params)
        lines = [line[5:] for line in body.splitlines() if line.startswith(b"data:") and line[5:].strip()]
        said = [one for one in map(json.loads, lines or [body]) if "method" not in one]
        if len(said) != 1 or said[0].get("id") != ident:
            raise ConnectionError(f"{len(said)} replies to one request: {body[:200]!r}")
        reply: Json = said[0]
        return reply

    async def _post(self, ident: str | None, method: str, params: Json) -> bytes:
        data = message(self._era, ident, method, params)
        async with self._session.post(self._url, data=data, headers=self._headers(method, params)) as response:
            self._id = response.headers.get("Mcp-Session-Id", self._id)
            return await response.read()

    def _headers(self, method: str, params: Json) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
        if self._era == "2026-07-28":
            headers |= {"MCP-Protocol-Version": self._era, "Mcp-Method": method}
            if "name" in params:
                headers["Mcp-Name"] = params["name"]
        elif method != "initialize":
            headers["MCP-Protocol-Version"] = self._era
            if self._id is not None:
                headers["Mcp-Session-Id"] = self._id
        return headers


@asynccontextmanager
async def http_clients(address: Address, era: Era, number: int) -> AsyncIterator[list[HttpAccount]]:
    """Yield clients with connections and sessions of their own."""
    async with AsyncExitStack() as stack:
        clients: list[HttpAccount] = []
        for _ in range(number):
            connector = aiohttp.TCPConnector(limit=0)
            whole = aiohttp.ClientTimeout(total=None)
            session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector, timeout=whole))
            clients.append(await HttpAccount(session, address, era).start())
        yield clients


async def _all_tools(request: Any) -> list[str]:
    names: list[str] = []
    params: Json = {}
    while True:
        page = payload(json.dumps(await request("tools/list", params)).encode())
        names += [tool["name"] for tool in page["tools"]]
        if not page.get("nextCursor"):
            return names
        params = {"cursor": page["nextCursor"]}


async def _outcome(request: Any, patience: float) -> Outcome:
    began = perf_counter()
    try:
        async with asyncio.timeout(patience):
            reply: Json = await request
    except TimeoutError:
        return Outcome("hang", "", "", perf_counter() - began)
    except (ConnectionError, aiohttp.ClientError, ValueError) as error:
        return Outcome("broken", type(error).__name__, str(error)[:200], perf_counter() - began)
    seconds = perf_counter() - began
    if "error" in reply:
        return Outcome("refused", str(reply["error"].get("code")), str(reply["error"].get("message")), seconds)
    result: Json = reply["result"]
    text = " ".join(str(block.get("text", "")) for block in result.get("content", []))
    if result.get("isError"):
        return Outcome("error", str(result.get("_meta", {}).get("utcp/error", "")), text, seconds)
    return Outcome("ok", "", text, seconds)
