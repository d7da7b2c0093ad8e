"""Name resolution: what is kept, the system with a look-up that waits, and real name servers that are silent."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Semaphore
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from tests.support import namespace

from utcp_bridge.errors import Unreachable
from utcp_bridge.model import Source
from utcp_bridge.net.gate.names import Dns, Found, Names, SystemNames, UnknownName
from utcp_bridge.net.guard import Guard

pytestmark = pytest.mark.anyio


class Resolver:
    """Looks up: a name that begins with `slow` waits. `started` has a permit for each look-up that began."""

    def __init__(self) -> None:
        self.go_on = Event()
        self.started = Semaphore(0)
        self.asked: list[str] = []

    def __call__(self, host: str, port: int, **_: Any) -> list[Any]:
        self.asked.append(host)
        self.started.release()
        if host.startswith("slow"):
            self.go_on.wait(60)
        if host.startswith("broken"):
            raise RuntimeError("a hook of the interpreter")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", port))]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    made = Resolver()
    monkeypatch.setattr("utcp_bridge.net.gate.names.socket.getaddrinfo", made)
    yield made
    made.go_on.set()


async def test_slow_names_of_one_manual_neither_stop_another_nor_the_threads_of_the_loop(resolver: Resolver) -> None:
    names = SystemNames()
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            for number in range(200):
                group.start_soon(names.addresses, f"slow{number}.example", 80, "hostile")
            for _ in range(4):
                await asyncio.to_thread(resolver.started.acquire)  # these threads are free, too
            assert await names.addresses("good.example", 80, "good") == ["192.0.2.1"]
            assert len(resolver.asked) == 5
            group.cancel_scope.cancel()


async def test_a_look_up_that_nobody_waits_for_keeps_its_place_until_it_ends(resolver: Resolver) -> None:
    names = SystemNames()
    with anyio.fail_after(60):
        for first in (0, 20):  # the callers of the first round leave, and their look-ups go on
            async with anyio.create_task_group() as group:
                for number in range(first, first + 20):
                    group.start_soon(names.addresses, f"slow{number}.example", 80, "hostile")
                for _ in range(4 if first == 0 else 0):
                    await asyncio.to_thread(resolver.started.acquire)
                await names.addresses("good.example", 80, "good")
                group.cancel_scope.cancel()
    assert [name for name in resolver.asked if name.startswith("slow")] == [
        f"slow{number}.example" for number in range(4)
    ]


async def test_places_are_free_again_after_slow_and_failed_look_ups(resolver: Resolver) -> None:
    names = SystemNames()
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            for number in range(8):
                group.start_soon(names.addresses, f"slow{number}.example", 80, "a")
            await asyncio.to_thread(resolver.started.acquire)
            resolver.go_on.set()
        for _ in range(8):
            with pytest.raises(RuntimeError):
                await names.addresses("broken.example", 80, "a")
        assert await names.addresses("good.example", 80, "a") == ["192.0.2.1"]


async def test_a_name_that_is_not_resolved_in_time_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(_host: str, _port: int, _owner: str) -> Found:
        raise TimeoutError

    monkeypatch.setattr("utcp_bridge.net.guard.Names", lambda: Names(silent))
    with pytest.raises(Unreachable, match=r"The host name 'slow.example' was not resolved within 5 seconds\."):
        await Guard().resolve("slow.example", 443, Source("a"))


class Servers:
    """Name servers with a script: addresses, or the error of the next look-up. The clock stands until it is moved."""

    def __init__(self, *script: list[str] | Exception, seconds: float = 300.0) -> None:
        self.script = list(script)
        self.asked: list[str] = []
        self.now = 0.0
        self.seconds = seconds
        self.names = Names(self, lambda: self.now)

    async def __call__(self, host: str, _port: int, _owner: str) -> Found:
        self.asked.append(host)
        await anyio.lowlevel.checkpoint()
        step = self.script.pop(0)
        if isinstance(step, Exception):
            raise step
        return Found(step, self.seconds)

    async def get(self, host: str = "a.example") -> list[str]:
        return await self.names.addresses(host, 80, "m")


@pytest.mark.parametrize(("seconds", "kept"), [(0.0, 1.0), (20.0, 20.0), (86_400.0, 30.0)])
async def test_addresses_are_kept_for_their_time_within_bounds(seconds: float, kept: float) -> None:
    servers = Servers(["192.0.2.1"], ["192.0.2.2"], seconds=seconds)
    assert await servers.get() == ["192.0.2.1"]
    servers.now = kept - 0.1
    assert await servers.get("A.example.") == ["192.0.2.1"]
    servers.now = kept
    assert await servers.get() == ["192.0.2.2"]


async def test_callers_that_wait_at_once_share_one_look_up() -> None:
    servers = Servers(["192.0.2.1"])
    async with anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(servers.get)
    assert servers.asked == ["a.example"]


async def test_an_unknown_name_is_asked_for_again_soon() -> None:
    servers = Servers(UnknownName("no"), ["192.0.2.1"])
    for _ in range(3):
        with pytest.raises(UnknownName):
            await servers.get()
    servers.now = 2.0
    assert await servers.get() == ["192.0.2.1"]
    assert len(servers.asked) == 2


@pytest.mark.parametrize("failure", [OSError("server failure"), TimeoutError()])
async def test_earlier_addresses_are_used_while_the_servers_fail(failure: OSError) -> None:
    servers = Servers(["192.0.2.1"], failure, failure, ["192.0.2.2"])
    await servers.get()
    servers.now = 30.0
    for _ in range(3):
        assert await servers.get() == ["192.0.2.1"]
    assert len(servers.asked) == 2  # the servers have a pause
    servers.now = 35.0
    assert await servers.get() == ["192.0.2.1"]
    servers.now = 40.0
    assert await servers.get() == ["192.0.2.2"]


async def test_earlier_addresses_are_not_used_for_ever() -> None:
    servers = Servers(["192.0.2.1"], OSError("server failure"))
    await servers.get()
    servers.now = 3_700.0
    with pytest.raises(OSError, match="server failure"):
        await servers.get()


async def test_earlier_addresses_are_not_used_for_a_name_that_was_removed() -> None:
    servers = Servers(["192.0.2.1"], UnknownName("no"))
    await servers.get()
    servers.now = 30.0
    with pytest.raises(UnknownName):
        await servers.get()


async def test_addresses_that_do_not_work_are_looked_up_again_but_not_each_time() -> None:
    servers = Servers(["192.0.2.1"], ["192.0.2.2"])
    await servers.get()
    assert servers.names.doubt("a.example") == ["192.0.2.1"]
    assert await servers.get() == ["192.0.2.1"]
    servers.now = 1.0
    servers.names.doubt("A.example")
    assert await servers.get() == ["192.0.2.2"]
    assert servers.names.doubt("unheard.example") == []


async def test_many_names_leave_few_behind() -> None:
    servers = Servers(*([f"192.0.2.{number % 250}"] for number in range(3_000)))
    for number in range(3_000):
        await servers.get(f"{number}.example")
    assert len(servers.names._kept) == 1_024
    assert await servers.get("2999.example") == ["192.0.2.249"]


async def test_manuals_without_number_leave_few_places_behind(resolver: Resolver) -> None:
    names = SystemNames()
    for number in range(1_100):
        await names.addresses("good.example", 80, f"manual{number}")
    assert len(names._owners) == 1_024
    assert len(resolver.asked) == 1_100


async def test_localhost_needs_no_server() -> None:
    assert {"127.0.0.1", "::1"} >= set((await Dns().addresses("localhost")).texts) != set()


def _descriptors_and_threads() -> list[int]:
    return [len(list(Path("/proc/self", what).iterdir())) for what in ("fd", "task")]


@pytest.mark.skipif(sys.platform != "linux", reason="descriptors are counted in /proc")
async def test_many_look_ups_in_a_row_leave_few_descriptors_and_threads() -> None:
    dns = Dns()
    await dns.addresses("localhost")
    before = _descriptors_and_threads()
    for _ in range(1_000):
        await dns.addresses("localhost")
    assert max(now - then for now, then in zip(_descriptors_and_threads(), before, strict=True)) < 50


def test_name_servers_that_are_silent_hold_up_their_own_callers_only() -> None:
    if reason := namespace.why_not():
        pytest.skip(reason)
    report = namespace.run_inside("tests.support.names_program")
    assert report["good"] == ["198.51.100.7"] * 20
    assert report["dead when the good ones were there"] == 0
    assert report["threads for dead names"] == 0
    assert set(report["dead"]) == {"TimeoutError"}
    assert len(report["dead"]) == 200


def test_names_of_the_machine_and_of_dns_are_resolved_and_moves_are_followed() -> None:
    if reason := namespace.why_not():
        pytest.skip(reason)
    report = namespace.run_inside("tests.support.names_program")
    assert report["hosts"] == ["127.0.0.9", "::1"]
    assert report["localhost"]
    assert report["moved"] == [["198.51.100.7"], ["127.0.0.1"]]
    assert report["stale"] == {"then-dead": ["198.51.100.7"], "then-failing": ["198.51.100.7"]}
    assert report["unknown"] == "UnknownName"


def test_a_program_ends_while_its_look_ups_wait() -> None:
    if reason := namespace.why_not():
        pytest.skip(reason)
    assert namespace.run_inside("tests.support.names_program", "leave") == {"left": 12, "stderr": ""}
