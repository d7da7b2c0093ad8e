"""Write a file whole or not at all, and never through a link that somebody prepared.

The bytes go into a new file with a random name in the target's folder, which then replaces the target. So a crash, a
full disk or a second writer leaves the old content or the new one. The folder is held open meanwhile: a folder or link
that is put in its place changes nothing.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from hashlib import sha256
from itertools import count
from pathlib import Path
from types import EllipsisType
from typing import IO, Final

from utcp_bridge.errors import ConfigError
from utcp_bridge.late.records import dataclass

__all__ = [
    "OpenFolder",
    "exclusive",
    "folder_beneath",
    "has_place",
    "make_place",
    "open_log",
    "resolve_target",
    "try_lock",
    "unlock",
    "write_file",
]

_MAX_LINKS: Final = 40
"""Links on the way to one file; the kernel's own limit."""
_MAX_WAIT: Final = 10.0
"""Seconds that a second run waits for the first, which needs milliseconds."""
_BETWEEN_TRIES: Final = 0.02
"""Seconds."""
_REPLACE_TRIES: Final = 50
"""Windows does not replace a file that another program reads at this moment."""
_SAFE: Final = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
"""Flags of each file that is opened: no link is followed, and a pipe without a reader does not block."""
_DIRECTORY: Final = getattr(os, "O_DIRECTORY", 0)
_PRIVATE: Final = 0o600
_NOT_OTHERS: Final = 0o755
_CHANGED: Final = "another program changed it meanwhile"
_SPECIAL: Final = "it is a folder, pipe or device instead of a regular file"
_LINKED: Final = "it has a second name (a hard link)"


def write_file(
    path: Path,
    data: bytes,
    *,
    private: bool = False,
    backup: bool = False,
    within: Path | None = None,
    before: bytes | EllipsisType | None = ...,
) -> Path | None:
    """Replace the file in one step, and return the backup of its old content, if there was one to keep.

    A link at `path` stays, and its target is written. The permissions stay; `private` allows the owner only. `within`
    is a folder whose content is not trusted: a path that leads out of it is refused, and folders that are missing are
    made. `before` is the content that the file must still have, None if it must be missing.

    :raises ConfigError: the file cannot be written, or it has other content by now. The old file is whole.
    """
    target = resolve_target(path, within=within)
    root = target.parent if within is None else Path(os.path.realpath(within))
    try:
        with folder_beneath(root, target.parent, make=within is not None) as folder:
            return folder.replace(target.name, data, private=private, backup=backup, before=before)
    except OSError as error:
        remedy = "Run the command again." if error.strerror == _CHANGED else "Choose another file."
        raise ConfigError(f"{path} cannot be written: {_reason(error)}.", remedy=remedy) from None


def resolve_target(path: Path, *, within: Path | None = None) -> Path:
    """Return the file that a path leads to, with its links resolved. It need not exist.

    :raises ConfigError: the links form a loop, lead out of the folder `within`, or one was put by another user into a
        folder that everyone may write to.
    """
    for link in _links_to(path):
        if _is_planted(link):
            raise ConfigError(f"{link} is a link of another user in a shared folder.", remedy="Name another file.")
    unresolved = ConfigError(f"The path {path} cannot be resolved.", remedy="Look for a loop of symbolic links.")
    try:
        current = Path(os.path.realpath(path))
    except OSError:  # a link disappeared meanwhile
        raise unresolved from None
    if os.path.islink(current):  # noqa: PTH114 - Path raises for names that are too long
        raise unresolved
    if within is not None and not current.is_relative_to(os.path.realpath(within)):
        raise ConfigError(
            f"{path} is a link that leads out of the folder {within}.", remedy="Remove the link, or name another file."
        )
    return current


def has_place(path: Path) -> bool:
    """Return whether the folder that a file is written into exists. If it does not, it can be made.

    :raises ConfigError: it cannot, because a symbolic link leads to something that does not exist, or because a file
        has the name of a folder.
    """
    folder = resolve_target(path).parent
    if folder.is_dir():
        return True
    link = next((one for one in _links_to(path) if not os.path.exists(one)), None)  # noqa: PTH110 - see above
    if link is not None:
        raise ConfigError(
            f"The symbolic link {link} leads to {os.path.realpath(link)}, which does not exist.",
            remedy=f"Create the folder {folder}, or remove the link.",
        )
    taken = next((one for one in (folder, *folder.parents) if one.exists() and not one.is_dir()), None)
    if taken is not None:
        raise ConfigError(f"{path} cannot be written: {taken} is not a folder.", remedy="Rename or remove it.")
    return False


def make_place(path: Path) -> None:
    """Make the folder that a file is written into, if it does not exist.

    :raises ConfigError: it cannot be made; see `has_place`.
    """
    if has_place(path):
        return
    folder = resolve_target(path).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"The folder {folder} cannot be made: {_reason(error)}.", remedy="Make it by hand, or name another file."
        ) from None


def _links_to(path: Path) -> Generator[Path]:
    """Yield each symbolic link on the way to the file."""
    current = Path(path).absolute()
    for _ in range(_MAX_LINKS):
        link = next((one for one in (*reversed(current.parents), current) if os.path.islink(one)), None)  # noqa: PTH114 - see above
        if link is None:
            return
        yield link
        try:
            current = link.parent / os.readlink(link) / current.relative_to(link)  # noqa: PTH115 - as above
        except OSError:  # it is gone by now
            return


def _is_planted(link: Path) -> bool:
    """Return whether the kernel would refuse to follow a link too, where `protected_symlinks` is on."""
    shared = stat.S_ISVTX | stat.S_IWOTH
    try:
        folder, status = os.stat(link.parent), os.lstat(link)  # noqa: PTH116 - see above
    except OSError:
        return False
    return (
        hasattr(os, "geteuid")
        and folder.st_mode & shared == shared
        and status.st_uid not in {os.geteuid(), folder.st_uid}
    )


@dataclass(frozen=True, slots=True)
class OpenFolder:
    """A folder by its descriptor, or by its path on systems where files cannot be opened in a descriptor."""

    path: Path
    descriptor: int | None

    def open(self, name: str, flags: int, mode: int = 0o666) -> int:
        """Open a file of the folder. A link is refused."""
        return os.open(self._place(name), flags | _SAFE, mode, dir_fd=self.descriptor)

    def replace(
        self,
        name: str,
        data: bytes,
        *,
        private: bool = False,
        backup: bool = False,
        before: bytes | EllipsisType | None = ...,
    ) -> Path | None:
        """Replace a file in one step; see `write_file`. A link of this name is replaced and not followed.

        :raises OSError: it cannot be written. Its `strerror` continues a sentence.
        """
        old = self._status(name)
        content = self._content(name) if old is not None and (backup or before is not ...) else None
        if before is not ... and content != before:
            raise OSError(errno.EBUSY, _CHANGED)
        kept = self._keep(name, content) if backup and content is not None else None
        scratch = f".{secrets.token_hex(8)}.part"
        self._write_new(scratch, data, _PRIVATE if private else _mode_after(old))
        try:
            self._move(scratch, name, before)
        except BaseException:
            self._remove(scratch)
            raise
        self._sync()
        return kept

    def _move(self, scratch: str, name: str, before: bytes | EllipsisType | None) -> None:
        if before is not ... and (self._content(name) if self._status(name) else None) != before:
            raise OSError(errno.EBUSY, _CHANGED)
        folder = self.descriptor
        for left in reversed(range(_REPLACE_TRIES)):
            try:
                os.replace(self._place(scratch), self._place(name), src_dir_fd=folder, dst_dir_fd=folder)
            except PermissionError:
                if sys.platform != "win32" or not left:
                    raise
                time.sleep(_BETWEEN_TRIES)
            else:
                return

    def _place(self, name: str) -> str:
        return name if self.descriptor is not None else str(self.path / name)

    def _status(self, name: str) -> os.stat_result | None:
        """Return the status of the regular file that is replaced. None: the name is free, or a link has it."""
        try:
            status = os.stat(self._place(name), dir_fd=self.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None
        if stat.S_ISLNK(status.st_mode):
            return None
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, _SPECIAL)
        if status.st_nlink > 1:
            raise OSError(errno.EMLINK, _LINKED)
        return status

    def _content(self, name: str) -> bytes:
        with os.fdopen(self.open(name, os.O_RDONLY), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise OSError(errno.EINVAL, _SPECIAL)
            return file.read()

    def _keep(self, name: str, content: bytes) -> Path:
        """Write the old content to `NAME.bak`, or to the next free number. Only the owner can read it."""
        for number in count(1):
            backup = f"{name}.bak{number if number > 1 else ''}"
            with suppress(FileExistsError):
                self._write_new(backup, content, _PRIVATE)
                return self.path / backup
            with suppress(OSError):  # a link, a folder, or a file of another user
                if self._content(backup) == content:
                    return self.path / backup
        raise AssertionError

    def _write_new(self, name: str, data: bytes, mode: int | None) -> None:
        """Write a file of a name that is free. `mode` None: what the system gives to new files."""
        created = self.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 if mode is None else _PRIVATE)
        try:
            with os.fdopen(created, "wb") as file:
                if mode is not None and sys.platform != "win32":
                    os.fchmod(created, mode)
                file.write(data)
                file.flush()
                os.fsync(created)
        except BaseException:
            self._remove(name)
            raise

    def _remove(self, name: str) -> None:
        with suppress(OSError):
            os.unlink(self._place(name), dir_fd=self.descriptor)

    def _sync(self) -> None:
        """Write the folder itself to the disk. Some file systems cannot, and the file is whole all the same."""
        if self.descriptor is not None:
            with suppress(OSError):
                os.fsync(self.descriptor)


def _mode_after(old: os.stat_result | None) -> int | None:
    """Return the permissions of the new file. Those that another user gave never let others write."""
    if old is None:
        return None
    mode = stat.S_IMODE(old.st_mode) & 0o777
    is_own = not hasattr(os, "geteuid") or old.st_uid == os.geteuid()
    return mode if is_own else mode & _NOT_OTHERS


@contextmanager
def folder_beneath(root: Path, folder: Path, *, make: bool) -> Generator[OpenFolder]:
    """Yield a folder, opened from the root without following links. `make` makes folders that are missing."""
    if os.open not in os.supports_dir_fd:
        if make:
            folder.mkdir(parents=True, exist_ok=True)
        yield OpenFolder(folder, None)
        return
    flags = os.O_RDONLY | _DIRECTORY
    opened = os.open(root, flags)
    try:
        for part in folder.relative_to(root).parts:
            if make:
                with suppress(FileExistsError):
                    os.mkdir(part, dir_fd=opened)
            inner = os.open(part, flags | os.O_NOFOLLOW, dir_fd=opened)
            os.close(opened)
            opened = inner
        yield OpenFolder(folder, opened)
    finally:
        os.close(opened)


@contextmanager
def exclusive(path: Path) -> Generator[None]:
    """Let only one run of this program at a time read and change the files in the folder of `path`.

    Other programs do not take part; `before` of `write_file` notices them.

    :raises ConfigError: another run does not end.
    """
    folder = Path(os.path.realpath(path)).parent
    if not folder.is_dir():
        yield
        return
    descriptor = _open_lock_of(folder)
    try:
        ends = time.monotonic() + _MAX_WAIT
        while not try_lock(descriptor):
            if time.monotonic() > ends:
                message = f"Another program has locked the folder {folder}."
                raise ConfigError(message, remedy="End it, and run the command again.")
            time.sleep(_BETWEEN_TRIES)
        yield
    finally:
        os.close(descriptor)  # unlocks it too


def _open_lock_of(folder: Path) -> int:
    """Open what is locked for a folder: the folder itself, and on Windows, where it cannot be, a temporary file."""
    if sys.platform != "win32":
        return os.open(folder, os.O_RDONLY | _DIRECTORY)
    import tempfile  # with modules that nothing else of a start needs

    name = sha256(os.path.normcase(folder).encode()).hexdigest()[:32]
    return os.open(Path(tempfile.gettempdir()) / f"utcp-bridge-{name}.lock", os.O_RDWR | os.O_CREAT)


if sys.platform == "win32":
    import msvcrt

    def try_lock(descriptor: int) -> bool:
        """Lock a file for this descriptor; return False if another one has the lock. The system releases it."""
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def unlock(descriptor: int) -> None:
        """Let another descriptor have the lock."""
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def try_lock(descriptor: int) -> bool:
        """Lock a file for this descriptor; return False if another one has the lock. The system releases it."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a network file system without locks
            return True
        return True

    def unlock(descriptor: int) -> None:
        """Let another descriptor have the lock."""
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)


def open_log(path: Path) -> IO[bytes]:
    """Open a log file to append to it. A new one can be read by its owner only.

    :raises OSError: it cannot be opened, or it is a link, a hard link, or not a regular file. Its `strerror` says so.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | _SAFE, _PRIVATE)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "it is a symbolic link") from None
        if error.errno in {errno.ENXIO, errno.EISDIR}:
            raise OSError(errno.EINVAL, _SPECIAL) from None
        raise
    file = os.fdopen(descriptor, "ab")
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
        return file
    file.close()
    raise OSError(errno.EINVAL, _LINKED if stat.S_ISREG(status.st_mode) else _SPECIAL)


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__
