"""A run of tests fails if a process that it started goes on, and waits for those that end by themselves."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.left_processes import can_look, shown

PROGRAM = """
import subprocess, sys

def test_leaves_a_program_without_a_parent():
    program = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', {read!r}, {pipe!r}, 's3cret'])"
    subprocess.run([sys.executable, "-c", program], check=True)

def test_leaves_a_program_that_ends_with_its_process():
    process = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
"""
READ = "import sys; open(sys.argv[1]).read()"
Run = Callable[[str], "tuple[int, str]"]

pytestmark = pytest.mark.skipif(not can_look(), reason="needs /proc and descriptors of processes")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Return what runs one of the tests in a process of xdist, and returns its exit code and what it says."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    (tmp_path / "conftest.py").write_text("from tests.conftest import *")
    (tmp_path / "test_some.py").write_text(PROGRAM.format(pipe=str(pipe), read=READ))

    def run_one(name: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-n1", str(tmp_path), "-k", name]
        environment = {**os.environ, "TEST_LEFT_SECONDS": "3"}
        ended = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=200, check=False)
        return ended.returncode, ended.stdout + ended.stderr

    return run_one


def test_a_run_that_leaves_a_process_fails_and_names_it(run: Run, tmp_path: Path) -> None:
    code, said = run("without_a_parent")
    os.close(os.open(tmp_path / "pipe", os.O_WRONLY | os.O_NONBLOCK))  # it reads until here: nobody has ended it
    assert "1 passed" in said, said
    assert code == pytest.ExitCode.TESTS_FAILED
    assert "The tests have left processes behind" in said
    assert "-c …" in said
    assert "s3cret" not in said


def test_a_run_waits_for_processes_that_end_by_themselves(run: Run) -> None:
    code, said = run("ends_with_its_process")
    assert (code, "left processes behind" in said) == (0, False), said


def test_a_command_line_is_shown_without_its_values() -> None:
    words = ["/usr/bin/python", "-m", "utcp_bridge", "serve", "a.json", "--token", "s3cret", "--key=s3cret", "--http"]
    assert shown(words[:8]) == "python -m utcp_bridge serve a.json --token … --key=…"
    assert shown(words) == "python -m utcp_bridge serve a.json --token … --key=… …"
    assert shown([]) == "a program without a name"
