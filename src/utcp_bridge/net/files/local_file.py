"""Read a local file within limits (no device, no pipe, not outside the root), and watch files for changes.

`FileRoots` serves callers of tools, who are not trusted: they may name files in the folders of the operator only.
"""

from __future__ import annotations

import base64
import errno
import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

import anyio
import anyio.to_thread

from utcp_bridge.errors import Busy, ConfigError, InvalidArguments, PolicyError, ReplyTooLarge, Unreachable
from utcp_bridge.late.records import dataclass
from utcp_bridge.model import FileScope
from utcp_bridge.net.files.writing import folder_beneath
from utcp_bridge.net.gate.shortage import descriptor_shortage
from utcp_bridge.settings import BridgeSettings
from utcp_bridge.tasks import Spawn

__all__ = [
    "FileRoots", "FileWatcher", "Stamp", "read_file_now", "read_local_file", "resolve_in_scope", "resolve_within",
    "stamp_of",
]  # fmt: skip

Stamp: TypeAlias = tuple[int, int, int]

_INTERVAL = 1.0
_MAX_PATH = 4_096
_MAX_SHOWN = 200
_PATH_STARTS = ("/", "./", "../", "~/", "\\\\")


def resolve_within(path: str, root: Path, *, confined: bool) -> Path:
    """Return the absolute path of `path`, which starts at `root`, with symbolic links resolved.

    `confined` (a fetched manual names the file) refuses paths that end outside the root, also absolute ones and links.

    :raises PolicyError: the path leads out of the root.
    :raises ConfigError: it is not a path.
    """
    if not path or "\0" in path:
        raise ConfigError("`file_path` is empty or contains a NUL character.", remedy="Write the path of a file.")
    base = root.resolve()
    try:
        resolved = (base / (path if confined else os.path.expanduser(path))).resolve()  # noqa: PTH111 - Path raises for unknown users
    except (OSError, RuntimeError) as error:
        raise _loop(path) from error
    if os.path.islink(resolved):  # noqa: PTH114 - Path raises for names too long; Python 3.13 leaves loops unresolved
        raise _loop(path)
    if confined and not resolved.is_relative_to(base):
        raise PolicyError(
            f"The path {path!r} leads out of the folder of the configuration.",
            remedy="A fetched manual can read only files in this folder.",
        )
    return resolved


def resolve_in_scope(path: str, scope: FileScope) -> Path:
    """Return the absolute path of a file that a tool of a local manual names.

    :raises PolicyError: the file is not below the folder of the scope, or it or a folder on the way to it is hidden.
    :raises ConfigError: it is not a path.
    """
    resolved = resolve_within(path, scope.root, confined=False)
    folder = scope.folder.resolve()
    if resolved.is_relative_to(folder) and not any(part.startswith(".") for part in resolved.relative_to(folder).parts):
        return resolved
    raise PolicyError(
        f"It reads the file {path[:_MAX_SHOWN]!r}, which is hidden or not below the folder of its manual.",
        remedy="Move the file there. Or, if you trust the manual, list all types of its tools in its entry: "
        '"allowed_communication_protocols": ["file", …].',
    )


def _loop(path: str) -> ConfigError:
    return ConfigError(f"The path {path!r} cannot be resolved.", remedy="Look for a loop of symbolic links.")


async def read_local_file(path: str, root: Path, *, limit: int, confined: bool) -> tuple[Path, bytes]:
    """Return the file's resolved path and its bytes, read in a worker thread. See `read_file_now` for errors."""
    return await anyio.to_thread.run_sync(read_file_now, path, root, limit, confined, abandon_on_cancel=True)


def read_file_now(path: str, root: Path, limit: int, confined: bool) -> tuple[Path, bytes]:
    """Return the file's resolved path and its bytes.

    :raises ConfigError: it is not a path, or not a regular file.
    :raises PolicyError: the path leads out of the root.
    :raises Unreachable: the file does not exist or must not be read.
    :raises ReplyTooLarge: it has more than `limit` bytes.
    """
    resolved = resolve_within(path, root, confined=confined)
    try:
        # O_NONBLOCK: opening a pipe without a writer would block for ever. O_NOFOLLOW: a link that replaced
        # the file after it was resolved is refused.
        descriptor = os.open(resolved, os.O_RDONLY | _flag("O_NONBLOCK") | _flag("O_NOFOLLOW") | _flag("O_BINARY"))
        try:
            return resolved, _read_open(descriptor, path, limit)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _translated(error, path) from error


def _read_open(descriptor: int, path: str, limit: int) -> bytes:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError(f"{path!r} is not a regular file.", remedy="Name a file, not a folder, pipe or device.")
    if status.st_size > limit:
        raise _too_large(path, limit)
    with os.fdopen(descriptor, "rb", closefd=False) as file:
        data = file.read(limit + 1)  # a file that grows, or one of /proc without a size, is cut here
    if len(data) > limit:
        raise _too_large(path, limit)
    return data


def _flag(name: str) -> int:
    return int(getattr(os, name, 0))


def _too_large(path: str, limit: int) -> ReplyTooLarge:
    return ReplyTooLarge(f"The file {path!r} has more than {limit} bytes.", remedy="Raise the size limit.")


def _translated(error: OSError, path: str) -> Unreachable | ConfigError | Busy:
    if shortage := descriptor_shortage(error):
        return shortage
    if error.errno in {errno.EISDIR, errno.ENXIO}:
        return ConfigError(f"{path!r} is not a regular file.", remedy="Name a file, not a folder, pipe or device.")
    reason = error.strerror or "it cannot be read"
    return Unreachable(f"The file {path!r} cannot be read: {reason}.", remedy="Check the path and its permissions.")


class FileRoots:
    """The folders in which callers of tools may name files, by path or `file:` URI.

    A path is resolved with its symbolic links before it is compared with the folders. It is then opened folder by
    folder without following links, so that a link which is put there meanwhile leads nowhere.
    """

    def __init__(self, folders: Iterable[str], *, base: Path, max_bytes: int) -> None:
        """`folders` start at `base`; `max_bytes` is the most that is read from one file."""
        self._roots = tuple(Path(os.path.realpath(base / os.path.expanduser(folder))) for folder in folders)  # noqa: PTH111 - see resolve_within
        self.max_bytes = max_bytes

    @classmethod
    def of(cls, settings: BridgeSettings, base: Path) -> FileRoots | None:
        """Return the folders that the settings name; None if they name none."""
        folders = settings.file_roots
        return cls(folders, base=base, max_bytes=settings.max_file_bytes) if folders else None

    async def read(self, text: str) -> tuple[str, bytes] | None:
        """Return the name and the bytes of the file that a text names. None if the text is not the name of a file.

        :raises PolicyError: the file is not inside the folders.
        :raises InvalidArguments: the file cannot be read, or is larger than the limit.
        """
        return await anyio.to_thread.run_sync(self._read, text, abandon_on_cancel=True)

    async def check(self, text: str) -> None:
        """Check that a file of this name may be written.

        :raises PolicyError: it is not inside the folders.
        :raises InvalidArguments: the text is not the name of a file.
        """
        await anyio.to_thread.run_sync(self._target, text, abandon_on_cancel=True)

    async def write(self, text: str, data: bytes) -> str:
        """Write a file, all of it or nothing, and return its path. Folders that are missing are made.

        :raises PolicyError: it is not inside the folders.
        :raises InvalidArguments: it cannot be written.
        """
        return await anyio.to_thread.run_sync(self._write, text, data)

    def _read(self, text: str) -> tuple[str, bytes] | None:
        found = self._existing(text)
        if found is None:
            return None
        root, path = found
        try:
            if path == root:
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            with folder_beneath(root, path.parent, make=False) as folder:
                descriptor = folder.open(path.name, os.O_RDONLY)
            try:
                return path.name, _read_open(descriptor, text, self.max_bytes)
            finally:
                os.close(descriptor)
        except ReplyTooLarge:
            message = f"The file {text!r} has more than {self.max_bytes} bytes."
            raise InvalidArguments(message, remedy="Name a smaller file, or raise `max_file_bytes`.") from None
        except (ConfigError, OSError) as error:
            raise descriptor_shortage(error) or _unusable(text, error, "read") from error

    def _existing(self, text: str) -> tuple[Path, Path] | None:
        """Return the root and the real path of the file that a text names. None if it is content, not a name."""
        named = _path_of_uri(text) if text[:5].lower() == "file:" else None
        if named is None and not _may_be_path(text):
            return None
        path = Path(os.path.expanduser(named or text))  # noqa: PTH111 - see resolve_within
        is_name = named is not None or text.startswith(_PATH_STARTS) or path.is_absolute() or ".." in path.parts
        found: tuple[Path, Path] | None = None
        exists = False
        for root in self._roots:
            real = Path(os.path.realpath(root / path))
            here = os.path.lexists(root / path)
            if real.is_relative_to(root) and (found is None or (here and not exists)):
                found, exists = (root, real), here
            is_name = is_name or here
        if named is None and _is_base64(text) and not (exists and path.is_absolute()):
            return None
        if is_name and found is None:
            raise self._outside(text)
        return found if is_name else None

    def _target(self, text: str) -> tuple[Path, Path]:
        named = _path_of_uri(text) if text[:5].lower() == "file:" else text
        path = Path(os.path.expanduser(named))  # noqa: PTH111 - see resolve_within
        if path.name in {"", ".."} or not _may_be_path(named):
            raise InvalidArguments("`output_path` is not the name of a file.", remedy="Send the path of a file.")
        for root in self._roots:
            folder = Path(os.path.realpath((root / path).parent))
            if folder.is_relative_to(root):
                return root, folder / path.name
        raise self._outside(text)

    def _write(self, text: str, data: bytes) -> str:
        root, path = self._target(text)
        try:
            with folder_beneath(root, path.parent, make=True) as folder:
                folder.replace(path.name, data)
        except OSError as error:
            raise descriptor_shortage(error) or _unusable(text, error, "written") from error
        return str(path)

    def _outside(self, text: str) -> PolicyError:
        folders = ", ".join(map(str, self._roots))
        return PolicyError(
            f"The file {text[:_MAX_SHOWN]!r} is not inside the folders that `file_roots` names.",
            remedy=f"Name a file in one of these folders: {folders}.",
        )


def _path_of_uri(uri: str) -> str:
    try:
        parts = urlsplit(uri)
    except ValueError:  # a bracket that does not end
        parts = urlsplit("file://?")
    from urllib.request import url2pathname  # brings http.client and email along

    path = url2pathname(parts.path)
    if parts.netloc.lower() not in {"", "localhost"} or not os.path.isabs(path) or "\0" in path:  # noqa: PTH117 - text of a caller
        raise InvalidArguments(
            f"{uri[:_MAX_SHOWN]!r} is not the URI of a local file.", remedy="Write file:///folder/file."
        )
    return path


def _may_be_path(text: str) -> bool:
    return 0 < len(text) <= _MAX_PATH and min(text) >= " "


def _is_base64(text: str) -> bool:
    try:
        return bool(base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True))
    except ValueError:
        return False


def _unusable(text: str, error: Exception, verb: str) -> InvalidArguments:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is not a regular file"
    return InvalidArguments(
        f"The file {text[:_MAX_SHOWN]!r} cannot be {verb}: {reason}.",
        remedy="Name a regular file, not a folder, pipe or device, and check its permissions.",
    )


@dataclass(slots=True)
class _Watched:
    path: Path
    stamp: Stamp | None


class FileWatcher:
    """Calls `changed(name)` when the file of `name` was written or replaced. It checks the files once a second.

    If a file disappears for a moment, as with many editors, the change counts when the file is back. A worker thread
    checks the files, because a network folder may hang.
    """

    def __init__(self, changed: Callable[[str], object], spawn: Spawn, *, interval: float = _INTERVAL) -> None:
        self._changed = changed
        self._spawn = spawn
        self._interval = interval
        self._watched: dict[str, _Watched] = {}
        self._stop: Callable[[], None] | None = None

    def watch(self, name: str, path: Path) -> None:
        """Watch `path` as the file of `name`, instead of the file before."""
        self._watched[name] = _Watched(path, stamp_of(path))
        if self._stop is None:
            self._stop = self._spawn(self._look)

    def forget(self, name: str) -> None:
        """Stop watching the file of `name`. Without files, the background task ends."""
        self._watched.pop(name, None)
        if not self._watched and self._stop is not None:
            self._stop()
            self._stop = None

    def close(self) -> None:
        """Stop watching all files."""
        for name in list(self._watched):
            self.forget(name)

    async def _look(self) -> None:
        while True:
            await anyio.sleep(self._interval)
            looked_at = dict(self._watched)
            paths = {name: watched.path for name, watched in looked_at.items()}
            stamps = await anyio.to_thread.run_sync(_stamps, paths, abandon_on_cancel=True)
            for name, stamp in stamps.items():
                watched = looked_at[name]
                if self._watched.get(name) is not watched:  # meanwhile the name is that of another file
                    continue
                if stamp is not None and stamp != watched.stamp:
                    watched.stamp = stamp
                    self._changed(name)


def _stamps(paths: dict[str, Path]) -> dict[str, Stamp | None]:
    return {name: stamp_of(path) for name, path in paths.items()}


def stamp_of(path: Path) -> Stamp | None:
    """Return what changes when a file is written or replaced, also behind a link; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
