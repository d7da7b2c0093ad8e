"""What `utcp.lock` has and what the manuals have now, for `lock`, `diff` and `approve`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import anyio.to_thread

from utcp_bridge.cli import exits
from utcp_bridge.cli.opening import load, open_loaded, wait_for_manuals
from utcp_bridge.cli.options import Options
from utcp_bridge.cli.output import complain
from utcp_bridge.errors import ConfigError
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

__all__ = ["Compared", "Review", "is_part_of", "read_lock", "review", "review_of"]


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

    def _is_out(self, name: str) -> bool:
        return any(is_part_of(name, manual) for manual in self.failed)


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
