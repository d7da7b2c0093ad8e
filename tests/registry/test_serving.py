"""`utcp-registry serve` as a program of its own."""

import json
import signal
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

from utcp_bridge.errors import ConfigError
from utcp_bridge.registry.serving import Serving, serve_registry

TEMPLATE = {"call_template_type": "http", "url": "https://api.example.com/x"}
PROGRAM = str(Path(sys.executable).with_name("utcp-registry"))


@contextmanager
def running(*arguments, cwd):
    process = subprocess.Popen([PROGRAM, "serve", *arguments], cwd=cwd, stderr=subprocess.PIPE, text=True)
    try:
        yield process, process.stderr.readline()
    finally:
        process.kill()
        process.wait(10)
        process.stderr.close()


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_is_serves_and_ends_in_order(tmp_path, stop):
    manual = {"utcp_version": "1.0.1", "tools": [{"name": "t", "tool_call_template": TEMPLATE}]}
    (tmp_path / "weather.json").write_text(json.dumps(manual))
    with running("--port", "0", cwd=tmp_path) as (process, line):
        assert line.startswith("Serving 1 manual of . on http://127.0.0.1:")
        with urllib.request.urlopen(line.rpartition(" ")[2].strip(), timeout=10) as reply:
            assert [one["name"] for one in json.load(reply)["manuals"]] == ["weather"]
        process.send_signal(stop)
        assert process.wait(10) == 0
        assert process.stderr.read() == ""


@pytest.mark.anyio
async def test_beyond_loopback_it_must_be_told(tmp_path):
    with pytest.raises(ConfigError, match="--insecure"):
        await serve_registry(tmp_path, Serving(host="0.0.0.0", port=0), on_ready=lambda _url, _count: None)


@pytest.mark.anyio
async def test_a_folder_that_is_not_there_or_a_port_that_is_taken_is_one_sentence(tmp_path):
    with pytest.raises(ConfigError, match="no folder"):
        await serve_registry(tmp_path / "gone", Serving(), on_ready=lambda _url, _count: None)
    with running("--port", "0", cwd=tmp_path) as (_process, line):
        port = int(line.rpartition("/manuals")[0].rpartition(":")[2])
        with pytest.raises(ConfigError, match="Cannot listen"):
            await serve_registry(tmp_path, Serving(port=port), on_ready=lambda _url, _count: None)
