"""Pinning: notices when the definition of a tool changes after it was approved (tool poisoning, "rug pull").

What is compared: description, schemas, hints, and where a call goes (see `lock`). Tools that the operator wrote, in the
configuration or a local file, may change freely. What an MCP server says is not the operator's word, whichever way the
server is reached. Its prompts and its instructions are compared too, because hosts give them to a model.

Without a lock file, the definition that the bridge sees first after its start counts as approved. If the operator set
`pin`, the approved hashes are in `utcp.lock`, beside the configuration file: a change between two runs is noticed too.
A tool stays withheld until it is approved. Tools that are new are added, except under `quarantine`, which withholds
them until they are approved. If the file cannot be used, `warn` keeps hashes in memory; `refuse` and `quarantine`
withhold the tools: nothing shows that they are as approved.
"""

from __future__ import annotations

import logging
import os
import shlex
from collections.abc import Generator, Hashable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal, TypeAlias

import anyio
import anyio.to_thread

from utcp_bridge.errors import ConfigError
from utcp_bridge.manuals.lock import (
    LOCK_NAME,
    MAX_TOOLS,
    Line,
    Locked,
    LockFile,
    Saying,
    changed_parts,
    is_locked,
    line_of,
    sayings,
    short,
    state_of,
)
from utcp_bridge.manuals.repository import same_definition
from utcp_bridge.model import Fault, Tool
from utcp_bridge.settings import BridgeSettings
from utcp_bridge.tasks import in_slices
from utcp_bridge.upstream import Offers

__all__ = ["Approved", "Pin", "Pins", "fingerprint", "pinned"]

_logger = logging.getLogger(__name__)
_MAX_NAMED: Final = 5
_MAX_SAID: Final = 10_000
Pin = Literal["off", "warn", "refuse", "quarantine"]
Approved: TypeAlias = dict[str, Tool | str]
"""Approved definitions by the names of tools. Of a tool that is gone only the fingerprint is kept."""
_Verdict: TypeAlias = tuple[list[Tool], list[Fault]]
"""The tools that may be used, and the faults of the others."""


def fingerprint(tool: Tool) -> str:
    """Return twelve hexadecimal digits that identify the definition of a tool and where its calls go."""
    return short(line_of(tool))


def pinned(tools: Iterable[Tool], approved: Approved, pin: Pin) -> Generator[None, None, _Verdict]:
    """Return the tools that may be used, and a fault for each tool that is withheld, in steps of one tool.

    `approved` has the definitions seen so far; this function updates it. `warn` logs the changes with their
    fingerprints and approves them. `refuse` withholds the tools until the bridge is restarted.
    """
    kept: list[Tool] = []
    faults: list[Fault] = []
    changes = _Changes()
    before = {name for name, known in approved.items() if isinstance(known, Tool)}
    seen = set[str]()
    for tool in tools:
        yield
        if pin == "off" or not is_locked(tool):
            kept.append(tool)
            continue
        seen.add(tool.name)
        known = approved.setdefault(tool.name, tool)
        if _is_approved(tool, known):
            approved[tool.name] = tool
            kept.append(tool)
            continue
        change = ""
        if pin == "refuse" or changes.are_named:
            change = f"Its definition changed from {_shown(known)} to {_shown(tool)}"
        changes.add(tool.qualified_name, change)
        if pin == "refuse":
            faults.append(_withheld(tool, change, "Check the change, then restart the bridge to approve it."))
        else:
            approved[tool.name] = tool
            kept.append(tool)
    for name in before - seen:
        yield
        approved[name] = _shown(approved[name])
    for name in [*approved][: max(0, len(approved) - MAX_TOOLS)]:
        del approved[name]
    changes.log()
    return kept, faults


def _is_approved(tool: Tool, known: Tool | str) -> bool:
    return _shown(tool) == known if isinstance(known, str) else same_definition(known, tool)


def _shown(known: Tool | str) -> str:
    return known if isinstance(known, str) else fingerprint(known)


class _Changes:
    """The changes of one refresh. They are one line in the log, which names the first five."""

    def __init__(self, what: str = "tools") -> None:
        self._what = what
        self._named: list[str] = []
        self._number = 0

    @property
    def are_named(self) -> bool:
        """Whether the line names the next change."""
        return len(self._named) < _MAX_NAMED

    def add(self, name: str, change: str, remedy: str = "") -> None:
        """Count a change, and name it if the line has room."""
        self._number += 1
        if self.are_named:
            self._named.append(f"{name}: {change}.{remedy and ' '}{remedy}")

    def log(self) -> None:
        """Write the line, if anything changed."""
        more = self._number - len(self._named)
        if self._named:
            _logger.warning("%s%s", " ".join(self._named), f" {more:,} more {self._what} changed." if more else "")


def _withheld(tool: Tool, change: str, remedy: str) -> Fault:
    return Fault(f"manual {tool.manual!r}, tool {tool.name!r}", f"{change}, so the tool is withheld.", remedy)


def _unsaid(name: str, change: str, remedy: str) -> Fault:
    return Fault(name, f"{change}, so hosts do not see it.", remedy)


def _without(offers: Offers, withheld: Mapping[str, Saying]) -> Offers:
    """Return the offers without some prompts, and without the instructions if they are withheld."""
    if not withheld:
        return offers
    gone = {one.prompt for one in withheld.values()}
    kept = tuple(prompt for prompt in offers.prompts if prompt["name"] not in gone)
    return replace(offers, prompts=kept, instructions=None if None in gone else offers.instructions)


class _UnusableLockError(Exception):
    """Why the lock file cannot be used, as the beginning of a sentence."""


class Pins:
    """Approves tools by the lock file if there is one, otherwise by what was seen since the start."""

    def __init__(self, settings: BridgeSettings, lock_file: Path | None) -> None:
        """`lock_file` is used only if the operator set `pin`; None: the configuration is not a file."""
        self._pin: Pin = settings.pin
        self._is_lasting = settings.pin != "off" and "pin" in settings.model_fields_set
        self._file = LockFile(lock_file) if self._is_lasting and lock_file is not None else None
        self._turn = anyio.Lock()
        self._said: set[tuple[str, str]] = set()
        self._seen: dict[str, Line] = {}
        """What servers said first, while no lock file is used."""
        self._has_named_age = False

    async def kept(self, tools: list[Tool], approved: Approved, document: Line | None = None) -> _Verdict:
        """Return the tools of one manual that may be used, and the faults of the others, as `pinned` does.

        `document` is the manual's own line for the lock file.
        """
        async with self._turn:
            try:
                locked = await self._locked()
                if locked is not None:
                    kept, faults, new = await in_slices(self._by_lock(tools, locked))
                    if new and self._pin != "quarantine":
                        await self._add(new, {tools[0].manual: document} if document else {})
                    return kept, faults
            except _UnusableLockError as error:
                if self._pin != "warn":
                    return self._refused(tools, str(error))
                self._give_up(str(error))
            return await in_slices(pinned(tools, approved, self._pin))

    async def offers(self, manual: str, server: str, offers: Offers) -> tuple[Offers, list[Fault]]:
        """Return the offers of an MCP server with the prompts and instructions that may be used, and faults of others.

        Resources are not compared.
        """
        said = sayings(manual, server, offers)
        if self._pin == "off" or not said:
            return offers, []
        async with self._turn:
            known: dict[str, Line] | None = self._seen
            try:
                locked = await self._locked()
                if locked is not None:
                    known = self._known_offers(locked)
                if known is None:
                    return offers, []
                withheld, new = self._compared(said, known, by_lock=locked is not None)
                if new and locked is not None:
                    await self._add({}, {}, new)
            except _UnusableLockError as error:
                if self._pin != "warn":
                    return _without(offers, said), [self._unusable(manual, str(error), "prompts and instructions")]
                self._give_up(str(error))
                withheld, new = self._compared(said, self._seen, by_lock=False)
            if not self._is_lasting:
                # `warn` approves what it named, as it does with tools.
                kept = {name: one.line for name, one in said.items() if name not in withheld}
                self._seen |= kept if len(self._seen) + len(new) < MAX_TOOLS else {}
        return _without(offers, {name: said[name] for name in withheld}), [*withheld.values()]

    def _known_offers(self, locked: Locked) -> dict[str, Line] | None:
        """Return what the lock file approves; None if it is older than the comparison, and nothing may be added."""
        if locked.offers is None and self._pin == "quarantine":
            if not self._has_named_age:
                self._has_named_age = True
                _logger.warning(
                    "%s does not have the prompts and instructions of MCP servers, so they are not compared. "
                    "`utcp-bridge lock` adds them.",
                    LOCK_NAME,
                )
            return None
        return locked.offers or {}

    def _compared(
        self, said: Mapping[str, Saying], known: Mapping[str, Line], *, by_lock: bool
    ) -> tuple[dict[str, Fault], dict[str, Line]]:
        """Return the faults of what is withheld, and the lines that are new."""
        withheld: dict[str, Fault] = {}
        new: dict[str, Line] = {}
        changes = _Changes("prompts or instructions")
        for name, one in said.items():
            before = known.get(name)
            if before is None and self._pin != "quarantine" and len(known) + len(new) < MAX_TOOLS:
                new[name] = one.line
            elif before != one.line and (fault := self._differs(name, before, one.line, changes, by_lock=by_lock)):
                withheld[name] = fault
        changes.log()
        return withheld, new

    async def state(self) -> Hashable:
        """Return what changes when the lock file does; None if it is not used or cannot be read."""
        file = self._file
        if file is None:
            return None
        try:
            return state_of(await anyio.Path(file.path).lstat())
        except OSError:
            return None

    def _refused(self, tools: list[Tool], why: str) -> _Verdict:
        """Withhold the tools that need approval: nothing says what was approved."""
        kept = [tool for tool in tools if not is_locked(tool)]
        if len(kept) == len(tools):
            return kept, []
        manual = next(tool.manual for tool in tools if is_locked(tool))
        return kept, [self._unusable(manual, why, "tools")]

    def _unusable(self, manual: str, why: str, parts: str) -> Fault:
        what = f"{why}, so its {parts} are withheld (`pin` is `{self._pin}`)."
        remedy = f"Correct or delete {LOCK_NAME}, then load the manual again."
        if self._file is None:
            remedy = "Put the configuration into a file, then run `utcp-bridge lock` on it."
        elif self._pin == "quarantine":
            remedy = "Run `utcp-bridge lock --force` to approve all tools as they are now."
        return Fault(f"manual {manual!r}", what, remedy)

    async def _locked(self) -> Locked | None:
        """Return what the lock file has; None if the bridge has none.

        :raises _UnusableLockError: it cannot be read.
        """
        if self._file is None:
            if self._is_lasting:
                why = f"The bridge keeps {LOCK_NAME} beside a configuration file, and this configuration is not a file"
                if self._pin == "quarantine":
                    raise _UnusableLockError(why)
                self._give_up(why)
            return None
        try:
            return await anyio.to_thread.run_sync(self._file.read)
        except (OSError, ValueError) as error:
            raise _UnusableLockError(f"{self._file.path} cannot be read ({_reason(error)})") from None

    def _by_lock(
        self, tools: list[Tool], locked: Locked
    ) -> Generator[None, None, tuple[list[Tool], list[Fault], dict[str, Line]]]:
        """Return what `kept` does, and the lines that are new, in steps of one tool."""
        kept: list[Tool] = []
        faults: list[Fault] = []
        new: dict[str, Line] = {}
        changes = _Changes()
        for tool in tools:
            yield
            if not is_locked(tool):
                kept.append(tool)
                continue
            now, known = line_of(tool), locked.tools.get(tool.qualified_name)
            if known is None and self._pin != "quarantine" and len(locked.tools) + len(new) < MAX_TOOLS:
                new[tool.qualified_name] = now
                kept.append(tool)
            elif known == now:
                kept.append(tool)
            elif fault := self._differs(tool.qualified_name, known, now, changes, tool=tool):
                faults.append(fault)
            else:
                kept.append(tool)
        changes.log()
        return kept, faults, new

    def _differs(
        self,
        name: str,
        known: Line | None,
        now: Line,
        changes: _Changes,
        *,
        tool: Tool | None = None,
        by_lock: bool = True,
    ) -> Fault | None:
        """Note a change for the log, once for each new definition. Return its fault if it is withheld.

        `name` is a tool, or one of `sayings`. Without `by_lock`, what was seen first counts as approved.
        """
        approve = f"`utcp-bridge approve {shlex.quote(name)}`"
        if known is not None:
            parts = ", ".join(changed_parts(known, now))
            change = f"Its definition changed from {short(known)} to {short(now)} ({parts})"
            remedy = f"Check the change with `utcp-bridge diff`, then approve it with {approve}."
            if not by_lock:
                remedy = "Check the change, then restart the bridge to approve it."
        elif self._pin == "quarantine":
            change, remedy = f"It is not in {LOCK_NAME}", f"Check it with `utcp-bridge diff`, then run {approve}."
        else:
            change, remedy = f"{LOCK_NAME} has {MAX_TOOLS} tools and no room for it", "Delete lines that are old."
        if (said := (name, short(now))) not in self._said and len(self._said) < _MAX_SAID:
            self._said.add(said)
            changes.add(name, change, remedy if by_lock or self._pin != "warn" else "")
        if self._pin == "warn":
            return None
        return _withheld(tool, change, remedy) if tool is not None else _unsaid(name, change, remedy)

    async def _add(
        self, new: Mapping[str, Line], documents: Mapping[str, Line], offers: Mapping[str, Line] | None = None
    ) -> None:
        assert self._file is not None  # noqa: S101 - for the type checker
        try:
            await anyio.to_thread.run_sync(self._file.add, new, documents, offers)
        except ConfigError as error:
            raise _UnusableLockError(error.message.rstrip(".")) from None
        except (OSError, ValueError) as error:
            raise _UnusableLockError(f"{self._file.path} cannot be read ({_reason(error)})") from None
        added = sorted(new or offers or {})
        more = f" and {len(added) - _MAX_NAMED} more" if len(added) > _MAX_NAMED else ""
        kind = "tools" if new else "prompts or instructions"
        _logger.info("%s has new %s: %s%s.", LOCK_NAME, kind, ", ".join(added[:_MAX_NAMED]), more)

    def _give_up(self, why: str) -> None:
        """Say once that approved definitions last only as long as this process."""
        _logger.warning("%s. Hashes of approved tools are kept in memory, until the bridge ends.", why)
        self._file, self._is_lasting = None, False


def _reason(error: Exception) -> str:
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
