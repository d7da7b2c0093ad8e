"""Tool names, titles, descriptions and annotations from operations (pure)."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from typing import Any

from utcp_bridge.dialects.openapi.operations import Operation
from utcp_bridge.dialects.openapi.shapes import as_text
from utcp_bridge.model import JsonObject

__all__ = ["LONGEST_NAME", "description", "hints", "safe_name", "title", "unique_names"]

LONGEST_NAME = 64
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
_DIGEST = 6
_LONGEST_TITLE = 120
_READING = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "QUERY"})


def safe_name(name: str) -> str:
    """Runs of other characters than letters, digits, `_` and `-` become one `_`."""
    return _UNSAFE.sub("_", name).strip("_-")


def _path_name(method: str, path: str) -> str:
    """`GET /users/{id}/posts` is `get_users_by_id_posts`."""
    words = [method.lower()]
    for segment in path.partition("?")[0].split("/"):
        spoken = re.sub(r"\{([^{}]*)\}", r" by \1 ", segment)
        words += [word for word in _UNSAFE.split(spoken) if word]
    return "_".join(words) if len(words) > 1 else f"{words[0]}_root"


def unique_names(wanted: list[tuple[str, str, str]]) -> list[str]:
    """A legal name for each (name or nothing, method, path), none twice.

    What is too long, or wanted by more than one, ends in a hash of method and path: the order of operations and
    new ones elsewhere change nothing.
    """
    plain = [safe_name(name) or safe_name(_path_name(method, path)) or "operation" for name, method, path in wanted]
    counts = Counter(plain)
    taken: set[str] = set()
    names: list[str] = []
    for name, (_, method, path) in zip(plain, wanted, strict=True):
        chosen = name
        if len(name) > LONGEST_NAME or counts[name] > 1 or name in taken:
            chosen = _hashed(name, f"{method} {path}")
        while chosen in taken:
            chosen = _hashed(name, f"{method} {path} {chosen}")
        taken.add(chosen)
        names.append(chosen)
    return names


def _hashed(name: str, identity: str) -> str:
    digest = hashlib.sha256(identity.encode("utf-8", "replace")).hexdigest()[:_DIGEST]
    return f"{name[: LONGEST_NAME - _DIGEST - 1].rstrip('_-')}_{digest}"


def title(operation: Operation) -> str | None:
    """The summary, on one line."""
    summary = " ".join(as_text(operation.node.value.get("summary")).split())
    return summary[:_LONGEST_TITLE] or None


def description(operation: Operation) -> str:
    """Summary and description, else method and path; says where an operation is deprecated."""
    node: JsonObject = operation.node.value
    summary, details = as_text(node.get("summary")).strip(), as_text(node.get("description")).strip()
    if summary and details.startswith(summary.rstrip(".")):
        summary = ""
    text = "\n\n".join(part for part in (summary, details) if part) or operation.label
    return f"{text} (deprecated)" if node.get("deprecated") is True else text


def hints(method: str) -> dict[str, Any]:
    """MCP's hints as far as HTTP's method semantics (RFC 9110, 9.2) give them.

    POST and PATCH say nothing of destruction: MCP's default then assumes it.
    """
    found: dict[str, Any] = {"openWorldHint": True}
    if method in _READING:
        found |= {"readOnlyHint": True, "idempotentHint": True}
    elif method in {"PUT", "DELETE"}:
        found |= {"readOnlyHint": False, "destructiveHint": True, "idempotentHint": True}
    else:
        found |= {"readOnlyHint": False}
    return found
