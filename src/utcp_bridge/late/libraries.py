"""Parts of libraries that are made when they are first used, although their modules make them at import.

aiohttp needs 85 ms of CPU to be imported. Six of them write the methods of sixteen `attr` classes with which requests
are traced, and 14 are the import of aiodns, for a resolver of its own. The bridge uses neither of them. pydantic takes
20 to ask `importlib.metadata` for plugins, which few environments have, 16 for the methods of data classes, most of
which are never used, and 6 for typed dicts that only type checkers read. anyio takes 5 for data classes.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType, SimpleNamespace
from typing import Any, Final

from utcp_bridge.late.entry_points import entry_points
from utcp_bridge.late.records import dataclass as late_dataclass

__all__ = ["import_anyio", "import_pydantic", "late_parts"]


@contextmanager
def late_parts() -> Generator[None]:
    """Let the modules in `_STAND_INS` that are imported during the block make their slow parts when these are used.

    A module that has another form than expected is imported as always.
    """
    finder = _StandInFinder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


def import_anyio() -> None:
    """Import anyio with its slow parts made late. Call it before anything else imports it."""
    with late_parts(), suppress(ImportError):
        import_module("anyio._backends._asyncio")  # what `anyio.run` imports


def import_pydantic() -> None:
    """Import pydantic with its slow parts made late. Call it before anything else imports it."""
    with late_parts(), suppress(ImportError):
        import_module("pydantic.types")
        import_module("pydantic.main")
        import_module("pydantic.fields")
        import_module("pydantic.plugin._loader")  # not in its documentation; without it, pydantic looks as always


class _StandInFinder:
    def find_spec(self, fullname: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname not in _STAND_INS:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = _StandInLoader(spec.loader.name, spec.loader.path)
        return spec


class _StandInLoader(SourceFileLoader):
    """Runs a module whose statement `import NAME` gives the stand-in of NAME, if it has one."""

    def exec_module(self, module: ModuleType) -> None:
        before = dict(vars(module))
        name, make = _STAND_INS[module.__name__]
        stand_in: Any = make()

        def importing(wanted: str, *rest: Any) -> Any:
            return stand_in if wanted == name else builtins.__import__(wanted, *rest)

        vars(module)["__builtins__"] = {**vars(builtins), "__import__": importing}
        try:
            exec(self.get_code(module.__name__) or "", vars(module))  # noqa: S102 - what any loader does
        except AttributeError:  # the module needs more of the library than the stand-in has
            vars(module).clear()
            vars(module).update(before)
            super().exec_module(module)
        vars(module)["__builtins__"] = builtins
        stand_in.__dict__.pop("_at_import", None)


class _Attr(SimpleNamespace):
    """What `attr` is for a module that only decorates classes with it."""

    @staticmethod
    def s(**options: Any) -> Callable[[type], type]:
        """Decorate a class. `attr` writes the methods when the first object is made.

        The objects have a `__dict__`, because only a new class could have slots.
        """

        def late(kind: type) -> type:
            def first(made: Any, *given: Any, **named: Any) -> None:
                if vars(kind)["__init__"] is first:
                    import_module("attr").s(**{**options, "slots": False})(kind)
                type(made).__init__(made, *given, **named)

            type.__setattr__(kind, "__init__", first)
            return kind

        return late


class _Aiodns:
    """What `aiodns` is for a module that only looks at import whether its resolver has `getaddrinfo`."""

    def __init__(self) -> None:
        self._at_import = {"DNSResolver": SimpleNamespace(getaddrinfo=None)}

    def __getattr__(self, name: str) -> Any:
        at_import = vars(self).get("_at_import")
        return getattr(import_module("aiodns"), name) if at_import is None else at_import[name]


class _Metadata:
    """What `importlib.metadata` is for a module that only imports `entry_points` from it."""

    def __init__(self) -> None:
        self.entry_points = entry_points


class _Instead:
    """What a library is for a module that uses some names of it, which are another thing here."""

    def __init__(self, library: str, **names: Any) -> None:
        self.__dict__ |= names
        self._library = library

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self._library), name)


class _TypedDict(dict[str, Any]):
    """What `TypedDict` is for a module whose typed dicts are never looked at: calling one makes a dict."""

    def __new__(cls, *given: Any, **named: Any) -> Any:
        return dict(*given, **named)

    def __init_subclass__(cls, **options: bool) -> None:
        del options


def _dataclasses() -> _Instead:
    return _Instead("dataclasses", dataclass=late_dataclass)


def _typing() -> _Instead:
    return _Instead(_TYPED_DICTS, TypedDict=_TypedDict)


_TYPED_DICTS: Final = "typing_extensions" if sys.version_info < (3, 12) else "typing"
_WITH_DATA_CLASSES: Final = (
    "annotated_types",
    "anyio._backends._asyncio",
    "anyio._core._sockets",
    "anyio._core._synchronization",
    "anyio.lowlevel",
    "anyio.streams.memory",
    "anyio.streams.stapled",
    "anyio.streams.tls",
    "pydantic._internal._decorators",
    "pydantic._internal._fields",
    "pydantic._internal._forward_ref",
    "pydantic._internal._utils",
    "pydantic.aliases",
    "pydantic.fields",
    "pydantic.functional_serializers",
    "pydantic.functional_validators",
    "pydantic.json_schema",
    "pydantic.types",
)
_STAND_INS: Final[Mapping[str, tuple[str, Callable[[], Any]]]] = {
    "aiohttp.tracing": ("attr", _Attr),
    "aiohttp.resolver": ("aiodns", _Aiodns),
    **dict.fromkeys(_WITH_DATA_CLASSES, ("dataclasses", _dataclasses)),
    "pydantic.plugin._loader": ("importlib.metadata", _Metadata),
    "pydantic_core.core_schema": (_TYPED_DICTS, _typing),
}
"""Modules, and for each of them the library that it imports and what it gets in place of it."""
