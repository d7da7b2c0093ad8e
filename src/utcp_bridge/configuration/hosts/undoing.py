"""What `migrate` changed, written down in the user's folder, and how it is taken back.

A file without later changes gets its old bytes back. In one that has them, only what was moved is taken back, and they
stay. If the moved entries themselves were changed, nothing is written.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, Final

import orjson

from utcp_bridge.configuration.hosts.editing import (
    edit,
    form_of,
    parse_text,
    read_text,
    with_servers,
    write_text,
)
from utcp_bridge.configuration.hosts.files import HostFile, read_host_file
from utcp_bridge.configuration.hosts.moving import read_dotenv, without_variable
from utcp_bridge.configuration.hosts.splicing import Changes
from utcp_bridge.configuration.hosts.table import HOSTS
from utcp_bridge.dialects.documents import decoded
from utcp_bridge.errors import ConfigError
from utcp_bridge.model import JsonObject, is_list, is_object
from utcp_bridge.processes.systems import own_folder

__all__ = ["MANUALS", "WrittenFile", "is_undoable", "remember", "undo"]

MANUALS: Final = ("manual_call_templates",)
_MAX_LINES: Final = 20_000
"""Lines up to which texts are compared line by line."""


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A file that was written: the backup of its old content, None if it was new, and a digest of the new content.

    `within` is the folder that its path must not lead out of.
    """

    path: Path
    backup: Path | None
    digest: str
    within: Path | None

    @classmethod
    def now(cls, path: Path, backup: Path | None, within: Path | None) -> WrittenFile:
        """Return the record of a file that was just written."""
        return cls(path, backup, _digest(read_text(path, within=within)[1]), within)

    def as_json(self) -> JsonObject:
        """Return the record as JSON."""
        paths = {"path": self.path, "backup": self.backup, "within": self.within}
        return {**{name: path and str(path) for name, path in paths.items()}, "digest": self.digest}

    @classmethod
    def of_json(cls, record: JsonObject) -> WrittenFile:
        """Return what `as_json` wrote down."""
        path, backup, within = (record[name] and Path(record[name]) for name in ("path", "backup", "within"))
        return cls(path, backup, record["digest"], within)


def _digest(data: bytes | None) -> str:
    return hashlib.sha256(data or b"").hexdigest()


def _record(host_file: Path) -> Path:
    """Return where the moves from a file are written down: in the user's folder, where nobody else puts a record."""
    name = hashlib.sha256(os.fsencode(host_file.absolute())).hexdigest()[:32]
    return own_folder() / "moves" / f"{name}.json"


def is_undoable(host_file: Path) -> bool:
    """Return whether there is a record of a move from this file."""
    return _record(host_file).is_file()


def _moves(host_file: Path) -> tuple[list[JsonObject], bytes | None]:
    text, data = read_text(_record(host_file), within=None)
    try:
        moves: Any = orjson.loads(text) if text else []
    except orjson.JSONDecodeError:
        moves = None
    if not is_list(moves) or not all(map(is_object, moves)):
        raise ConfigError(f"{_record(host_file)} is not a record of a move.", remedy="Remove it.")
    return [one for one in moves if is_object(one)], data


def remember(
    file: HostFile,
    changes: Changes,
    manuals: Sequence[JsonObject],
    variables: Sequence[str],
    written: Mapping[str, WrittenFile],
) -> None:
    """Write down a move. `written` are its files: `host`, `configuration` and, if it has variables, `dotenv`.

    :raises ConfigError: the record cannot be written.
    """
    moves, before = _moves(file.path)
    moves.append({
        "host": file.host.name,
        "changes": dict(changes),
        "manuals": list(manuals),
        "variables": list(variables),
        "files": {name: one.as_json() for name, one in written.items()},
    })  # fmt: skip
    _write_record(file.path, moves, before)


def _write_record(host_file: Path, moves: Sequence[JsonObject], before: bytes | None) -> None:
    from utcp_bridge.net.files.writing import write_file

    path = _record(host_file)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_file(path, orjson.dumps(moves, option=orjson.OPT_INDENT_2), private=True, before=before)


@dataclass(frozen=True, slots=True)
class _Restored:
    """A file with its content from before: None if it is deleted. `exact`: it gets its old bytes."""

    file: WrittenFile
    now: bytes | None
    text: str | None
    exact: bytes | None = None


def undo(host_file: Path) -> list[Path]:
    """Take the last move from a host's file back, and return the files that were written or deleted.

    :raises ConfigError: it was not moved from this file, a backup is missing, or what was moved has been changed since.
    """
    moves, data = _moves(host_file)
    if not moves:
        raise ConfigError(f"Nothing was moved from {host_file}.", remedy="`utcp-bridge migrate` lists the hosts.")
    last = moves[-1]
    files = _files_of(last, host_file)
    restored = [_host(last, files["host"])]
    if "configuration" in files:
        restored.append(_configuration(last, files["configuration"]))
    if "dotenv" in files:
        values = _dotenv(last, files["dotenv"])
        is_named = restored[-1].text is not None  # the configuration stays, and its loader with it
        restored.append(replace(values, text="") if is_named and values.exact is None and not values.text else values)
    for one in restored:
        _write(one)
    if moves[:-1]:
        _write_record(host_file, moves[:-1], data)
    else:
        _record(host_file).unlink()
    return [one.file.path for one in restored]


def _files_of(move: JsonObject, host_file: Path) -> dict[str, WrittenFile]:
    """Return the files of a move.

    :raises ConfigError: the record is damaged.
    """
    try:
        files = {name: WrittenFile.of_json(one) for name, one in move["files"].items()}
        manuals = [(one["name"], files["configuration"]) for one in move["manuals"]]
        is_whole = is_object(move["changes"]) and is_list(move["variables"]) and "host" in files and is_list(manuals)
    except (KeyError, TypeError, AttributeError):
        is_whole, files = False, {}
    if not is_whole:
        raise ConfigError(f"{_record(host_file)} is not a record of a move.", remedy="Remove it.")
    return files


def _write(one: _Restored) -> None:
    from utcp_bridge.net.files.writing import write_file

    path, within = one.file.path, one.file.within
    if one.exact is not None:
        write_file(path, one.exact, within=within, before=one.now)
    elif one.text is not None:
        write_text(path, one.text, before=one.now, within=within, private=False)
    elif one.now is not None:
        path.unlink()


def _before(written: WrittenFile) -> tuple[bytes | None, bytes | None, str]:
    """Return the bytes of a file from before the move, those of now, and the text of now."""
    text, now = read_text(written.path, within=written.within)
    if written.backup is None:
        return None, now, text
    before = read_text(written.backup, within=written.within)[1]
    if before is None:
        raise ConfigError(f"The backup {written.backup} is missing.", remedy="Nothing was undone.")
    return before, now, text


def _is_untouched(written: WrittenFile, now: bytes | None) -> bool:
    return now is not None and _digest(now) == written.digest


def _host(move: JsonObject, written: WrittenFile) -> _Restored:
    path = written.path
    before, now, text = _before(written)
    if _is_untouched(written, now):
        return _Restored(written, now, None, before)
    file = read_host_file(path, HOSTS.get(move["host"]), within=written.within)
    old_text = decoded(before or b"", str(path))
    old = replace(file, text=old_text, content=parse_text(old_text, form_of(path), where=str(path)))
    changes: Changes = move["changes"]
    current = {server.name: server.raw for server in file.servers}
    raws = {server.name: server.raw for server in old.servers}
    for name, entry in changes.items():
        if current.get(name) != entry:
            raise ConfigError(
                f"{name} in {path} was changed after the move, so nothing is undone.",
                remedy=f"Change it back, or copy entries from the backup {written.backup}.",
            )
    wanted = with_servers(file, {name: raws.get(name) for name in changes})
    merged = _merged(with_servers(old, changes), text, old_text)
    return _Restored(written, now, _preferred(merged, wanted, path))


def _configuration(move: JsonObject, written: WrittenFile) -> _Restored:
    path, form = written.path, form_of(written.path)
    before, now, text = _before(written)
    if _is_untouched(written, now):
        return _Restored(written, now, None, before)
    content = parse_text(text, form, where=str(path))
    found = content.get(MANUALS[0])
    current = {one.get("name"): one for one in (found if is_list(found) else ()) if is_object(one)}
    for manual in move["manuals"]:
        if manual["name"] in current and current[manual["name"]] != manual:
            raise ConfigError(
                f"{manual['name']} in {path} was changed after the move, so nothing is undone.",
                remedy="Copy what you changed into the host's file, and change it back here.",
            )
    removed = dict.fromkeys(str(one["name"]) for one in move["manuals"])
    return _Restored(written, now, edit(text, form, MANUALS, removed, where=str(path)))


def _dotenv(move: JsonObject, written: WrittenFile) -> _Restored:
    before, now, text = _before(written)
    if _is_untouched(written, now):
        return _Restored(written, now, None, before)
    values = read_dotenv(text)
    for name in move["variables"]:
        text = without_variable(text, name, values.get(name))
    return _Restored(written, now, text)


def _preferred(merged: str | None, wanted: str, path: Path) -> str:
    """Return the text that was merged by lines if it has the content that is wanted: it keeps how entries looked."""
    form = form_of(path)
    try:
        is_right = merged is not None and parse_text(merged, form, where="") == parse_text(wanted, form, where="")
    except ConfigError:
        is_right = False
    return merged if merged is not None and is_right else wanted


def _merged(base: str, theirs: str, ours: str) -> str | None:
    """Return `base` with the changes of lines of two texts; None if they touch the same lines."""
    lines, first, second = (text.splitlines(keepends=True) for text in (base, theirs, ours))
    if max(map(len, (lines, first, second))) > _MAX_LINES:
        return None
    hunks = sorted(
        (start, end, new[left:right])
        for new in (first, second)
        for kind, start, end, left, right in SequenceMatcher(None, lines, new, autojunk=False).get_opcodes()
        if kind != "equal"
    )
    made: list[str] = []
    at = 0
    for start, end, new in hunks:
        if start < at or (start == at and at and made and start == end):
            return None
        made += [*lines[at:start], *new]
        at = end
    return "".join([*made, *lines[at:]])
