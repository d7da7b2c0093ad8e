"""The program as a whole: help, version, and the exit code of every kind of failure."""

import errno
import os
import subprocess
import sys

import click
import pytest

from utcp_bridge import __version__
from utcp_bridge.cli import command as module
from utcp_bridge.cli.command import JOURNEY, bridge, every_command, main, run


def test_the_version_is_printed(command):
    outcome = command("--version")
    assert (outcome.code, outcome.out) == (0, f"utcp-bridge {__version__}\n")


COMMANDS = dict(every_command())
VERBS = [name.split() for name in COMMANDS if name]


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_the_help_of_every_verb_has_examples(command, verb):
    outcome = command(*verb, "--help")
    assert outcome.code == 0
    assert f"utcp-bridge {' '.join(verb)}" in outcome.out.partition("Examples")[2]


@pytest.mark.parametrize("verb", [[], *VERBS], ids=" ".join)
def test_help_fits_a_hundred_columns_and_is_not_cut(command, monkeypatch, verb):
    monkeypatch.setenv("COLUMNS", "120")
    usage, *lines = command(*verb, "--help").out.splitlines()
    assert len(usage) <= 100
    assert [line for line in lines if len(line) > 100 or line.endswith("...")] == []


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in (["registry"], ["token"])], ids=" ".join)
def test_every_verb_has_debug_and_says_which_options_may_be_repeated(verb):
    options = [param for param in COMMANDS[" ".join(verb)].params if isinstance(param, click.Option)]
    assert "--debug" in [name for option in options for name in option.opts]
    assert [option.name for option in options if option.multiple and "several times" not in str(option.help)] == []


def test_the_verbs_have_the_default_name_of_the_program():
    assert [name for name, verb in COMMANDS.items() if "utcp-bridge" not in str(verb.epilog)] == []


def test_the_verbs_are_listed_in_the_order_of_the_journey(command):
    outcome = command("-h")
    assert outcome.code == 0
    places = [outcome.out.index(f"\n{title}:\n") for title in JOURNEY]
    assert places == sorted(places)
    assert all(f"\n  {verb} " in outcome.out for verbs in JOURNEY.values() for verb in verbs)


@pytest.mark.parametrize("arguments", [["nonsense"], ["tools", "--nonsense"], ["search"], ["serve", "--port", "x"]])
def test_a_wrong_command_line_is_exit_code_1(command, arguments):
    outcome = command(*arguments)
    assert (outcome.code, outcome.out) == (1, "")
    assert "Usage:" in outcome.err


def test_no_configuration_is_exit_code_2_and_one_line(command):
    outcome = command("tools")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.count("\n") == 1
    assert outcome.err.startswith("utcp-bridge: The current folder has no configuration.")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "line"),
        ('"just words"', "neither a configuration"),
        ('{"manual_call_templates": [], "bridge": {"port": "x"}}', "port"),
        ('{"manual_call_templates": [], "bridge": {"prot": 1}}', "prot"),
    ],
)
def test_a_configuration_that_cannot_be_read_is_one_clear_line(command, tmp_path, text, words):
    (tmp_path / "providers.json").write_text(text)
    outcome = command("tools")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.count("\n") == 1
    assert words in outcome.err


def test_debug_prints_the_traceback_of_an_error(command, tmp_path):
    (tmp_path / "providers.json").write_text("{")
    outcome = command("tools", "--debug")
    assert outcome.code == 2
    assert "Traceback" in outcome.err


def raising(error):
    @click.command()
    def verb():
        raise error

    return verb


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["init", "gone/utcp.yaml", "--manual", "m.json"],
            "gone/utcp.yaml cannot be written: No such file or directory. Choose",
        ),
        (
            ["init", "folder", "--force", "--manual", "m.json"],
            "folder cannot be written: it is a folder, pipe or device instead of a regular file. Choose",
        ),
        (
            ["install", "cursor", "folder", "--project", "file"],
            "file/.cursor/mcp.json cannot be written: Not a directory. Choose",
        ),
    ],
)
def test_a_place_that_cannot_be_written_is_one_clear_line(command, tmp_path, arguments, words):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    outcome = command(*arguments)
    assert outcome.code == 2
    assert outcome.err.startswith(f"utcp-bridge: {words}")
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (KeyboardInterrupt(), 130, ""),
        (click.Abort(), 130, ""),
        (SystemExit(3), 3, ""),
        (SystemExit("words"), 1, ""),
        (RuntimeError("secret"), 70, "Internal error in utcp-bridge (RuntimeError). Run with --debug"),
        (ExceptionGroup("", [ExceptionGroup("", [KeyError("secret")])]), 70, "(KeyError)"),
        (BrokenPipeError(errno.EPIPE, ""), 0, ""),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_every_exception_of_a_verb_becomes_an_exit_code(command, monkeypatch, error, code, words):
    monkeypatch.setattr(module, "_discard_stdout", lambda: None)
    monkeypatch.setitem(bridge.commands, "raise", raising(error))
    outcome = command("raise")
    assert outcome.code == code
    assert words in outcome.err
    assert "secret" not in outcome.err


def test_the_process_ends_with_the_exit_code(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["nonsense"])
    assert caught.value.code == 1
    capsys.readouterr()


def test_a_closed_pipe_on_stdout_is_not_a_failure():
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "utcp_bridge", "tools", "--quickstart"],
        stdout=writer,
        stderr=subprocess.PIPE,
        timeout=200,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_configuration_error_leaves_the_task_group_of_serving(command):
    outcome = command("serve", "--quickstart", "--http", "--host", "0.0.0.0", "--port", "0")
    assert outcome.code == 2
    assert "bearer_token" in outcome.err


def test_run_never_raises():
    assert run(["--no-such-option"]) == 1


def test_the_list_of_verbs_has_the_first_sentence_of_each():
    listed = {name: text for verbs in JOURNEY.values() for name, text in verbs.items()}
    assert listed == {name: COMMANDS[name].get_short_help_str(limit=80) for name in listed}


def test_a_program_that_has_opened_a_client_ends_with_its_output_and_its_exit_code():
    known, unknown = (
        subprocess.run(
            [sys.executable, "-m", "utcp_bridge", "call", "--quickstart", *words],
            capture_output=True,
            encoding="utf-8",
            timeout=200,
            check=False,
        )
        for words in (["desk.convert_units", "value=1", "from=km", "to=m"], ["desk.nothing"])
    )
    assert (known.returncode, known.stderr) == (0, "")
    assert '"result": 1000' in known.stdout
    assert (unknown.returncode, unknown.stdout) == (3, "")
    assert "There is no tool 'desk.nothing'." in unknown.stderr
