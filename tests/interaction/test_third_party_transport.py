"""A transport of another package, as in docs/transports/index.md and docs/testing.md, found by its entry point."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from scripts.check_snippets import snippet_named

CARRIER, PEER = "my_package/carrier.py", "test_carrier.py"
PROGRAM = """
import asyncio
from utcp_bridge import Rejected, UtcpClient

async def main():
    config = [{"name": "text", "call_template_type": "carrier", "function": "textwrap:shorten"}]
    async with await UtcpClient.create(config) as client:
        assert client.report()[0].faults == []
        print(await client.call_tool("text.shorten", {"text": "one two three", "width": 9}))
        try:
            await client.call_tool("text.shorten", {"nonsense": 1})
        except Rejected as error:
            print(error)

asyncio.run(main())
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Return a folder with the transport as an installed package with an entry point."""
    code = snippet_named(CARRIER)
    assert len(code.splitlines()) <= 48
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package" / "__init__.py").touch()
    (tmp_path / CARRIER).write_text(code, encoding="utf-8")
    info = tmp_path / "my_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[utcp_bridge.transports]\ncarrier = my_package.carrier:CarrierTransport\n")
    return tmp_path


def run(package: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=package,
        env={**os.environ, "PYTHONPATH": str(package), "PYTEST_ADDOPTS": ""},
        capture_output=True,
        encoding="utf-8",
        timeout=200,
        check=False,
    )


def test_the_example_is_found_by_its_entry_point_discovered_and_called(package: Path) -> None:
    done = run(package, "-c", PROGRAM)
    assert done.stdout.splitlines()[0] == "one [...]", done.stderr
    assert "refused" in done.stdout.splitlines()[1]


def run_suite(package: Path) -> tuple[int, str]:
    """Run the contract suite in the package's own pytest session, with the peer of docs/testing.md."""
    (package / "conftest.py").write_text('pytest_plugins = ["utcp_bridge.testing.plugin"]\n')
    (package / PEER).write_text(snippet_named(PEER), encoding="utf-8")
    (package / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers -p no:cacheprovider -p no:timeout\n")
    done = run(package, "-m", "pytest", "-q", "-rsf")
    return done.returncode, done.stdout + done.stderr


def test_the_contract_suite_runs_in_a_package_of_its_own(package: Path) -> None:
    status, output = run_suite(package)
    assert status == 0, output
    counts = re.search(r"(\d+) passed, (\d+) skipped", output)
    assert counts is not None, output
    assert int(counts[1]) >= 9
    assert "carrier: a function takes no credentials" in output


def test_the_contract_suite_finds_a_transport_that_mixes_up_replies(package: Path) -> None:
    code = snippet_named(CARRIER)
    broken = code.replace("(**call.arguments)", '(text=call.arguments["text"] + "?")')
    assert broken != code
    (package / CARRIER).write_text(broken, encoding="utf-8")
    status, output = run_suite(package)
    assert status == 1, output
    assert "FAILED test_carrier.py::test_a_call_returns_what_the_peer_answered" in output
    assert "assert 'h\u00e9llo w\u00f6rld?' == 'h\u00e9llo w\u00f6rld'" in output  # the plugin rewrites assertions
