"""`reload` waits for the manuals that it reads again because a variable may have changed, and names them."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from pathlib import Path

import pytest
from tests.cli.live.bridges import MODERN, Host, entry, environment, manual, write
from tests.cli.live.test_following_access import reloaded, served

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="`reload` needs a socket with a path")
KEYED = {"name": "k", "call_template_type": "file", "file_path": "${WORD}.json"}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", environment(tmp_path)["XDG_CONFIG_HOME"])
    for word, tools in (("one", ["t"]), ("two", ["t", "u"])):
        (tmp_path / f"{word}.json").write_text(json.dumps(manual(*tools)))
    return tmp_path


def test_reload_waits_for_manuals_that_use_variables_and_names_them(home: Path) -> None:
    path, values = write(home / "utcp.json", KEYED, entry("a")), home / ".env"
    values.write_text("k_WORD=one\n")
    with served(home, path) as bridge, closing(Host(bridge.port, MODERN)) as host:
        assert host.own_tools() == ["a_t", "k_t"]
        values.write_text("k_WORD=two\n")
        done = reloaded(bridge)
        assert (done["error"], done["changed"], done["read_again"]) == (None, [], ["k"])
        assert done["manuals"] == {"k": {"state": "ready", "tools": 2, "errors": []}}
        assert host.own_tools() == ["a_t", "k_t", "k_u"]
        values.write_text("k_WORD=gone\n")
        code, said, errors = bridge.reload()
        assert (code, said) == (5, "Read again: k\n")
        assert "Manual k: " in errors
        assert "gone.json" in errors
        assert host.own_tools() == ["a_t", "k_t", "k_u"], "a manual that cannot be read again serves as before"


def test_reload_waits_for_a_manual_that_lacked_its_variable(home: Path) -> None:
    path = write(home / "utcp.json", KEYED, entry("a"))
    with served(home, path) as bridge, closing(Host(bridge.port, MODERN)) as host:
        assert host.own_tools() == ["a_t"]
        done = reloaded(bridge)
        assert done["read_again"] == ["k"]
        assert "WORD" in str(done["manuals"]["k"]["errors"])
        (home / ".env").write_text("k_WORD=two\n")
        assert reloaded(bridge)["manuals"] == {"k": {"state": "ready", "tools": 2, "errors": []}}
        assert host.own_tools() == ["a_t", "k_t", "k_u"]


def test_reload_names_the_manuals_that_it_reads_again_for_a_setting(home: Path) -> None:
    path = write(home / "utcp.json", entry("a", "t", "u"), entry("b"), bridge={"max_tools": 1})
    with served(home, path) as bridge:
        write(path, entry("a", "t", "u"), entry("b", "t", "u"), bridge={"max_tools": 2})
        done = reloaded(bridge)
        assert (done["changed"], done["read_again"]) == (["b"], ["a"])
        assert {name: state["tools"] for name, state in done["manuals"].items()} == {"a": 2, "b": 2}
