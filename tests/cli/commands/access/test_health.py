"""`utcp-bridge health` asks a real bridge at the ports on which it listens, whatever set them."""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.upstreams.certificates import Authority

pytestmark = pytest.mark.skipif(not Path("/proc/self/net/tcp").exists(), reason="needs /proc of Linux")


@contextmanager
def bridge(*arguments, below=(), **environment):
    """Yield the process id of a bridge, or of the program above it, and its port if it serves HTTP."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("UTCP_")}
    process = subprocess.Popen(
        [*below, sys.executable, "-m", "utcp_bridge", "serve", *arguments],
        start_new_session=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**plain, **environment},
    )
    with process:
        try:
            port = None
            if "--quickstart" not in arguments:
                line = next(line for line in process.stderr if line.startswith(b"Serving MCP on"))
                port = urlsplit(line.decode().split()[3]).port
            yield process.pid, port
        finally:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture
def configuration(tmp_path):
    """Return a file whose own section says HTTP and a free port."""
    path = tmp_path / "utcp.json"
    path.write_text(json.dumps({"manual_call_templates": [], "bridge": {"transport": "http", "port": 0}}))
    return str(path)


def test_the_port_on_which_it_listens_is_asked(command, configuration):
    with bridge(configuration) as (pid, port):
        assert command("health", "--pid", str(pid)).out == f"Process {pid} is alive on port {port}.\n"
        assert command("health", "--pid", str(pid), "--ready").out == f"Process {pid} is ready on port {port}.\n"


def test_a_process_that_its_parent_has_not_removed_is_not_alive(command):
    with subprocess.Popen(["true"]) as ended:
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
        done = command("health", "--pid", str(ended.pid))
    assert (done.code, "has ended" in done.err) == (1, True)


def test_the_workers_of_a_bridge_are_asked(command, configuration):
    with bridge(configuration, "--workers", "2") as (pid, port):
        done = command("health", "--pid", str(pid))
        assert (done.code, done.out) == (0, f"Process {pid} is alive on port {port}.\n")


def test_a_bridge_below_an_init_is_found(command, configuration):
    with bridge(configuration, below=["sh", "-c", '"$@" & wait', "sh"]) as (pid, port):
        assert command("health", "--pid", str(pid)).out == f"Process {pid} is alive on port {port}.\n"


def test_a_bridge_over_stdio_is_healthy_while_it_runs(command):
    with bridge("--quickstart") as (pid, _):
        done = command("health", "--pid", str(pid))
        assert (done.code, done.out) == (
            0,
            f"Process {pid} is alive. It does not serve MCP over HTTP, as over stdio.\n",
        )
    gone = command("health", "--pid", str(pid))
    assert (gone.code, gone.err) == (
        1,
        f"utcp-bridge: No process has the number {pid}. Give the process id of the bridge with --pid.\n",
    )


def test_a_bridge_with_tls_is_asked_over_tls(command, configuration, tmp_path):
    Authority.create(tmp_path).server_context()
    names = {"UTCP_BRIDGE_TLS_CERTIFICATE": "server.pem", "UTCP_BRIDGE_TLS_KEY": "server.key"}
    with bridge(configuration, **{key: str(tmp_path / name) for key, name in names.items()}) as (pid, port):
        assert command("health", "--pid", str(pid)).out == f"Process {pid} is alive on port {port}.\n"


@pytest.mark.parametrize(("family", "address"), [("AF_INET", "127.0.0.1"), ("AF_INET6", "::1")])
def test_a_port_that_does_not_reply_as_the_bridge_is_not_healthy(command, family, address):
    code = (
        "import socket, socketserver, sys\n"
        "class Server(socketserver.TCPServer): address_family = getattr(socket, sys.argv[1])\n"
        "class Mute(socketserver.StreamRequestHandler):\n"
        "    def handle(self): pass\n"
        "with Server((sys.argv[2], 0), Mute) as server:\n"
        "    print(server.server_address[1], flush=True)\n"
        "    server.serve_forever()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, family, address], stdout=subprocess.PIPE) as process:
        try:
            port = int(process.stdout.readline())
            done = command("health", "--pid", str(process.pid))
        finally:
            process.kill()
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        f"utcp-bridge: Process {process.pid} listens on port {port}, and /healthz does not return status 200 there."
        " See its log.\n"
    )
