"""What `test_names` runs in a network of its own, with a server of names that is silent for some. Prints one object."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from typing import Any

import anyio
from tests.support import namespace

from utcp_bridge.net.gate.names import Names

_HOSTS = "127.0.0.1 localhost\n127.0.0.9 own-name.test\n::1 own-name.test\n"
_DEAD = 200


async def _crowd() -> dict[str, Any]:
    """Look up many names without a reply, and good ones beside them."""
    names = Names()
    dead: list[str] = []

    async def wait_for(host: str) -> None:
        try:
            await names.addresses(host, 80, "m")
        except OSError as error:
            dead.append(type(error).__name__)

    await names.addresses("198-51-100-7.address.test", 80, "m")
    before = threading.active_count()
    async with anyio.create_task_group() as group:
        for number in range(_DEAD):
            group.start_soon(wait_for, f"n{number}.dead.test")
        await anyio.wait_all_tasks_blocked()
        good = [await names.addresses(f"g{number}.198-51-100-7.address.test", 80, "m") for number in range(20)]
        early, threads = len(dead), threading.active_count() - before
    return {
        "good": [one for found in good for one in found],
        "dead when the good ones were there": early,
        "threads for dead names": threads,
        "dead": dead,
    }


async def _single() -> dict[str, Any]:
    now = 0.0
    names = Names(clock=lambda: now)

    async def twice(host: str) -> list[list[str]]:
        nonlocal now
        found = []
        for _ in range(2):
            found.append(await names.addresses(host, 80, "m"))
            now += 60
        return found

    try:
        unknown = str(await names.addresses("unknown.example", 80, "m"))
    except OSError as error:
        unknown = type(error).__name__
    return {
        "hosts": sorted(await names.addresses("own-name.test", 80, "m")),
        "localhost": await names.addresses("localhost", 80, "m"),
        "moved": await twice("first-198-51-100-7.then-127-0-0-1.test"),
        "stale": {
            state: (await twice(f"first-198-51-100-7.{state}.test"))[1] for state in ("then-dead", "then-failing")
        },
        "unknown": unknown,
    }


async def _leave() -> None:
    """End with look-ups under way."""
    async with anyio.create_task_group() as group:
        names = Names()
        for number in range(12):
            group.start_soon(names.addresses, f"n{number}.dead.test", 80, "m")
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()


def _main() -> dict[str, Any]:
    with namespace.entered(), tempfile.NamedTemporaryFile("w", suffix=".hosts") as hosts:
        hosts.write(_HOSTS)
        hosts.flush()
        subprocess.run(["mount", "--bind", hosts.name, "/etc/hosts"], check=True)
        if sys.argv[1:] == ["leave"]:
            command = [sys.executable, "-m", __spec__.name, "inside"]
            ended = subprocess.run(command, capture_output=True, text=True, check=True)
            return {"left": 12, "stderr": ended.stderr}
        found = {**anyio.run(_crowd), **anyio.run(_single)}
        anyio.run(_crowd, backend_options={"use_uvloop": True})
        return found


if __name__ == "__main__":
    if sys.argv[1:] == ["inside"]:
        anyio.run(_leave, backend_options={"use_uvloop": True})
    else:
        sys.stdout.write(json.dumps(_main()) + "\n")
