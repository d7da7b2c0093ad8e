"""`utcp-bridge help`: pages from the wheel and from a checkout, and the help of verbs. Completion in real shells."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from tests.support.source import DOCS, ROOT

from utcp_bridge.cli.commands import help as module
from utcp_bridge.cli.commands.help import _rendered
from utcp_bridge.cli.program import NAMES


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The files of the wheel, unpacked."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=200,
    )
    (built,) = folder.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def run_from(wheel, *arguments):
    """Run the command from the unpacked wheel, outside this checkout."""
    code = "import sys; sys.path.insert(0, sys.argv.pop(1)); from utcp_bridge.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, wheel, *arguments],
        cwd=wheel,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        env={**os.environ, "PYTHONPATH": ""},
    )


def test_the_wheel_contains_every_page_and_prints_it(wheel):
    pages = {path.relative_to(DOCS) for path in DOCS.rglob("*.md")}
    shipped = wheel / "utcp_bridge" / "_docs"
    assert {path.relative_to(shipped) for path in shipped.rglob("*.md")} == pages
    done = run_from(wheel, "help", "security")
    assert (done.returncode, done.stderr) == (0, "")
    title = (DOCS / "security.md").read_text().splitlines()[0].removeprefix("# ")
    assert done.stdout.splitlines()[0] == title
    topics = run_from(wheel, "help").stdout
    assert "\nconfiguration " in topics
    assert "\ntransports/grpc " in topics


def test_the_wheel_contains_the_conformance_kit(wheel):
    shipped = wheel / "utcp_bridge" / "_conformance"
    own = ROOT / "conformance"
    assert {path.relative_to(shipped) for path in shipped.rglob("*.*")} == {
        path.relative_to(own) for path in own.rglob("*.*") if "__pycache__" not in path.parts
    }
    done = run_from(wheel, "conformance", "--list", "--only", "http/query@v1")
    assert (done.returncode, done.stderr) == (0, "")
    assert "http/query@v1 " in done.stdout


def test_topics_are_listed_one_per_line(command):
    outcome = command("help")
    assert outcome.code == 0
    lines = outcome.out.splitlines()
    topics = [line.split()[0] for line in lines[1 : lines.index("")]]
    assert len(topics) == len(list(DOCS.rglob("*.md")))
    assert {"configuration", "security", "transports", "transports/http"} <= set(topics)


@pytest.mark.parametrize(
    ("topic", "page"),
    [
        ("security", "security.md"),
        ("docs/security.md", "security.md"),
        ("Getting_Started", "getting-started.md"),
        ("transports", "transports/index.md"),
        ("transports/http", "transports/http.md"),
        ("webrtc", "transports/webrtc.md"),
        ("cli", "cli.md"),
        ("transports/cli", "transports/cli.md"),
    ],
)
def test_a_topic_is_a_pages_name_with_or_without_its_folder(command, topic, page):
    outcome = command("help", topic)
    assert outcome.code == 0
    assert outcome.out.splitlines()[0].replace("`", "") == (
        (DOCS / page).read_text().splitlines()[0].removeprefix("# ").replace("`", "")
    )


def test_a_verb_shows_its_options(command):
    assert command("help", "call").out.rstrip() == command("call", "--help").out.rstrip()
    assert command("help", "registry", "list").out.startswith("Usage: utcp-bridge registry list ")


def test_a_name_of_a_verb_and_a_page_shows_both(command):
    outcome = command("help", "search")
    assert outcome.out.startswith("Usage: utcp-bridge search ")
    assert f"\n{(DOCS / 'search.md').read_text().splitlines()[0].removeprefix('# ')}\n" in outcome.out


@pytest.mark.parametrize(
    ("topic", "near"), [("secrity", "security"), ("valdate", "validate"), ("zzzzzz", "`utcp-bridge help` lists")]
)
def test_an_unknown_topic_is_a_wrong_command_line_with_a_suggestion(command, topic, near):
    outcome = command("help", topic)
    assert (outcome.code, outcome.out) == (1, "")
    assert f"There is no topic {topic!r}." in outcome.err
    assert near in outcome.err


def test_a_page_on_a_terminal_goes_through_the_pager(command, terminal, monkeypatch):
    monkeypatch.setenv("PAGER", "sed s/^/paged:/")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    shown = []
    monkeypatch.setattr(module.click, "echo_via_pager", shown.append)
    with terminal:
        command("help", "security")
    assert len(shown) == 1
    assert "\x1b[1m" in shown[0], "headings are bold"


PAGE = """# A page

<!-- a remark
of the author -->

See [security](../security.md), [the **rules**](index.md#rules), [here](#below), [`UTCP`](https://www.utcp.io) and
[a file](../../configs/utcp.yaml). **Strong**, `a **b** [c](d)`.

* one
  more
* two

| Key | Meaning |
| --- | --- |
| `a` | left \\| right |
| `bbb` | [http](http.md) |

```json
{"a":

 1}
```
## End
Text.
"""


def test_a_page_keeps_its_content_and_loses_its_marks():
    assert list(_rendered(PAGE, "transports/http")) == [
        "\x1b[1mA page\x1b[0m",
        "",
        "See security (help security), the rules (help transports), here, `UTCP` (https://www.utcp.io) and a",
        "file (../../configs/utcp.yaml). Strong, `a **b** [c](d)`.",
        "",
        "* one more",
        "* two",
        "",
        "\x1b[1mKey    Meaning\x1b[0m",
        "`a`    left | right",
        "`bbb`  http (help transports/http)",
        "",
        '    {"a":',
        "",
        "     1}",
        "\x1b[1mEnd\x1b[0m",
        "Text.",
    ]


def test_code_blocks_are_shown_as_they_are_written():
    lost = []
    for path in DOCS.rglob("*.md"):
        text = path.read_text()
        shown = list(_rendered(text, path.relative_to(DOCS).with_suffix("").as_posix().removesuffix("/index")))
        for block in re.findall(r"^```.*?\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            lost += [line for line in block.splitlines() if f"    {line}".rstrip() not in shown]
    assert lost == []


# --- completion ----------------------------------------------------------------------------------

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
        timeout=200,
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
        ("utcp-bridge compl", ["completion"]),
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
