"""Entry points of installed packages, without `importlib.metadata` where nobody offers any.

That module takes 10 ms of CPU to be imported, and each question reads and parses what every installed package says of
itself. Most environments have no package that extends the bridge, and a look at the bytes of the same files shows it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, Final

from utcp_bridge.late.modules import bytes_of

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["entry_points"]

_FOLDERS: Final = (".dist-info", ".egg-info")
_FILE: Final = "entry_points.txt"


def entry_points(*, group: str) -> Iterable[EntryPoint]:
    """Return the entry points of a group, as `importlib.metadata.entry_points` does."""
    try:
        if not any(group.encode() in file for file in _files()):
            return ()
    except (OSError, ValueError):
        pass  # packages in other places than plain folders
    from importlib import metadata

    return metadata.entry_points(group=group)


def _files() -> Iterable[bytes]:
    """Yield the files with entry points.

    :raises OSError: a part of the search path is not a folder, or a file cannot be read.
    :raises ValueError: packages are found in another way, too.
    """
    if any(hasattr(finder, "find_distributions") for finder in sys.meta_path if finder is not PathFinder):
        raise ValueError("another finder")
    for place in dict.fromkeys(sys.path):
        if place.lower().endswith(".egg"):
            raise ValueError("a folder that is one package")
        try:
            with os.scandir(place or ".") as found:
                names = [one.name for one in found]
        except FileNotFoundError:
            continue
        for name in names:
            if name.lower().endswith(_FOLDERS):
                try:
                    yield bytes_of(f"{place or '.'}{os.sep}{name}{os.sep}{_FILE}")
                except (FileNotFoundError, NotADirectoryError):  # without entry points; metadata of one file
                    continue
