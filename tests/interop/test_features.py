"""Features: what an MCP server offers is the same with the bridge in front of it, feature by feature."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.interop.hosting import DRIVERS, TS_1
from tests.interop.test_mcp import EVERYTHING, child

pytestmark = [pytest.mark.timeout(400), pytest.mark.needs(TS_1, EVERYTHING)]

Features = dict[str, Any]
ROOT = Path(__file__).parents[2]


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


def explained() -> set[str]:
    """Return the features that differ, by the table of the page that says why."""
    page = (ROOT / "docs" / "transports" / "mcp.md").read_text(encoding="utf-8")
    section = page.partition("\n## What differs behind the bridge\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1].strip() for line in section.splitlines() if line.startswith("|")]
    return set(rows[2:])


def test_each_feature_of_a_server_is_the_same_behind_the_bridge_or_its_difference_is_explained(
    found: tuple[Features, Features],
) -> None:
    direct, behind = found
    tried = [name for name in direct if name != "instructions"]
    assert len(tried) > 40
    failed = [name for name in tried if isinstance(direct[name], dict) and "raised" in direct[name]]
    assert failed == ["resources/read of an unknown one"]
    different = {
        name: f"{name}: {cut(direct[name])}\n  behind: {cut(behind.get(name))}"
        for name in tried
        if direct[name] != behind.get(name)
    }
    unexplained = [words for name, words in different.items() if name not in explained()]
    if unexplained:
        pytest.fail("\n".join(unexplained), pytrace=False)
    assert explained() == set(different)


def test_the_instructions_of_a_server_are_part_of_those_of_the_bridge(found: tuple[Features, Features]) -> None:
    direct, behind = found
    assert len(direct["instructions"]) > 1_000
    assert direct["instructions"].strip() in behind["instructions"]
