"""Modules of packages, found and read with half of the usual work.

A start imports five hundred modules, and Python's finder and loader take a tenth of it: they are general. Here a module
is taken if its package is one plain folder and its compiled file is current. Whatever else there may be (extension
modules, archives, hooks of others, a file that changed) is left to them. A hook may come later, with a plugin.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import MAGIC_NUMBER, cache_from_source
from marshal import loads
from types import CodeType, ModuleType
from typing import Any, Final, cast

__all__ = ["bytes_of", "find_modules_at_once"]

_OF_PYTHON: Final = ("BuiltinImporter", "FrozenImporter", "DistutilsMetaFinder")
"""The finders that have no module of a package in a folder."""
_READING: Final = os.O_RDONLY | getattr(os, "O_BINARY", 0)
_HEAD: Final = MAGIC_NUMBER + bytes(4)
"""Of a compiled file that is current if time and size of the source are those in it."""
_HOOKS: Final = 2
"""How many hooks for folders Python has: that of archives, and that of plain folders."""


def find_modules_at_once() -> None:
    """Let this process find modules with less work from here on. Only a program may do this: it is for all imports."""
    prefix, suffix = os.path.split(cache_from_source(f"x{os.sep}m.py"))
    if os.name != "posix" or sys.pycache_prefix is not None or PathFinder not in sys.meta_path:
        return
    if len(sys.path_hooks) != _HOOKS:
        return
    place = sys.meta_path.index(PathFinder)
    ahead = sys.meta_path[:place]
    if all(getattr(one, "__name__", type(one).__name__) in _OF_PYTHON for one in ahead):
        place = 0
    if not any(type(one) is _AtOnce for one in sys.meta_path):
        sys.meta_path.insert(place, _AtOnce(f"/{prefix.rpartition('/')[2]}/", suffix.removeprefix("m")))


class _AtOnce:
    """The finder."""

    def __init__(self, folder: str, suffix: str) -> None:
        self._between: Final = folder
        self._suffix: Final = suffix
        self._names: Final[dict[str, frozenset[str]]] = {}
        self._hooks: Final = tuple(sys.path_hooks)

    def find_spec(self, fullname: str, path: Any, _target: ModuleType | None = None) -> ModuleSpec | None:
        """Return what loads a module; None if the usual finders have to look for it."""
        places = cast("list[str]", path) if type(path) is list else []
        name = fullname.rpartition(".")[2]
        if len(places) != 1 or name == "__init__" or (*sys.path_hooks,) != self._hooks:
            return None
        folder = places[0]
        try:
            names = self._names.get(folder)
            if names is None:
                with os.scandir(folder) as found:
                    names = self._names[folder] = frozenset([one.name for one in found])
            if name in names:
                spec = self._spec(fullname, f"{folder}/{name}", "__init__")
            elif f"{name}.py" in names and not any(name + suffix in names for suffix in EXTENSION_SUFFIXES):
                spec = self._spec(fullname, folder, name)
            else:
                return None
            if spec is None:
                self._names[folder] = frozenset()  # its other modules are hardly better
        except (OSError, ValueError, EOFError, TypeError):
            return None
        return spec

    def invalidate_caches(self) -> None:
        """Look at the folders again: `importlib.invalidate_caches` calls this."""
        self._names.clear()

    def _spec(self, fullname: str, folder: str, name: str) -> ModuleSpec | None:
        source = f"{folder}/{name}.py"
        cached = f"{folder}{self._between}{name}{self._suffix}"
        status = os.stat(source)  # noqa: PTH116 - a `Path` costs as much as the look-up
        compiled = bytes_of(cached)
        changed = (int(status.st_mtime) & 0xFFFF_FFFF) | (status.st_size & 0xFFFF_FFFF) << 32
        if compiled[:16] != _HEAD + changed.to_bytes(8, "little"):
            return None
        code = loads(memoryview(compiled)[16:])  # noqa: S302 - the file that Python would load
        if type(code) is not CodeType or code.co_filename != source:
            return None  # a folder that was moved: Python has to write the new name into the code
        spec = ModuleSpec(fullname, _Loader(fullname, source, code), origin=source, is_package=name == "__init__")
        if name == "__init__":
            spec.submodule_search_locations = [folder]
        spec.has_location = True
        spec.cached = cached
        return spec


class _Loader(SourceFileLoader):
    """Runs the code that was read when the module was found."""

    def __init__(self, fullname: str, path: str, code: CodeType) -> None:
        super().__init__(fullname, path)
        self._code: CodeType | None = code

    def get_code(self, fullname: str) -> CodeType | None:
        """Return the code of the module."""
        code, self._code = self._code, None
        return super().get_code(fullname) if code is None else code


def bytes_of(path: str) -> bytes:
    """Return a file's bytes, without a look at what kind of file it is.

    :raises OSError: it cannot be read.
    """
    file = os.open(path, _READING)
    try:
        return os.read(file, os.fstat(file).st_size)
    finally:
        os.close(file)
