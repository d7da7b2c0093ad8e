"""CPU of one plain HTTP request, by engine: `python -m benchmarks.engines [--rounds N] [--requests N]`.

The engines take turns in one process, against a small server in another one on the other core. Each round has so many
requests of each engine, and its figure is CPU time of the process, all threads, for one request. The median of the
rounds counts. Engines that are not installed are left out: `pip install pyreqwest pyqwest` adds two in Rust, which
are measured for comparison only, because the address gate cannot be their resolver.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from importlib.util import find_spec
from multiprocessing.connection import Connection
from typing import TypeAlias, cast
from urllib.parse import urlsplit

import anyio
import httptools
from multidict import CIMultiDict
from yarl import URL

from utcp_bridge.model import Source
from utcp_bridge.net.aiohttp_engine import AiohttpResolver, ClientOptions, open_client
from utcp_bridge.net.guard import Guard
from utcp_bridge.net.heads.idle_connections import IdleConnector
from utcp_bridge.net.heads.plain_requests import PlainRequests
from utcp_bridge.net.http import HttpPool
from utcp_bridge.placement.request import RequestParts

Ask: TypeAlias = Callable[[], Awaitable[bytes]]
"""Sends the request and returns the body."""
SIZES = {"200 B": 200, "50 KB": 50_000}
IN_FLIGHT = (1, 16)
_HEADERS = [("Accept", "application/json"), ("X-Request-Id", "0123456789")]


class _Upstream(asyncio.Protocol):
    """Answers every request with the number of bytes that its path names."""

    def __init__(self) -> None:
        self._transport: asyncio.WriteTransport | None = None
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        *heads, self._rest = (self._rest + data).split(b"\r\n\r\n")
        for head in heads:
            size = int(head.split(b" ", 2)[1].strip(b"/"))
            body = b'{"text":"%s"}' % (b"x" * (size - 11))
            answer = b"HTTP/1.1 200 OK\r\nDate: Mon, 30 Nov 2026 00:00:00 GMT\r\nServer: upstream\r\n"
            answer += b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
            if self._transport is not None:
                self._transport.write(answer + body)


def _serve(ready: Connection, core: int | None) -> None:
    if core is not None:
        os.sched_setaffinity(0, {core})

    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(_Upstream, "127.0.0.1", 0)
        ready.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    anyio.run(serve, backend_options={"use_uvloop": find_spec("uvloop") is not None})


@asynccontextmanager
async def _ours(url: str, method: str) -> AsyncIterator[Ask]:
    """The whole of `HttpSession.request`: gate, limits, and an engine."""
    source = Source("bench", exempt=frozenset({urlsplit(url).netloc}))
    pool = HttpPool(Guard())
    session, parts = pool.session(source), RequestParts(method, url, _HEADERS)

    async def ask() -> bytes:
        return (await session.request(parts)).body

    yield ask
    await pool.aclose()


@asynccontextmanager
async def _aiohttp(url: str) -> AsyncIterator[Ask]:
    """aiohttp with all that can be switched off: no cookies, no proxies of the environment, URLs that are parsed."""
    source = Source("bench", exempt=frozenset({urlsplit(url).netloc}))
    client = open_client(AiohttpResolver(Guard(), source), ClientOptions(10.0, 0, trust_env=False, ssl=True))
    target, headers = URL(url, encoded=True), CIMultiDict(_HEADERS)

    async def ask() -> bytes:
        async with client.get(target, headers=headers, allow_redirects=False) as response:
            return await response.read()

    yield ask
    await client.close()


@asynccontextmanager
async def _aiohttp_parts(url: str) -> AsyncIterator[Ask]:
    """aiohttp's connector, protocol and parser, without its session, requests and responses."""
    source = Source("bench", exempt=frozenset({urlsplit(url).netloc}))
    client = open_client(AiohttpResolver(Guard(), source), ClientOptions(10.0, 0, trust_env=False, ssl=True))
    assert isinstance(client.connector, IdleConnector)
    plain = PlainRequests(client.connector, client.timeout)
    target, parts = URL(url, encoded=True), RequestParts("GET", url, _HEADERS)

    async def ask() -> bytes:
        return await (await plain.send(parts, target, _HEADERS)).content.readany()

    yield ask
    plain.close()
    await client.close()


class _Bare(asyncio.Protocol):
    """The least that an engine of our own costs: httptools, without limits, timeouts, TLS and checks."""

    def __init__(self) -> None:
        self.transport: asyncio.WriteTransport | None = None
        self._answer: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.WriteTransport", transport)

    def ask(self, request: bytes) -> asyncio.Future[bytes]:
        """Send a request and return its body, later."""
        assert self.transport is not None
        self._parser = httptools.HttpResponseParser(self)
        self._headers: list[tuple[bytes, bytes]] = []
        self._pieces: list[bytes] = []
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_body(self, data: bytes) -> None:
        self._pieces.append(data)

    def on_message_complete(self) -> None:
        CIMultiDict((name.decode("latin-1"), value.decode("latin-1")) for name, value in self._headers)
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(b"".join(self._pieces))


@asynccontextmanager
async def _bare(url: str) -> AsyncIterator[Ask]:
    target, idle = URL(url, encoded=True), list[_Bare]()

    async def ask() -> bytes:
        if idle:
            connection = idle.pop()
        else:
            connection = (await asyncio.get_running_loop().create_connection(_Bare, target.host, target.port))[1]
        fields = "".join(f"{name}: {value}\r\n" for name, value in _HEADERS)
        head = f"GET {target.raw_path_qs} HTTP/1.1\r\nHost: {target.raw_authority}\r\n{fields}\r\n"
        body = await connection.ask(head.encode())
        idle.append(connection)
        return body

    yield ask
    for one in idle:
        if one.transport is not None:
            one.transport.close()


@asynccontextmanager
async def _pyreqwest(url: str) -> AsyncIterator[Ask]:
    from pyreqwest.client import ClientBuilder

    client = ClientBuilder().follow_redirects(False).no_proxy().max_connections(1024).build()
    headers = dict(_HEADERS)

    async def ask() -> bytes:
        response = await client.get(url).headers(headers).build().send()
        return bytes(await response.bytes())

    yield ask
    await client.close()


@asynccontextmanager
async def _pyqwest(url: str) -> AsyncIterator[Ask]:
    from pyqwest import Client, HTTPTransport

    client = Client(HTTPTransport(proxy=(), enable_otel=False, pool_max_idle_per_host=1024))

    async def ask() -> bytes:
        return bytes((await client.get(url, _HEADERS)).content)

    yield ask


ENGINES: Mapping[str, Callable[[str], AbstractAsyncContextManager[Ask]]] = {
    "bridge, whole session": lambda url: _ours(url, "get"),  # in small letters it is not plain
    "bridge": lambda url: _ours(url, "GET"),
    "aiohttp": _aiohttp,
    "its parts": _aiohttp_parts,
    "pyreqwest": _pyreqwest,
    "pyqwest": _pyqwest,
    "bare httptools": _bare,
}
_OPTIONAL = {"pyreqwest": "pyreqwest", "pyqwest": "pyqwest", "bare httptools": "httptools"}


async def _round(ask: Ask, requests: int, in_flight: int, size: int) -> float:
    """Return the microseconds of CPU that one request took."""

    async def work(count: int) -> None:
        for _ in range(count):
            assert len(await ask()) == size

    await work(1)
    began = time.process_time()
    await asyncio.gather(*[work(requests // in_flight) for _ in range(in_flight)])
    return (time.process_time() - began) * 1e6 / (requests // in_flight * in_flight)


async def _measure(port: int, rounds: int, requests: int) -> None:
    names = [name for name in ENGINES if find_spec(_OPTIONAL.get(name, "aiohttp")) is not None]
    print("| reply | in flight | " + " | ".join(names) + " |")
    print("| --- | --- |" + " --- |" * len(names))
    for label, size in SIZES.items():
        for in_flight in IN_FLIGHT:
            found: dict[str, list[float]] = {name: [] for name in names}
            async with AsyncExitStack() as stack:
                url = f"http://127.0.0.1:{port}/{size}"
                asks = {name: await stack.enter_async_context(ENGINES[name](url)) for name in names}
                for number in range(rounds):
                    for name in names if number % 2 else reversed(names):
                        found[name].append(await _round(asks[name], requests, in_flight, size))
            cells = [
                f"{statistics.median(values):.0f} [{min(values):.0f}-{max(values):.0f}]" for values in found.values()
            ]
            print(f"| {label} | {in_flight} | " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    """Print a table of microseconds of CPU for one request: the median of the rounds, and their range."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--requests", type=int, default=800, help="of each engine in a round")
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    mine, theirs = multiprocessing.get_context("spawn").Pipe()
    core = cores[0] if len(cores) > 1 else None
    server = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs, core), daemon=True)
    server.start()
    theirs.close()
    try:
        port = mine.recv()
        if len(cores) > 1:
            os.sched_setaffinity(0, set(cores[1:]))
        anyio.run(
            _measure, port, options.rounds, options.requests,
            backend_options={"use_uvloop": find_spec("uvloop") is not None},
        )  # fmt: skip
    finally:
        server.terminate()
        server.join()


if __name__ == "__main__":
    main()
