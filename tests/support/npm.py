"""Node programs for tests, installed once into a folder that git ignores. Without npm the test is skipped."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / ".tools"


def node_program(name: str, command: str, *packages: str) -> tuple[Path, dict[str, str]]:
    """Return the path of `command` of these npm packages, and its environment (Node 22)."""
    folder = TOOLS / name
    commands = folder / "node_modules" / ".bin"
    if not (commands / command).exists():
        _install(folder, "node@22", *packages)
    return commands / command, {**os.environ, "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}"}


def _install(folder: Path, *packages: str) -> None:
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed, and this program comes from there")
    folder.mkdir(parents=True, exist_ok=True)
    install = ["npm", "install", "--no-save", "--no-audit", "--no-fund", "--prefix", str(folder), *packages]
    try:
        done = subprocess.run(install, capture_output=True, text=True, timeout=150, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("npm did not reply in time")
    if done.returncode != 0:
        pytest.skip(f"npm could not install {' '.join(packages)}: {done.stderr.strip()[-200:]}")
