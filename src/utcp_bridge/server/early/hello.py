"""How a host says hello, and what the bridge answers, without the SDK: `initialize` and `server/discover`.

As for hot requests, the shape alone decides. A hello is plain if it has only the members that are named here, each of
the plain type. Any other one goes to the SDK. The answers have the bytes of the SDK's.
"""

from __future__ import annotations

from typing import Any, Final

from utcp_bridge import __version__
from utcp_bridge.auth.results import masked_at_once
from utcp_bridge.late.records import dataclass
from utcp_bridge.model import JsonObject, is_object
from utcp_bridge.server.parts import NAME, TITLE, Parts
from utcp_bridge.server.wire.protocol import (
    CLIENT_CAPABILITIES_META_KEY,
    CLIENT_INFO_META_KEY,
    HANDSHAKE_PROTOCOL_VERSIONS,
    MODERN_PROTOCOL_VERSIONS,
    PROTOCOL_VERSION_META_KEY,
    SERVER_INFO_META_KEY,
)

__all__ = ["Hello", "discovered", "envelope_name", "greeting", "is_discovery", "read_hello", "server_info"]

_PARAMS: Final = frozenset({"protocolVersion", "capabilities", "clientInfo"})
_INFO: Final = frozenset({"name", "version", "title", "description", "websiteUrl"})
_INFO_OF_ALL: Final = frozenset({"name", "version"})
_ENVELOPE: Final = frozenset({PROTOCOL_VERSION_META_KEY, CLIENT_INFO_META_KEY, CLIENT_CAPABILITIES_META_KEY})
_PARTS: Final = {
    "roots": frozenset({"listChanged"}),
    "sampling": frozenset({"context", "tools"}),
    "elicitation": frozenset({"form", "url"}),
}
_OPEN: Final = frozenset({"experimental", "extensions"})
"""Capabilities whose members have any name; each is an object."""


@dataclass(slots=True)
class Hello:
    """What a host says of itself when it begins a session."""

    name: str
    version: str
    """The version of the protocol that the session has."""
    capabilities: JsonObject


def read_hello(message: JsonObject) -> Hello | None:
    """Return what an `initialize` request says, if its shape is plain."""
    params = message.get("params")
    if message.get("method") != "initialize" or not is_object(params) or params.keys() != _PARAMS:
        return None
    wanted, info, able = params["protocolVersion"], params["clientInfo"], params["capabilities"]
    if not isinstance(wanted, str) or not _is_plain_info(info) or not _are_plain(able):
        return None
    version = wanted if wanted in HANDSHAKE_PROTOCOL_VERSIONS else HANDSHAKE_PROTOCOL_VERSIONS[-1]
    return Hello(info["name"], version, able)


def is_discovery(message: JsonObject) -> bool:
    """Return whether a request is a `server/discover` of a plain shape."""
    params = message.get("params")
    if message.get("method") != "server/discover" or not is_object(params) or params.keys() != {"_meta"}:
        return False
    meta = params["_meta"]
    if not is_object(meta) or not meta.keys() <= _ENVELOPE or not _is_envelope(meta):
        return False
    return meta.get(PROTOCOL_VERSION_META_KEY) in MODERN_PROTOCOL_VERSIONS


def envelope_name(meta: JsonObject | None) -> tuple[bool, str | None]:
    """Return whether the `_meta` of a request is from a host without capabilities, and the name that it gives itself.

    A host with capabilities can be asked something during its call, for which the SDK is needed.
    """
    if meta is None or not _is_envelope(meta) or meta[CLIENT_CAPABILITIES_META_KEY]:
        return False, None
    info = meta.get(CLIENT_INFO_META_KEY)
    return True, None if info is None else info["name"]


def _is_envelope(meta: JsonObject) -> bool:
    """Return whether what a `_meta` says of the host is of a plain shape."""
    if CLIENT_INFO_META_KEY in meta and not _is_plain_info(meta[CLIENT_INFO_META_KEY]):
        return False
    return _are_plain(meta.get(CLIENT_CAPABILITIES_META_KEY))


def _is_plain_info(info: Any) -> bool:
    return (
        is_object(info) and _INFO_OF_ALL <= info.keys() <= _INFO and all(isinstance(one, str) for one in info.values())
    )


def _are_plain(capabilities: Any) -> bool:
    return is_object(capabilities) and all(_is_plain_part(name, one) for name, one in capabilities.items())


def _is_plain_part(name: str, part: Any) -> bool:
    if not is_object(part) or not (name in _OPEN or (name in _PARTS and part.keys() <= _PARTS[name])):
        return False
    return all(isinstance(one, bool) if name == "roots" else is_object(one) for one in part.values())


def server_info() -> JsonObject:
    """Return the name of this server, as results of 2026-07-28 have it."""
    return {"name": NAME, "title": TITLE, "version": __version__}


def greeting(parts: Parts, version: str) -> JsonObject:
    """Return the result of `initialize`."""
    return {
        "capabilities": _capabilities(parts),
        "protocolVersion": version,
        "serverInfo": server_info(),
        "instructions": _instructions(parts),
    }


def discovered(parts: Parts) -> JsonObject:
    """Return the result of `server/discover`."""
    return {
        "cacheScope": "private",
        "capabilities": _capabilities(parts),
        "resultType": "complete",
        "supportedVersions": list(MODERN_PROTOCOL_VERSIONS),
        "ttlMs": 0,
        "_meta": {SERVER_INFO_META_KEY: server_info()},
        "instructions": _instructions(parts),
    }


def _capabilities(parts: Parts) -> JsonObject:
    kept: JsonObject = {"resources": {}} if parts.budgets.kept.max_bytes else {}
    return {"logging": {}, **kept, "tools": {"listChanged": True}}


def _instructions(parts: Parts) -> str:
    text: str = masked_at_once(parts.own_instructions(), parts.client.redactor)
    return text
