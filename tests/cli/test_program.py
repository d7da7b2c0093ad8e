"""The program under each of its names."""

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from utcp_bridge import __version__
from utcp_bridge.cli.program import DEFAULT, started_as, under_name

FOLDER = Path(sys.executable).parent


def run(program, *arguments, **environ):
    return subprocess.run(
        [FOLDER / program, *arguments],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        env={**os.environ, **environ},
    )


@pytest.mark.parametrize("program", ["utcp", "utcp-bridge", "utcp-registry"])
def test_help_and_version_show_the_name_that_was_typed(program):
    shown = run(program, "--help").stdout
    assert shown.startswith(f"Usage: {program} ")
    examples = [line.split() for line in shown.partition("Examples:")[2].splitlines() if line.strip()]
    assert {words[0] for words in examples} == {program}
    assert run(program, "--version").stdout == f"{program} {__version__}\n"


def test_a_verbs_help_and_examples_show_the_name_that_was_typed():
    shown = run("utcp", "convert", "-h").stdout
    assert shown.startswith("Usage: utcp convert ")
    assert "utcp convert openapi.json > utcp-manual.json" in shown
    assert "utcp-bridge" not in shown
    served = run("utcp-registry", "serve", "-h").stdout
    assert served.startswith("Usage: utcp-registry serve ")
    assert "utcp-registry serve --port 8080" in served
    assert "utcp-bridge" not in served


def test_completion_is_for_the_name_that_was_typed():
    script = run("utcp", _UTCP_COMPLETE="bash_source").stdout
    assert "complete -o nosort -F _utcp_completion utcp" in script
    words = run("utcp-registry", _UTCP_REGISTRY_COMPLETE="bash_complete", COMP_WORDS="utcp-registry se", COMP_CWORD="1")
    assert words.stdout == "plain,serve\n"


def test_error_lines_begin_with_the_name_that_was_typed(tmp_path):
    done = run("utcp", "validate", str(tmp_path / "gone.json"))
    assert (done.returncode, done.stderr.startswith("utcp: ")) == (2, True)


@pytest.mark.parametrize(
    ("argument", "name"),
    [
        ("/usr/bin/utcp", "utcp"),
        ("utcp-registry.exe", "utcp-registry"),
        ("/x/utcp_bridge/__main__.py", DEFAULT),
        ("pytest", DEFAULT),
        ("", DEFAULT),
    ],
)
def test_an_unknown_name_is_the_default(monkeypatch, argument, name):
    monkeypatch.setattr(sys, "argv", [argument])
    assert started_as() == name


def test_utcp_registry_renames_only_the_verbs_that_it_has():
    text = 'utcp-bridge serve, utcp-bridge registry list, {"command": "utcp-bridge"}, my-utcp-bridge x'
    command = click.Command("x", help=text, epilog=None)
    assert under_name(command, DEFAULT) is command
    assert under_name(command, "utcp").help == (
        'utcp serve, utcp registry list, {"command": "utcp-bridge"}, my-utcp-bridge x'
    )
    assert under_name(command, "utcp-registry").help == (
        'utcp-bridge serve, utcp-registry list, {"command": "utcp-bridge"}, my-utcp-bridge x'
    )
    assert command.help == text


@pytest.mark.parametrize("started", ["-c", "-m"])
def test_an_older_python_is_named_in_one_sentence(started):
    words = f"import sys; sys.version_info = (3, 10, 13); sys.argv = [{started!r}]; import utcp_bridge"
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert lines[-1].endswith(
        "utcp_bridge: this is Python 3.10, and 3.11 or later is needed. Start it with another one."
    )
    assert (len(lines) == 1) == (started == "-m")
