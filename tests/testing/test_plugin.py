"""The pytest plugin, in a pytest of its own."""

import subprocess
import sys
from pathlib import Path

import pytest


def run(folder: Path, source: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_it.py").write_text(source, encoding="utf-8")
    options = ("-p", "utcp_bridge.testing.plugin", "-p", "no:cacheprovider", "--import-mode=importlib", "-q")
    command = [sys.executable, "-m", "pytest", *options, "test_it.py"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("fault", ["import a_module_that_is_missing", "raise ValueError('no')", "def broken(:"])
def test_a_module_that_cannot_be_imported_fails_the_run(tmp_path: Path, fault: str) -> None:
    done = run(tmp_path, f"{fault}\n\n\ndef test_it():\n    pass\n")
    assert done.returncode == pytest.ExitCode.INTERRUPTED
    assert "ERROR test_it.py" in done.stdout


def test_a_module_that_skips_itself_is_reported_as_skipped(tmp_path: Path) -> None:
    done = run(tmp_path, "import pytest\n\npytest.skip('not here', allow_module_level=True)\n\n\ndef test_it(): pass\n")
    assert "1 skipped" in done.stdout


def test_a_module_without_a_peer_keeps_its_own_tests_only(tmp_path: Path) -> None:
    done = run(tmp_path, "def test_it():\n    pass\n")
    assert "1 passed" in done.stdout
