"""Promotions in a configuration file: which tools the new side answers, written into `shadow.promoted` of an entry."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio.to_thread

from utcp_bridge.cli import exits
from utcp_bridge.cli.opening import load, open_loaded, report_failures, wait_for_manuals
from utcp_bridge.cli.options import Options
from utcp_bridge.cli.output import complain, note, print_json, print_line
from utcp_bridge.cli.sameness import Trials, masked, name_in, of_manuals
from utcp_bridge.errors import ConfigError, UnknownTool

if TYPE_CHECKING:
    from utcp_bridge.client.client import UtcpClient
    from utcp_bridge.configuration.loading import LoadedConfig
    from utcp_bridge.doctor.comparison import Verdict
    from utcp_bridge.model import JsonObject
    from utcp_bridge.settings import ShadowOptions

__all__ = ["Promotion", "promote_tools", "take_back"]

_KEY: Final = ("shadow", "promoted")


@dataclass(frozen=True, slots=True)
class Promotion:
    """What the command line says about a promotion."""

    entry: str
    tools: tuple[str, ...]
    trials: Trials
    every: bool = False
    force: bool = False
    dry_run: bool = False
    as_json: bool = False


@dataclass(frozen=True, slots=True)
class _OldEntry:
    """The entry of the old side, and the file that it is written in."""

    name: str
    shadow: ShadowOptions
    file: Path
    text: str

    @classmethod
    def found(cls, loaded: LoadedConfig, options: Options, name: str) -> _OldEntry:
        """Return the entry of this name.

        :raises ConfigError: the configuration does not have it, no file has it, or it has no `shadow`.
        """
        from utcp_bridge.configuration.entries import with_names
        from utcp_bridge.configuration.loading import files_of
        from utcp_bridge.dialects import ManualEntry
        from utcp_bridge.dialects.fields import safe_name
        from utcp_bridge.manuals.repository import unknown_manual

        entries = {safe_name(str(one.get("name") or "")): one for one in loaded.config.manual_call_templates}
        if safe_name(name) not in entries:
            raise unknown_manual(name, list(entries))
        template = entries[safe_name(name)]
        shadow = ManualEntry(name, template).options.shadow
        if shadow is None:
            raise ConfigError(
                f"The manual {name!r} has no `shadow`, so its replacement is not known.",
                remedy='Add "shadow": {"new": NAME} to it, with the name of the manual that is to replace it.',
            )
        own = str(template["name"])
        for file in files_of(options.found()):
            text = _text_of(file)
            if text is not None and with_names(text, own, _KEY, where=str(file)) is not None:
                return cls(own, shadow, file, text)
        raise ConfigError(
            f"The manual {name!r} is not an entry of a file that can be changed.",
            remedy="Add the tools to `promoted` of its `shadow` where it is written.",
        )

    def change(self, wishes: Promotion, *, add: Sequence[str] = (), remove: Sequence[str] = ()) -> bool:
        """Write the file with the change, or show the difference for a dry run. Return whether the file was written."""
        from utcp_bridge.configuration.entries import with_names
        from utcp_bridge.net.files.writing import exclusive, write_file

        changed = with_names(self.text, self.name, _KEY, add=add, remove=remove, where=str(self.file))
        if changed is None or changed == self.text:
            return False
        if wishes.dry_run:
            if not wishes.as_json:
                _show(self.file, self.text, changed)
            return False
        with exclusive(self.file):
            backup = write_file(self.file, changed.encode(), backup=True, before=self.text.encode())
        note(f"Changed {self.file}." + (f" The backup is {backup}." if backup else ""))
        return True


def _text_of(file: Path) -> str | None:
    """Return the text of a file that may have entries; None for any other file."""
    from utcp_bridge.configuration.places import DOCUMENT_SUFFIXES

    if file.suffix.lower() not in DOCUMENT_SUFFIXES or not file.is_file():
        return None
    try:
        return file.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        return None


def _show(file: Path, text: str, changed: str) -> None:
    from utcp_bridge.configuration.hosts.preview import preview
    from utcp_bridge.configuration.hosts.undoing import MANUALS

    print_line("\n".join(preview(file, text, changed, MANUALS)))


# --- promote -------------------------------------------------------------------------------------


async def promote_tools(options: Options, wishes: Promotion) -> int:
    """Compare both sides, and promote the tools that are the same. Return the exit code.

    :raises ConfigError: the entry cannot be changed.
    :raises UnknownTool: the old side does not have a tool that was named.
    """
    async with AsyncExitStack() as stack:
        loaded = await load(options.without_calls(), stack)
        entry = await anyio.to_thread.run_sync(_OldEntry.found, loaded, options, wishes.entry)
        client = await open_loaded(of_manuals(loaded, (entry.name, entry.shadow.new)), stack)
        await wait_for_manuals(client)
        if failed := report_failures(client):
            return exits.exit_code(failed[0].error) if failed[0].error else exits.UPSTREAM
        found = await _verdicts(client, loaded, entry, wishes)
        return await anyio.to_thread.run_sync(_decide, client, entry, wishes, found)


async def _verdicts(
    client: UtcpClient, loaded: LoadedConfig, entry: _OldEntry, wishes: Promotion
) -> dict[str, Verdict]:
    """Return the verdict on each tool in question; all of the old side for `--all-same`."""
    from utcp_bridge.client.shadowing import read_record, record_file
    from utcp_bridge.doctor.comparison import compare_manuals, verdicts
    from utcp_bridge.pipeline.differences import Ignored, own_tools

    old, new = name_in(client, entry.name), name_in(client, entry.shadow.new)
    tools = own_tools(client.tools(), old)
    names = list(tools) if wishes.every else [_named(word, old, tools) for word in wishes.tools]
    trials, ignored = wishes.trials.read(), Ignored((*entry.shadow.ignore, *wishes.trials.ignored))
    automatic = () if wishes.trials.silent else names
    comparison = await compare_manuals(client, old, new, calls=trials, ignored=ignored, automatic=automatic)
    record = record_file(loaded.lock_file)
    counts = {} if record is None else await anyio.to_thread.run_sync(read_record, record)
    found = verdicts(client.tools(), comparison, counts)
    return {name: found[name] for name in dict.fromkeys(names)}


def _named(word: str, manual: str, tools: Iterable[str]) -> str:
    """Return the own name of a tool, which may be written with its manual and its MCP server.

    :raises UnknownTool: the manual does not have it.
    """
    from utcp_bridge.dialects.fields import nearest

    own = word.removeprefix(f"{manual}.")
    for name in (own, own.partition(".")[2]):
        if name in tools:
            return name
    remedy = nearest(own, tools) or f"`utcp-bridge tools '{manual}.*'` lists its tools."
    raise UnknownTool(f"The manual {manual!r} has no tool {word!r}.", remedy=remedy)


def _decide(client: UtcpClient, entry: _OldEntry, wishes: Promotion, found: dict[str, Verdict]) -> int:
    """Promote the tools that are the same, and say why others are not. A tool that was named and is not the same keeps
    all from being promoted, unless the user forces it.
    """
    hide = client.redactor
    refused = [] if wishes.force and not wishes.every else [one for one in found.values() if not one.is_same]
    stops = bool(refused) and not wishes.every
    chosen = [] if stops else [one for one in found.values() if one not in refused]
    known = {*entry.shadow.promoted}
    fresh = [one for one in chosen if one.tool not in known]
    written = entry.change(wishes, add=[one.tool for one in fresh])
    if wishes.as_json:
        report: JsonObject = {
            "file": str(entry.file),
            "entry": entry.name,
            "new": entry.shadow.new,
            "promoted": [{"tool": one.tool, "new": one.new or None} for one in fresh],
            "already_promoted": [one.tool for one in chosen if one.tool in known],
            "refused": [{"tool": one.tool, "reason": one.reason} for one in refused],
            "written": written,
        }
        print_json(masked(report, hide))
        return exits.FAULTS if stops else exits.OK
    missing = [] if stops else [one.tool for one in refused if not one.new and one.tool not in known]
    for one in refused:
        if one.tool not in missing:
            reason = _in_spite(one, "is promoted already") if one.tool in known else one.reason
            (complain if stops else note)(hide(f"{reason} {one.remedy}".strip()))
    if missing:
        note(f"{entry.shadow.new} does not have these tools, so they are not promoted: {', '.join(missing)}.")
    if stops:
        note("Nothing was changed. --force promotes a tool in spite of this.")
        return exits.FAULTS
    verb = "would answer" if wishes.dry_run else "answers"
    for one in fresh:
        told = f"{one.new or entry.shadow.new} {verb} the calls of {entry.name}.{one.tool}."
        note(hide(f"{told} {_in_spite(one, 'was forced')}".strip()))
    if not fresh:
        note("No further tool is promoted.")
    elif not wishes.dry_run:
        note(f"`utcp-bridge promote {entry.name} --undo -c {entry.file}` takes it back.")
    return exits.OK


def _in_spite(verdict: Verdict, what: str) -> str:
    """Return what speaks against a tool that is promoted all the same; nothing if it is the same."""
    return verdict.reason.replace("is not promoted, because", f"{what}, although", 1)


# --- take back -----------------------------------------------------------------------------------


async def take_back(options: Options, wishes: Promotion) -> int:
    """Let the old side answer tools again: those that were named, or all. No manual is loaded. Return the exit code.

    :raises ConfigError: the entry cannot be changed, or a tool is not promoted.
    """
    async with AsyncExitStack() as stack:
        loaded = await load(replace(options, quickstart=False), stack)
    return await anyio.to_thread.run_sync(_take_back, loaded, options, wishes)


def _take_back(loaded: LoadedConfig, options: Options, wishes: Promotion) -> int:
    entry = _OldEntry.found(loaded, options, wishes.entry)
    promoted = entry.shadow.promoted
    names: list[str] = []
    for word in wishes.tools:
        own = word.removeprefix(f"{entry.name}.")
        name = next((one for one in (word, own, own.partition(".")[2]) if one in promoted), None)
        if name is None:
            listed = f"Promoted are: {', '.join(promoted)}." if promoted else "No tool of it is promoted."
            raise ConfigError(f"The tool {word!r} of {entry.name} is not promoted.", remedy=listed)
        names.append(name)
    names = list(dict.fromkeys(names or promoted))
    written = entry.change(wishes, remove=names)
    if wishes.as_json:
        report = {"file": str(entry.file), "entry": entry.name, "taken_back": names, "written": written}
        print_json(report)
        return exits.OK
    verb = "would answer" if wishes.dry_run else "answers"
    for name in names:
        note(f"{entry.name} {verb} the calls of {name} itself.")
    if not names:
        note(f"No tool of {entry.name} is promoted.")
    return exits.OK
