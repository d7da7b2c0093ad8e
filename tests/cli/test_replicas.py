"""`serve --workers 2`, as real processes: what a client sees of them, and how they end."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from tests.support.asking_bridge import ROOT
from tests.support.measured import measured
from tests.support.one_connection import PatientConnection

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="processes hand sockets over")
MODERN, HANDSHAKE = "2026-07-28", "2025-11-25"
BASE = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
META = {"io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {}}
ROWS = 40_000
SCRIPTS = {
    "who": "echo $PPID",
    "wait": "touch began; while [ ! -e go ]; do sleep 0.01; done; echo done",
    "big": f"seq 1 {ROWS}",
}
"""Each worker has a guardian of its own, which starts its commands. So `who` says which worker it was."""


def tools(names: Sequence[str]) -> str:
    return json.dumps(
        {
            "utcp_version": "1.0.1",
            "tools": [
                {
                    "name": name,
                    "tool_call_template": {"call_template_type": "cli", "command": "sh", "args": [f"{name}.sh"]},
                }
                for name in names
            ],
        }
    )


ASKER = {
    "name": "asker",
    "call_template_type": "mcp",
    "config": {
        "mcpServers": {
            "server": {
                "command": sys.executable,
                "args": ["-m", "tests.upstreams.mcp_asking", "handshake"],
                "cwd": str(ROOT),
            }
        }
    },
}
"""An MCP server that asks the host, and so suspends its calls."""


def write_configuration(
    folder: Path, names: Sequence[str] = tuple(SCRIPTS), more: Sequence[Any] = (), **settings: Any
) -> Path:
    for name, script in SCRIPTS.items():
        (folder / f"{name}.sh").write_text(script)
    entry = {"name": "m", "call_template_type": "text", "content": tools(names)}
    entry["allowed_communication_protocols"] = ["text", "cli"]  # type: ignore[assignment]
    config = folder / "config.json"
    whole = json.dumps({"manual_call_templates": [entry, *more], "bridge": settings})
    (folder / "new.json").write_text(whole)
    (folder / "new.json").replace(config)
    return config


class Connection:
    """One connection of a client."""

    def __init__(self, port: int, token: str | None = None) -> None:
        self._http = PatientConnection("127.0.0.1", port, timeout=200)
        self._token = {"Authorization": f"Bearer {token}"} if token else {}
        self.worker: str | None = None
        """The one that it must reach again if it is opened again; None for any."""

    def _open_again(self) -> None:
        worker, self.worker = self.worker, None
        while worker is not None:
            self._http.close()
            if text_of(self.call("m_who")) == worker:
                self.worker, worker = worker, None

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> http.client.HTTPResponse:
        if self._http.has_ended():
            self._open_again()
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        self._http.request(method, path, None if body is None else json.dumps(body), BASE | self._token | named)
        return self._http.getresponse()

    def modern(self, method: str, params: dict[str, Any], name: str) -> dict[str, Any]:
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"_meta": META, **params}}
        reply = self.ask("POST", "/mcp", message, MCP_Protocol_Version=MODERN, Mcp_Method=method, Mcp_Name=name)
        found: dict[str, Any] = json.loads(reply.read())
        return found

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        result: dict[str, Any] = self.modern("tools/call", {"name": tool, "arguments": arguments}, tool)["result"]
        return result

    def in_session(self, session: str, message: dict[str, Any]) -> dict[str, Any]:
        headers = {"MCP_Protocol_Version": HANDSHAKE, "Mcp_Session_Id": session}
        data = self.ask("POST", "/mcp", {"jsonrpc": "2.0", **message}, **headers).read()
        return json.loads(data) if data else {}

    def call_in_session(self, session: str, tool: str, ident: int = 1) -> dict[str, Any]:
        return self.in_session(session, {"id": ident, "method": "tools/call", "params": {"name": tool}})

    def initialize(self) -> str:
        info = {"name": "c", "version": "1"}
        params = {"protocolVersion": HANDSHAKE, "capabilities": {}, "clientInfo": info}
        reply = self.ask("POST", "/mcp", {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params})
        reply.read()
        session = reply.getheader("mcp-session-id")
        assert session is not None
        self.in_session(session, {"method": "notifications/initialized"})
        return session

    def close(self) -> None:
        self._http.close()


def text_of(result: dict[str, Any]) -> str:
    text: str = result["content"][0]["text"]
    return text.strip()


class Served:
    """Two workers, by the line that the parent prints."""

    def __init__(self, folder: Path, process: subprocess.Popen[str], line: str) -> None:
        self.folder, self.process, self.announced = folder, process, line
        self.port = int(line.partition("127.0.0.1:")[2].partition("/")[0])
        pids, _, parent = line.partition("processes ")[2].rstrip(")\n").partition(" of ")
        self.workers = [int(pid) for pid in pids.split(", ")]
        assert int(parent) == process.pid
        self._opened: list[Connection] = []
        self.token: str | None = None

    def connection(self) -> Connection:
        found = Connection(self.port, self.token)
        self._opened.append(found)
        return found

    def close(self) -> None:
        for one in self._opened:
            one.close()

    def readyz(self) -> tuple[int, dict[str, Any]]:
        one = Connection(self.port)
        reply = one.ask("GET", "/readyz")
        found = reply.status, json.loads(reply.read())
        one.close()
        return found

    def line(self, begins: Callable[[str], bool]) -> str:
        """Return the next line of stderr that fits."""
        assert self.process.stderr is not None
        return next(line for line in self.process.stderr if begins(line))

    def begin(self, pool: ThreadPoolExecutor, call: Callable[[], dict[str, Any]]) -> Future[dict[str, Any]]:
        """Begin a call of `wait`, and return when its command runs."""
        begun = pool.submit(call)
        while not (self.folder / "began").exists():
            assert not begun.done(), begun.result()
        return begun

    def both_workers(self) -> tuple[Connection, Connection]:
        """Return a connection to each worker."""
        found: dict[str, Connection] = {}
        while len(found) < 2:
            connection = self.connection()
            connection.worker = text_of(connection.call("m_who"))
            found.setdefault(connection.worker, connection)
        first, second = found.values()
        return first, second


@contextmanager
def served(folder: Path, *arguments: str, **settings: Any) -> Generator[Served]:
    config = write_configuration(folder, **settings)
    command = [sys.executable, "-m", "utcp_bridge", "serve", str(config), "--http", "--port", "0", "--workers", "2"]
    environment = {**os.environ, **measured()}
    with subprocess.Popen(
        [*command, *arguments], cwd=folder, env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        try:
            lines: list[str] = []
            for line in process.stderr:
                lines.append(line)
                if line.startswith("Serving MCP on"):
                    break
            assert lines, "it printed nothing"
            assert lines[-1].startswith("Serving MCP on"), lines
            server = Served(folder, process, lines[-1])
            yield server
            server.close()
        finally:
            process.kill()


def runs(pid: int) -> bool:
    """Return whether a process runs. One that has ended may wait for its parent to notice."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    return sys.platform != "linux"


def wait_until(fits: Callable[[], bool]) -> None:
    while not fits():
        pass


def test_a_session_goes_to_its_worker_whatever_connection_it_uses(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        first, second = server.both_workers()
        sessions = [first.initialize(), second.initialize()]
        owners = [text_of(one.call_in_session(session, "m_who")["result"]) for one, session in
                  zip((first, second), sessions, strict=True)]  # fmt: skip
        assert owners[0] != owners[1]
        for _ in range(6):
            for session, owner in zip(sessions, owners, strict=True):
                assert text_of(server.connection().call_in_session(session, "m_who")["result"]) == owner
        for one in (first, second):  # a connection goes back and forth
            for session, owner in zip(sessions * 2, owners * 2, strict=True):
                assert text_of(one.call_in_session(session, "m_who")["result"]) == owner


def test_the_tools_of_all_are_announced_and_not_those_of_a_profile(tmp_path: Path) -> None:
    with served(tmp_path, profiles={"whole": {}, "one": {"names": "m.who"}}) as server:
        assert f"({len(SCRIPTS)} tools; 2 workers: " in server.announced
        assert server.readyz()[1]["tools"] == len(SCRIPTS)


def test_connections_without_a_session_are_shared_out(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        counts: dict[str, int] = {}
        for _ in range(16):
            owner = text_of(server.connection().call("m_who"))
            counts[owner] = counts.get(owner, 0) + 1
        assert len(counts) == 2
        assert max(counts.values()) - min(counts.values()) <= 4, counts


def test_a_call_is_cancelled_from_another_connection(tmp_path: Path) -> None:
    with served(tmp_path) as server, ThreadPoolExecutor() as pool:
        first, second = server.both_workers()
        session = first.initialize()
        call = server.begin(pool, lambda: first.call_in_session(session, "m_wait", 7))
        second.in_session(session, {"method": "notifications/cancelled", "params": {"requestId": 7}})
        assert call.result()["error"]["code"] == -32_800


def test_an_ended_session_is_ended_for_every_connection(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        first, second = server.both_workers()
        session = first.initialize()
        headers = {"MCP_Protocol_Version": HANDSHAKE, "Mcp_Session_Id": session}
        reply = second.ask("DELETE", "/mcp", **headers)
        reply.read()
        assert reply.status == 200
        for _ in range(4):
            assert "error" in server.connection().call_in_session(session, "m_who")


def test_an_event_stream_anywhere_hears_of_changed_tools(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        first, second = server.both_workers()
        session = first.initialize()
        assert len(first.in_session(session, {"id": 1, "method": "tools/list"})["result"]["tools"]) > 2
        headers = {"MCP_Protocol_Version": HANDSHAKE, "Mcp_Session_Id": session}
        stream = second.ask("GET", "/mcp", **headers)
        assert stream.status == 200
        write_configuration(tmp_path, ["who"])
        assert any(b"notifications/tools/list_changed" in line for line in stream)


def test_the_rest_of_a_cut_result_is_read_on_every_connection(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        first, second = server.both_workers()
        result = first.call("m_big")
        link = next(one for one in result["content"] if one["type"] == "resource_link")
        handle = link["uri"].rpartition("/")[2]
        for one in (first, second, server.connection(), server.connection()):
            found = one.call("read_result", handle=handle, grep=str(ROWS))
            assert str(ROWS) in found["content"][0]["text"]
            contents = one.modern("resources/read", {"uri": link["uri"]}, link["uri"])["result"]["contents"]
            assert contents
        assert second.call("read_result", handle="f" * 32)["isError"]


def test_the_answer_for_a_suspended_call_reaches_its_worker(tmp_path: Path) -> None:
    with served(tmp_path, more=[ASKER], access_log="access.jsonl") as server:
        able = {**META, "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}}}
        connections = server.both_workers()
        for first, second in (connections, connections[::-1]):
            params = {"name": "asker_server_confirm", "arguments": {}, "_meta": able}
            asked = first.modern("tools/call", params, "asker_server_confirm")["result"]
            assert asked["resultType"] == "input_required"
            answers = {key: {"action": "accept", "content": {"name": "Ada"}} for key in asked["inputRequests"]}
            answered = {**params, "requestState": asked["requestState"], "inputResponses": answers}
            result = second.modern("tools/call", answered, "asker_server_confirm")
            assert "Ada" in json.dumps(result["result"]["content"])
        server.process.terminate()
        assert server.process.stderr is not None
        server.process.stderr.read()
    lines = [json.loads(line) for line in (tmp_path / "access.jsonl").read_text().splitlines()]
    calls = [(one["name"], one["status"]) for one in lines if one.get("name", "").startswith("asker")]
    assert calls == [("asker_server_confirm", 200)] * 4
    assert all(one["status"] == 200 for one in lines)


def test_the_console_shows_all_workers_and_which_one_is_seen(tmp_path: Path) -> None:
    with served(tmp_path, bearer_token="canary-of-a-token") as server:
        server.token = "canary-of-a-token"
        first, second = server.both_workers()
        every = first, second, server.connection(), server.connection()
        found = [json.loads(one.ask("GET", "/admin/api/replicas").read()) for one in every]
        assert len({one["seen"] for one in found}) == 1, "the visitors of all workers are in one of them"
        shown = found[-1]["replicas"]
        assert [(one["name"].partition(" (")[0], one["state"], one["tools"]) for one in shown] == [
            ("worker 0", "ready", len(SCRIPTS)),
            ("worker 1", "ready", len(SCRIPTS)),
        ]
        assert [one["is_seen"] for one in shown] == [True, False]
        assert found[-1]["ready"] == 2
        entered = first.ask("POST", "/console/session", {"secret": server.token}, X_Utcp_Console="1")
        assert entered.status == 204, entered.read()
        entered.read()
        cookie = (entered.getheader("set-cookie") or "").partition(";")[0]
        server.token = None
        for one in (server.connection(), server.connection()):
            page = one.ask("GET", "/", Cookie=cookie, Accept="text/html")
            text = page.read().decode()
            assert page.status == 200
            assert "2 of 2 are ready" in text
            assert f"<b>{found[-1]['seen']}</b> made this page" in text
        assert text_of(first.call("m_who")) != "", "a connection goes on to MCP"


def test_the_console_goes_on_without_the_worker_that_had_it(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        os.kill(server.workers[0], signal.SIGKILL)

        def states() -> list[str]:
            one = Connection(server.port)
            try:
                reply = json.loads(one.ask("GET", "/admin/api/replicas").read())
            except (ConnectionError, http.client.HTTPException):
                return []
            finally:
                one.close()
            return [each["state"] for each in reply["replicas"]]

        assert "Worker 0 ended by signal 9" in server.line(lambda line: "is started again" in line)
        wait_until(lambda: states() == ["ready", "ready"])


def test_a_killed_worker_loses_no_reply_that_can_be_asked_for_again(tmp_path: Path) -> None:
    with served(tmp_path) as server, ThreadPoolExecutor(8) as pool:
        session = server.connection().initialize()
        stop = False

        def ask_on() -> int:
            """Call until the end, and again if the connection breaks. Return how often it broke."""
            broken = 0
            while not stop:
                for _ in range(3):
                    one = Connection(server.port)
                    try:
                        assert text_of(one.call("m_who"))
                        assert text_of(one.call_in_session(session, "m_who")["result"])
                        break
                    except (ConnectionError, http.client.HTTPException):
                        broken += 1
                    finally:
                        one.close()
                else:
                    pytest.fail("three connections in a row broke")
            return broken

        clients = [pool.submit(ask_on) for _ in range(6)]
        os.kill(server.workers[0], signal.SIGKILL)
        line = server.line(lambda line: "is started again" in line)
        assert "Worker 0 ended by signal 9" in line
        wait_until(lambda: server.readyz()[1]["workers"] == {"total": 2, "ready": 2, "lost": 0})
        stop = True
        assert all(client.result() >= 0 for client in clients)
        assert not runs(server.workers[0])
        assert runs(server.workers[1])
        server.both_workers()


def test_the_end_waits_for_running_calls_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with served(tmp_path, drain_seconds=3_600) as server, ThreadPoolExecutor() as pool:
        first, second = server.both_workers()
        calls = []
        for one in (first, second):
            calls.append(server.begin(pool, lambda one=one: one.call("m_wait")))  # type: ignore[misc]
            (tmp_path / "began").unlink()
        assert server.readyz()[0] == 200
        server.process.terminate()
        wait_until(lambda: server.readyz()[0] == 503)
        assert not any(call.done() for call in calls)
        (tmp_path / "go").touch()
        assert [text_of(call.result()) for call in calls] == ["done", "done"]
        assert server.process.wait(timeout=200) == 0
        assert not any(runs(pid) for pid in server.workers)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port))


def test_a_second_signal_cuts_the_drain(tmp_path: Path) -> None:
    with served(tmp_path, drain_seconds=3_600) as server, ThreadPoolExecutor() as pool:
        call = server.begin(pool, lambda: server.connection().call("m_wait"))
        server.process.terminate()
        wait_until(lambda: server.readyz()[0] == 503)
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(timeout=200) == 0
        with suppress(Exception):
            call.result()
        assert not any(runs(pid) for pid in server.workers)


def test_the_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        server.process.kill()
        wait_until(lambda: not any(runs(pid) for pid in server.workers))


def test_a_generated_token_is_printed_once_and_holds_for_all(tmp_path: Path) -> None:
    with served(tmp_path, bearer_token="generate") as server:
        entry = json.loads(server.line(lambda line: line.startswith("{")))
        header = entry["mcpServers"]["utcp"]["headers"]["Authorization"]
        assert server.connection().ask("POST", "/mcp", {}).status == 401
        server.token = header.removeprefix("Bearer ")
        server.both_workers()
        environments = [Path(f"/proc/{pid}/{name}") for pid in server.workers for name in ("environ", "cmdline")]
        shown = [path.read_bytes() for path in environments if path.exists()]
        assert not any(server.token.encode() in one for one in shown)
        server.process.terminate()
        assert server.process.stderr is not None
        assert server.token not in server.process.stderr.read()


def test_hangup_lets_every_worker_read_the_configuration_again(tmp_path: Path) -> None:
    with served(tmp_path, follow_configuration=False) as server:
        first, second = server.both_workers()
        write_configuration(tmp_path, ["who"], follow_configuration=False)
        server.process.send_signal(signal.SIGHUP)
        for one in (first, second):
            wait_until(lambda one=one: "error" in one.modern("tools/call", {"name": "m_big"}, "m_big"))  # type: ignore[misc]


def refused(folder: Path, *arguments: str, **settings: Any) -> tuple[int, list[str]]:
    """Return exit code and lines of a command that does not serve."""
    config = write_configuration(folder, **settings)
    command = [sys.executable, "-m", "utcp_bridge", "serve", str(config), *arguments]
    done = subprocess.run(
        command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.stdout == ""
    return done.returncode, done.stderr.splitlines()


def test_several_workers_for_one_client_are_refused(tmp_path: Path) -> None:
    code, lines = refused(tmp_path, "--workers", "2")
    assert (code, len(lines)) == (2, 1)
    assert "stdio has one client" in lines[0]


def test_a_port_in_use_is_refused(tmp_path: Path) -> None:
    with ExitStack() as stack:
        taken = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        code, lines = refused(tmp_path, "--http", "--workers", "2", "--port", str(taken.getsockname()[1]))
        assert (code, len(lines)) == (2, 1)
        assert "Cannot listen" in lines[0]


def test_two_bridges_do_not_share_a_port(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        code, lines = refused(tmp_path, "--http", "--workers", "2", "--port", str(server.port))
        assert (code, len(lines)) == (2, 1)
        assert "Cannot listen" in lines[0]


def test_what_no_worker_can_serve_is_reported_once(tmp_path: Path) -> None:
    code, lines = refused(tmp_path, "--http", "--workers", "2", "--port", "0", bearer_token="short", host="0.0.0.0")
    assert (code, len(lines)) == (2, 1), lines
    assert "can be guessed" in lines[0]


def test_the_internal_option_is_for_the_parent_alone(tmp_path: Path) -> None:
    code, lines = refused(tmp_path, "--replica")
    assert (code, len(lines)) == (2, 1)
    assert "--replica" in lines[0]
