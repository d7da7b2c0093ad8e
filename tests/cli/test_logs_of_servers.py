"""A real server and its log: nothing waits for a reader of stderr, and a full disk costs lines alone."""

import fcntl
import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from utcp_bridge.access.audit_chain import audit_files, check_audit

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs signals and limits of POSIX")

INITIALIZE = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}


def text_manual(name="m", tools=1):
    template = {"call_template_type": "text", "content": "fine"}
    named = [{"name": f"t{number}", "tool_call_template": template} for number in range(tools)]
    return {
        "name": name,
        "call_template_type": "text",
        "content": json.dumps({"utcp_version": "1.0.1", "tools": named}),
    }


class Server:
    """A bridge on stdio."""

    def __init__(self, folder, *manuals, stderr, wrapper=(), **settings):
        config = folder / "utcp.json"
        config.write_text(json.dumps({"manual_call_templates": manuals, "bridge": settings}))
        command = [*wrapper, sys.executable, "-m", "utcp_bridge", "serve", str(config)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": stderr}
        self.process = subprocess.Popen(command, cwd=folder, **pipes)
        self.number = 0
        assert self.ask("initialize", **INITIALIZE)["capabilities"]
        self.send(method="notifications/initialized")

    def send(self, **message):
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        self.process.stdin.flush()

    def request(self, method, **params):
        self.number += 1
        self.send(id=self.number, method=method, params=params)
        return self.number

    def receive(self, ident):
        while True:
            message = json.loads(self.process.stdout.readline())
            if message.get("id") == ident:
                return message["result"]

    def ask(self, method, **params):
        return self.receive(self.request(method, **params))

    def call(self, times=1):
        """Call the tool, and return how often it succeeded."""
        numbers = [self.request("tools/call", name="m_t0", arguments={}) for _ in range(times)]
        return sum(not self.receive(number).get("isError") for number in numbers)

    def end(self):
        self.process.stdin.close()
        self.process.stdout.close()
        return self.process.wait(timeout=200)


@contextmanager
def serving(*arguments, **options):
    server = Server(*arguments, **options)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.wait()
        for pipe in (server.process.stdin, server.process.stdout, server.process.stderr):
            if pipe is not None:
                pipe.close()


@contextmanager
def unread_pipe():
    read_end, write_end = os.pipe()
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, 4096)
    try:
        yield write_end
    finally:
        os.close(read_end)
        os.close(write_end)


@pytest.mark.parametrize("style", ["text", "json"])
def test_a_host_that_never_reads_stderr_stops_nothing(tmp_path, style):
    settings = {"log_level": "debug", "log_format": style, "audit_log": "-"}
    with (
        unread_pipe() as write_end,
        serving(tmp_path, text_manual(), stderr=write_end, **settings) as server,
    ):
        for _ in range(20):
            server.process.stdin.write(b'{"broken\n' * 20)
            assert server.call(20) == 20
        assert server.ask("ping") == {}
        assert server.end() == 0


def test_a_reader_that_left_stops_nothing(tmp_path):
    read_end, write_end = os.pipe()
    with serving(tmp_path, text_manual(), stderr=write_end, audit_log="-") as server:
        os.close(read_end)
        os.close(write_end)
        assert server.call(20) == 20
        assert server.end() == 0


def test_a_document_of_faulty_tools_is_some_lines(tmp_path):
    wrong = [{"name": f"t{number}", "tool_call_template": {"call_template_type": "http"}} for number in range(1000)]
    content = json.dumps({"utcp_version": "1.0.1", "tools": wrong})
    manual = {"name": "bad", "call_template_type": "text", "content": content}
    with serving(tmp_path, text_manual(), manual, stderr=subprocess.PIPE) as server:
        assert server.call() == 1
        lines = [server.process.stderr.readline().rstrip()]
        while b"more faults" not in lines[-1]:
            assert len(lines) < 20
            lines.append(server.process.stderr.readline().rstrip())
        assert server.end() == 0
    assert lines[-1].endswith(b"990 more faults in manual bad. `utcp-bridge check` lists them.")


def test_a_full_disk_under_stderr_costs_no_call_and_no_exit_code(tmp_path):
    with (
        Path("/dev/full").open("wb") as full,
        serving(tmp_path, text_manual(), stderr=full, log_level="debug", audit_log="-") as server,
    ):
        assert server.call(20) == 20
        assert server.end() == 0


SMALL_FILES = ("sh", "-c", 'ulimit -f 4; exec "$@"', "sh")
"""A file has at most 4 blocks of 512 bytes. Python ignores SIGXFSZ."""


def test_a_full_disk_under_the_audit_log_costs_lines_which_the_log_counts(tmp_path):
    audit = tmp_path / "audit.jsonl"
    options = {"audit_log": str(audit), "stderr": subprocess.PIPE, "wrapper": SMALL_FILES}
    with serving(tmp_path, text_manual(), **options) as server:
        assert server.call(40) == 40
        assert server.end() == 0
        noise = server.process.stderr.read().decode()
    records = [json.loads(line) for line in audit.read_text().splitlines()]
    assert 1 < len(records) < 40
    lost = 42 - len(records)  # with the first and the last line of the run
    assert f"{lost} audit lines were lost so far, because {audit} cannot be written: File too l" in noise


def test_a_hangup_opens_the_files_again(tmp_path):
    log, audit = tmp_path / "bridge.log", tmp_path / "audit.jsonl"
    with serving(
        tmp_path, text_manual(), log_file=log.name, audit_log=audit.name, log_level="debug", stderr=subprocess.PIPE
    ) as server:
        assert server.call() == 1
        for path in (log, audit):
            path.rename(path.with_suffix(".1"))
        server.process.send_signal(signal.SIGHUP)
        while not audit.exists() or not log.exists():
            assert server.call() == 1
        calls = server.number - 1
        assert server.call() == 1
        assert server.end() == 0
        assert server.process.stderr.read() == b""
    before, after = audit.with_suffix(".1").read_text(), audit.read_text()
    assert before
    assert after
    assert (before + after).count('"outcome":"ok"') == calls + 1
    assert check_audit([audit, audit.with_suffix(".1")], None).fault == ""


@pytest.mark.parametrize("verb", [("serve", "--strict"), ("serve", "--strict", "--log-format", "json"), ("tools",)])
def test_a_full_disk_under_stderr_leaves_the_exit_code_of_an_error(tmp_path, verb):
    entry = {"name": "away", "call_template_type": "http", "url": "http://127.0.0.1:1/x"}
    config = tmp_path / "utcp.json"
    config.write_text(json.dumps({"manual_call_templates": [entry]}))
    command = [sys.executable, "-m", "utcp_bridge", *verb, "-c", str(config)]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=full, timeout=200, check=False
        )
    assert done.returncode == 5


@pytest.mark.parametrize("closed", ["2>&-", "2>&- <&-", "0<&- 1>&- 2>&-"])
@pytest.mark.parametrize("settings", [{}, {"log_format": "json", "audit_log": "-"}])
def test_standard_streams_that_are_closed_stop_nothing(tmp_path, closed, settings):
    config = tmp_path / "utcp.json"
    config.write_text(json.dumps({"manual_call_templates": [text_manual()], "bridge": settings}))
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-m", "utcp_bridge", "serve", str(config)]
    message = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": INITIALIZE}
    done = subprocess.run(
        command, input=json.dumps(message).encode() + b"\n", capture_output=True, timeout=200, check=False
    )
    assert done.returncode == 0
    assert b'"id":1' in done.stdout or "<&-" in closed


def audited(path):
    """Return the lines of calls of the one tool that hosts call."""
    lines = [json.loads(line) for one in audit_files(path) for line in one.read_text().splitlines()]
    return [line for line in lines if line.get("tool") == "m.t0"]


@pytest.mark.parametrize(
    ("verb", "called"),
    [
        (("compare", "m", "n", "--call", "t0 {}"), "1 of 1 calls gave equal replies"),
        (("doctor", "--call", "m.t0 {}"), "m.t0"),
        (("promote", "m", "--all-same", "--call", "t0 {}", "--dry-run"), "promoted"),
    ],
    ids=lambda one: one[0] if isinstance(one, tuple) else "",
)
def test_a_verb_that_tries_tools_leaves_the_audit_log_of_a_serving_bridge_alone(command, tmp_path, verb, called):
    """The log is so full that any writer would begin a new file, and its lock is not free for others."""
    audit = tmp_path / "audit.jsonl"
    manuals = {**text_manual("m"), "shadow": {"new": "n"}}, text_manual("n")
    settings = {"log": {"audit_log": audit.name, "audit_max_bytes": 300, "audit_keep": 90}}
    with serving(tmp_path, *manuals, stderr=subprocess.PIPE, **settings) as server:
        calls = server.call(9)
        while len(audited(audit)) < calls:
            server.ask("ping")
        while len(audit_files(audit)) <= 2:  # several lines may have been written at once
            calls += server.call()
            while len(audited(audit)) < calls:
                server.ask("ping")
        with (tmp_path / "audit.jsonl.lock").open("r+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            before = {one.name: (one.stat().st_ino, one.read_bytes()) for one in tmp_path.glob("audit.jsonl*")}
            outcome = command(verb[0], str(tmp_path / "utcp.json"), *verb[1:])
            after = {one.name: (one.stat().st_ino, one.read_bytes()) for one in tmp_path.glob("audit.jsonl*")}
        assert outcome.code == 0, outcome
        assert called in outcome.out + outcome.err
        assert after == before
        assert server.call() == 1
        assert server.end() == 0
    assert len(audited(audit)) == calls + 1
    assert check_audit(audit_files(audit), None).fault == ""
