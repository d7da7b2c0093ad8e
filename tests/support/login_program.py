"""`utcp-bridge` as a process of its own, with a browser that follows redirects and shows nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import anyio
import yaml

_BROWSER = """
import sys, urllib.request
with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(sys.argv[1], timeout=60) as page:
    page.read()
"""


def environment(folder: Path) -> dict[str, str]:
    """Return an environment whose user has this folder, and a browser."""
    browser = folder / "browser.py"
    browser.write_text(_BROWSER, encoding="utf-8")
    own = {"XDG_CONFIG_HOME": str(folder / "config"), "BROWSER": f"{sys.executable} {browser} %s", "NO_COLOR": "1"}
    return {**os.environ, **own}


def configured(folder: Path, *entries: dict[str, object]) -> None:
    """Write the configuration of the folder."""
    (folder / "utcp.yaml").write_text(yaml.safe_dump({"manual_call_templates": list(entries)}), encoding="utf-8")


async def ran(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `utcp-bridge` with these arguments in the folder."""
    command = [sys.executable, "-m", "utcp_bridge", *arguments]
    done = await anyio.run_process(command, check=False, cwd=folder, env=environment(folder), stdin=subprocess.DEVNULL)
    return subprocess.CompletedProcess(command, done.returncode, done.stdout.decode(), done.stderr.decode())
