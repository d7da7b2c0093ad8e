"""The program of a worker process. It does jobs for a parent over stdin and stdout.

Each request is a line of JSON, with as many bytes after it as its `size` says. `job` names the class that does it, and
`seconds` is the processor time that it may take. Each reply is some lines and one that starts with `E`, which ends it:
a JSON object, whose `sizes` say which pieces of bytes follow the line.

The program ends as soon as its stdin does, also in the middle of work: then its parent is gone. It limits its own
memory and processor time, opens no files, and starts nothing.
"""

from __future__ import annotations

import gc
import json
import os
import queue
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pkgutil import resolve_name
from typing import Any, BinaryIO, Final, Protocol

import orjson

from utcp_bridge.model import JsonObject
from utcp_bridge.workers.memory import give_back

__all__ = ["Job", "last_line", "named", "run"]

_NICENESS: Final = 10
_OWN: Final = "utcp_bridge."


class Job(Protocol):
    """One kind of work. There is one instance for each worker, which may keep something between requests."""

    def reply(self, request: JsonObject, data: bytes) -> Iterator[bytes]:
        """Yield the reply: lines, the one that ends it, and the pieces after it. Errors are replies too."""
        ...


def last_line(reply: JsonObject) -> bytes:
    """Return the line that ends a reply. JSON of Python has whole numbers of any length, which YAML may contain."""
    with suppress(TypeError):
        return b"E" + orjson.dumps(reply, default=str) + b"\n"
    return b"E" + json.dumps(reply, default=str).encode() + b"\n"


def named(name: str) -> Any:
    """Return a class or function of this package by its name `module:name`."""
    if not name.startswith(_OWN):
        raise ValueError(name)
    return resolve_name(name)


def _limit_resources(memory: int) -> None:
    """Limit memory and files, and let the bridge go first.

    Windows has no such limits. There the parent's time limit remains.
    """
    with suppress(AttributeError, OSError):
        os.nice(_NICENESS)
    with suppress(ImportError):
        import resource

        limits = {"RLIMIT_AS": 2 * memory, "RLIMIT_DATA": memory, "RLIMIT_FSIZE": 0, "RLIMIT_CORE": 0}
        for name, limit in limits.items():
            with suppress(AttributeError, ValueError, OSError):
                kind = getattr(resource, name)
                _, hard = resource.getrlimit(kind)
                most = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
                resource.setrlimit(kind, (most, most))


def _limit_time(seconds: float) -> None:
    """Let the system end this process after this number of further seconds of CPU time."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        used = resource.getrusage(resource.RUSAGE_SELF)
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime + seconds) + 2, hard))


def _requests(source: BinaryIO, requests: queue.SimpleQueue[tuple[JsonObject, bytes]]) -> None:
    """Read requests. The end of stdin ends the process at once, whatever it does."""
    while line := source.readline():
        request: JsonObject = json.loads(line)
        data = source.read(request["size"])
        if len(data) < request["size"]:
            break
        requests.put((request, data))
        del data
    os._exit(0)


def main(memory: int) -> None:
    """Work for the parent until it closes stdin."""
    gc.disable()  # what is read lives for the length of one job, without circles
    out = sys.stdout.buffer
    sys.stdout = sys.stderr
    _limit_resources(memory)
    requests: queue.SimpleQueue[tuple[JsonObject, bytes]] = queue.SimpleQueue()
    threading.Thread(target=_requests, args=(sys.stdin.buffer, requests), daemon=True).start()
    out.write(b"E{}\n")
    out.flush()
    jobs: dict[str, Job] = {}
    while True:
        _do(requests, jobs, out)
        out.flush()
        gc.collect()  # errors have circles
        give_back()


def _do(requests: queue.SimpleQueue[tuple[JsonObject, bytes]], jobs: dict[str, Job], out: BinaryIO) -> None:
    request, data = requests.get()
    name: str = request["job"]
    if name not in jobs:
        jobs[name] = named(name)()
    if "seconds" in request:
        _limit_time(request["seconds"])
    reply = jobs[name].reply(request, data)
    del data
    out.writelines(reply)


def run(memory: int) -> None:
    """Be the program of a worker that may have `memory` bytes: work, and end the process with everything in it."""
    with suppress(BrokenPipeError, KeyboardInterrupt):
        main(memory)
    os._exit(0)
