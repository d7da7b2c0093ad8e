"""What the audit log has of arguments, and when it goes on in a new file, change while a bridge serves."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.cli.live.bridges import MODERN, Host, LiveBridge, entry, environment, write
from tests.cli.live.test_following_access import reloaded, served

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="`reload` needs a socket with a path")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", environment(tmp_path)["XDG_CONFIG_HOME"])
    return tmp_path


def change(bridge: LiveBridge, home: Path, **settings: Any) -> None:
    write(home / "utcp.json", entry("a"), bridge={"audit_log": str(home / "audit.log"), **settings})
    done = reloaded(bridge)
    assert (done["error"], done["needs_restart"]) == (None, [])


def calls_in(home: Path) -> list[dict[str, Any]]:
    """Return the lines of calls in all files, the oldest first."""
    files = sorted(home.glob("audit.log.[0-9]*"), reverse=True)
    lines = [json.loads(line) for file in (*files, home / "audit.log") for line in file.read_text().splitlines()]
    return [line for line in lines if "tool" in line]


def test_what_a_line_has_of_arguments_changes_from_the_next_call_on(home: Path) -> None:
    path = write(home / "utcp.json", entry("a"), bridge={"audit_log": str(home / "audit.log")})
    with served(home, path) as bridge, closing(Host(bridge.port, MODERN)) as host:
        for record in ("none", "names", "digest", "full", "none"):
            change(bridge, home, audit_arguments=record)
            assert host.call("a_t") == "x"
    lines = calls_in(home)
    assert [line.get("arguments") for line in lines] == [None, [], None, {}, None]
    assert ["arguments_digest" in line for line in lines] == [False, False, True, False, False]


def test_the_file_goes_on_in_a_new_one_from_then_on(home: Path) -> None:
    path = write(home / "utcp.json", entry("a"), bridge={"audit_log": str(home / "audit.log")})
    with served(home, path) as bridge, closing(Host(bridge.port, MODERN)) as host:
        assert host.call("a_t") == "x"
        assert not [*home.glob("audit.log.[0-9]*")]
        change(bridge, home, audit_max_age=0.001, audit_keep=2)
        while not (home / "audit.log.2").exists():  # several lines may be written at a time
            assert host.call("a_t") == "x"
        assert host.call("a_t") == "x"
    assert sorted(file.name for file in home.glob("audit.log.[0-9]*")) == ["audit.log.1", "audit.log.2"]
