"""The numbers that python-utcp's converter gives its placeholders (`API_KEY_0`, `API_KEY_1`, …), so that variables
set for it go on working (pure).

It counts the operations for which it made auth: of those with an operationId and a common method, in document
order, the ones whose first known scheme it supports. It takes an empty `security` for none given.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from utcp_bridge.dialects.openapi.shapes import Located, as_array, as_object, as_text
from utcp_bridge.model import JsonObject

__all__ = ["legacy_numbers"]

_METHODS = frozenset({"GET", "PUT", "POST", "DELETE", "PATCH"})
_FLOWS = frozenset({"authorizationCode", "clientCredentials", "accessCode", "application"})


def legacy_numbers(
    operations: Iterable[tuple[str, str, Located]], document: JsonObject, schemes: JsonObject
) -> dict[tuple[str, str], int]:
    """(METHOD, path) → number, for the operations that have one."""
    numbers: dict[tuple[str, str], int] = {}
    for method, path, node in operations:
        requirements = as_array(node.value.get("security")) or as_array(document.get("security"))
        if method in _METHODS and node.value.get("operationId") and _is_supported(requirements, schemes):
            numbers[method, path] = len(numbers)
    return numbers


def _is_supported(requirements: list[Any], schemes: JsonObject) -> bool:
    for requirement in requirements:
        for name in as_object(requirement):
            if name in schemes:
                return _makes_auth(as_object(schemes[name]))
    return False


def _makes_auth(scheme: JsonObject) -> bool:
    kind = scheme.get("type")
    if kind == "oauth2":
        return any(
            flow in _FLOWS and as_object(about).get("tokenUrl")
            for flow, about in as_object(scheme.get("flows")).items()
        )
    if kind == "http":
        return as_text(scheme.get("scheme")).lower() in {"basic", "bearer"}
    return kind == "apiKey"
