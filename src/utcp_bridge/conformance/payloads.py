"""Bytes as vectors write them: `json`, `text` or `base64`."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from utcp_bridge.model import JsonObject

__all__ = ["as_bytes", "described"]


def as_bytes(payload: Mapping[str, Any]) -> bytes:
    """Return the bytes that a vector means."""
    if "base64" in payload:
        return base64.b64decode(payload["base64"])
    if "text" in payload:
        return str(payload["text"]).encode()
    return json.dumps(payload["json"], ensure_ascii=False).encode() if "json" in payload else b""


def described(data: bytes) -> JsonObject:
    """Return what arrived in every form that it has, so that a vector may compare one of them."""
    found: JsonObject = {"base64": base64.b64encode(data).decode()}
    with suppress(UnicodeDecodeError):
        found["text"] = data.decode()
        with suppress(ValueError):
            found["json"] = json.loads(found["text"])
    return found
