"""Large replies are read by workers, which end with their calls, and by this process where workers cannot start."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest
from aiohttp import web
from mcp import Client

from utcp_bridge import UtcpClient
from utcp_bridge.client.extensions import Extensions
from utcp_bridge.model import discard
from utcp_bridge.server import reply_workers
from utcp_bridge.server.app import BridgeServer
from utcp_bridge.server.meta_tools import ANYONE, call_entry
from utcp_bridge.tasks import end_heavy_turn
from utcp_bridge.workers.process import WorkerProcess

pytestmark = pytest.mark.anyio

ROWS = json.dumps([{"id": number, "name": f"row {number}"} for number in range(20_000)]).encode()
OTHER_ROWS = ROWS.replace(b"row", b"other")
SLOW = ("a\u200d" * 2_000_000).encode()
"""Some seconds of cleaning."""
MEMBERS = b"{" + b",".join(b'"%x":0' % number for number in range(900_000)) + b"}"
HANDLES = re.compile(r"[0-9a-f]{32}|result-[0-9a-f]{8}|127\.0\.0\.1:\d+")
BODIES = {
    "rows": (ROWS, "application/json"),
    "other": (OTHER_ROWS, "application/json"),
    "slow": (SLOW, "text/plain"),
    "members": (MEMBERS, "application/json"),
    "broken": (ROWS[:-1], "application/json"),
    "deep": (b"[" * 500_000, "application/json"),
    "small": (b"[1]", "application/json"),
    "failed": (b'[{"why": "Out of order."},' + ROWS[1:], "application/json"),
}


@dataclass
class Started:
    """The workers that were started, and how often data was sent to one."""

    workers: list[WorkerProcess] = field(default_factory=list)
    sent: anyio.Event = field(default_factory=anyio.Event)

    def all_have_ended(self) -> bool:
        return all(has_ended(worker.pid) for worker in self.workers)


def has_ended(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    found = Started()
    start = WorkerProcess.start

    async def recorded(memory: int) -> WorkerProcess:
        worker = await start(memory)
        found.workers.append(worker)
        return worker

    def sent() -> None:
        end_heavy_turn()
        found.sent.set()
        found.sent = anyio.Event()

    monkeypatch.setattr(WorkerProcess, "start", recorded)
    monkeypatch.setattr(reply_workers, "end_heavy_turn", sent)
    return found


@asynccontextmanager
async def service() -> AsyncGenerator[str]:
    async def body(request: web.Request) -> web.Response:
        data, kind = BODIES[request.match_info["name"]]
        status = 500 if request.match_info["name"] == "failed" else 200
        return web.Response(body=data, content_type=kind, status=status)

    app = web.Application()
    app.router.add_get("/{name}", body)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def configuration(base: str, **settings: Any) -> dict[str, Any]:
    tools = [
        {
            "name": name,
            "inputs": {"type": "object"},
            "tool_call_template": {"call_template_type": "http", "http_method": "GET", "url": f"{base}/{name}"},
        }
        for name in BODIES
    ]
    content = {"utcp_version": "1.0", "tools": tools}
    allowed = ["text", "http"]
    return {
        "manual_call_templates": [
            {"name": name, "call_template_type": "text", "content": content, "allowed_communication_protocols": allowed}
            for name in ("m", "n")
        ],
        "bridge": {"max_result_bytes": 10_000, **settings},
    }


@asynccontextmanager
async def bridge(extensions: Extensions | None = None, **settings: Any) -> AsyncGenerator[tuple[BridgeServer, Client]]:
    async with service() as base:
        config = configuration(base, **settings)
        async with await UtcpClient.create(config, extensions=extensions) as client:
            server = BridgeServer(client)
            async with Client(server) as host:
                yield server, host


def text_of(result: Any) -> str:
    return "\n".join(getattr(block, "text", "") for block in result.content)


def handle_in(result: Any) -> str:
    found = re.search(r'"handle": "([0-9a-f]{32})"', text_of(result))
    assert found is not None
    return found[1]


async def test_a_worker_reads_one_large_reply_after_another_and_no_small_one(started: Started) -> None:
    async with bridge() as (_, host):
        assert text_of(await host.call_tool("m_small", {})) == "[1]"
        assert started.workers == []
        for name in ("rows", "other"):
            assert "was cut" in text_of(await host.call_tool(f"m_{name}", {}))
        assert len(started.workers) == 1
    assert started.all_have_ended()


async def test_what_a_worker_leaves_out_is_counted_if_somebody_looks(started: Started) -> None:
    async with bridge() as (server, host):
        await host.call_tool("m_rows", {})
        recent = server.part.whole.recent
        assert recent.saved == 0
        server.part.whole.keep_recent_calls()
        shown = text_of(await host.call_tool("m_other", {}))
        assert 0 < recent.saved < len(OTHER_ROWS) - len(shown)
        assert len(started.workers) == 1


async def test_the_rest_of_a_large_reply_is_read_by_a_worker(started: Started) -> None:
    async with bridge() as (server, host):
        handle = handle_in(await host.call_tool("m_rows", {}))
        (kept,) = server.budgets.kept.handles("stdio")
        assert len(kept[1].data) < kept[1].size == len(json.dumps(json.loads(ROWS), separators=(",", ":")))
        arguments = {"handle": handle, "jmespath": "[*].id", "offset": 19_998}
        page = await host.call_tool("call_tool", {"name": "read_result", "arguments": arguments})
        assert page.content[0].text == "[19998,19999]"  # type: ignore[union-attr]
        arguments = {"handle": handle, "jmespath": "[*", "offset": 0}
        page = await host.call_tool("call_tool", {"name": "read_result", "arguments": arguments})
        assert page.is_error
        assert "`jmespath` cannot be applied" in text_of(page)
        whole = await host.read_resource(f"utcp-result://{handle}")
        assert json.loads(whole.contents[0].text) == json.loads(ROWS)  # type: ignore[union-attr]
    assert len(started.workers) == 1


@pytest.mark.parametrize("name", ["rows", "slow", "broken", "deep", "members"])
async def test_the_result_is_the_same_where_no_worker_can_be_started(
    name: str, started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    for executable in (sys.executable, "", "/bin/false"):
        monkeypatch.setattr(sys, "executable", executable)
        async with bridge() as (_, host):
            result = await host.call_tool(f"m_{name}", {})
            seen.append(HANDLES.sub("H", result.model_dump_json()))
    assert len(started.workers) == 1
    assert seen[0] == seen[1] == seen[2]


async def test_a_reader_that_is_killed_is_an_error_of_its_call_alone(started: Started) -> None:
    async with bridge() as (_, host), anyio.create_task_group() as group:
        results: list[Any] = []

        async def call() -> None:
            results.append(await host.call_tool("m_slow", {}))

        sent = started.sent
        group.start_soon(call)
        await sent.wait()
        os.kill(started.workers[-1].pid, 9)
        await wait_until(lambda: bool(results))
        assert text_of(results[0]) == "The reply took more memory or processor time than it may take. Ask for less."
        assert "was cut" in text_of(await host.call_tool("m_rows", {}))


@pytest.mark.skipif(sys.platform != "linux", reason="the limits of other systems are not exact")
async def test_a_reply_that_takes_too_much_memory_is_an_error(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reply_workers, "_LEAST_MEMORY", 160_000_000)
    monkeypatch.setattr(reply_workers, "_MEMORY_OF_A_BYTE", 1)
    async with bridge() as (_, host):
        result = await host.call_tool("m_members", {})
    assert len(started.workers) == 1
    assert result.is_error
    assert text_of(result) == "The reply took more memory or processor time than it may take. Ask for less."


async def test_a_call_that_is_too_slow_ends_its_worker(started: Started) -> None:
    async with bridge(call_timeout=1.0) as (_, host):
        result = await host.call_tool("m_slow", {})
        assert started.all_have_ended()
    assert text_of(result).startswith("m.slow did not finish within 1 second.")


async def call_tool(server: BridgeServer, name: str) -> None:
    """Call a tool as the server does for `tools/call`."""
    entry, budget = server.catalogue.resolve(name), server.budgets.of(ANYONE)
    assert entry is not None
    await call_entry(server.client, entry, {}, discard, budget, server.workers, server.meta_tools.show)


async def test_a_cancelled_call_ends_its_worker(started: Started) -> None:
    async with bridge() as (server, _):
        entry = server.catalogue.resolve("m_slow")
        assert entry is not None
        async with anyio.create_task_group() as group:
            sent = started.sent
            group.start_soon(call_tool, server, "m_slow")
            await sent.wait()
            group.cancel_scope.cancel()
        assert len(started.workers) == 1
        assert started.all_have_ended()


async def test_the_end_of_the_server_ends_a_worker_at_work(started: Started) -> None:
    async with service() as base, await UtcpClient.create(configuration(base)) as client:
        server = BridgeServer(client)
        async with anyio.create_task_group() as group:

            async def serve() -> None:
                async with server.workers.open():
                    await call_tool(server, "m_slow")

            sent = started.sent
            group.start_soon(serve)
            await sent.wait()
            group.cancel_scope.cancel()
    assert len(started.workers) == 1
    assert started.all_have_ended()


async def test_each_manual_has_one_place_so_that_the_others_go_on(started: Started) -> None:
    ended: list[str] = []
    async with bridge() as (server, _), anyio.create_task_group() as group:

        async def call(name: str) -> None:
            await call_tool(server, name)
            ended.append(name)

        sent = started.sent
        for _ in range(3):
            group.start_soon(call, "m_slow")
        await sent.wait()
        await call("n_rows")
        assert ended == ["n_rows"]
        assert len(started.workers) == 2
        group.cancel_scope.cancel()


async def test_a_worker_without_work_ends_after_some_time(started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reply_workers, "_WARM_SECONDS", 0.0)
    async with bridge() as (_, host):
        await host.call_tool("m_rows", {})
        await wait_until(started.all_have_ended)
        assert "was cut" in text_of(await host.call_tool("m_rows", {}))
    assert len(started.workers) == 2


async def test_a_failure_of_reading_is_the_outcome_of_the_call(started: Started) -> None:
    lines: list[bytes] = []
    async with bridge(Extensions(audit=lines.append)) as (_, host):
        for name in ("broken", "rows"):
            await host.call_tool(f"m_{name}", {})
    assert len(started.workers) == 1
    assert [json.loads(line)["outcome"] for line in lines] == ["malformed_reply", "ok"]


async def test_of_a_large_error_the_beginning_is_shown_without_a_worker(started: Started) -> None:
    async with bridge(max_reply_bytes=200_000) as (_, host):
        result = await host.call_tool("m_failed", {})
    assert result.is_error
    assert "/failed returned 500 " in text_of(result)
    assert '[{"why": "Out of order."},{"id": 0' in text_of(result)
    assert len(text_of(result)) < 10_000
    assert started.workers == []


async def test_a_library_gets_values_and_starts_no_worker(started: Started) -> None:
    async with service() as base, await UtcpClient.create(configuration(base)) as client:
        assert await client.call_tool("m.rows") == json.loads(ROWS)
    assert started.workers == []


@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")
async def test_sigterm_ends_a_bridge_and_its_worker_in_the_middle_of_work(tmp_path: Path) -> None:
    async with service() as base:
        (tmp_path / "config.json").write_text(json.dumps(configuration(base)))
        command = [sys.executable, "-m", "utcp_bridge", "serve", str(tmp_path / "config.json")]
        async with await anyio.open_process(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            info = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
            await process.stdin.send(request(0, "initialize", info))
            await process.stdin.send(b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n')
            await process.stdin.send(request(1, "tools/call", {"name": "m_rows", "arguments": {}}))
            replies = 0
            while replies < 2:  # both may come in one piece
                replies += (await process.stdout.receive()).count(b"\n")
            (guardian,) = children_of(process.pid)
            (worker,) = children_of(guardian)
            used = ticks_of(worker)
            await process.stdin.send(request(2, "tools/call", {"name": "m_slow", "arguments": {}}))
            await wait_until(lambda: ticks_of(worker) > used + 10)
            process.send_signal(signal.SIGTERM)
            with anyio.fail_after(60):
                assert await process.wait() == 0
            await wait_until(lambda: has_ended(worker))


def request(number: int, method: str, params: dict[str, Any]) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}).encode() + b"\n"


def children_of(process: int) -> list[int]:
    return [int(one) for path in Path(f"/proc/{process}/task").glob("*/children") for one in path.read_text().split()]


def ticks_of(process: int) -> int:
    """Return the processor time of a process, in hundredths of a second."""
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11])


async def wait_until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(120):
        while not condition():
            await anyio.lowlevel.checkpoint()
