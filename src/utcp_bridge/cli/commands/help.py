"""`utcp-bridge help` and `completion`: pages of the documentation, the help of each verb, and words for the shell."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Final

import click

from utcp_bridge.cli.options import debug_option
from utcp_bridge.cli.output import heading, print_line, print_table, table_lines
from utcp_bridge.cli.program import NAMES

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem, ShellComplete

__all__ = ["completion", "help"]

_INDEX: Final = "index"
_COLUMNS: Final = 100
_MARKS: Final = re.compile(
    r"(?P<code>(?P<ticks>`+).+?(?P=ticks))"
    r"|(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)(?: \"[^\"]*\")?\)"
    r"|\*\*(?P<strong>[^*]+)\*\*"
)
_BLOCK_OF_CODE: Final = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
_COMMENT: Final = re.compile(r"<!--.*?-->\n*", re.DOTALL)
_HEADING: Final = re.compile(r"#{1,6} +(?P<text>.*)")
_ITEM: Final = re.compile(r"(?P<indent> *)(?P<mark>[-*+]|\d+\.) +(?P<text>.*)")
_CELLS: Final = re.compile(r"(?<!\\)\|")
_RULE: Final = re.compile(r"[ |:-]+")
_SHELLS: Final = ("bash", "zsh", "fish")


def _topics_completed(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    del param
    verbs = _verbs(ctx)
    names = sorted({*_pages(), *verbs}) if not ctx.params.get("words") else ()
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


@click.command(
    epilog="""\b
Examples:
  utcp-bridge help                    the topics, one line each
  utcp-bridge help configuration      a page
  utcp-bridge help transports/http    a page in a folder; `help http` finds it too
  utcp-bridge help call               the options of a verb
"""
)
@click.argument("words", metavar="[TOPIC]", nargs=-1, shell_complete=_topics_completed)
@debug_option
@click.pass_context
def help(ctx: click.Context, words: tuple[str, ...]) -> None:  # noqa: A001 - the verb's name
    """Print a page of the documentation, or a verb's help. Without TOPIC, list the topics.

    On a terminal, the text is shown page by page.
    """
    if not words:
        _list_topics()
        return
    verb = _help_of_verb(ctx, words)
    page = _found(" ".join(words))
    if verb is None and page is None:
        _refuse(ctx, words)
    shown = [verb] if verb is not None else []
    if page is not None:
        shown.append("\n".join(_rendered(_pages()[page].read_text(encoding="utf-8"), page)))
    text = "\n\n\n".join(shown) + "\n"
    if sys.stdout.isatty():
        click.echo_via_pager(text)
    else:
        click.echo(text, nl=False)


# --- pages ---------------------------------------------------------------------------------------


@cache
def _pages() -> Mapping[str, Path]:
    """Return each page by its topic: its path below the documentation's folder, without `.md`."""
    folder = Path(str(files("utcp_bridge"))) / "_docs"
    if not folder.is_dir():  # a checkout
        folder = Path(__file__).parents[4] / "docs"
    names = {path: path.relative_to(folder).with_suffix("").as_posix() for path in sorted(folder.rglob("*.md"))}
    return {name.removesuffix(f"/{_INDEX}"): path for path, name in names.items()}


def _found(name: str) -> str | None:
    """Return the topic of this name: a topic itself, or the last part of one."""
    topics = _pages()
    name = name.strip("/").removesuffix(".md").removeprefix("docs/").casefold()
    for candidate in (name, name.replace("-", "_"), name.replace("_", "-")):
        if candidate in topics:
            return candidate
        same = [topic for topic in topics if topic.rpartition("/")[2] == candidate]
        if same:
            return same[0]
    return None


def _list_topics() -> None:
    print_table(("TOPIC", "ABOUT"), [(topic, _about(path)) for topic, path in _pages().items()])
    print_line("\n`utcp-bridge help TOPIC` prints a page, and `utcp-bridge help VERB` the options of a verb.")


def _about(path: Path) -> str:
    """Return the first sentence of a page's first paragraph, or its heading."""
    text = _BLOCK_OF_CODE.sub("", _COMMENT.sub("", path.read_text(encoding="utf-8")))
    title, _, rest = text.lstrip().partition("\n")
    for part in re.split(r"\n\s*\n", rest.strip()):
        if part[:1].isalpha() or part.startswith(("`", "**")):
            sentence = re.split(r"(?<=[.:])\s", " ".join(part.split()), maxsplit=1)[0].rstrip(".:") + "."
            return _MARKS.sub(lambda mark: mark["text"] or mark["strong"] or mark[0], sentence)
    return title.lstrip("# ")


def _refuse(ctx: click.Context, words: tuple[str, ...]) -> None:
    known = sorted({*_pages(), *(topic.rpartition("/")[2] for topic in _pages()), *_verbs(ctx)})
    near = get_close_matches(" ".join(words).casefold(), known, n=3)
    remedy = f"Did you mean {' or '.join(near)}?" if near else "`utcp-bridge help` lists the topics."
    raise click.UsageError(f"There is no topic {' '.join(words)!r}. {remedy}")


# --- verbs ---------------------------------------------------------------------------------------


def _verbs(ctx: click.Context) -> list[str]:
    root = ctx.find_root().command
    return root.list_commands(ctx) if isinstance(root, click.Group) else []


def _help_of_verb(ctx: click.Context, words: Iterable[str]) -> str | None:
    """Return the help of a verb, or of a verb of a verb; None if there is no verb of this name."""
    parent = ctx.find_root()
    command: click.Command = parent.command
    for word in words:
        found = command.get_command(parent, word) if isinstance(command, click.Group) else None
        if found is None:
            return None
        command, parent = found, click.Context(found, info_name=word, parent=parent)
    return command.get_help(parent)


# --- Markdown for a terminal ---------------------------------------------------------------------


def _rendered(text: str, topic: str) -> Iterator[str]:
    """Return a page's lines: headings in bold, tables in columns, links as topics, everything else as it is written."""
    lines = iter(_COMMENT.sub("", text).strip().splitlines())
    block: list[str] = []
    for line in lines:
        if line.startswith("```"):
            yield from _block(block, topic)
            yield from _verbatim(lines)
        elif not line.strip():
            yield from _block(block, topic)
            yield ""
        elif block and (_HEADING.match(line) or _ITEM.match(line) or (line[0] == "|") != (block[0][0] == "|")):
            yield from _block(block, topic)
            block.append(line)
        else:
            block.append(line)
    yield from _block(block, topic)


def _verbatim(lines: Iterator[str]) -> Iterator[str]:
    """Return the rest of a code block, indented."""
    for line in lines:
        if line.startswith("```"):
            return
        yield f"    {line}".rstrip()


def _block(block: list[str], topic: str) -> Iterator[str]:
    """Return a heading, a table, an item of a list or a paragraph, and empty `block`."""
    lines = block[:]
    block.clear()
    if not lines:
        return
    if lines[0].startswith("|"):
        yield from _table(lines, topic)
        return
    if title := _HEADING.match(lines[0]):
        yield heading(_inline(title["text"], topic))
        lines = lines[1:]
    item = _ITEM.match(lines[0]) if lines else None
    start = f"{item['indent']}{item['mark']} " if item else ""
    text = " ".join(line.strip() for line in lines)[len(start.strip()) :] if item else " ".join(map(str.strip, lines))
    if text.strip():
        yield from textwrap.wrap(
            _inline(text.strip(), topic),
            _COLUMNS,
            initial_indent=start,
            subsequent_indent=" " * len(start),
            break_long_words=False,
            break_on_hyphens=False,
        )


def _table(lines: list[str], topic: str) -> Iterator[str]:
    rows = [
        [_inline(cell.strip().replace("\\|", "|"), topic) for cell in _CELLS.split(line.strip().strip("|"))]
        for line in lines
        if not _RULE.fullmatch(line)
    ]
    columns = len(rows[0])
    padded = [[*row, *[""] * columns][:columns] for row in rows]
    yield from table_lines(padded[0], padded[1:])


def _inline(text: str, topic: str) -> str:
    """Return text without the marks of links and of emphasis; code keeps its backticks."""
    return _MARKS.sub(lambda mark: _unmarked(mark, topic), text)


def _unmarked(mark: re.Match[str], topic: str) -> str:
    if mark["code"]:
        return mark[0]
    if mark["strong"]:
        return _inline(mark["strong"], topic)
    text, target = _inline(mark["text"], topic), mark["target"].partition("#")[0]
    if mark["image"] or not target:
        return text
    if "://" not in target and (named := _topic_of(target, topic)):
        target = f"help {named}"
    return f"{text} ({target})"


def _topic_of(target: str, topic: str) -> str | None:
    """Return the topic that a relative link of the page `topic` leads to."""
    page = _pages()[topic]
    path = (page.parent / target).resolve()
    return next((name for name, one in _pages().items() if one.resolve() == path), None)


# --- completion ----------------------------------------------------------------------------------


def _shells(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    del ctx, param
    return [shell for shell in _SHELLS if shell.startswith(incomplete)]


@click.command(
    epilog="""\b
Examples, with the file to put each line into:
  eval "$(utcp-bridge completion bash)"        ~/.bashrc
  eval "$(utcp-bridge completion zsh)"         ~/.zshrc, after compinit
  utcp-bridge completion fish | source         ~/.config/fish/config.fish
"""
)
@click.argument("shell", metavar=f"[{'|'.join(_SHELLS)}]", envvar="SHELL", shell_complete=_shells)
@debug_option
def completion(shell: str) -> None:
    """Print the script that lets a shell complete the command. The default shell is $SHELL.

    The script completes `utcp-bridge`, `utcp` and `utcp-registry`: verbs, options, topics of the help, the manuals of
    the configuration (CONFIG, or the default one), and the tools of those manuals that are local files or text.
    Completion uses no network and starts no program.
    """
    from click.shell_completion import BashComplete, FishComplete, ZshComplete

    kinds: dict[str, type[ShellComplete]] = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}
    kind = kinds.get(PurePath(shell).stem)  # $SHELL is a path
    if kind is None:
        raise click.UsageError(
            f"Completion does not exist for {shell or 'an unnamed shell'}. Choose one of {', '.join(_SHELLS)}."
        )
    for name in NAMES:
        click.echo(_script(kind, name))


def _script(kind: type[ShellComplete], name: str) -> str:
    """Return the script for one name of the program; click reads the variable of this name."""
    variable = f"_{name.replace('-', '_')}_COMPLETE".upper()
    return kind(click.Command(name), {}, name, variable).source()
