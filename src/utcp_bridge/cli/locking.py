"""What `utcp.lock` has and what the manuals have now, for `lock`, `diff` and `approve`."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread

from utcp_bridge.catalogue.text import clean
from utcp_bridge.cli import exits
from utcp_bridge.cli.opening import load, open_loaded, wait_for_manuals
from utcp_bridge.cli.options import Options
from utcp_bridge.cli.output import complain
from utcp_bridge.errors import ConfigError, UnknownTool
from utcp_bridge.manuals.lock import (
    LOCK_NAME,
    Line,
    Locked,
    LockFile,
    Saying,
    changed_parts,
    document_line,
    is_locked,
    line_of,
    sayings,
)
from utcp_bridge.model import JsonObject
from utcp_bridge.upstream import Offers

if TYPE_CHECKING:
    from utcp_bridge.client.client import UtcpClient
    from utcp_bridge.model import Tool

__all__ = ["Compared", "ConsoleLock", "Review", "is_part_of", "review"]


_MAX_TEXT: Final = 2_000
"""Characters of the description of a tool that differs, on a page."""


@dataclass(frozen=True, slots=True)
class Compared:
    """Approved lines beside the present ones: of the tools, or of the prompts and instructions of MCP servers."""

    locked: Mapping[str, Line]
    now: Mapping[str, Line]
    failed: Collection[str] = ()
    """The manuals that could not be loaded."""

    @property
    def new(self) -> list[str]:
        """What has no line."""
        return sorted(self.now.keys() - self.locked.keys())

    @property
    def changed(self) -> dict[str, list[str]]:
        """The parts that changed, by name."""
        both = sorted(self.now.keys() & self.locked.keys())
        parts = {name: changed_parts(self.locked[name], self.now[name]) for name in both}
        return {name: found for name, found in parts.items() if found}

    @property
    def gone(self) -> list[str]:
        """The lines of what does not exist any more."""
        return sorted(name for name in self.locked.keys() - self.now.keys() if not self._is_out(name))

    @property
    def differing(self) -> list[str]:
        """What is new, changed or gone."""
        return sorted({*self.new, *self.changed, *self.gone})

    def approved(self, names: Collection[str]) -> dict[str, Line]:
        """Return the lines in which these are as they are now."""
        kept = {name: line for name, line in self.locked.items() if name not in names}
        return {**kept, **{name: self.now[name] for name in names if name in self.now}}

    def what_changed(self, name: str) -> str:
        """Return the parts that changed; of those that a person can read, both values."""
        known, now = self.locked[name], self.now[name]
        readable = ("host", "hints")
        return ", ".join(
            f"{part}: {_shown(known.get(part))} → {_shown(now[part])}" if part in readable else part
            for part in self.changed[name]
        )

    def _is_out(self, name: str) -> bool:
        return any(is_part_of(name, manual) for manual in self.failed)


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


@dataclass(frozen=True, slots=True)
class Review:
    """What `utcp.lock` has beside what is now. Tools that the operator wrote are not in it."""

    file: LockFile
    locked: Locked
    now: Locked
    tools: dict[str, Tool] = field(repr=False)
    texts: dict[str, str] = field(default_factory=dict[str, str], repr=False)
    """The present texts of prompts and instructions."""
    failed: dict[str, int] = field(default_factory=dict[str, int])
    """The exit codes of manuals that could not be loaded. Their lines stay as they are."""

    @property
    def by_tool(self) -> Compared:
        """The tools."""
        return Compared(self.locked.tools, self.now.tools, self.failed)

    @property
    def by_offer(self) -> Compared:
        """The prompts and instructions of MCP servers; nothing where the file is older than their comparison."""
        if self.locked.offers is None:
            return Compared({}, {})
        return Compared(self.locked.offers, self.now.offers or {}, self.failed)

    @property
    def is_older(self) -> bool:
        """Whether the file is of a version that did not compare prompts and instructions, and there are some."""
        return self.locked.offers is None and bool(self.now.offers)

    @property
    def differing(self) -> list[str]:
        """The tools, prompts and instructions that are new, changed or gone."""
        return [*self.by_tool.differing, *self.by_offer.differing]

    def line(self, name: str) -> Line | None:
        """Return the present line of a tool, a prompt or instructions; None if it does not exist any more."""
        return self.now.tools.get(name) or (self.now.offers or {}).get(name)

    @property
    def documents(self) -> list[str]:
        """The manuals whose document is another one."""
        before, now = self.locked.documents, self.now.documents
        return sorted(name for name in before.keys() & now.keys() if before[name] != now[name])

    @property
    def code(self) -> int:
        """The exit code that the first failed manual stands for; 0 if none failed."""
        return next(iter(self.failed.values()), exits.OK)

    def approved(self, names: Collection[str], *, everything: bool = False) -> Locked:
        """Return the content in which these are as they are now, and so are the documents of the tools' manuals.

        With `everything`, a file that is older than their comparison gets the prompts and instructions too.
        """
        by_tool = self.by_tool
        offers = None if self.locked.offers is None else self.by_offer.approved(names)
        tools, documents = by_tool.approved(names), dict(self.locked.documents)
        waiting = {
            self.tools[name].manual
            for name in (*by_tool.new, *by_tool.changed)
            if tools.get(name) != self.now.tools[name]
        }
        documents |= {manual: line for manual, line in self.now.documents.items() if manual not in waiting}
        return Locked(tools, documents, self.now.offers if offers is None and everything else offers)


def is_part_of(name: str, manual: str) -> bool:
    """Return whether a tool, a prompt or instructions are of this manual."""
    return name.startswith((f"{manual}.", f"{manual}/"))


async def review(options: Options, *, anew: bool = False) -> Review:
    """Load every manual, and compare it with the lock file. `anew`: a file that cannot be read counts as empty.

    :raises ConfigError: the configuration is not a file, or its lock file cannot be read.
    """
    async with AsyncExitStack() as stack:
        loaded = await load(replace(options, settings={**options.settings, "pin": "off"}, calls=False), stack)
        if loaded.lock_file is None:
            raise ConfigError(
                f"{LOCK_NAME} lies beside a configuration file, and this configuration is not a file.",
                remedy="Name a configuration file.",
            )
        file = LockFile(Path(loaded.lock_file))
        locked = await anyio.to_thread.run_sync(read_lock, file, anew)
        client = await open_loaded(loaded, stack)
        await wait_for_manuals(client)
        for state in client.report():
            if state.error is not None:
                complain(client.redactor(f"Manual {state.name} cannot be compared: {state.error}"))
        return review_of(client, file, locked)


def review_of(client: UtcpClient, file: LockFile, locked: Locked) -> Review:
    """Compare the manuals of a client with the content of a lock file. The client was opened with `pin: off`."""
    states = client.report()
    failed = {state.name: exits.exit_code(state.error) for state in states if state.error is not None}
    tools = {tool.qualified_name: tool for tool in client.tools() if is_locked(tool)}
    said = _sayings(client)
    lines = {name: line_of(tool) for name, tool in tools.items()}
    offers = {name: one.line for name, one in said.items()}
    now = Locked(lines, _documents(client, tools.values()), offers)
    return Review(file, locked, now, tools, {name: one.text for name, one in said.items()}, failed)


def _sayings(client: UtcpClient) -> dict[str, Saying]:
    found: dict[str, Saying] = {}
    for upstream in client.upstreams(servers_only=True):
        found |= sayings(upstream.manual, upstream.name, upstream.offers or Offers())
    return found


def read_lock(file: LockFile, anew: bool = False) -> Locked:
    """Return the content of a lock file. `anew`: one that cannot be read counts as empty.

    :raises ConfigError: it cannot be read.
    """
    try:
        return file.read()
    except (OSError, ValueError) as error:
        if anew:
            return Locked()
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(
            f"{file.path} cannot be read ({reason}).",
            remedy="Correct it, or run `utcp-bridge lock --force` to approve all tools as they are now.",
        ) from None


def _documents(client: UtcpClient, tools: Iterable[Tool]) -> dict[str, Line]:
    manuals = {tool.manual: tool.source for tool in tools}
    found: dict[str, JsonObject] = {}
    for state in client.report():
        source = manuals.get(state.name)
        line = None if source is None or state.basis is None else document_line(source, state.basis.digest)
        if line is not None:
            found[state.name] = line
    return found


def _write_next_to_others(found: Review, names: Collection[str]) -> None:
    """Write what was approved into a file that other bridges may share, and write at the same time.

    :raises ConfigError: the file cannot be read or written.
    """
    while True:
        try:
            found.file.replace(found.locked, found.approved(names))
        except ConfigError:
            locked = read_lock(found.file)
            if locked == found.locked:
                raise
            found = replace(found, locked=locked)
        else:
            return


class ConsoleLock:
    """Compares with `utcp.lock` as `utcp-bridge diff` does, for a console: with a client that withholds no tool.

    One comparison runs at a time, because each loads every manual.
    """

    def __init__(self, options: Options, client: UtcpClient) -> None:
        self._options = replace(options, settings={**options.settings, "pin": "off"})
        self._client = client
        self._turn = anyio.Lock()

    async def differences(self) -> JsonObject:
        """Return {file, differences: [{name, change, what, text}], not_loaded}.

        :raises ConfigError: the configuration is not a file, or its lock file cannot be read.
        """
        async with self._turn:
            found = await self._review()
        return {
            "file": str(found.file.path),
            "differences": [*self._listed(found)],
            "not_loaded": sorted(found.failed),
        }

    async def approve(self, names: list[str]) -> JsonObject:
        """Approve differences by their names. Return {file, approved, lines}.

        :raises ConfigError: the lock file cannot be read, or has changed meanwhile.
        :raises UnknownTool: a name is not that of a difference.
        """
        async with self._turn:
            found = await self._review()
            for name in names:
                if name not in found.differing:
                    raise UnknownTool(f"{name!r} does not differ from {found.file.path}.")
            await anyio.to_thread.run_sync(found.file.replace, found.locked, found.approved(names))
        lines = {name: found.line(name) for name in names}
        return {"file": str(found.file.path), "approved": names, "lines": lines}

    async def adopt(self, lines: Mapping[str, Line | None]) -> JsonObject:
        """Approve what was approved elsewhere, as far as it is the same here. Return {file, approved, refused}.

        `lines` are those of the approved by their names, None for what is gone. `refused` has the reasons by the names.

        :raises ConfigError: the lock file cannot be read or written.
        """
        async with self._turn:
            found = await self._review()
            refused: dict[str, str] = {}
            for name, line in lines.items():
                if any(is_part_of(name, manual) for manual in found.failed):
                    refused[name] = "its manual could not be loaded"
                elif found.line(name) != line:
                    refused[name] = "it is not what was approved"
            names = [name for name in lines if name not in refused]
            if not {*names}.isdisjoint(found.differing):
                await anyio.to_thread.run_sync(_write_next_to_others, found, names)
        return {"file": str(found.file.path), "approved": names, "refused": refused}

    @staticmethod
    def _listed(found: Review) -> Iterator[JsonObject]:
        for compared, is_tool in ((found.by_tool, True), (found.by_offer, False)):
            for name in compared.differing:
                change = "changed" if name in compared.changed else "new" if name in compared.new else "gone"
                what = compared.what_changed(name) if change == "changed" else ""
                if change == "new" and is_tool:
                    what = f"calls {compared.now[name]['host']}"
                text = "" if change == "gone" else found.tools[name].description if is_tool else found.texts[name]
                yield {"name": name, "change": change, "what": clean(what), "text": clean(text, _MAX_TEXT)}

    async def _review(self) -> Review:
        from utcp_bridge.client.client import UtcpClient
        from utcp_bridge.client.extensions import Extensions

        async with AsyncExitStack() as stack:
            loaded = await load(self._options, stack)
            if loaded.lock_file is None:
                raise ConfigError("This configuration is not a file, so it has no `utcp.lock`.")
            file = LockFile(Path(loaded.lock_file))
            locked = await anyio.to_thread.run_sync(read_lock, file)
            extensions = Extensions(
                redactor=self._client.redactor,
                documents=loaded.documents,
                lock_file=loaded.lock_file,
                env_files=loaded.env_files,
            )
            config = loaded.config.model_copy(
                update={"bridge": loaded.config.bridge.model_copy(update={"access_rules": ()})}  # nothing is called
            )
            client = await UtcpClient.create(config, root=loaded.root, extensions=extensions)
            await stack.enter_async_context(client)
            return review_of(client, file, locked)
