"""`utcp-bridge serve` as a host runs it, in its own process; its messages, in this process."""

import contextlib
import gc
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import anyio
import pytest

from utcp_bridge.cli.commands.serve import _entry, _Survivors, frozen_when_loaded, paused
from utcp_bridge.client.client import UtcpClient
from utcp_bridge.settings import BridgeSettings, UtcpClientConfig

SERVE = [sys.executable, "-m", "utcp_bridge", "serve"]
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}
INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}


@pytest.mark.parametrize(
    ("served", "shown"),
    [
        ("http://0.0.0.0:8000/mcp", "http://127.0.0.1:8000/mcp"),
        ("https://[::]:8000/mcp", "https://[::1]:8000/mcp"),
        ("http://bridge.example.com:8000/mcp", "http://bridge.example.com:8000/mcp"),
    ],
)
def test_the_entry_for_a_host_has_an_address_to_which_it_can_connect(served, shown):
    assert _entry(BridgeSettings(), served) == {"type": "http", "url": shown}


def request(number, method, **params):
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


def converse(*messages, arguments):
    """Send messages one after the other, each after the answer to the one before; then close stdin."""
    with subprocess.Popen(
        [*SERVE, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        lines = []
        for message in messages:
            process.stdin.write(json.dumps(message) + "\n")
            process.stdin.flush()
            if "id" in message:
                lines.append(process.stdout.readline())
        rest, err = process.communicate(timeout=200)
    return [json.loads(line) for line in [*lines, *rest.splitlines()]], err, process.returncode


def test_stdout_carries_only_json_rpc(manual):
    answers, err, code = converse(
        INITIALIZE,
        INITIALIZED,
        request(2, "tools/list"),
        request(3, "tools/call", name="notices_door", arguments={}),
        request(4, "tools/call", name="no_such_tool", arguments={}),
        arguments=[manual, "--debug", "--audit-log", "-"],
    )
    assert code == 0
    assert all(answer["jsonrpc"] == "2.0" for answer in answers)
    by_id = {answer["id"]: answer for answer in answers if "id" in answer}
    assert {tool["name"] for tool in by_id[2]["result"]["tools"]} >= {"search_tools", "call_tool", "notices_door"}
    assert by_id[3]["result"]["content"][0]["text"] == "Mind the step."
    assert "error" in by_id[4]
    assert "odd" in err
    assert "Manual gone" in err
    assert '"tool":"notices.door"' in err


def test_output_of_a_child_process_does_not_reach_stdout(tmp_path):
    """`--strict` serves only once the child has run to its end and its tool is there."""
    script = tmp_path / "chatty.py"
    tool = json.dumps({"name": "t", "inputs": {"type": "object", "properties": {}}})
    script.write_text(f"import sys\nprint('to stdout')\nprint({tool!r})\nprint('to stderr', file=sys.stderr)\n")
    config = {"name": "chatty", "call_template_type": "cli", "command_name": shlex.join([sys.executable, str(script)])}
    (tmp_path / "providers.json").write_text(json.dumps([config]))
    answers, _, code = converse(
        INITIALIZE, INITIALIZED, request(2, "tools/list"), arguments=["--strict", str(tmp_path / "providers.json")]
    )
    assert code == 0
    assert [answer["id"] for answer in answers if "id" in answer] == [1, 2]
    listed = next(answer for answer in answers if answer.get("id") == 2)["result"]["tools"]
    assert "chatty_t" in [tool["name"] for tool in listed]


@pytest.mark.parametrize("arguments", [["missing.json"], ["--set", "prot=1"], ["--quickstart", "--set", "port=x"]])
def test_a_configuration_error_ends_serving_with_one_line(command, arguments):
    outcome = command("serve", *arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.count("\n") == 1


def test_stdio_ends_when_stdin_does(command):
    assert command("serve", "--quickstart").code == 0


def test_strict_ends_at_the_first_manual_that_failed(command, tmp_path):
    (tmp_path / "providers.json").write_text('["./gone.json"]')
    outcome = command("serve", "--strict")
    assert outcome.code == 5
    assert "gone.json" in outcome.err


def test_strict_serves_a_configuration_without_faults(command):
    assert command("serve", "--quickstart", "--strict").code == 0


def test_strict_ends_at_a_faulty_tool(command, tmp_path):
    tool = {"name": "x", "tool_call_template": {"call_template_type": "no_such_type"}}
    entry = {"name": "m", "call_template_type": "text", "content": {"utcp_version": "1.0.1", "tools": [tool]}}
    (tmp_path / "providers.json").write_text(json.dumps([entry]))
    outcome = command("serve", "--strict")
    assert outcome.code == 2
    assert "`strict` is on" in outcome.err


class Served:
    """The verb in this process, ended by a signal once it says that it is ready."""

    def __init__(self, on_ready) -> None:
        self._on_ready = on_ready
        self.lines = []
        self.answer = None

    def watch(self, reader):
        with os.fdopen(reader, encoding="utf-8") as stderr:
            for line in stderr:
                self.lines.append(line)
                if line.startswith('{"mcpServers"'):
                    try:
                        self.answer = self._on_ready(self.lines)
                    finally:
                        os.kill(os.getpid(), signal.SIGTERM)


@contextlib.contextmanager
def stderr_to(writer):
    """Another stream in the place of stderr: set within the test, where pytest's capture leaves it alone."""
    before = sys.stderr
    with os.fdopen(writer, "w", encoding="utf-8", buffering=1) as stream:
        sys.stderr = stream
        try:
            yield
        finally:
            sys.stderr = before


def serve_until_ready(*arguments, on_ready=lambda _: None):
    from utcp_bridge.cli.command import run

    reader, writer = os.pipe()
    served = Served(on_ready)
    watcher = threading.Thread(target=served.watch, args=(reader,))
    watcher.start()
    with stderr_to(writer):
        code = run(["serve", *arguments, "--http", "--port", "0"])
    watcher.join(60)
    return code, served


def healthy(lines):
    url = re.search(r"http://\S+/mcp", "".join(lines))[0]
    with urllib.request.urlopen(url.replace("/mcp", "/healthz"), timeout=200) as reply:
        return reply.status


def test_over_http_there_is_one_ready_line_and_the_entry_for_a_host():
    code, served = serve_until_ready("--quickstart", on_ready=healthy)
    assert (code, served.answer) == (0, 200)
    ready, entry = served.lines
    assert re.fullmatch(r"Serving MCP on http://127\.0\.0\.1:\d+/mcp \(20 tools\)\n", ready)
    assert json.loads(entry)["mcpServers"]["utcp"]["url"] in ready


def test_the_ready_line_names_failed_manuals_and_the_entry_has_a_token(manual):
    arguments = (manual, "--log-level", "error", "--set", "bearer_token=abc-def-ghi", "--path", "/tools")
    code, served = serve_until_ready(*arguments)
    assert code == 0
    ready, entry = served.lines[-2:]
    assert ready.endswith("/tools (2 tools; 1 of 2 manuals failed: gone)\n")
    assert "abc-def-ghi" not in "".join(served.lines)
    assert "YOUR_TOKEN" in entry


def test_serving_on_stdio_explains_itself_on_a_terminal(command, monkeypatch):
    main, other = os.openpty()
    with os.fdopen(main, "rb"), os.fdopen(other, encoding="utf-8") as keyboard:
        monkeypatch.setattr(sys, "stdin", keyboard)
        assert "--http" in command("serve", "--quickstart").err
        monkeypatch.undo()


def test_the_ready_line_names_manuals_that_are_loading(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        path = tmp_path / "slow.json"
        entry = {"name": "slow", "call_template_type": "http", "url": f"http://127.0.0.1:{silent.getsockname()[1]}/"}
        path.write_text(json.dumps([entry]))
        _, served = serve_until_ready(str(path), "--set", "startup_wait=0.1")
    assert served.lines[0].endswith("(0 tools; 1 of 1 manuals loading: slow)\n")


# --- the garbage collector

MANUAL = {"utcp_version": "1.0.1", "tools": []}


@pytest.fixture
def nothing_frozen() -> None:
    """Let the collector look at all objects again, also at those that the tests keep from it."""
    gc.unfreeze()


async def client_of(*entries: dict[str, object], startup_wait: float = 5.0) -> UtcpClient:
    config = UtcpClientConfig(manual_call_templates=entries, bridge=BridgeSettings(startup_wait=startup_wait))
    return await UtcpClient.create(config, root=Path(), wait=0)


@pytest.mark.anyio
@pytest.mark.usefixtures("nothing_frozen")
async def test_the_collector_is_off_while_manuals_load_and_then_ignores_them() -> None:
    async with await client_of({"name": "a", "call_template_type": "text", "content": MANUAL}) as client:
        thresholds = gc.get_threshold()
        with anyio.fail_after(200), paused():
            assert not gc.isenabled()
            async with frozen_when_loaded(client):
                await client.wait_loaded()
                await anyio.wait_all_tasks_blocked()
                assert gc.isenabled()
                assert gc.get_threshold()[0] > thresholds[0], "calls in flight are not worth a look"
                frozen = gc.get_freeze_count()
                assert frozen > 0
                built = [[] for _ in range(5_000)]
                gc.collect(1)
                assert gc.get_freeze_count() <= frozen, "what is young may still go"
                gc.collect()
                assert gc.get_freeze_count() >= frozen + len(built)
    callbacks = [getattr(callback, "__module__", "") for callback in gc.callbacks]
    assert frozen_when_loaded.__module__ not in callbacks
    assert gc.isenabled()
    assert gc.get_threshold() == thresholds
    assert gc.get_freeze_count() == 0


@pytest.mark.anyio
@pytest.mark.usefixtures("nothing_frozen")
async def test_the_pause_of_the_collector_ends_after_startup_wait() -> None:
    async def silent(stream: anyio.abc.ByteStream) -> None:
        async with stream:
            await anyio.sleep_forever()

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, silent)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        entry = {"name": "b", "call_template_type": "http", "url": f"http://127.0.0.1:{port}/"}
        async with await client_of(entry, startup_wait=0.05) as client:
            with anyio.fail_after(200), paused():
                async with frozen_when_loaded(client):
                    while not gc.isenabled():  # noqa: ASYNC110 - what comes after startup_wait cannot be waited for
                        await anyio.sleep(0.01)
                    assert not await client.wait_loaded(0)
        group.cancel_scope.cancel()


@pytest.mark.usefixtures("nothing_frozen")
def test_frozen_circles_are_thawed_when_they_have_become_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("utcp_bridge.cli.commands.serve._COUNTED_EVERY", 1)
    monkeypatch.setattr("utcp_bridge.cli.commands.serve._MORE_OBJECTS", 1_000)
    monkeypatch.setattr("utcp_bridge.cli.commands.serve._GROWTH", 1.0)
    survivors = _Survivors()
    with paused():
        survivors.freeze("stop", {"generation": 2})
        frozen = gc.get_freeze_count()
        kept = [[] for _ in range(2_000)]
        for one in kept:
            one.append(one)
        survivors.freeze("stop", {"generation": 1})
        assert gc.get_freeze_count() == frozen
        survivors.freeze("stop", {"generation": 2})
        assert gc.get_freeze_count() == 0, "there are many more"
        kept.clear()
        assert gc.collect() >= 1_999
        survivors.freeze("stop", {"generation": 2})
        assert 0 < gc.get_freeze_count() < frozen + 1_000


@pytest.mark.usefixtures("nothing_frozen")
def test_an_error_while_serving_restores_the_collector() -> None:
    with pytest.raises(RuntimeError, match="port taken"), paused():
        raise RuntimeError("port taken")
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
