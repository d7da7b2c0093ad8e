"""`utcp_bridge.compat`: the suites of the reference library's plugins, unchanged, in a process with the import hook.

`compat/left_out.yaml` lists what is left out, and why.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tests.interop.software import Suites

HERE = Path(__file__).parent / "compat"
SUITES = Suites(
    "utcp-http==1.1.15 utcp-cli==1.1.5 utcp-file==1.1.0 utcp-gql==1.1.6 utcp-mcp==1.2.0 utcp-socket==1.1.1"
    " utcp-text==1.1.0 utcp-websocket==1.2.1",
    needs="pytest-asyncio==1.5.0 pytest-aiohttp==1.1.1",
    program="python",
)
MIN_PASSED = 140


def left_out() -> list[str]:
    reasons = yaml.safe_load((HERE / "left_out.yaml").read_text(encoding="utf-8"))
    return [line for lines in reasons.values() for line in lines]


@pytest.mark.timeout(300)
@pytest.mark.needs(SUITES)
def test_the_suites_of_the_reference_plugins_pass(tmp_path: Path) -> None:
    lines = tmp_path / "left_out.json"
    lines.write_text(json.dumps(left_out()), encoding="utf-8")
    options = ["-q", "-W", "ignore", "-p", "child_plugin", "-p", "no:cacheprovider", "-o", "asyncio_mode=auto"]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(SUITES.plugins), str(HERE)]),
        "UTCP_SUITE_LEFT_OUT": str(lines),
    }
    command = ["-m", "utcp_bridge.compat", "-m", "pytest", *options, "-c", os.devnull, "--rootdir", str(SUITES.folder)]
    done = subprocess.run(
        [sys.executable, *command, *map(str, SUITES.sources)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= MIN_PASSED


@pytest.mark.needs(SUITES)
def test_each_line_of_what_is_left_out_names_a_test() -> None:
    files = {path.name: path.read_text(encoding="utf-8") for place in SUITES.sources for path in place.glob("*.py")}
    stale = []
    for line in left_out():
        name, _, test = line.partition("::")
        if name not in files or (test and not re.search(rf"def {re.escape(test)}", files[name])):
            stale.append(line)
    assert stale == []
