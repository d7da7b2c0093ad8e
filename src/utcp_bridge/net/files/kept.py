"""Files that a program keeps for its next start: in a folder of the user, which nobody else may write.

Their names are hashes of all that they were made from, so a file needs no date and is never old.
"""

from __future__ import annotations

import logging
import os
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from utcp_bridge.errors import UtcpError
from utcp_bridge.net.files.writing import write_file

__all__ = ["KeptFiles"]

_logger = logging.getLogger(__name__)
_FLAGS: Final = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


class KeptFiles:
    """The files of one kind in `folder`, at most `most` of at most `max_bytes` each. `suffix` names their kind."""

    def __init__(self, folder: Path, suffix: str, *, most: int, max_bytes: int) -> None:
        self._folder = folder
        self._suffix = suffix
        self._most = most
        self.max_bytes: Final = max_bytes

    def path(self, name: str) -> Path:
        """Return the path of a file."""
        return self._folder / f"{name}{self._suffix}"

    def read(self, path: Path) -> bytes:
        """Return the bytes of a file, or no bytes if it is missing or other users may write to it."""
        try:
            if not _is_own(path.parent.stat()):
                return b""
            with os.fdopen(os.open(path, _FLAGS), "rb") as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode) or status.st_size > self.max_bytes or not _is_own(status):
                    return b""
                return file.read(self.max_bytes)
        except OSError:
            return b""

    def use(self, path: Path) -> None:
        """Note that a file was used: those that were used last are kept."""
        with suppress(OSError):
            os.utime(path)

    def write(self, path: Path, data: bytes) -> None:
        """Write a file, and remove those that were not used for the longest time. A failure is a line of the log."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not _is_own(self._folder.stat()):
                _logger.debug("Nothing is kept, because others may write to %s.", self._folder)
                return
            write_file(path, data, private=True)
            files = [one for one in self._folder.iterdir() if one.suffix == self._suffix]
            for old in sorted(files, key=lambda one: one.lstat().st_mtime, reverse=True)[self._most :]:
                old.unlink(missing_ok=True)
        except (OSError, UtcpError) as error:
            _logger.debug("%s is not kept: %s", path.name, error)


def _is_own(status: os.stat_result) -> bool:
    """Return whether only this user may write. Windows has other permissions: the user's folder is private there."""
    if sys.platform == "win32":
        return True
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
