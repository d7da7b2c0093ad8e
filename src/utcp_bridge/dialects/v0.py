"""UTCP v0.x ("provider" dialect): its names for what has another name in v1.

Besides what the released v0 packages read, these are the fields that only the v0.1 documents and the early drafts show:
`provider` and `tool_transport` in a tool, `transport_type`, `parameters`, `provider_info`.
"""

from __future__ import annotations

from utcp_bridge.dialects.fields import copied, text_of
from utcp_bridge.model import JsonObject

__all__ = [
    "CONFIG_KEYS",
    "KINDS",
    "KIND_KEYS",
    "LOADER_KEYS",
    "MILLISECONDS",
    "TEMPLATE_KEYS",
    "TOOL_KEYS",
    "canonical_kind",
    "rename_template",
]

KIND_KEYS = ("provider_type", "transport_type")
"""What v0 calls `call_template_type`."""

TEMPLATE_KEYS = ("tool_provider", "provider", "tool_transport")
"""What v0 calls a tool's `tool_call_template`."""

TOOL_KEYS = {"parameters": "inputs"}
CONFIG_KEYS = {"providers": "manual_call_templates"}
LOADER_KEYS = {"type": "variable_loader_type"}

KINDS = {
    "http_stream": "streamable_http",
    "http_sse": "sse",
    "http_ndjson": "streamable_http",
    "http_octet_stream": "streamable_http",
}
"""v0 type → v1 type, if they differ."""

MILLISECONDS = frozenset({"streamable_http", "tcp", "udp", "grpc"})
"""Kinds whose `timeout` is in milliseconds, in v0 and in v1; the others count seconds."""


def canonical_kind(kind: str) -> str:
    """Return the v1 name of a type."""
    return KINDS.get(kind, kind)


def rename_template(raw: JsonObject, kind: str) -> JsonObject:
    """Return a provider as a v1 call template: only names change. `kind` is its type as written."""
    renamed = copied(raw, dict.fromkeys((*KIND_KEYS, "type"), "call_template_type"))
    renamed.pop("call_template_type", None)
    canonical = canonical_kind(kind)
    if canonical == "text" and text_of(raw.get("file_path")) and raw.get("content") is None:
        canonical = "file"
    return {"call_template_type": canonical, **renamed}
