"""What a stranger's document holds where something else was expected: every look at it goes through here (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeGuard

from utcp_bridge.model import Faults, JsonObject, is_object

__all__ = [
    "Faults",
    "Located",
    "as_array",
    "as_object",
    "as_text",
    "child",
    "has_type",
    "is_array",
    "pointer_token",
]


@dataclass(frozen=True, slots=True)
class Located:
    """A value, the address of the document it stands in (for relative references) and its JSON pointer there."""

    value: Any
    base: str
    pointer: str

    def at(self, *steps: str | int) -> Located:
        """The member at `steps`; its value is None where there is none."""
        value, pointer = self.value, self.pointer
        for step in steps:
            value = child(value, step)
            pointer += f"/{pointer_token(step)}"
        return Located(value, self.base, pointer)


def is_array(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def as_object(value: object) -> JsonObject:
    """The value if it is an object, else an empty one."""
    return value if is_object(value) else {}


def as_array(value: object) -> list[Any]:
    """The value if it is an array, else an empty one."""
    return value if is_array(value) else []


def as_text(value: object) -> str:
    """The value if it is text, else nothing."""
    return value if isinstance(value, str) else ""


def has_type(schema: JsonObject, *names: str) -> bool:
    """Whether a schema's `type` is one of `names`, alone or in a list."""
    declared = schema.get("type")
    return any(name in names for name in (declared if is_array(declared) else [declared]) if isinstance(name, str))


def child(value: object, step: str | int) -> Any:
    """One step of a JSON pointer; None where it leads nowhere."""
    if is_object(value):
        return value.get(str(step))
    if is_array(value) and str(step).isdecimal() and int(step) < len(value):
        return value[int(step)]
    return None


def pointer_token(step: str | int) -> str:
    """A key as a step of a JSON pointer (RFC 6901)."""
    return str(step).replace("~", "~0").replace("/", "~1")
