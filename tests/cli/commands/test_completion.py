"""`utcp-bridge completion` in real shells."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from utcp_bridge.cli.program import NAMES

PROGRAMS = Path(sys.executable).parent

# What readline does at the Tab key: it sets these variables and calls the function that was registered.
PRESS_TAB = """
eval "$(utcp-bridge completion bash)"
compopt() { echo "compopt $*"; }
read -ra COMP_WORDS <<<"$LINE"
[[ $LINE == *" " ]] && COMP_WORDS+=("")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
registered=$(complete -p "${COMP_WORDS[0]}")
[[ $registered =~ -F\\ ([^ ]+) ]] && "${BASH_REMATCH[1]}" "${COMP_WORDS[0]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""

needs = {
    shell: pytest.mark.skipif(not shutil.which(shell), reason=f"{shell} is not installed")
    for shell in ("bash", "zsh", "fish")
}


def in_shell(shell, script, **environ):
    done = subprocess.run(
        [shell, *(["-f"] if shell == "zsh" else []), "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}", **environ},
    )
    return done.stdout.split(), done.stderr


def press_tab(line, **environ):
    words, complaints = in_shell("bash", PRESS_TAB, LINE=line, **environ)
    assert complaints == ""
    return words


@needs["bash"]
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("utcp-bridge comp", ["completion"]),
        ("utcp desc", ["describe"]),
        ("utcp help securi", ["security"]),
        ("utcp help transports/stre", ["transports/streamable_http"]),
        ("utcp-registry s", ["serve"]),
        ("utcp completion z", ["zsh"]),
        ("utcp-bridge tools --qui", ["--quickstart"]),
        ("utcp validate x", ["compopt", "-o", "default"]),
        ("utcp check -c x", ["compopt", "-o", "default"]),
    ],
)
def test_bash_completes_under_each_name(line, words):
    assert press_tab(line) == words


@needs["bash"]
def test_bash_completes_manuals_and_local_tools_of_the_named_configuration(manual):
    at = f"-c {shlex.quote(manual)}"
    assert press_tab(f"utcp-bridge doctor {at} ") == ["gone", "notices"]
    for verb in ("call", "explain"):
        assert press_tab(f"utcp-bridge {verb} {at} notices.d") == ["notices.door"]
    assert press_tab("utcp describe ", UTCP_CONFIG_FILE=manual) == ["notices.door", "notices.list"]


@needs["zsh"]
def test_zsh_accepts_the_script():
    script = 'autoload -U compinit; compinit -D; eval "$(utcp-bridge completion zsh)"; echo ${_comps[utcp-registry]}'
    assert in_shell("zsh", script) == (["_utcp_registry_completion"], "")


@needs["fish"]
def test_fish_completes():
    assert in_shell("fish", "utcp-bridge completion fish | source; complete -C 'utcp comp'")[0][0] == "completion"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_for_every_installed_name(command, shell):
    outcome = command("completion", shell)
    assert outcome.code == 0
    for name in NAMES:
        assert f"_{name.replace('-', '_').upper()}_COMPLETE={shell}_complete" in outcome.out


def test_the_default_shell_is_that_of_the_environment(command, monkeypatch):
    monkeypatch.setenv("SHELL", "/usr/bin/fish")
    assert command("completion").out == command("completion", "fish").out


@pytest.mark.parametrize("shell", ["/bin/dash", ""])
def test_an_unknown_shell_is_a_wrong_command_line(command, monkeypatch, shell):
    monkeypatch.setenv("SHELL", shell)
    outcome = command("completion")
    assert (outcome.code, outcome.out) == (1, "")
    assert "bash" in outcome.err
    assert "zsh" in outcome.err
