"""Serving over stdin and stdout, tested from outside on the level of lines."""

import json
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest
from tests.interaction.conftest import ROOT, served
from tests.interaction.requirements import proves

INITIALIZE = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}


class Peer:
    """A client that reads and writes lines."""

    def __init__(self, process):
        self.process = process
        self.number = 0

    def send(self, **message):
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        self.process.stdin.flush()

    def request(self, method, **params):
        self.number += 1
        self.send(id=self.number, method=method, params=params)
        return self.number

    def receive(self, ident):
        """Return the reply to a request. Every line before it must be JSON-RPC too."""
        while True:
            message = json.loads(self.process.stdout.readline())
            assert message["jsonrpc"] == "2.0"
            if message.get("id") == ident:
                return message

    def ask(self, method, **params):
        return self.receive(self.request(method, **params))

    def initialise(self):
        self.ask("initialize", **INITIALIZE)
        self.send(method="notifications/initialized")


@contextmanager
def peer():
    command = [sys.executable, *served("stdio")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as process:
        try:
            connected = Peer(process)
            connected.initialise()
            yield connected
        finally:
            process.kill()


def wait_in_flight(connected, calls):
    """Start calls that never end. Return when all of them run."""
    for _ in range(calls):
        connected.request("tools/call", name="demo_wait", arguments={}, _meta={"progressToken": connected.number})
    running = 0
    while running < calls:
        running += json.loads(connected.process.stdout.readline())["method"] == "notifications/progress"


@proves("stdio.pure")
def test_prints_and_child_processes_do_not_write_to_the_host():
    with peer() as connected:
        reply = connected.ask("tools/call", name="demo_chatter", arguments={})
        assert reply["result"]["content"][0]["text"] == "quiet"
        assert connected.ask("ping")["result"] == {}
        rest, noise = connected.process.communicate(timeout=200)
        assert rest == ""
        assert "stray print" in noise
        assert "from a child" in noise


@proves("stdio.eof")
@pytest.mark.parametrize("calls", [0, 20])
def test_the_server_ends_when_stdin_closes(calls):
    with peer() as connected:
        wait_in_flight(connected, calls)
        _, noise = connected.process.communicate(timeout=200)
        assert connected.process.returncode == 0
        assert noise.count("cancelled") == calls


@proves("stdio.signal")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_cleanly(number):
    with peer() as connected:
        wait_in_flight(connected, 20)
        connected.process.send_signal(number)
        assert connected.process.wait(timeout=200) == 0
        noise = connected.process.stderr.read()
        assert noise.count("cancelled") == 20
        assert "Traceback" not in noise


@proves("stdio.garbage")
def test_garbage_does_not_end_the_session():
    with peer() as connected:
        connected.process.stdin.write('no json\n\n{"jsonrpc": "2.0"}\n[]\n"text"\n\u0000\n')
        assert connected.ask("ping")["result"] == {}
        large = connected.ask("tools/call", name="demo_echo", arguments={"a": 1, "filter": "x" * 500_000})
        assert len(large["result"]["content"][0]["text"]) > 90_000
        assert "was cut" in large["result"]["content"][1]["text"]


@proves("stdio.files")
def test_stdin_and_stdout_can_be_files(tmp_path):
    requests, replies = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    messages = [
        {"id": 1, "method": "initialize", "params": INITIALIZE},
        {"method": "notifications/initialized"},
        {"id": 2, "method": "ping"},
    ]
    requests.write_text("".join(json.dumps({"jsonrpc": "2.0", **message}) + "\n" for message in messages))
    with requests.open() as stdin, replies.open("w") as stdout:
        subprocess.run(
            [sys.executable, *served("stdio")], cwd=ROOT, stdin=stdin, stdout=stdout, check=True, timeout=200
        )
    assert [json.loads(line)["id"] for line in replies.read_text().splitlines()] == [1, 2]
