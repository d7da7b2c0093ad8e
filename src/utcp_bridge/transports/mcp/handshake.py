"""The SDK's session with one server: it opens in either era of the protocol, and its requests return what came.

A server of 2026-07-28 answers `server/discover`; an older one wants `initialize` first. A server that says nothing for
two seconds is sent `initialize` as well, and the first useful reply decides. Over stdio the question is `ping` with the
envelope of 2026-07-28: older servers answer it without a word in their logs, newer ones refuse it (2026-07-28,
`Versioning`; 2025-11-25, `Lifecycle`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Self

import anyio
import mcp_types as types
from mcp import MCPError
from mcp.client.session import ClientSession
from mcp.shared.dispatcher import CallOptions, ProgressFnT
from mcp.shared.inbound import (
    MCP_METHOD_HEADER,
    MCP_NAME_HEADER,
    MCP_PROTOCOL_VERSION_HEADER,
    encode_header_value,
)
from mcp.shared.inbound import find_invalid_x_mcp_header as header_fault
from mcp.shared.inbound import x_mcp_header_map as header_map
from mcp_types.version import (
    HANDSHAKE_PROTOCOL_VERSIONS,
    LATEST_HANDSHAKE_VERSION,
    LATEST_MODERN_VERSION,
    MODERN_PROTOCOL_VERSIONS,
)

from utcp_bridge.model import JsonObject, is_list, is_object

__all__ = ["SILENCE_SECONDS", "RawSession", "UnknownVersion", "header_fault", "header_map"]

SILENCE_SECONDS: Final = 2.0
"""How long a server may be silent about the first question before it is sent `initialize` as well."""


class UnknownVersion(Exception):
    """The server speaks no version of the protocol that the SDK speaks. The text is its versions."""


@dataclass
class _Route:
    """One way to open a session: `server/discover`, or `initialize`."""

    ended: anyio.Event = field(default_factory=anyio.Event)
    result: JsonObject | None = None
    error: Exception | None = None

    async def run(self, ask: Callable[[], Awaitable[JsonObject]], settled: Callable[[], object]) -> None:
        try:
            self.result = await ask()
        except (MCPError, UnknownVersion) as error:
            self.error = error
        finally:
            self.ended.set()
            settled()


class RawSession(ClientSession):
    """A session that sends any request, and returns the result as it came instead of as a model of the SDK."""

    capabilities: JsonObject
    """What the server offers, as it said it."""
    server_instructions: str | None = None

    async def request(self, method: str, params: JsonObject, progress: ProgressFnT | None = None) -> JsonObject:
        """Send a request in the form of the session's era and return its result.

        :raises MCPError: the server refused it, or the connection ended.
        """
        meta = params.get("_meta")
        given = {**params, "_meta": dict(meta)} if is_object(meta) else {**params}
        opts: CallOptions = {} if progress is None else {"on_progress": progress}
        self._stamp({"method": method, "params": given}, opts)
        if self.is_modern and method.startswith("tasks/"):  # the SDK has no tasks (2026-07-28, extension of tasks)
            opts.setdefault("headers", {})[MCP_NAME_HEADER] = encode_header_value(str(given.get("taskId")))
        return await self._dispatcher.send_raw_request(method, given or None, opts)

    def with_headers(self, maps: dict[str, Any]) -> Self:
        """Use these maps, by tool, of arguments that are sent as headers too (2026-07-28, `Mcp-Param-*`)."""
        self._x_mcp_header_maps = maps
        return self

    @property
    def is_modern(self) -> bool:
        """Whether the session speaks 2026-07-28 or later."""
        return self.protocol_version in MODERN_PROTOCOL_VERSIONS

    async def open_handshake(self) -> bool:
        """Open the session in the older era, and return whether the server speaks it."""
        legacy = _Route()
        await legacy.run(self._initialized, lambda: None)
        if legacy.result is not None:
            await self._adopt_legacy(legacy.result)
        return legacy.result is not None

    async def open(self, *, quietly: bool, at_once: bool = False) -> None:
        """Agree on a version of the protocol. With `quietly`, the first question is `ping`.

        With `at_once`, it is `initialize`, for servers that end at any other one.

        :raises MCPError: the server refused both ways to open a session, or the connection ended.
        :raises UnknownVersion: it does not speak any version of the bridge.
        """
        modern, legacy = _Route(), _Route()
        moved = anyio.Event()

        def settled() -> None:
            nonlocal moved
            moved.set()
            moved = anyio.Event()

        async with anyio.create_task_group() as group:
            if at_once:
                await legacy.run(self._initialized, settled)
            if legacy.result is None:
                group.start_soon(modern.run, partial(self._discovered, quietly=quietly), settled)
                with anyio.move_on_after(SILENCE_SECONDS):
                    await modern.ended.wait()
            if modern.result is None and not at_once:
                group.start_soon(legacy.run, self._initialized, settled)
            while modern.result is None and legacy.result is None:
                if modern.ended.is_set() and legacy.ended.is_set():
                    raise _telling(modern.error, legacy.error)
                await moved.wait()
            group.cancel_scope.cancel()
        if modern.result is not None:
            self._adopt_modern(modern.result)
        elif legacy.result is not None:
            await self._adopt_legacy(legacy.result)

    async def _discovered(self, *, quietly: bool) -> JsonObject:
        """Return the result of `server/discover`.

        :raises MCPError: the server is an older one, or the connection ended.
        """
        if quietly:
            try:
                if "resultType" not in await self._first("ping"):
                    raise UnknownVersion("it answers ping")
            except MCPError as error:
                if error.code == types.CONNECTION_CLOSED:
                    raise
        found = await self._discover()
        spoken = _texts(found.get("supportedVersions"))
        if not any(version in MODERN_PROTOCOL_VERSIONS for version in spoken):
            raise UnknownVersion(", ".join(spoken))
        return found

    async def _discover(self) -> JsonObject:
        """Ask once more if the server refuses the version, and names one that both sides speak."""
        try:
            return await self._first("server/discover")
        except MCPError as error:
            refused = error.code == types.UNSUPPORTED_PROTOCOL_VERSION and is_object(error.data)
            spoken = _texts(error.data.get("supported")) if refused else []
            common = [version for version in MODERN_PROTOCOL_VERSIONS if version in spoken]
            if not common:
                raise
        return await self._first("server/discover", common[-1])

    async def _first(self, method: str, version: str = LATEST_MODERN_VERSION) -> JsonObject:
        """Send a request that comes before the session is open, in the envelope of 2026-07-28."""
        params: JsonObject = {
            "_meta": {
                types.PROTOCOL_VERSION_META_KEY: version,
                types.CLIENT_INFO_META_KEY: _dumped(self._client_info),
                types.CLIENT_CAPABILITIES_META_KEY: _dumped(self._build_capabilities(version)),
            }
        }
        headers = {MCP_PROTOCOL_VERSION_HEADER: version, MCP_METHOD_HEADER: method}
        return await self._dispatcher.send_raw_request(method, params, {"cancel_on_abandon": False, "headers": headers})

    async def _initialized(self) -> JsonObject:
        """Return the result of `initialize`.

        :raises MCPError: the server refused it, or the connection ended.
        :raises UnknownVersion: it does not speak any version of the bridge.
        """
        params: JsonObject = {
            "protocolVersion": LATEST_HANDSHAKE_VERSION,
            "capabilities": _dumped(self._build_capabilities(LATEST_HANDSHAKE_VERSION)),
            "clientInfo": _dumped(self._client_info),
        }
        found = await self._dispatcher.send_raw_request("initialize", params, {"cancel_on_abandon": False})
        version = found.get("protocolVersion", HANDSHAKE_PROTOCOL_VERSIONS[0])
        if version not in HANDSHAKE_PROTOCOL_VERSIONS:
            raise UnknownVersion(str(version)[:100])
        return {**found, "protocolVersion": version}

    def _adopt_modern(self, found: JsonObject) -> None:
        self._note(found)
        versions = [one for one in _texts(found.get("supportedVersions")) if one in MODERN_PROTOCOL_VERSIONS]
        capabilities = types.ServerCapabilities()
        discovered = types.DiscoverResult(
            supported_versions=versions,
            capabilities=capabilities,
            result_type="complete",
            ttl_ms=0,
            cache_scope="private",
        )
        self.adopt(discovered)

    async def _adopt_legacy(self, found: JsonObject) -> None:
        self._note(found)
        initialized = types.InitializeResult(
            protocol_version=found["protocolVersion"],
            capabilities=types.ServerCapabilities(),
            server_info=types.Implementation(name="", version=""),
        )
        self.adopt(initialized)
        await self.send_notification(types.InitializedNotification())

    def _note(self, found: JsonObject) -> None:
        said = found.get("capabilities")
        offered = said.items() if is_object(said) else ()
        self.capabilities = {
            key: value if is_object(value) else {} for key, value in offered if value not in (None, False)
        }
        instructions = found.get("instructions")
        self.server_instructions = instructions if isinstance(instructions, str) else None


def _telling(modern: Exception | None, legacy: Exception | None) -> Exception:
    """Return the error that says most about why a session could not be opened."""
    unsupported = isinstance(modern, MCPError) and modern.code == types.UNSUPPORTED_PROTOCOL_VERSION
    return modern if unsupported and modern is not None else legacy or modern or UnknownVersion("none")


def _texts(value: Any) -> list[str]:
    return [one for one in value if isinstance(one, str)] if is_list(value) else []


def _dumped(model: Any) -> JsonObject:
    dumped: JsonObject = model.model_dump(by_alias=True, mode="json", exclude_none=True)
    return dumped
