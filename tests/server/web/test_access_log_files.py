"""The access log of real processes: rotation, several workers, a full disk, stderr, and a file without a folder."""

import http.client
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs signals and limits of POSIX")
MODERN = "2026-07-28"
META = {"io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {}}
HEADERS = {
    "Content-Type": "application/json",
    "Accept": "application/json",
    "MCP-Protocol-Version": MODERN,
    "Mcp-Method": "tools/call",
    "Mcp-Name": "m_t0",
}
TOKEN = "sesame-sesame-1234"
SMALL_FILES = ("sh", "-c", 'ulimit -f 8; exec "$@"', "sh")
"""A file has at most 8 blocks of 512 or 1,024 bytes. Python ignores SIGXFSZ."""


def configuration(folder, **settings):
    tools = [{"name": "t0", "tool_call_template": {"call_template_type": "text", "content": "fine"}}]
    content = json.dumps({"utcp_version": "1.0.1", "tools": tools})
    manual = {"name": "m", "call_template_type": "text", "content": content}
    config = folder / "utcp.json"
    config.write_text(json.dumps({"manual_call_templates": [manual], "bridge": settings}))
    return [sys.executable, "-m", "utcp_bridge", "serve", str(config), "--http", "--port", "0"]


class Served:
    """A bridge over HTTP, and a connection to it."""

    def __init__(self, process):
        self.process = process
        self.noise = []
        while "Serving MCP on " not in (line := process.stderr.readline()):
            assert line
            self.noise.append(line)
        self.address = urlsplit(line.partition("Serving MCP on ")[2].split()[0]).netloc
        self.one = self.connection()

    def connection(self):
        return http.client.HTTPConnection(self.address, timeout=60)

    def call(self, connection=None):
        connection = connection or self.one
        params = {"name": "m_t0", "arguments": {}, "_meta": META}
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
        connection.request("POST", "/mcp", body, HEADERS | {"Authorization": f"Bearer {TOKEN}"})
        reply = connection.getresponse()
        reply.read()
        return reply.status

    def ready(self):
        self.one.request("GET", "/readyz")
        return json.loads(self.one.getresponse().read())

    def end(self):
        self.one.close()
        self.process.send_signal(signal.SIGINT)
        self.noise += self.process.stderr.readlines()
        assert self.process.wait(timeout=60) == 0


@contextmanager
def serving(folder, *arguments, wrapper=(), **settings):
    command = [*wrapper, *configuration(folder, bearer_token=TOKEN, **settings), *arguments]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=folder, **pipes) as process:
        try:
            yield Served(process)
        finally:
            process.kill()


def records(*paths):
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_hangup_opens_the_file_again_in_each_process_and_no_line_is_lost(tmp_path, workers):
    path = tmp_path / "access.jsonl"
    with serving(tmp_path, "--workers", str(workers), access_log=path.name) as server:
        assert server.call() == 200
        made = 1
        path.rename(path.with_suffix(".1"))
        server.process.send_signal(signal.SIGHUP)
        while not path.exists() or not path.stat().st_size:
            assert server.call() == 200
            made += 1

        def many(times):
            connection = server.connection()
            found = [server.call(connection) for _ in range(times)]
            connection.close()
            return found

        with ThreadPoolExecutor(8) as pool:
            for found in pool.map(many, [25] * 8):
                assert found == [200] * 25
        assert server.ready()["access_log"] == {"lost": 0}
        server.end()
    found = records(path.with_suffix(".1"), path)
    assert len(found) == made + 201
    assert {(one.get("name"), one["path"], one["status"]) for one in found} == {
        ("m_t0", "/mcp", 200),
        (None, "/readyz", 200),
    }
    assert TOKEN not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_full_disk_costs_lines_which_readyz_and_the_log_count(tmp_path):
    path = tmp_path / "access.jsonl"
    with serving(tmp_path, wrapper=SMALL_FILES, access_log=path.name, follow_configuration=False) as server:
        made = 0
        while not server.ready()["access_log"]["lost"]:
            made += 1
            assert server.call() == 200
        server.end()
    assert path.stat().st_size <= 8192
    assert 0 < len(records(path)) <= 2 * made
    said = [line for line in server.noise if "access lines were lost so far, because" in line]
    assert said
    assert all("cannot be written: File too large. Calls went on." in line for line in said)


def test_lines_on_stderr(tmp_path):
    with serving(tmp_path, "--access-log", "-") as server:
        assert server.call() == 200
        server.end()
    [line] = [json.loads(line) for line in server.noise if line.startswith('{"time"')]
    assert (line["name"], line["principal_kind"]) == ("m_t0", "shared")


def test_without_the_setting_there_is_no_log(tmp_path):
    with serving(tmp_path) as server:
        assert server.call() == 200
        assert "access_log" not in server.ready()
        server.end()
    assert not any(line.startswith('{"time"') for line in server.noise)


def test_a_file_that_cannot_be_opened_is_one_sentence(tmp_path):
    command = configuration(tmp_path, access_log="no/folder/access.jsonl")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    path = os.path.realpath(tmp_path / "no/folder/access.jsonl")
    wanted = f"The file {path} cannot be opened: No such file or directory. Change the setting `access_log`."
    assert wanted in done.stderr
    assert "Traceback" not in done.stderr
