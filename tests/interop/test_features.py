"""Features: what an MCP server offers is the same with the bridge in front of it, feature by feature."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.interop.hosting import DRIVERS, TS_1
from tests.interop.test_mcp import EVERYTHING, child

pytestmark = [pytest.mark.timeout(400), pytest.mark.needs(TS_1, EVERYTHING)]

Features = dict[str, Any]


def use(server: dict[str, Any]) -> Features:
    """Return what a client of the handshake era finds in each feature of a server."""
    driver = shutil.copy(DRIVERS / "features.mjs", TS_1.folder / "features.mjs")
    command = [TS_1.command, str(driver), json.dumps(server)]
    done = subprocess.run(
        command, env=TS_1.environment, capture_output=True, text=True, encoding="utf-8", timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Features, Features]:
    """The features of the server by itself, and behind the bridge."""
    manual = {"name": "every", "call_template_type": "mcp", **child(EVERYTHING)}
    bridge = {"naming": "short", "exposure": "all", "meta_tools": {"search": None, "call": None, "read": None}}
    config = {"manual_call_templates": [manual], "bridge": bridge}
    path = tmp_path_factory.mktemp("features") / "utcp.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    served = {"command": sys.executable, "args": ["-m", "utcp_bridge", "serve", str(path)], "env": dict(os.environ)}
    with ThreadPoolExecutor(2) as pool:
        direct, behind = pool.map(use, [child(EVERYTHING), served])
    return direct, behind


def cut(value: object) -> str:
    return str(value)[:400]


def test_each_feature_of_a_server_is_the_same_behind_the_bridge(found: tuple[Features, Features]) -> None:
    direct, behind = found
    tried = [name for name in direct if name not in {"capabilities", "instructions"}]
    assert len(tried) > 40
    failed = {name: value for name, value in direct.items() if isinstance(value, dict) and "raised" in value}
    assert list(failed) == ["resources/read of an unknown one"]
    different = [
        f"{name}: {cut(direct[name])}\n  behind: {cut(behind.get(name))}"
        for name in tried
        if direct[name] != behind.get(name)
    ]
    if different:
        pytest.fail("\n".join(different), pytrace=False)


def test_the_capabilities_of_a_server_are_among_those_of_the_bridge(found: tuple[Features, Features]) -> None:
    direct, behind = found
    missing = {
        name: value
        for name, value in direct["capabilities"].items()
        if name not in behind["capabilities"] or not value.items() <= behind["capabilities"][name].items()
    }
    assert missing == {}


def test_the_instructions_of_a_server_are_part_of_those_of_the_bridge(found: tuple[Features, Features]) -> None:
    direct, behind = found
    assert direct["instructions"] in behind["instructions"]
