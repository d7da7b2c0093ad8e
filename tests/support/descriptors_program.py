"""What `test_shortage` runs: calls of every kind of transport while the process has no descriptors left.

It prints their errors as one object. The servers are in a process of their own.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from tests.support.one_address import ARGUMENTS, servers

from utcp_bridge.errors import UtcpError
from utcp_bridge.model import Source, Trust, discard
from utcp_bridge.net.guard import Guard
from utcp_bridge.testing.services import LOOPBACK, make_call, make_target, open_services
from utcp_bridge.transports.registry import TransportRegistry

_LIMIT = 256


def _fill() -> list[int]:
    taken: list[int] = []
    try:
        while True:
            taken.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        return taken


async def _said(kind: str, template: dict[str, Any], *, way: str, full: bool, guard: Guard | None = None) -> str:
    source = Source("m", Trust.OPERATOR, allow_networks=LOOPBACK)
    async with open_services(guard=guard) as services:
        transport = TransportRegistry().find(kind)(services)
        target = make_target(transport, {"call_template_type": kind, **template}, source=source)
        taken = _fill() if full else []
        try:
            if way == "discover":
                await transport.discover(target)
            else:
                await transport.call(target, make_call(ARGUMENTS, source=source), discard)
        except UtcpError as error:
            return f"{error.code}: {error}"
        except Exception as error:  # noqa: BLE001 - the test reads it
            return repr(error)
        finally:
            for one in taken:
                os.close(one)
            await transport.aclose()
    return "ok"


async def _main(templates: dict[str, Any]) -> dict[str, str]:
    async def names(_host: str, _port: int) -> list[str]:
        return ["127.0.0.1"]

    file = Path(tempfile.mkdtemp()) / "manual.json"
    file.write_text('{"tools": []}')
    said = {}
    local = {
        "cli": {"command": "true"},
        "cli of several steps": {"commands": [{"command": "true"}, {"command": "true"}]},
        "mcp": {"config": {"mcpServers": {"a": {"command": sys.executable, "args": ["-c", "pass"]}}}},
        "file": {"file_path": str(file)},
    }
    for name, template in {**templates, **local}.items():
        kind, way = name.partition(" ")[0], "discover" if name in {"mcp", "file"} else "call"
        await _said(kind, template, way=way, full=False, guard=Guard(names))  # what libraries open once is open then
        said[name] = await _said(kind, template, way=way, full=True, guard=Guard(names))
    # The name cannot be looked up, and the libraries do not say why.
    said["name"] = await _said("tcp", {"host": "localhost", "port": 1}, way="call", full=True)
    return said


async def _serve() -> None:
    async with servers("127.0.0.1") as templates:
        sys.stdout.write(json.dumps(templates) + "\n")
        sys.stdout.flush()
        await anyio.to_thread.run_sync(sys.stdin.read)


def _run(loop: str) -> None:
    command = [sys.executable, "-m", __spec__.name, "serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as served:
        assert served.stdin is not None
        assert served.stdout is not None
        try:
            templates = json.loads(served.stdout.readline())
            resource.setrlimit(resource.RLIMIT_NOFILE, (_LIMIT, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
            found = anyio.run(_main, templates, backend_options={"use_uvloop": loop == "uvloop"})
        finally:
            served.stdin.close()
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        anyio.run(_serve)
    else:
        _run(sys.argv[1])
