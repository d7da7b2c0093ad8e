"""Lists in pages: one page unless the list has more bytes than clients take in one message."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence
from typing import Final

import mcp_types as types
from mcp.shared.exceptions import MCPError

from utcp_bridge.catalogue.fitting import json_bytes
from utcp_bridge.model import JsonObject

__all__ = ["digest_of", "page_of_list"]

_MAX_PAGE_BYTES: Final = 480 * 1024
"""Clients of the handshake era refuse a server-sent event above 1 MiB, and the bridge sends none above 512 KiB."""
_DIGEST_BYTES: Final = 6


def digest_of(entries: Sequence[JsonObject]) -> str:
    """Return a hash of the entries, as text."""
    return hashlib.blake2b(json_bytes(entries), digest_size=_DIGEST_BYTES).hexdigest()


def page_of_list(entries: Sequence[JsonObject], cursor: str | None) -> tuple[list[JsonObject], str | None]:
    """Return the page that starts at a cursor, and the next cursor; None on the last page.

    :raises MCPError: the cursor is malformed, or the list has changed since.
    """
    start = 0 if cursor is None else _position(entries, cursor)
    end, used = start, 0
    while end < len(entries):
        used += len(json_bytes(entries[end])) + 1
        if end > start and used > _MAX_PAGE_BYTES:
            break
        end += 1
    if end == len(entries):
        return list(entries[start:]), None
    following = base64.urlsafe_b64encode(f"{end}.{digest_of(entries)}".encode()).decode().rstrip("=")
    return list(entries[start:end]), following


def _position(entries: Sequence[JsonObject], cursor: str) -> int:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
    except (binascii.Error, ValueError):
        text = ""
    position, _, digest = text.partition(".")
    if not position.isdecimal() or len(position) > 9 or digest != digest_of(entries):
        raise MCPError(
            types.INVALID_PARAMS, "The cursor belongs to an earlier list. Ask for the list without a cursor."
        )
    return int(position)
