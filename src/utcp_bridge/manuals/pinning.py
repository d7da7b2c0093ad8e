"""Pinning: notices when the definition of a tool changes after it was approved (tool poisoning, "rug pull").

What is compared: description, schemas, hints, and where a call goes. Tools that the operator wrote, in the
configuration or a local file, may change freely. What an MCP server says is not the operator's word, whichever way the
server is reached.

Without a lock file, the definition that the bridge sees first after its start counts as approved. If the operator set
`pin`, the approved hashes are in `utcp.lock`, beside the configuration file: a change between two runs is noticed too.
A tool stays withheld until its line is removed from that file. Tools that are new are added to it. If the file cannot
be used, `warn` keeps hashes in memory, and `refuse` withholds the tools: nothing shows that they are as approved.
"""

from __future__ import annotations

import logging
import os
import re
import stat
from collections.abc import Generator, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import anyio
import anyio.to_thread
import orjson

from utcp_bridge.errors import ConfigError
from utcp_bridge.manuals.repository import same_definition
from utcp_bridge.model import Fault, JsonObject, Tool, Trust, is_object
from utcp_bridge.net.files.writing import exclusive, write_file
from utcp_bridge.settings import BridgeSettings, ManualOptions
from utcp_bridge.tasks import in_slices

__all__ = ["LOCK_NAME", "Approved", "Pin", "Pins", "fingerprint", "pinned"]

_logger = logging.getLogger(__name__)
LOCK_NAME: Final = "utcp.lock"
_VERSION: Final = 1
_MAX_LOCK_BYTES: Final = 64 * 1024 * 1024
_MAX_ENTRIES: Final = 200_000
"""Tools in one lock file: ten times `max_tools`. It bounds what manuals with ever new names can add."""
_MAX_NAMED: Final = 5
_MAX_SAID: Final = 10_000
_SHOWN_DIGITS: Final = 12
_NOT_CALLED: Final = frozenset({"name", *ManualOptions.model_fields})
"""Keys of a manual's own entry that do not say where a call goes."""
_LAST_COMMA: Final = re.compile(rb",([ \t\r]*\n[ \t\r\n]*\})")
"""What is left when somebody deletes the last line of an object. No string of JSON contains a newline."""
_OPTIONS: Final = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS
Pin = Literal["off", "warn", "refuse"]
Approved: TypeAlias = dict[str, Tool | str]
"""Approved definitions by the names of tools. Of a tool that is gone only the fingerprint is kept."""
_Verdict: TypeAlias = tuple[list[Tool], list[Fault]]
"""The tools that may be used, and the faults of the others."""


@dataclass(frozen=True, slots=True)
class _Prints:
    """The hashes of one tool: of what a model reads, and of where a call goes."""

    definition: str
    endpoint: str

    @property
    def short(self) -> str:
        """Twelve digits for a message."""
        return sha256(f"{self.definition}{self.endpoint}".encode()).hexdigest()[:_SHOWN_DIGITS]


def _prints(tool: Tool) -> _Prints:
    hints = dict(tool.annotations)
    seen = [tool.description, tool.title, tool.inputs, tool.outputs, list(tool.tags), hints, tool.deprecated]
    template = {key: value for key, value in tool.template.items() if key not in _NOT_CALLED}
    reached = [tool.kind, template, tool.overlay, tool.source.origin]
    return _Prints(*(sha256(_canonical(part)).hexdigest() for part in (seen, reached)))


def _canonical(value: Any) -> bytes:
    try:
        return orjson.dumps(value, option=_OPTIONS, default=str)
    except TypeError:  # big integers, lone surrogates
        return repr(value).encode("utf-8", "surrogatepass")


def fingerprint(tool: Tool) -> str:
    """Return twelve hexadecimal digits that identify the definition of a tool and where its calls go."""
    return _prints(tool).short


def _is_free(tool: Tool) -> bool:
    """Return whether the operator wrote the tool. A transport's own discovery makes an overlay: a server wrote that."""
    return tool.source.trust is Trust.OPERATOR and tool.overlay is None


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
        if pin == "off" or _is_free(tool):
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
        changes.add(tool, change)
        if pin == "refuse":
            faults.append(_withheld(tool, change, "Check the change, then restart the bridge to approve it."))
        else:
            approved[tool.name] = tool
            kept.append(tool)
    for name in before - seen:
        yield
        approved[name] = _shown(approved[name])
    for name in [*approved][: max(0, len(approved) - _MAX_ENTRIES)]:
        del approved[name]
    changes.log()
    return kept, faults


def _is_approved(tool: Tool, known: Tool | str) -> bool:
    return _shown(tool) == known if isinstance(known, str) else same_definition(known, tool)


def _shown(known: Tool | str) -> str:
    return known if isinstance(known, str) else fingerprint(known)


class _Changes:
    """The changes of one refresh. They are one line in the log, which names the first five."""

    def __init__(self) -> None:
        self._named: list[str] = []
        self._number = 0

    @property
    def are_named(self) -> bool:
        """Whether the line names the next change."""
        return len(self._named) < _MAX_NAMED

    def add(self, tool: Tool, change: str, remedy: str = "") -> None:
        """Count a change, and name it if the line has room."""
        self._number += 1
        if self.are_named:
            self._named.append(f"{tool.qualified_name}: {change}.{remedy and ' '}{remedy}")

    def log(self) -> None:
        """Write the line, if anything changed."""
        more = self._number - len(self._named)
        if self._named:
            _logger.warning("%s%s", " ".join(self._named), f" {more:,} more tools changed." if more else "")


def _withheld(tool: Tool, change: str, remedy: str) -> Fault:
    return Fault(f"manual {tool.manual!r}, tool {tool.name!r}", f"{change}, so the tool is withheld.", remedy)


class _UnusableLockError(Exception):
    """Why the lock file cannot be used, as the beginning of a sentence."""


class Pins:
    """Approves tools by the lock file if there is one, otherwise by what was seen since the start."""

    def __init__(self, settings: BridgeSettings, lock_file: Path | None) -> None:
        """`lock_file` is used only if the operator set `pin`; None: the configuration is not a file."""
        self._pin: Pin = settings.pin
        self._is_lasting = settings.pin != "off" and "pin" in settings.model_fields_set
        self._file = _LockFile(lock_file) if self._is_lasting and lock_file is not None else None
        self._turn = anyio.Lock()
        self._said: set[tuple[str, str]] = set()

    async def kept(self, tools: list[Tool], approved: Approved) -> _Verdict:
        """Return the tools of one manual that may be used, and the faults of the others, as `pinned` does."""
        async with self._turn:
            try:
                entries = await self._entries()
                if entries is not None:
                    kept, faults, new = await in_slices(self._by_lock(tools, entries))
                    if new:
                        await self._add(new)
                    return kept, faults
            except _UnusableLockError as error:
                if self._pin == "refuse":
                    return self._refused(tools, str(error))
                self._give_up(str(error))
            return await in_slices(pinned(tools, approved, self._pin))

    async def state(self) -> Hashable:
        """Return what changes when the lock file does; None if it is not used or cannot be read."""
        file = self._file
        if file is None:
            return None
        try:
            return _state_of(await anyio.Path(file.path).lstat())
        except OSError:
            return None

    def _refused(self, tools: list[Tool], why: str) -> _Verdict:
        """Withhold the tools that need approval: nothing says what was approved."""
        kept = [tool for tool in tools if _is_free(tool)]
        if len(kept) == len(tools):
            return kept, []
        manual = next(tool.manual for tool in tools if not _is_free(tool))
        what = f"{why}, so its tools are withheld (`pin` is `refuse`)."
        return kept, [Fault(f"manual {manual!r}", what, f"Correct or delete {LOCK_NAME}, then load the manual again.")]

    async def _entries(self) -> dict[str, JsonObject] | None:
        """Return what the lock file has; None if the bridge has none.

        :raises _UnusableLockError: it cannot be read.
        """
        if self._file is None:
            if self._is_lasting:
                self._give_up(
                    f"The bridge keeps {LOCK_NAME} beside a configuration file, and this configuration is not a file"
                )
            return None
        try:
            return await anyio.to_thread.run_sync(self._file.read)
        except (OSError, ValueError) as error:
            raise _UnusableLockError(f"{self._file.path} cannot be read ({_reason(error)})") from None

    def _by_lock(
        self, tools: list[Tool], entries: dict[str, JsonObject]
    ) -> Generator[None, None, tuple[list[Tool], list[Fault], dict[str, JsonObject]]]:
        """Return what `kept` does, and the entries that are new, in steps of one tool."""
        kept: list[Tool] = []
        faults: list[Fault] = []
        new: dict[str, JsonObject] = {}
        changes = _Changes()
        for tool in tools:
            yield
            name = tool.qualified_name
            if _is_free(tool):
                kept.append(tool)
                continue
            now, known = _prints(tool), _read_prints(entries.get(name))
            if known is None and len(entries) + len(new) < _MAX_ENTRIES:
                new[name] = {"definition": now.definition, "endpoint": now.endpoint}
                kept.append(tool)
            elif known == now:
                kept.append(tool)
            elif fault := self._changed(tool, known, now, changes):
                faults.append(fault)
            else:
                kept.append(tool)
        changes.log()
        return kept, faults, new

    def _changed(self, tool: Tool, known: _Prints | None, now: _Prints, changes: _Changes) -> Fault | None:
        """Note a change for the log, once for each new definition. Return its fault if the tool is withheld."""
        if known is None:
            change, remedy = f"{LOCK_NAME} has {_MAX_ENTRIES} tools and no room for it", "Delete lines that are old."
        else:
            change = f"Its definition changed from {known.short} to {now.short}"
            remedy = f"Check the change, then delete the tool's line in {LOCK_NAME} to approve it."
        if (tool.qualified_name, now.short) not in self._said and len(self._said) < _MAX_SAID:
            self._said.add((tool.qualified_name, now.short))
            changes.add(tool, change, remedy)
        return _withheld(tool, change, remedy) if self._pin == "refuse" else None

    async def _add(self, new: Mapping[str, JsonObject]) -> None:
        assert self._file is not None  # noqa: S101 - for the type checker
        try:
            await anyio.to_thread.run_sync(self._file.add, new)
        except ConfigError as error:
            raise _UnusableLockError(error.message.rstrip(".")) from None
        except (OSError, ValueError) as error:
            raise _UnusableLockError(f"{self._file.path} cannot be read ({_reason(error)})") from None
        names = ", ".join(sorted(new)[:_MAX_NAMED])
        more = f" and {len(new) - _MAX_NAMED} more" if len(new) > _MAX_NAMED else ""
        _logger.info("%s has new tools: %s%s.", LOCK_NAME, names, more)

    def _give_up(self, why: str) -> None:
        """Say once that approved definitions last only as long as this process."""
        _logger.warning("%s. Hashes of approved tools are kept in memory, until the bridge ends.", why)
        self._file, self._is_lasting = None, False


def _read_prints(entry: Any) -> _Prints | None:
    if not is_object(entry):
        return None
    return _Prints(str(entry.get("definition")), str(entry.get("endpoint")))


def _state_of(status: os.stat_result) -> tuple[int, ...]:
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino


def _reason(error: Exception) -> str:
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)


@dataclass(slots=True)
class _LockFile:
    """`utcp.lock`, one line for each tool.

    It is `{"tools": {"manual.tool": {"definition": HASH, "endpoint": HASH}}, "version": 1}`.
    """

    path: Path
    _seen: tuple[int, ...] = ()
    _entries: dict[str, JsonObject] = field(default_factory=dict[str, JsonObject])

    def read(self) -> dict[str, JsonObject]:
        """Return the entries; none if the file does not exist.

        :raises OSError: it cannot be read, or it is a link.
        :raises ValueError: it is not a lock file.
        """
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        try:
            if self.path.is_symlink():
                raise ValueError("it is a symbolic link")
            descriptor = os.open(self.path, flags)
        except FileNotFoundError:
            self._seen, self._entries = (), {}
            return {}
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            seen = _state_of(status)
            if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_LOCK_BYTES:
                raise ValueError("it is not a regular file of at most 64 MiB")
            if seen != self._seen:
                self._entries = _parsed(file.read(_MAX_LOCK_BYTES))
                self._seen = seen
        return dict(self._entries)

    def add(self, new: Mapping[str, JsonObject]) -> None:
        """Add entries to those that the file has now, and replace the file as a whole.

        :raises ConfigError: it cannot be written.
        :raises OSError: the present file cannot be read, or it is a link.
        :raises ValueError: the present file is not a lock file.
        """
        with exclusive(self.path):
            entries = {**new, **self.read()}
            lines = [f"    {_text(name)}: {_text(entries[name])}" for name in sorted(entries)]
            text = '{\n  "tools": {\n' + ",\n".join(lines) + f'\n  }},\n  "version": {_VERSION}\n}}\n'
            write_file(self.path, text.encode(), within=self.path.parent)


def _parsed(data: bytes) -> dict[str, JsonObject]:
    document = orjson.loads(_LAST_COMMA.sub(rb"\1", data))
    tools = document.get("tools") if is_object(document) else None
    if not is_object(tools) or document.get("version") != _VERSION:
        raise ValueError("it is not a lock file of this version")
    return tools


def _text(value: Any) -> str:
    return orjson.dumps(value, option=_OPTIONS).decode()
