"""Change the servers in a host's file: only their own text is written anew, everything else stays byte for byte.

The changed text is parsed and compared with what was intended before anyone writes it. So a file that is written in an
unforeseen way is refused and not damaged.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from utcp_bridge.configuration.hosts.splicing import (
    Changes,
    has_only_comments,
    name_of,
    splice_json,
    splice_toml,
    splice_yaml,
)
from utcp_bridge.errors import ConfigError, ManualError, UtcpError
from utcp_bridge.model import JsonObject, is_list, is_object

if TYPE_CHECKING:
    from pathlib import Path

    from utcp_bridge.configuration.hosts.files import HostFile

__all__ = ["FileForm", "edit", "form_of", "parse_text", "read_text", "with_servers", "write", "write_text"]

FileForm: TypeAlias = Literal["json", "jsonc", "toml", "yaml"]

_MARKS: Final[Mapping[bytes, Callable[[str], bytes]]] = {
    b"\xef\xbb\xbf": lambda text: text.encode("utf-8"),
    b"\xff\xfe\x00\x00": lambda text: text.encode("utf-32-le"),
    b"\x00\x00\xfe\xff": lambda text: text.encode("utf-32-be"),
    b"\xff\xfe": lambda text: text.encode("utf-16-le"),
    b"\xfe\xff": lambda text: text.encode("utf-16-be"),
}
_MAX_FILE: Final = 100 * 2**20
_GONE: Final = object()
_SPLICES: Final[Mapping[FileForm, Callable[[str, tuple[str, ...], Changes, bool], str]]] = {
    "json": splice_json,
    "jsonc": splice_json,
    "toml": splice_toml,
    "yaml": splice_yaml,
}


def with_servers(file: HostFile, changes: Changes) -> str:
    """Return the text of a host's file with these servers replaced, added or removed. See `edit`.

    :raises ConfigError: the file does not allow this change.
    """
    form = form_of(file.path)
    return edit(file.text, form, file.key, changes, where=str(file.path), listed=file.host.is_list and form == "yaml")


def write(file: HostFile, text: str, *, private: bool = False) -> Path | None:
    """Replace a host's file. See `write_text`; a new file can be read by its owner only."""
    private = private or file.data is None
    return write_text(file.path, text, before=file.data, within=file.within, private=private)


def write_text(path: Path, text: str, *, before: bytes | None, within: Path | None, private: bool) -> Path | None:
    """Replace a file in one step. Return the backup of the old file, if there was one.

    A symbolic link stays, and its target is written. The byte order mark and the permissions stay; `private` allows
    the owner only. `before` is what was read, None if the file is new. `within` is as in `write_file`.

    :raises ConfigError: it cannot be written, or another program changed it after it was read.
    """
    from utcp_bridge.net.files.writing import make_place, write_file

    if within is None:
        make_place(path)
    data = _encoded(text, before)
    return write_file(path, data, private=private, backup=True, within=within, before=before)


def read_text(path: Path, *, within: Path | None) -> tuple[str, bytes | None]:
    """Return the text and the bytes of a file; no text and None if it does not exist.

    :raises ConfigError: it cannot be read, or it is not `within` this folder.
    """
    from utcp_bridge.dialects.documents import decoded
    from utcp_bridge.net.files.local_file import read_file_now
    from utcp_bridge.net.files.writing import resolve_target

    target = resolve_target(path, within=within)
    try:
        data = read_file_now(str(target), target.parent, _MAX_FILE, confined=True)[1] if target.exists() else None
    except (OSError, UtcpError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    try:
        return decoded(data or b"", str(path)), data
    except ManualError as error:
        raise ConfigError(error.message, remedy="Save it as UTF-8, or name another file.") from None


def form_of(path: Path) -> FileForm:
    """Return the form of a host's file. JSON may have comments and trailing commas."""
    return "toml" if path.suffix == ".toml" else "yaml" if path.suffix in {".yaml", ".yml"} else "jsonc"


def edit(text: str, form: FileForm, key: Sequence[str], changes: Changes, *, where: str, listed: bool = False) -> str:
    """Return the text of a file with these servers replaced, added or removed.

    `key` is the path to the servers: an object, or a list whose items have a `name`. Parents that are missing are
    added; `listed` says that the servers are a list then. A text without changes comes back as it is. `where` names
    the file in messages.

    :raises ConfigError: the text cannot be parsed, something else is in the place of the servers, or the file is
        written in a way that does not allow this change.
    """
    before = parse_text(text, form, where=where)
    present = _entries(before, key)
    changes = {name: entry for name, entry in changes.items() if entry is None or present.get(name) != entry}
    wanted = _expected(before, tuple(key), changes, where, listed=listed)
    if wanted == before:
        return text
    by_hand = ConfigError(
        f"{where} is written in a way in which {', '.join(changes)} cannot be changed without other parts of the file.",
        remedy="Change it by hand. Nothing was changed.",
    )
    try:
        after = _SPLICES[form](text, tuple(key), changes, listed)
        found = parse_text(after, form, where=where)
    except (ConfigError, ValueError, IndexError) as error:
        raise by_hand from error
    if _without_empty(found, key) != _without_empty(wanted, key):
        raise by_hand
    return after


def parse_text(text: str, form: FileForm, *, where: str) -> JsonObject:
    """Return the content of a file; of an empty one, or one with comments only, an empty object.

    :raises ConfigError: it cannot be parsed, or is not an object. `where` names it.
    """
    from utcp_bridge.dialects.documents import parse_document, parse_yaml
    from utcp_bridge.dialects.yaml_text import YamlProblem

    if form in {"json", "jsonc"} and has_only_comments(text):
        return {}
    try:
        if form == "toml":
            return tomllib.loads(text)
        content: Any = (
            parse_yaml(text) if form == "yaml" else parse_document(text, hint="jsonc", jsonc=True, where=where)
        )
    except (tomllib.TOMLDecodeError, YamlProblem, RecursionError) as error:
        problem = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ConfigError(f"{where} cannot be parsed: {problem}", remedy="Correct the file first.") from None
    except ManualError as error:
        raise ConfigError(error.message, remedy="Correct the file first. Nothing was changed.") from None
    if content is None:
        return {}
    if not is_object(content):
        raise ConfigError(f"{where} must contain an object.", remedy="Nothing was changed.")
    return content


def _encoded(text: str, before: bytes | None) -> bytes:
    """Return a text as bytes, with the byte order mark and the encoding that the file had."""
    mark = next((one for one in _MARKS if (before or b"").startswith(one)), b"")
    return mark + _MARKS[mark](text) if mark else text.encode()


def _entries(content: JsonObject, key: Sequence[str]) -> JsonObject:
    """Return the entries at a path by their names."""
    found: Any = content
    for step in key:
        found = found.get(step) if is_object(found) else None
    if is_list(found):
        return {str(name_of(item)): item for item in found}
    return found if is_object(found) else {}


def _expected(content: JsonObject, key: Sequence[str], changes: Changes, where: str, *, listed: bool) -> JsonObject:
    """Return the content that the file has after the changes."""
    first, *rest = key
    found = content.get(first)
    if not (found is None or is_object(found) or (is_list(found) and not rest)):
        raise ConfigError(f"`{first}` in {where} must be an object.", remedy="Correct the file first.")
    added: dict[str, Any] = {name: entry for name, entry in changes.items() if entry is not None}
    if rest:
        inner: Any = _expected(found if is_object(found) else {}, rest, changes, where, listed=listed)
    elif is_list(found):
        items = [item if (name := name_of(item)) not in changes else added.pop(str(name), _GONE) for item in found]
        inner = [*(item for item in items if item is not _GONE), *added.values()]
    elif is_object(found):
        removed = {name for name, entry in changes.items() if entry is None}
        inner = {name: entry for name, entry in found.items() if name not in removed} | added
    else:
        inner = [*added.values()] if listed else added
    return {**content, first: inner} if inner or found is not None else content


def _without_empty(content: JsonObject, key: Sequence[str]) -> JsonObject:
    """Return the content without the object of the servers if it has none: the tables of TOML need none around them."""
    first, *rest = key
    inner = content.get(first)
    if rest and is_object(inner):
        inner = _without_empty(inner, rest)
    return {name: value for name, value in content.items() if name != first} | ({first: inner} if inner else {})
