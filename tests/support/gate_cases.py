"""One attempt to connect for each way in which the bridge connects. All of them pass the address gate."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

from pydantic import SecretStr

from utcp_bridge.auth.models import OAuth2Auth
from utcp_bridge.auth.tokens import TokenCache
from utcp_bridge.manuals.reading import ManualReader
from utcp_bridge.model import Source, Trust, discard
from utcp_bridge.net.document import document_request, fetch_manual
from utcp_bridge.testing.services import make_call, make_target
from utcp_bridge.transport import Services
from utcp_bridge.transports.registry import TransportRegistry, _built_in

Attempt: TypeAlias = Callable[[Services, Source, str, int], Awaitable[Any]]
"""Connects to the host and port, under the policy of the source."""

_SIGNALLING = "http://127.0.0.1:1"


def stranger(host: str, port: int, *, written: bool = False) -> Source:
    """Return the source of a fetched manual; with `written` the operator wrote its address."""
    pair = frozenset({f"{host}:{port}"}) if written else frozenset[str]()
    return Source("shop", Trust.REMOTE, f"http://{host}:{port}", exempt=pair)


async def _call(kind: str, fields: Mapping[str, Any], services: Services, source: Source, host: str, port: int) -> Any:
    transport = TransportRegistry().find(kind)(services)
    template = {key: _filled(value, host, port) for key, value in fields.items()}
    try:
        target = make_target(transport, {"call_template_type": kind, **template}, source=source)
        return await transport.call(target, make_call({}, source=source), discard)
    finally:
        await transport.aclose()


async def _discover(
    kind: str, fields: Mapping[str, Any], services: Services, source: Source, host: str, port: int
) -> Any:
    transport = TransportRegistry().find(kind)(services)
    template = {key: _filled(value, host, port) for key, value in fields.items()}
    try:
        return await transport.discover(make_target(transport, {"call_template_type": kind, **template}, source=source))
    finally:
        await transport.aclose()


async def _ice(form: str, services: Services, source: Source, host: str, port: int) -> Any:
    """Name an ICE server. The signalling server is another one, which nothing reaches."""
    source = replace(source, origin=_SIGNALLING, exempt=source.exempt | {"127.0.0.1:1"})
    servers = [{"urls": [form.format(host=host, port=port)], "username": "u", "credential": "c"}]
    fields = {"signaling_server": _SIGNALLING, "peer_id": "p", "ice_servers": servers}
    return await _call("webrtc", fields, services, source, host, port)


async def _token(services: Services, source: Source, host: str, port: int) -> Any:
    auth = OAuth2Auth(token_url=f"https://{host}:{port}/token", client_id="c", client_secret=SecretStr("secret"))
    return await TokenCache(services.http).get(auth, source)


async def _document(services: Services, source: Source, host: str, port: int) -> Any:
    """Fetch a manual, or the listing of a registry."""
    request = document_request(f"http://{host}:{port}/utcp")
    return await fetch_manual(services.http.session(source), request, max_bytes=1_000)


async def _reference(services: Services, source: Source, host: str, port: int) -> Any:
    return await ManualReader(services, TransportRegistry())._fetch(source, f"http://{host}:{port}/part.json", 1_000)


async def _socket(services: Services, source: Source, host: str, port: int) -> Any:
    """Open a connection as `doctor` does."""
    return await services.guard.connect_tcp(host, port, source)


def _filled(value: Any, host: str, port: int) -> Any:
    if isinstance(value, str):
        return value.replace("HOST", host).replace("PORT", str(port))
    if isinstance(value, dict):
        return {key: _filled(one, host, port) for key, one in value.items()}
    return port if value is None else value


_URL = {"url": "http://HOST:PORT/x"}
_SOCKETS = {"host": "HOST", "port": None}
TRANSPORTS: dict[str, dict[str, Attempt]] = {
    "http": {"call": partial(_call, "http", _URL)},
    "sse": {"call": partial(_call, "sse", _URL)},
    "streamable_http": {"call": partial(_call, "streamable_http", _URL)},
    "graphql": {
        "call": partial(_call, "graphql", {**_URL, "query": "{ a }"}),
        "introspection": partial(_discover, "graphql", _URL),
        "subscription": partial(
            _call, "graphql", {**_URL, "query": "subscription { a }", "operation_type": "subscription"}
        ),
    },
    "websocket": {"call": partial(_call, "websocket", {"url": "ws://HOST:PORT/x"})},
    "tcp": {"call": partial(_call, "tcp", _SOCKETS), "discovery": partial(_discover, "tcp", _SOCKETS)},
    "udp": {"call": partial(_call, "udp", _SOCKETS), "discovery": partial(_discover, "udp", _SOCKETS)},
    "grpc": {
        "call": partial(_call, "grpc", _SOCKETS),
        "tls": partial(_call, "grpc", {**_SOCKETS, "use_ssl": True}),
        "reflection": partial(_discover, "grpc", _SOCKETS),
    },
    "webrtc": {
        "signalling": partial(_call, "webrtc", {"signaling_server": "http://HOST:PORT", "peer_id": "p"}),
        "signalling over a socket": partial(_call, "webrtc", {"signaling_server": "ws://HOST:PORT", "peer_id": "p"}),
        "stun": partial(_ice, "stun:{host}:{port}"),
        "turn": partial(_ice, "turn:{host}:{port}"),
        "turn over tcp": partial(_ice, "turn:{host}:{port}?transport=tcp"),
        "turn over tls": partial(_ice, "turns:{host}:{port}"),
    },
    "mcp": {
        "http": partial(_discover, "mcp", {"config": {"mcpServers": {"a": {"url": "http://HOST:PORT/mcp"}}}}),
        "sse": partial(
            _discover, "mcp", {"config": {"mcpServers": {"a": {"url": "http://HOST:PORT/sse", "transport": "sse"}}}}
        ),
    },
}
"""The ways of each kind of transport that has a network."""
OTHERS: dict[str, Attempt] = {
    "manual or registry": _document,
    "reference": _reference,
    "token": _token,
    "doctor": _socket,
}


def attempts() -> Iterator[tuple[str, Attempt]]:
    """Yield every way with its name."""
    for kind, ways in TRANSPORTS.items():
        for way, attempt in ways.items():
            yield f"{kind}: {way}", attempt
    yield from OTHERS.items()


def kinds_with_a_network() -> set[str]:
    """Return the canonical kinds of the built-in transports that connect to another machine."""
    registry = TransportRegistry()
    found = {registry.canonical(name) for name, _ in _built_in()}
    return {kind for kind in found if not registry.find(kind).local and kind != "cli"}
