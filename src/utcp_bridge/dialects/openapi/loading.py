"""Is it OpenAPI, and of which family? Near misses count: `3.0`, `openapi: 3`, `swagger: 2.0` as a number (pure)."""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

from utcp_bridge.dialects.openapi.shapes import as_object
from utcp_bridge.model import JsonObject, is_object

__all__ = ["Family", "describe", "family_of", "is_openapi"]

Family: TypeAlias = Literal["2.0", "3.0", "3.1"]
"""3.2 is read as 3.1: it adds to it and changes nothing."""

_VERSION = re.compile(r"\s*v?(\d+)(?:\.(\d+))?")


def is_openapi(document: object) -> bool:
    """Whether `convert` understands the document: it says `openapi: 3…` or `swagger: 2…`."""
    return family_of(document) is not None


def family_of(document: object) -> Family | None:
    """2.0, 3.0 or 3.1; None for everything else."""
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
    """Title, version and description of the API, and the version of OpenAPI it is written in."""
    info = as_object(document.get("info"))
    described = {key: str(info[key]) for key in ("title", "version", "description") if info.get(key) is not None}
    return {**described, "openapi": str(document.get("openapi") or document.get("swagger") or "")}
