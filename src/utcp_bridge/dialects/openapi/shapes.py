"""Safe access to the parts of an untrusted document, and the version of OpenAPI that it is written in (pure).

Version numbers are read leniently: `3.0`, `openapi: 3` and `swagger: 2.0` as a number all count.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypeGuard

from utcp_bridge.model import Faults, JsonObject, is_object

__all__ = [
    "Family",
    "Faults",
    "Located",
    "as_array",
    "as_object",
    "as_text",
    "child",
    "describe",
    "family_of",
    "has_type",
    "is_array",
    "is_openapi",
    "pointer_token",
]

Family: TypeAlias = Literal["2.0", "3.0", "3.1"]
"""3.2 is read as 3.1, because it only adds to 3.1."""
_VERSION = re.compile(r"\s*v?(\d+)(?:\.(\d+))?")


@dataclass(frozen=True, slots=True)
class Located:
    """A value, the address of its document (the base of relative references) and its JSON pointer in the document."""

    value: Any
    base: str
    pointer: str

    def at(self, *steps: str | int) -> Located:
        """Return the member at `steps`; its value is None if there is no such member."""
        value, pointer = self.value, self.pointer
        for step in steps:
            value = child(value, step)
            pointer += f"/{pointer_token(step)}"
        return Located(value, self.base, pointer)


def is_array(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def as_object(value: object) -> JsonObject:
    """Return the value if it is an object, else an empty object."""
    return value if is_object(value) else {}


def as_array(value: object) -> list[Any]:
    """Return the value if it is an array, else an empty array."""
    return value if is_array(value) else []


def as_text(value: object) -> str:
    """Return the value if it is text, else an empty text."""
    return value if isinstance(value, str) else ""


def has_type(schema: JsonObject, *names: str) -> bool:
    """Return whether a schema's `type` is one of `names`, or a list that contains one of them."""
    declared = schema.get("type")
    return any(name in names for name in (declared if is_array(declared) else [declared]) if isinstance(name, str))


def child(value: object, step: str | int) -> Any:
    """Return the value one step of a JSON pointer further; None if there is none."""
    if is_object(value):
        return value.get(str(step))
    if is_array(value) and str(step).isdecimal() and int(step) < len(value):
        return value[int(step)]
    return None


def pointer_token(step: str | int) -> str:
    """Return a key as a step of a JSON pointer (RFC 6901)."""
    return str(step).replace("~", "~0").replace("/", "~1")


def is_openapi(document: object) -> bool:
    """Return whether `convert` understands the document: it contains `openapi: 3…` or `swagger: 2…`."""
    return family_of(document) is not None


def family_of(document: object) -> Family | None:
    """Return the document's version family; None for a document that is not OpenAPI."""
    if not is_object(document):
        return None
    for key in ("openapi", "swagger"):
        version = document.get(key)
        if isinstance(version, bool) or not isinstance(version, str | int | float):
            continue
        if match := _VERSION.match(str(version)):
            return _family(int(match[1]), int(match[2] or 0))
    return None


def _family(major: int, minor: int) -> Family | None:
    if major == 2:
        return "2.0"
    if major == 3:
        return "3.1" if minor >= 1 else "3.0"
    return None


def describe(document: JsonObject) -> JsonObject:
    """Return title, version and description of the API, and its version of OpenAPI under `openapi`."""
    info = as_object(document.get("info"))
    described = {key: str(info[key]) for key in ("title", "version", "description") if info.get(key) is not None}
    return {**described, "openapi": str(document.get("openapi") or document.get("swagger") or "")}
