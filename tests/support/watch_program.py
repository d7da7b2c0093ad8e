"""What `test_connection_watch` runs: connections that no gate has checked, of each kind, under the watch.

Prints `{"stopped": [...], "passed": [...], "hits": number}`. The arguments are the event loop, and `issued` if the gate
issues the address first. All of it stays on loopback.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import Callable
from threading import Thread
from typing import Any

import anyio

from utcp_bridge.errors import PolicyError
from utcp_bridge.net.gate.connection_watch import issued, watched

HOST = "127.0.0.1"


async def _stream(port: int) -> None:
    _, writer = await asyncio.open_connection(HOST, port)
    writer.close()


async def _in_a_thread(port: int) -> None:
    def connect() -> None:
        socket.create_connection((HOST, port), 60).close()

    failures: list[BaseException] = []

    def run() -> None:
        try:
            connect()
        except PolicyError as error:
            failures.append(error)

    thread = Thread(target=run)
    thread.start()
    await anyio.to_thread.run_sync(thread.join)
    if failures:
        raise failures[0]


async def _sock_connect(port: int) -> None:
    with socket.socket() as one:
        one.setblocking(False)
        await asyncio.get_running_loop().sock_connect(one, (HOST, port))


async def _anyio(port: int) -> None:
    try:
        await (await anyio.connect_tcp(HOST, port)).aclose()
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None


async def _connected_datagrams(port: int) -> None:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=(HOST, port))
    transport.sendto(b"x")
    transport.close()


async def _sendto(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.sendto(b"x", (HOST, port))


async def _sendmsg(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.sendmsg([b"x"], [], 0, (HOST, port))


async def _mapped(port: int) -> None:
    with socket.socket(socket.AF_INET6) as one:
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        one.connect((f"::ffff:{HOST}", port))


async def _look_up(port: int) -> None:
    await asyncio.get_running_loop().getaddrinfo("localhost", port)


async def _look_up_by_socket(port: int) -> None:
    socket.getaddrinfo("localhost", port)
    socket.gethostbyname("localhost")


WAYS: dict[str, Callable[[int], Any]] = {
    "stream": _stream,
    "thread": _in_a_thread,
    "sock_connect": _sock_connect,
    "anyio": _anyio,
    "connected datagrams": _connected_datagrams,
    "sendto": _sendto,
    "sendmsg": _sendmsg,
    "mapped": _mapped,
    "look-up": _look_up,
    "look-up by socket": _look_up_by_socket,
}


async def _datagrams_by_address(port: int, listener: socket.socket) -> int:
    """Send from an unconnected transport, whose errors nobody sees. Return how many datagrams arrived."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=(HOST, 0))
    transport.sendto(b"x", (HOST, port))
    transport.close()
    await asyncio.sleep(0)
    listener.setblocking(False)
    try:
        return len(listener.recv(10))
    except BlockingIOError:
        return 0


async def _main(is_issued: bool) -> dict[str, Any]:
    stopped, passed = [], []
    with socket.create_server((HOST, 0)) as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        port = tcp.getsockname()[1]
        udp.bind((HOST, port))
        with watched():
            if is_issued:
                issued.add(HOST, port)
                issued.add("localhost")
            for name, way in WAYS.items():
                try:
                    await way(port)
                    passed.append(name)
                except PolicyError:
                    stopped.append(name)
            one, other = socket.socketpair()  # stays on this machine
            one.close()
            other.close()
        tcp.setblocking(False)
        hits = 0
        while True:
            try:
                tcp.accept()[0].close()
                hits += 1
            except BlockingIOError:
                break
        with watched():
            datagrams = await _datagrams_by_address(port, udp)
        await asyncio.open_connection(HOST, port)  # nobody watches
    return {"stopped": stopped, "passed": passed, "hits": hits, "datagrams": datagrams}


if __name__ == "__main__":
    use_uvloop = sys.argv[1] == "uvloop"
    report = anyio.run(_main, sys.argv[2:] == ["issued"], backend_options={"use_uvloop": use_uvloop})
    sys.stdout.write(json.dumps(report))
