"""`bearer_token: generate`: a token of one start, printed with the URL."""

import json
import subprocess
import sys
import urllib.error
import urllib.request

import pytest


def status(url, token):
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=200) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


@pytest.fixture
def start(tmp_path):
    path = tmp_path / "utcp.json"
    path.write_text(json.dumps({"manual_call_templates": [], "bridge": {"bearer_token": "generate", "port": 0}}))
    command = [sys.executable, "-m", "utcp_bridge", "serve", str(path), "--http"]

    def started():
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            entry = next(json.loads(line) for line in process.stderr if line.startswith("{"))["mcpServers"]["utcp"]
            token = entry["headers"]["Authorization"].removeprefix("Bearer ")
            base = entry["url"].removesuffix("/mcp")
            found = status(f"{base}/utcp", token), status(f"{base}/utcp", "generate"), status(f"{base}/utcp", "")
            process.terminate()
            rest = process.stderr.read()
        return token, found, rest

    return started


def test_each_start_has_a_token_of_its_own_which_is_printed_once(start):
    first, second = start(), start()
    assert first[0] != second[0]
    for token, statuses, rest in (first, second):
        assert len(token) >= 32
        assert statuses == (200, 401, 401)
        assert token not in rest
