"""The gate itself, under every transport: a name leads to a refused address, and nothing is sent to any address."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import anyio
import pytest
from tests.support import namespace
from tests.support.gate_cases import Attempt, attempts, kinds_with_a_network, stranger

from utcp_bridge.errors import UtcpError
from utcp_bridge.model import Source
from utcp_bridge.net.document import document_request
from utcp_bridge.net.guard import Guard
from utcp_bridge.testing.services import open_services
from utcp_bridge.transport import Services

pytest.importorskip("aiortc", reason="the extra [webrtc] is not installed")
pytest.importorskip("grpc", reason="the extra [grpc] is not installed")

pytestmark = pytest.mark.anyio

PUBLIC = "93.184.216.34"
WAYS = list(attempts())
ADDRESSES = [
    ("127.0.0.1", "loopback"),
    ("10.77.0.1", "private"),
    ("169.254.169.254", "link-local"),
    ("168.63.129.16", "metadata"),
    ("fd00:ec2::254", "unique local"),
    ("::ffff:10.0.0.1", "private"),
]
PORT = 9


class Names:
    """Returns one list of addresses after the other."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)

    async def __call__(self, _host: str, _port: int) -> Iterable[str]:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class Recorder:
    """The addresses of this process's connections and datagrams, from the hooks of the interpreter."""

    def __init__(self) -> None:
        self.seen: list[Any] | None = None
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.seen is not None and event in {"socket.connect", "socket.sendto", "socket.sendmsg"}:
            self.seen.append(arguments[1])

    @contextmanager
    def recording(self) -> Iterator[list[Any]]:
        self.seen = []
        try:
            yield self.seen
        finally:
            self.seen = None


recorder = Recorder()


async def refused(attempt: Attempt, guard: Guard, *, written: bool = False) -> str:
    """Return the error of an attempt. Nothing was sent."""
    source = stranger("names.example", PORT, written=written)
    async with open_services(guard=guard) as services:
        with anyio.fail_after(60), recorder.recording() as seen:
            try:
                await attempt(services, source, "names.example", PORT)
            except UtcpError as error:
                assert seen == []
                return error.message
    raise AssertionError(f"it connected: {seen}")


@pytest.mark.parametrize("attempt", [way for _, way in WAYS], ids=[name for name, _ in WAYS])
@pytest.mark.parametrize(("address", "kind"), ADDRESSES)
async def test_a_refused_address_behind_a_name_is_never_contacted(attempt: Attempt, address: str, kind: str) -> None:
    for answer in ([address], [PUBLIC, address]):
        assert f"it is a {kind} address" in await refused(attempt, Guard(Names(answer)))


@pytest.mark.parametrize("attempt", [way for _, way in WAYS], ids=[name for name, _ in WAYS])
@pytest.mark.parametrize(("address", "kind"), ADDRESSES)
async def test_a_written_name_that_comes_nearer_is_not_followed(attempt: Attempt, address: str, kind: str) -> None:
    guard = Guard(Names([PUBLIC], [address]))
    await guard.resolve("names.example", PORT, stranger("names.example", PORT, written=True))
    assert f"it is a {kind} address" in await refused(attempt, guard, written=True)


@pytest.mark.parametrize(("address", "kind"), ADDRESSES)
async def test_a_proxy_whose_name_comes_nearer_is_not_used(address: str, kind: str) -> None:
    guard = Guard(Names([PUBLIC], [address]))
    await guard.resolve("names.example", PORT, stranger("names.example", PORT, written=True))

    async def through_proxy(services: Services, source: Source, host: str, port: int) -> Any:
        source = replace(
            source, exempt=frozenset({"192.0.2.1:80"}), origin="http://192.0.2.1", proxy=f"http://{host}:{port}"
        )
        return await services.http.session(source).request(document_request("http://192.0.2.1/utcp"))

    assert f"it is a {kind} address" in await refused(through_proxy, guard)


def test_every_kind_of_transport_has_such_a_proof() -> None:
    from tests.support.gate_cases import TRANSPORTS

    assert set(TRANSPORTS) == kinds_with_a_network()


async def test_the_recorder_sees_a_connection() -> None:
    with recorder.recording() as seen, pytest.raises(OSError, match="attempts failed"):
        await anyio.connect_tcp("127.0.0.1", 1)
    assert seen == [("127.0.0.1", 1)]


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_no_packet_of_any_kind_reaches_an_inner_address(loop: str) -> None:
    if reason := namespace.why_not():
        pytest.skip(reason)
    if loop == "uvloop":
        pytest.importorskip("uvloop", reason="the extra [fast] is not installed")
    report = namespace.run_inside("tests.support.gate_program", loop)
    assert report["hits"] == []
    assert report["other"] == []
    assert report["peers"]
    assert report["refused"] == len(WAYS) * len(namespace.INNER) * 2
    assert {"http: call", "grpc: call", "mcp: http"} <= {one.partition(",")[0] for one in report["proxied"]}
    assert {hit.partition(" ")[0] for hit in report["control"]} == {"tcp", "udp"}
