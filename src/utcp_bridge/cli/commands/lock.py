"""`utcp-bridge lock`, `diff` and `approve`: the hashes of all tools, what differs from them, and what is accepted.

The prompts and instructions of MCP servers have hashes too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from utcp_bridge.cli import exits
from utcp_bridge.cli.opening import run_async
from utcp_bridge.cli.options import Options, client_options, tool_names
from utcp_bridge.cli.output import complain, note, print_json, print_line, print_table

if TYPE_CHECKING:
    from utcp_bridge.cli.locking import Compared, Review
    from utcp_bridge.model import JsonObject

__all__ = ["approve", "diff", "lock"]

_SHOWN_CHARACTERS = 300
_PLURALS = {"tool": "tools", "entry": "entries", "prompt or instruction": "prompts and instructions"}


@click.command(
    epilog="""\b
Examples:
  utcp-bridge lock utcp.yaml                 approve all tools as they are now
  utcp-bridge lock utcp.yaml --force         the same, where utcp.lock exists already
"""
)
@click.option(
    "--force", is_flag=True, help="Approve new and changed tools too, and replace a file that cannot be read."
)
@client_options()
def lock(options: Options, force: bool, as_json: bool) -> int:
    """Write utcp.lock: the hashes of all tools as they are now.

    It has the prompts and instructions of MCP servers too. The file lies beside the configuration. A bridge with the
    setting `pin` compares its tools with it, also after a restart. If the file exists and differs, this verb changes
    nothing: `utcp-bridge diff` shows the differences, and `utcp-bridge approve` approves them one by one. Lines of
    manuals that cannot be loaded stay.
    """
    return run_async(_lock, options, force, as_json)


async def _lock(options: Options, force: bool, as_json: bool) -> int:
    import anyio.to_thread

    from utcp_bridge.cli.locking import review

    found = await review(options, anew=force)
    path, count = found.file.path, len(found.now.tools)
    differing = found.differing
    written = not (found.file.exists and differing and not force)
    after = found.approved(differing, everything=True)
    if written and after != found.locked:
        await anyio.to_thread.run_sync(found.file.replace, found.locked, after, force)
    if as_json:
        print_json({"file": str(path), "written": written, "tools": count, "not_loaded": list(found.failed)})
    if not written:
        number, kind = len(differing), "tool" if set(differing) <= {*found.by_tool.differing} else "entry"
        differ = f"1 {kind} differs" if number == 1 else f"{number:,} {_PLURALS[kind]} differ"
        complain(
            f"{differ} from {path}, so it is not changed. Look at them with `utcp-bridge diff`, and approve them"
            " with `utcp-bridge approve`, or all of them with --force."
        )
        return exits.FAULTS
    if after.tools or after.offers or found.file.exists:
        counts = [_counted(len(after.tools), "tool")]
        if after.offers:
            counts.append(_counted(len(after.offers), "prompt or instruction"))
        note(f"{path} has {' and '.join(counts)}.")
    else:
        note(f"No tool needs approval, so {path} is not written.")
    return found.code


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what if number == 1 else _PLURALS[what]}"


@click.command(
    epilog="""\b
Examples:
  utcp-bridge diff utcp.yaml
  utcp-bridge diff utcp.yaml --json
\b
Exit codes:
"""
    + exits.listed(exits.OK, exits.FAULTS, exits.CONFIGURATION, exits.UPSTREAM)
)
@client_options()
def diff(options: Options, as_json: bool) -> int:
    """Show which tools are new, changed or gone since they were approved.

    It does the same for the prompts (MANUAL/prompts/NAME) and the instructions (MANUAL/instructions) of MCP servers.
    For a changed tool it names the parts that changed, and shows what the tool says now. `utcp-bridge approve` approves
    the differences.
    """
    return run_async(_diff, options, as_json)


async def _diff(options: Options, as_json: bool) -> int:
    from utcp_bridge.cli.locking import review

    found = await review(options)
    if as_json:
        print_json(_as_json(found))
    elif not found.differing:
        note(f"No tool differs from {found.file.path}.")
    else:
        _print(found)
    if not as_json:
        for manual in found.documents:
            note(f"The document of {manual} has changed.")
        if found.is_older:
            number = _counted(len(found.now.offers or {}), "prompt or instruction")
            note(f"The file does not have the {number} of MCP servers. `utcp-bridge lock` adds them.")
    return exits.FAULTS if found.differing else found.code


def _print(found: Review) -> None:
    from utcp_bridge.catalogue.text import clean, shorten

    tools, offers = found.by_tool, found.by_offer
    rows = [("changed", name, tools.what_changed(name)) for name in tools.changed]
    rows += [("new", name, f"calls {tools.now[name]['host']}") for name in tools.new]
    rows += [("gone", name, "") for name in tools.gone]
    texts = {name: found.tools[name].description for name in [*tools.changed, *tools.new]}
    rows += [("changed", name, offers.what_changed(name)) for name in offers.changed]
    rows += [("new", name, "") for name in offers.new]
    rows += [("gone", name, "") for name in offers.gone]
    texts |= {name: found.texts[name] for name in [*offers.changed, *offers.new]}
    print_table(("CHANGE", "TOOL", "WHAT"), rows)
    for name, whole in texts.items():
        text = shorten(clean(whole), _SHOWN_CHARACTERS)
        print_line(f"\n{name} says now: {text}" if text else f"\n{name} has no description now.")


def _as_json(found: Review) -> JsonObject:
    return {
        "file": str(found.file.path),
        **_differences(found.by_tool, "tool"),
        "offers": _differences(found.by_offer, "name"),
        "documents": found.documents,
        "not_loaded": list(found.failed),
    }


def _differences(found: Compared, key: str) -> JsonObject:
    return {
        "changed": [
            {key: name, "parts": parts, "approved": found.locked[name], "now": found.now[name]}
            for name, parts in found.changed.items()
        ],
        "new": [{key: name, "now": found.now[name]} for name in found.new],
        "gone": found.gone,
    }


@click.command(
    epilog="""\b
Examples:
  utcp-bridge approve utcp.yaml weather.get         one tool
  utcp-bridge approve utcp.yaml weather             all tools of a manual
  utcp-bridge approve utcp.yaml 'weather.get_*'     all tools that fit
  utcp-bridge approve utcp.yaml --all
"""
)
@click.option("--all", "everything", is_flag=True, help="Approve every difference.")
@client_options("[NAME]...", complete=tool_names)
def approve(options: Options, words: tuple[str, ...], everything: bool, as_json: bool) -> int:
    """Approve tools as they are now, in utcp.lock.

    NAME is a tool, a manual, a prompt or instructions as `diff` names them, or a pattern with `*`. Look at the
    differences with `utcp-bridge diff` first.
    """
    if everything == bool(words):
        raise click.UsageError("Name the tools or manuals to approve, or use --all.")
    return run_async(_approve, options, words, as_json)


async def _approve(options: Options, words: tuple[str, ...], as_json: bool) -> int:
    import anyio.to_thread

    from utcp_bridge.cli.locking import review

    found = await review(options)
    names = _chosen(found, words)
    after = found.approved(names, everything=not words)
    if after != found.locked:
        await anyio.to_thread.run_sync(found.file.replace, found.locked, after)
    if as_json:
        print_json({"file": str(found.file.path), "approved": names, "not_loaded": list(found.failed)})
        return found.code
    for name in names:
        exists = name in found.now.tools or name in (found.now.offers or {})
        print_line(f"approved {name}" if exists else f"removed {name}")
    if not names:
        note("Nothing was to approve: the tools are as they are in the file.")
    return found.code


def _chosen(found: Review, words: tuple[str, ...]) -> list[str]:
    """Return the tools that differ and that the words name; all for no words.

    :raises UnknownTool: a word names no tool, or no line of the file.
    """
    from difflib import get_close_matches

    from utcp_bridge.cli.locking import is_part_of
    from utcp_bridge.errors import UnknownTool
    from utcp_bridge.model import matches_glob

    differing = found.differing
    if not words:
        return differing
    known = found.now.tools.keys() | found.locked.tools.keys()
    known |= (found.now.offers or {}).keys() | (found.locked.offers or {}).keys()
    chosen: set[str] = set()
    for word in words:
        fitting = {name for name in known if is_part_of(name, word) or matches_glob(word, name)}
        if not fitting:
            near = get_close_matches(word, known, 3)
            remedy = f"Did you mean {' or '.join(near)}?" if near else "`utcp-bridge diff` lists the tools that differ."
            raise UnknownTool(f"{word!r} names no tool that needs approval.", remedy=remedy)
        chosen |= fitting
    return [name for name in differing if name in chosen]
