"""Name resolution by the system, with a look-up that waits until the test lets it end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from threading import Event, Semaphore
from typing import Any

import anyio
import pytest

from utcp_bridge.errors import Unreachable
from utcp_bridge.model import Source
from utcp_bridge.net.gate.names import SystemNames
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


async def test_a_name_that_is_not_resolved_in_time_is_one_sentence(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("utcp_bridge.net.guard.SystemNames", lambda: SystemNames(seconds=0))
    with pytest.raises(Unreachable, match=r"The host name 'slow.example' was not resolved within 10 seconds\."):
        await Guard().resolve("slow.example", 443, Source("a"))
