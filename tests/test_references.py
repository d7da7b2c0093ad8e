"""Every page, file, command, option, setting, tool, code and link that a text of the project names exists."""

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest
from tests.support.source import (
    DOCS,
    ROOT,
    SOURCE,
    TESTS,
    Passage,
    comments,
    literals,
    pages,
    parsed,
    python_files,
    tracked_files,
)

from utcp_bridge import errors
from utcp_bridge.cli.command import every_command, run
from utcp_bridge.cli.commands.help import _found
from utcp_bridge.settings import GROUPS, BridgeSettings, setting_named

STYLE = DOCS / "style.md"
ARCHITECTURE = DOCS / "architecture.md"
PROGRAMS = {"utcp-bridge": "", "utcp": "", "utcp-registry": "registry", "python -m utcp_bridge": ""}
TOOL_VERBS = {"call", "describe", "explain"}
PLACEHOLDER = re.compile(r"[A-Z][A-Z_]*(?:…|\.\.\.)?|\{.*|…|\.\.\.|<.*")
NOT_SETTINGS = {"token"}
"""`UTCP_BRIDGE_TOKEN` is the variable for clients of the bridge's own manual."""

WRITTEN = re.compile(
    rf"(?:^[ >]*(?:\$ +)?|`|[|;(&] *|\"\$\()(?P<program>{'|'.join(PROGRAMS)}) +(?P<words>[^`\n]+)", re.MULTILINE
)
PATH = re.compile(r"(?<![\w./:\-])(?:docs|configs|scripts|benchmarks|deploy|examples|src|tests)/[\w./\-]*\w")


@cache
def texts() -> tuple[Passage, ...]:
    """Return what people read: strings and comments of the source, pages, and comments of the scripts."""
    source = [passage for path in python_files(SOURCE) for passage in (*literals(path), *comments(path))]
    scripts = [path for path in tracked_files() if path.parent == ROOT / "scripts" and path.suffix in {"", ".py"}]
    others = [*scripts, *(path for path in pages() if path != STYLE)]
    return (*source, *(Passage(path, 1, path.read_text(encoding="utf-8")) for path in others))


def place(passage: Passage, at: int) -> str:
    return str(Passage(passage.path, passage.line + passage.text.count("\n", 0, at), ""))


# --- pages and files -----------------------------------------------------------------------------


def test_every_path_exists() -> None:
    missing = {
        f"{place(passage, match.start())}: {match[0]}"
        for passage in texts()
        for match in PATH.finditer(passage.text)
        if not exists(match[0])
    }
    assert sorted(missing) == []


@cache
def exists(name: str) -> bool:
    return (ROOT / name).exists() or bool(list((ROOT / name).parent.glob(f"{Path(name).name}*")))


def test_every_topic_of_the_help_exists() -> None:
    topics = {
        f"{place(passage, match.start())}: help {match[1]}"
        for passage in texts()
        for match in re.finditer(r"\b(?:utcp|utcp-bridge) help ([\w/-]+)", passage.text)
        if not PLACEHOLDER.fullmatch(match[1]) and not _found(match[1]) and match[1] not in commands()
    }
    assert sorted(topics) == []


LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", pages(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_to_a_page_and_to_a_heading_of_it(page: Path) -> None:
    broken = []
    for target in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        name, _, anchor = target.partition("#")
        if "://" in target or target.startswith("mailto:"):
            continue
        path = (page.parent / name).resolve() if name else page
        if not path.exists() or (anchor and path.suffix == ".md" and anchor not in anchors(path)):
            broken.append(target)
    assert broken == []


@cache
def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and most site generators make them."""
    found: set[str] = set()
    for title in re.findall(r"^#+ +(.*)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE):
        plain = LINK.sub("", title) if title.startswith("![") else re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title)
        anchor = re.sub(r"[^\w\- ]", "", plain.lower()).strip().replace(" ", "-")
        number = 0
        while f"{anchor}-{number}" in found if number else anchor in found:
            number += 1
        found.add(f"{anchor}-{number}" if number else anchor)
    return found


# --- commands and options ------------------------------------------------------------------------


@cache
def commands() -> dict[str, click.Command]:
    return dict(every_command())


def options(command: click.Command) -> set[str]:
    context = click.Context(command, help_option_names=["-h", "--help"])
    return {name for param in command.get_params(context) for name in (*param.opts, *param.secondary_opts)}


@cache
def written() -> tuple[tuple[str, str, tuple[str, ...]], ...]:
    """Return each command that a text tells the reader to type: its place, the verb before it, and its words."""
    return tuple(
        (place(passage, match.start("program")), PROGRAMS[match["program"]], words_of(match["words"]))
        for passage in texts()
        for match in WRITTEN.finditer(passage.text)
    )


def words_of(text: str) -> tuple[str, ...]:
    """Return the words of one command, without what follows it on the line."""
    text = re.split(r"\s{2,}|\s[|>;&#]|[|;]|\)\"|, then | or `", text)[0]
    try:
        return tuple(shlex.split(text))
    except ValueError:  # a quote that the line does not close
        return tuple(text.split())


def faults_of(group: str, words: tuple[str, ...]) -> Iterator[str]:
    """Return what is wrong with a command: a verb or an option that does not exist."""
    name = group
    for at, word in enumerate(words):
        command = commands()[name]
        if word.startswith("-") and len(word) > 1:
            if not word[1].isdigit() and word.partition("=")[0] not in options(command):
                yield f"{name or 'the program'} has no option {word}"
        elif isinstance(command, click.Group):
            verb = word.rstrip(".,:;")
            if PLACEHOLDER.fullmatch(verb):
                return
            name = f"{name} {verb}".strip()
            if name not in commands():
                yield f"there is no verb {name!r} (in {' '.join(words[: at + 2])!r})"
                return


def test_every_command_and_its_options_exist() -> None:
    assert [f"{where}: {fault}" for where, group, words in written() for fault in faults_of(group, words)] == []
    assert len(written()) > 100, "the commands are found"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("Run `utcp-bridge chek`.", "there is no verb 'chek'"),
        ("  utcp-bridge tools --jsno   as JSON", "tools has no option --jsno"),
        ("$ utcp-registry list --port 1", "registry list has no option --port"),
        ("`utcp-bridge registry srv x`", "there is no verb 'registry srv'"),
        ("`utcp-bridge serve FILE --http | cat --x`, `utcp-bridge VERB --help`, utcp-bridge prose", None),
    ],
)
def test_a_command_that_does_not_exist_is_found(text: str, fault: str | None) -> None:
    found = [
        one
        for match in WRITTEN.finditer(text)
        for one in faults_of(PROGRAMS[match["program"]], words_of(match["words"]))
    ]
    assert found == [] if fault is None else fault in found[0]


def test_every_option_that_a_text_names_by_itself_exists() -> None:
    known = set().union(*(options(command) for command in commands().values()))
    known |= {
        option
        for path in (ROOT / "scripts").iterdir()
        if path.is_file()
        for option in re.findall(r"--[a-z][a-z-]+", path.read_text(encoding="utf-8"))
    }
    known |= set(re.findall(r"--[a-z][a-z-]+", " ".join(benchmark_options())))
    unknown = {
        f"{place(passage, match.start())}: {match[1]}"
        for passage in texts()
        for match in re.finditer(r"`(--[a-z][a-z-]+)\b[^`]*`", passage.text)
        if match[1] not in known
    }
    assert sorted(unknown) == []


def benchmark_options() -> Iterator[str]:
    for path in python_files(ROOT / "benchmarks", TESTS / "interop"):
        yield from (f" {passage.text} " for passage in literals(path) if passage.text.startswith("--"))


# --- tools, settings, codes ----------------------------------------------------------------------


@pytest.mark.usefixtures("restored_logging")
def test_every_sample_tool_exists(capfd: pytest.CaptureFixture[str]) -> None:
    """A command with --quickstart names tools of the sample services."""
    import json

    assert run(["tools", "--quickstart", "--json"]) == 0
    names = {tool["name"] for tool in json.loads(capfd.readouterr().out)}
    wrong = []
    for where, _, words in written():
        if words and words[0] in TOOL_VERBS and "--quickstart" in words:
            named = [word for word in words[1:] if re.fullmatch(r"[a-z_]+\.\w+", word)]
            wrong += [f"{where}: {name}" for name in named[:1] if name not in names]
    assert wrong == []


def test_every_setting_in_the_environment_and_of_set_exists() -> None:
    wrong = {
        f"{place(passage, match.start())}: {match[0]}"
        for passage in texts()
        for match in re.finditer(r"\bUTCP_BRIDGE_([A-Z][A-Z_]*[A-Z])\b|--set[ =]'?([a-z][a-z_.-]+)=", passage.text)
        if (name := (match[1] or match[2]).lower().replace("-", "_")) not in NOT_SETTINGS
        and setting_named(name.replace("__", ".")) is None
    }
    assert sorted(wrong) == []


def test_every_setting_of_an_example_exists() -> None:
    """The keys of a `bridge` section in a page's code block."""
    keys = set(BridgeSettings.model_fields) | set(GROUPS)
    wrong = set()
    for page in pages():
        for section in re.findall(r"^bridge:\n((?: +.*\n)+)", page.read_text(encoding="utf-8"), re.MULTILINE):
            indent = len(section) - len(section.lstrip())
            named = re.findall(rf"^ {{{indent}}}(?:# )?(\w+):", section, re.MULTILINE)
            wrong |= {f"{page.relative_to(ROOT)}: {key}" for key in named if key not in keys}
    assert sorted(wrong) == []


def test_every_error_code_that_a_page_names_exists() -> None:
    codes = {vars(errors)[name].code for name in errors.__all__} | {"cancelled", "internal"}
    wrong = {
        f"{page.relative_to(ROOT)}: {code}"
        for page in pages()
        for code in re.findall(r"\bcodes? `([a-z_]+)`|utcp/error\"?: ?\"([a-z_]+)", page.read_text(encoding="utf-8"))
        for code in code
        if code and code not in codes
    }
    assert sorted(wrong) == []


# --- the page about the architecture -------------------------------------------------------------


def drawn() -> Iterator[Path]:
    """Return each path that the drawing of the package on the architecture page names."""
    drawing = re.search(
        r"^src/utcp_bridge/\n(.*?)^```", ARCHITECTURE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    assert drawing, "the page draws src/utcp_bridge/"
    folders = {2: SOURCE}
    for line in drawing[1].splitlines():
        indent = len(line) - len(line.lstrip())
        if not line.strip() or indent not in folders:
            continue
        for name in re.split(r"\s{2,}", line.strip())[0].split():
            folder = folders[indent] / name.rstrip("/")
            if name.endswith("/"):
                folders = {depth: path for depth, path in folders.items() if depth <= indent} | {indent + 2: folder}
            yield folder


def test_every_path_of_the_drawing_exists() -> None:
    missing = [path for path in drawn() if not path.exists() and not path.with_suffix(".py").exists()]
    assert [str(path.relative_to(SOURCE)) for path in missing] == []


def test_the_drawing_names_every_room() -> None:
    named = {path.relative_to(SOURCE).parts[0].removesuffix(".py") for path in drawn()}
    rooms = {path.name for path in SOURCE.iterdir() if (path / "__init__.py").is_file()}
    nouns = {path.stem for path in SOURCE.glob("*.py") if not path.stem.startswith("_")}
    assert sorted((rooms | nouns) - named) == []


def test_every_module_in_the_text_exists() -> None:
    text = FENCE.sub("", ARCHITECTURE.read_text(encoding="utf-8"))
    rooms = {path.name for path in SOURCE.iterdir() if path.is_dir()} | {"wire"}
    named = [name for name in re.findall(r"`((?:\w+/)+[\w.]*)`", text) if name.partition("/")[0] in rooms]
    missing = [
        name
        for name in named
        if not (SOURCE / name).exists()
        and not (SOURCE / name).with_suffix(".py").exists()
        and not (SOURCE / name.partition(".")[0]).with_suffix(".py").exists()
    ]
    assert missing == []


def test_the_page_names_the_layers_of_the_pipeline_in_the_order_of_the_code() -> None:
    text = " ".join(ARCHITECTURE.read_text(encoding="utf-8").split())
    chains = re.findall(r"[\w-]+(?: → [\w-]+)+", text)
    orders = [[name.lower().replace("-", "_") for name in chain.split(" → ")] for chain in chains]
    assert [order for order in orders if "audit" in order] == [layers()]


def layers() -> list[str]:
    """Return the pipeline's layers, outermost first: the names in the tuple that contains `Audit(…)` and `Retry(…)`."""
    for path in python_files(SOURCE / "client", SOURCE / "pipeline"):
        for node in ast.walk(parsed(path)):
            names = [snake(item) for item in node.elts] if isinstance(node, ast.Tuple | ast.List) else []
            if {"audit", "retry"} <= set(names):
                return names
    raise AssertionError("No tuple of layers is found.")


def snake(node: ast.expr) -> str:
    """Return `post_processing` for `PostProcessing(…)`, `limits` for `self._limits`."""
    node = node.func if isinstance(node, ast.Call) else node
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.lstrip("_")).lower()
