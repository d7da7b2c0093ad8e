"""What the authors of .proto files wrote beside services, methods, messages and fields (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["comments_of"]

_MEMBERS: Mapping[str, Mapping[int, str]] = {
    "FileDescriptorProto": {4: "message_type", 5: "enum_type", 6: "service"},
    "DescriptorProto": {2: "field", 3: "nested_type", 4: "enum_type"},
    "ServiceDescriptorProto": {2: "method"},
    "EnumDescriptorProto": {2: "value"},
}
"""Field numbers of descriptor.proto that a source location's path goes through."""


def comments_of(files: Iterable[Any]) -> dict[str, str]:
    """Comments by full name, from FileDescriptorProto messages; those that lost their source information give none."""
    found: dict[str, str] = {}
    for file in files:
        for location in file.source_code_info.location:
            text = (location.leading_comments or location.trailing_comments).strip()
            name = _full_name(file, list(location.path)) if text else None
            if name is not None:
                found[name] = " ".join(text.split())
    return found


def _full_name(file: Any, path: list[int]) -> str | None:
    """The full name of what a path leads to; None for what has none, such as an option."""
    here, names = file, [file.package] if file.package else list[str]()
    while path:
        members = _MEMBERS.get(type(here).__name__, {}).get(path[0])
        if members is None or len(path) < 2 or path[1] >= len(getattr(here, members)):
            return None
        here = getattr(here, members)[path[1]]
        names.append(str(here.name))
        path = path[2:]
    return ".".join(names) if here is not file else None
