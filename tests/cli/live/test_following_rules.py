"""Rules come, change and go while a bridge serves, and judge mapped resources by who reads them."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.cli.live.bridges import Host, LiveBridge, entry, environment, write
from tests.cli.live.test_following_access import ERAS, reloaded, served

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="`reload` needs a socket with a path")
PROFILES: dict[str, Any] = {"support": {}, "readers": {}}
MANUAL = entry("shop", "orders", says="ann@example.com", resources={"shop://orders": {"tool": "orders"}})
DENY = {"do": "deny", "name": "closed", "tools": "shop.orders", "profiles": "support"}
REDACT = {"do": "redact", "patterns": ["email"], "profiles": "readers", "principals": "anyone"}
RULES = [DENY, REDACT]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", environment(tmp_path)["XDG_CONFIG_HOME"])
    return tmp_path


def seen(host: Host) -> list[str]:
    """Return what a client gets of the resource and of the tool."""
    return [str(host.ask("resources/read", {"uri": "shop://orders"}, "shop://orders")), host.call("shop_orders")]


def seen_by_each(bridge: LiveBridge, era: str) -> list[list[str]]:
    """Return what clients without a profile and of each profile get."""
    found = []
    for path in ("/mcp", "/mcp/p/support", "/mcp/p/readers"):
        with closing(Host(bridge.port, era, path)) as host:
            found.append(seen(host))
    return found


@pytest.mark.parametrize("era", ERAS)
def test_rules_that_come_while_a_bridge_serves_know_who_asks(home: Path, era: str) -> None:
    """They see what rules at the start see, also for servers of profiles that were there before them."""
    path = write(home / "utcp.json", MANUAL, bridge={"profiles": PROFILES})
    with served(home, path) as bridge:
        for texts in seen_by_each(bridge, era):
            assert all("ann@example.com" in text for text in texts)
        write(path, MANUAL, bridge={"profiles": PROFILES, "access_rules": RULES})
        done = reloaded(bridge)
        assert (done["error"], done["settings"], done["needs_restart"]) == (None, ["access.rules"], [])
        whole, support, readers = seen_by_each(bridge, era)
        assert all("ann@example.com" in text for text in whole)
        assert all("The rule 'closed' refuses shop.orders" in text for text in support)
        assert all("[email]" in text for text in readers)
        write(path, MANUAL, bridge={"profiles": PROFILES})
        assert reloaded(bridge)["settings"] == ["access.rules"]
        for texts in seen_by_each(bridge, era):
            assert all("ann@example.com" in text for text in texts)
