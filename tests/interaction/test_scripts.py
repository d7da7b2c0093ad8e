"""The scripts a newcomer runs: from any folder, whatever its name, with a clear word when something is missing."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts"


@pytest.fixture
def checkout(tmp_path):
    """A copy of what the scripts need, in a folder with a space in its name, with a Python environment ready."""
    folder = tmp_path / "a clone"
    shutil.copytree(SCRIPTS, folder / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / ".ci", folder / ".ci")
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def run(path, *arguments, cwd, **environment):
    return subprocess.run(
        [path, *arguments],
        cwd=cwd,
        env={"PATH": os.defpath, "HOME": str(cwd), **environment},
        capture_output=True,
        text=True,
        timeout=25,
        check=False,
    )


def bare_path(tmp_path, **programs):
    """A PATH with the tools that scripts use, and these programs as shell scripts."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("bash", "cat", "cksum", "dirname", "tail", "env"):
        (folder / name).symlink_to(shutil.which(name))
    for name, text in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    return str(folder)


def mark_ready(checkout, profile):
    """Say that the environment is set up, as scripts/setup does; the interpreter is this one."""
    (checkout / ".venv" / "bin").mkdir(parents=True)
    python = checkout / ".venv" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    stamp = f"cat pyproject.toml scripts/constraints.txt scripts/setup | cksum; echo {profile}"
    checksum = subprocess.run(["bash", "-c", stamp], cwd=checkout, capture_output=True, text=True, check=True)
    (checkout / ".venv" / f".ready-{profile}").write_text(f"{checksum.stdout.splitlines()[0]} {checkout}\n")


def test_the_tour_goes_through_every_kind_of_tool():
    done = run(sys.executable, str(SCRIPTS / "tour.py"), cwd=ROOT, COLUMNS="150")
    assert (done.returncode, done.stderr) == (0, "")
    assert "22 tools are listed" in done.stdout
    assert 'desk_convert_units          {"value":26.2' in done.stdout
    assert "[image, image/png" in done.stdout
    assert "Everything worked" in done.stdout
    assert "FAILED" not in done.stdout


def test_a_second_setup_does_nothing(checkout, tmp_path):
    mark_ready(checkout, "dev")
    for profile in ("run", "dev"):
        done = run(checkout / "scripts" / "setup", profile, cwd=tmp_path)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("python", "words"),
    [
        ("exit 1", "Python 3.11 or later is needed"),
        ('case "$2" in *ensurepip*) exit 1;; esac', "apt-get install python3-venv"),
    ],
    ids=["an old Python", "no venv module"],
)
def test_what_is_missing_is_one_line_with_its_remedy(checkout, tmp_path, python, words):
    done = run(checkout / "scripts" / "setup", cwd=tmp_path, PATH=bare_path(tmp_path, python3=python))
    assert done.returncode == 1
    assert words in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_an_unknown_profile_is_refused(checkout, tmp_path):
    done = run(checkout / "scripts" / "setup", "everything", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, "scripts/setup: There is no profile everything; use run or dev.\n")


def test_test_hands_its_arguments_to_pytest_from_any_folder(checkout, tmp_path):
    mark_ready(checkout, "dev")
    done = run(checkout / "scripts" / "test", "--version", cwd=tmp_path)
    assert (done.returncode, done.stdout[:7]) == (0, "pytest ")


def test_run_hands_its_arguments_to_serve_in_the_callers_folder(checkout, tmp_path):
    mark_ready(checkout, "run")
    done = run(checkout / "scripts" / "run", "missing.json", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("utcp-bridge: missing.json: There is no such file.")


def test_the_pages_that_follow_from_the_code_are_current():
    done = run(sys.executable, str(SCRIPTS / "generate_docs.py"), "--check", cwd=ROOT)
    assert (done.returncode, done.stdout) == (0, "All pages are current.\n")


def test_docs_writes_what_is_not_current(checkout, tmp_path):
    mark_ready(checkout, "run")
    (checkout / "docs").mkdir()
    written = run(checkout / "scripts" / "docs", cwd=tmp_path)
    again = run(checkout / "scripts" / "docs", cwd=tmp_path)
    assert written.stdout.split() == ["docs/settings.md", "docs/cli.md", "docs/errors.md"]
    assert (again.returncode, again.stdout) == (0, "")
    assert (checkout / "docs" / "cli.md").read_text() == (ROOT / "docs" / "cli.md").read_text()


def test_constraints_are_names_and_versions_alone():
    lines = (SCRIPTS / "constraints.txt").read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line)] == []
    assert len(lines) > 50


def test_ci_runs_the_tests_and_then_the_gates():
    text = (ROOT / ".ci" / "run").read_text()
    assert text.index("scripts/test") < text.index("scripts/check")


@pytest.mark.parametrize("name", ["setup", "run", "test", "docs", "check"])
def test_scripts_can_be_run_and_parse(name):
    assert os.access(SCRIPTS / name, os.X_OK)
    subprocess.run(["bash", "-n", SCRIPTS / name], check=True, timeout=10)
