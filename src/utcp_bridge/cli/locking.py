"""What `utcp.lock` has and what the manuals have now, for `lock`, `diff` and `approve`."""

from __future__ import annotations

from collections.abc import Iterable
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
from utcp_bridge.manuals.lock import LOCK_NAME, Line, Locked, LockFile, changed_parts, document_line, is_locked, line_of
from utcp_bridge.model import JsonObject

if TYPE_CHECKING:
    from utcp_bridge.client.client import UtcpClient
    from utcp_bridge.model import Tool

__all__ = ["Review", "review"]


@dataclass(frozen=True, slots=True)
class Review:
    """The approved lines beside the present ones. Tools that the operator wrote are not in it."""

    file: LockFile
    locked: Locked
    now: Locked
    tools: dict[str, Tool] = field(repr=False)
    failed: dict[str, int] = field(default_factory=dict[str, int])
    """The exit codes of manuals that could not be loaded. Their lines stay as they are."""

    @property
    def new(self) -> list[str]:
        """The tools without a line."""
        return sorted(self.now.tools.keys() - self.locked.tools.keys())

    @property
    def changed(self) -> dict[str, list[str]]:
        """The parts that changed, by tool."""
        both = sorted(self.now.tools.keys() & self.locked.tools.keys())
        parts = {name: changed_parts(self.locked.tools[name], self.now.tools[name]) for name in both}
        return {name: found for name, found in parts.items() if found}

    @property
    def gone(self) -> list[str]:
        """The lines without a tool."""
        return sorted(name for name in self.locked.tools.keys() - self.now.tools.keys() if not self._is_out(name))

    @property
    def documents(self) -> list[str]:
        """The manuals whose document is another one."""
        before, now = self.locked.documents, self.now.documents
        return sorted(name for name in before.keys() & now.keys() if before[name] != now[name])

    @property
    def differs(self) -> bool:
        """Whether a tool is new, changed or gone."""
        return bool(self.new or self.changed or self.gone)

    @property
    def code(self) -> int:
        """The exit code that the first failed manual stands for; 0 if none failed."""
        return next(iter(self.failed.values()), exits.OK)

    def approved(self, names: Iterable[str]) -> Locked:
        """Return the content in which these tools, and the documents of their manuals, are as they are now."""
        tools, documents = dict(self.locked.tools), dict(self.locked.documents)
        for name in names:
            tools.pop(name, None)
            if name in self.now.tools:
                tools[name] = self.now.tools[name]
        waiting = {
            self.tools[name].manual for name in (*self.new, *self.changed) if tools.get(name) != self.now.tools[name]
        }
        documents |= {manual: line for manual, line in self.now.documents.items() if manual not in waiting}
        return Locked(tools, documents)

    def _is_out(self, name: str) -> bool:
        return any(name.startswith(f"{manual}.") for manual in self.failed)


async def review(options: Options, *, anew: bool = False) -> Review:
    """Load every manual, and compare it with the lock file. `anew`: a file that cannot be read counts as empty.

    :raises ConfigError: the configuration is not a file, or its lock file cannot be read.
    """
    async with AsyncExitStack() as stack:
        loaded = await load(replace(options, settings={**options.settings, "pin": "off"}), stack)
        if loaded.lock_file is None:
            raise ConfigError(
                f"{LOCK_NAME} lies beside a configuration file, and this configuration is not a file.",
                remedy="Name a configuration file.",
            )
        file = LockFile(Path(loaded.lock_file))
        locked = await anyio.to_thread.run_sync(_read, file, anew)
        client = await open_loaded(loaded, stack)
        await wait_for_manuals(client)
        failed: dict[str, int] = {}
        for state in client.report():
            if state.error is not None:
                failed[state.name] = exits.exit_code(state.error)
                complain(client.redactor(f"Manual {state.name} cannot be compared: {state.error}"))
        tools = {tool.qualified_name: tool for tool in client.tools() if is_locked(tool)}
        now = Locked({name: line_of(tool) for name, tool in tools.items()}, _documents(client, tools.values()))
        return Review(file, locked, now, tools, failed)


def _read(file: LockFile, anew: bool) -> Locked:
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
