"""`utcp-bridge help`: pages from the wheel and from a checkout, and the help of verbs."""

import os
import re
import subprocess
import sys
import zipfile

import pytest
from tests.support.source import DOCS, ROOT

from utcp_bridge.cli.commands import help as module
from utcp_bridge.cli.commands.help import _rendered


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The files of the wheel, unpacked."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=60,
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
        timeout=60,
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
