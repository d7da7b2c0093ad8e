"""Local JSON pointers (RFC 6901), as `$ref` writes them: `#/$defs/place`. Pure."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import unquote

from utcp_bridge.model import is_list, is_object

__all__ = ["at_pointer", "steps_of"]

_MOST_DIGITS: Final = 6


def steps_of(pointer: str) -> list[str]:
    """The steps of a pointer, with or without `#`; none for the whole document."""
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.removeprefix("#").split("/")[1:]]


def at_pointer(root: Any, reference: str) -> Any:
    """The value that a reference names within `root`; None if there is none, as for anchors and other documents."""
    if reference != "#" and not reference.startswith("#/"):
        return None
    value = root
    for step in steps_of(unquote(reference)):
        if is_object(value):
            value = value.get(step)
        elif is_list(value) and step.isdecimal() and len(step) <= _MOST_DIGITS and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value
