"""File descriptors as servers hand them out, made fit for a strict descriptor pool (pure).

Some reflection servers give one synthetic file per package, without dependencies, with type names relative to
their scope and with renamed fields in google.protobuf's own messages. So: names are resolved among everything that
was given, dependencies follow from the types used, and the well-known types are always our own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from utcp_bridge.errors import ManualError
from utcp_bridge.transports.grpc.protos import protobuf

__all__ = ["Described", "build_pool", "is_known", "well_known_files"]

_WELL_KNOWN = (
    "any", "api", "duration", "empty", "field_mask", "source_context", "struct", "timestamp", "type", "wrappers",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Described:
    """What is known of a server: a descriptor pool, the services to offer, comments by full name."""

    pool: Any
    services: list[str]
    comments: Mapping[str, str]


def is_known(pool: Any, service: str) -> bool:
    """Whether the pool holds a service."""
    try:
        pool.FindServiceByName(service)
    except KeyError:
        return False
    return True


def well_known_files() -> dict[str, Any]:
    """google.protobuf's own files by name, as FileDescriptorProto."""
    found: dict[str, Any] = {}
    for name in (*(f"{word}_pb2" for word in _WELL_KNOWN), "descriptor_pb2"):
        proto = protobuf("descriptor_pb2").FileDescriptorProto()
        protobuf(name).DESCRIPTOR.CopyToProto(proto)
        found[proto.name] = proto
    return found


def build_pool(files: Iterable[Any]) -> Any:
    """A descriptor pool of FileDescriptorProto messages, in whatever order and shape they came.

    :raises ManualError: a type is named that no file defines, or the files contradict one another.
    """
    own = well_known_files()
    own_types = {name for file in own.values() for name in _defined(file)}
    given: dict[str, Any] = {}
    for file in files:
        kept = _without(file, own_types)
        if file.name not in own and (kept.message_type or kept.enum_type or kept.service or kept.extension):
            given.setdefault(file.name, kept)
    everything = {**own, **given}
    homes = {name: file.name for file in everything.values() for name in _defined(file)}
    for file in given.values():
        _resolve(file, homes)
    pool = protobuf("descriptor_pool").DescriptorPool()
    added: set[str] = set()
    try:
        for name in everything:
            _add(pool, name, everything, added, ())
    except (TypeError, KeyError, RecursionError) as error:
        raise ManualError(f"The server's descriptors do not fit together ({type(error).__name__}).") from None
    return pool


def _add(pool: Any, name: str, files: dict[str, Any], added: set[str], path: tuple[str, ...]) -> None:
    if name in added or name in path:
        return
    file = files[name]
    for dependency in file.dependency:
        _add(pool, dependency, files, added, (*path, name))
    pool.Add(file)
    added.add(name)


def _without(file: Any, own_types: set[str]) -> Any:
    """A copy without definitions that are google.protobuf's."""
    copy = type(file)()
    copy.CopyFrom(file)
    for members in (copy.message_type, copy.enum_type):
        prefix = f"{copy.package}." if copy.package else ""
        kept = [member for member in members if prefix + member.name not in own_types]
        del members[:]
        members.extend(kept)
    return copy


def _resolve(file: Any, homes: dict[str, str]) -> None:
    """Make type names absolute, and dependencies those of the types used."""
    used: set[str] = set()
    for scope, field in _references(file):
        for attribute in ("type_name", "extendee", "input_type", "output_type"):
            name = getattr(field, attribute, "")
            if not name:
                continue
            full = _look_up(name, scope, homes)
            if full is None:
                raise ManualError(f"The server's descriptors name the type {name!r}, which none of them defines.")
            setattr(field, attribute, f".{full}")
            used.add(homes[full])
    used.discard(file.name)
    del file.dependency[:]
    del file.public_dependency[:]
    del file.weak_dependency[:]
    file.dependency.extend(sorted(used))


def _look_up(name: str, scope: str, homes: dict[str, str]) -> str | None:
    """A type by protobuf's scoping rule: the innermost scope first."""
    if name.startswith("."):
        return name[1:] if name[1:] in homes else None
    parts = scope.split(".") if scope else []
    for end in range(len(parts), -1, -1):
        candidate = ".".join([*parts[:end], name])
        if candidate in homes:
            return candidate
    return None


def _references(file: Any) -> Iterator[tuple[str, Any]]:
    """Everything that names a type, with the scope it stands in."""
    yield from ((file.package, field) for field in file.extension)
    for message in file.message_type:
        yield from _fields(message, _join(file.package, message.name))
    for service in file.service:
        yield from ((file.package, method) for method in service.method)


def _fields(message: Any, scope: str) -> Iterator[tuple[str, Any]]:
    for field in (*message.field, *message.extension):
        yield scope, field
    for nested in message.nested_type:
        yield from _fields(nested, _join(scope, nested.name))


def _defined(file: Any) -> Iterator[str]:
    for enum in file.enum_type:
        yield _join(file.package, enum.name)
    for message in file.message_type:
        yield from _defined_in(message, file.package)


def _defined_in(message: Any, scope: str) -> Iterator[str]:
    full = _join(scope, message.name)
    yield full
    for enum in message.enum_type:
        yield _join(full, enum.name)
    for nested in message.nested_type:
        yield from _defined_in(nested, full)


def _join(scope: str, name: str) -> str:
    return f"{scope}.{name}" if scope else name
