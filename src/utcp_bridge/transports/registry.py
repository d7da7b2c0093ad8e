"""Find transports: the modules of `utcp_bridge.transports`, then the entry points of other packages.

A transport is imported when the first template of its kind is loaded, because some of them are slow to import.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, Final, TypeGuard

from utcp_bridge import transports
from utcp_bridge.errors import ConfigError
from utcp_bridge.late.entry_points import entry_points
from utcp_bridge.transport import Transport

__all__ = ["ENTRY_POINT_GROUP", "TransportRegistry"]

ENTRY_POINT_GROUP: Final = "utcp_bridge.transports"
AnyTransport = Transport[Any]


class TransportRegistry:
    """Transport classes by the kinds they serve.

    `extra` are classes of the program that uses the library. They come before the built-in ones, which come before
    entry points.
    """

    def __init__(self, extra: tuple[type[AnyTransport], ...] = ()) -> None:
        self._known: dict[str, type[AnyTransport]] = {}
        for transport in extra:
            self._learn(transport)
        self._modules = dict(_built_in())

    def find(self, kind: str) -> type[AnyTransport]:
        """Return the transport of a kind.

        :raises ConfigError: there is none; the message names the nearest kinds.
        """
        if kind not in self._known:
            for transport in self._candidates(kind):
                self._learn(transport)
                if kind in self._known:
                    break
        if kind not in self._known:
            from difflib import get_close_matches  # for mistakes alone

            near = get_close_matches(kind, self._known, n=2) or sorted(self._known)
            raise ConfigError(f"There is no transport of type {kind!r}.", remedy=f"Did you mean {', '.join(near)}?")
        return self._known[kind]

    def canonical(self, kind: str) -> str:
        """Return the canonical name of a kind (`http_stream` → `streamable_http`)."""
        return self.find(kind).kinds[0]

    def fields(self, kind: str) -> frozenset[str] | None:
        """Return the template keys of a kind with their aliases; None for an unknown kind."""
        try:
            model = self.find(kind).template
        except ConfigError:
            return None
        return frozenset(name for key, field in model.model_fields.items() for name in (key, *_aliases(field)))

    def _learn(self, transport: type[AnyTransport]) -> None:
        for kind in transport.kinds:
            self._known.setdefault(kind, transport)

    def _candidates(self, kind: str) -> Iterator[type[AnyTransport]]:
        """Yield the transport of the module with the kind's name, then the others, then the entry points."""
        names = sorted(self._modules, key=lambda name: (name != kind, name))
        for name in names:
            yield import_module(self._modules[name]).TRANSPORT
        for entry in entry_points(group=ENTRY_POINT_GROUP):
            yield _load(entry)


def _built_in() -> Iterator[tuple[str, str]]:
    """Yield the name and module of each built-in transport: a file in `transports`, or `transport.py` in a package."""
    for found in iter_modules(transports.__path__):
        module = f"{transports.__name__}.{found.name}"
        if found.ispkg:
            yield found.name, f"{module}.transport"
        elif module != __name__:
            yield found.name, module


def _load(entry: Any) -> type[AnyTransport]:
    try:
        found = entry.load()
    except Exception as error:
        raise ConfigError(
            f"The transport {entry.name!r} of {entry.value!r} cannot be loaded ({type(error).__name__}).",
            remedy="Reinstall the package that provides it.",
        ) from error
    if not _is_transport(found):
        raise ConfigError(f"{entry.value!r} is not a transport.", remedy="It must be a subclass of Transport.")
    return found


def _is_transport(found: Any) -> TypeGuard[type[AnyTransport]]:
    return isinstance(found, type) and issubclass(found, Transport)


def _aliases(field: Any) -> tuple[str, ...]:
    choices = getattr(field.validation_alias, "choices", None) or [field.alias, field.validation_alias]
    return tuple(choice for choice in choices if isinstance(choice, str))
