"""The way of an HTTP request to the server of its profile.

    /mcp, /utcp                     the profile that the principal has first; without one, the whole bridge
    /mcp/p/NAME, /utcp/p/NAME       the profile of this name, if the principal may use it

A name that does not exist and one that the principal may not use give the same response. Without profiles, requests
reach the one server as directly as before.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, Final, Generic, Protocol, Self, TypeVar

from starlette.routing import BaseRoute, Route, Router

from utcp_bridge.access.admissions import Admission, address_of, note_admission, note_profile, principal_of
from utcp_bridge.access.gatekeeper import Gatekeeper
from utcp_bridge.access.profiles import Profile, UnknownProfile
from utcp_bridge.model import Requester
from utcp_bridge.net.heads.ahead import Ahead
from utcp_bridge.server.changes import Changes
from utcp_bridge.server.profiles.parts import ServedPart
from utcp_bridge.server.replies import Receive, Scope, Send, respond

__all__ = ["UTCP_PATH", "ProfileWays"]

UTCP_PATH: Final = "/utcp"
_BELOW: Final = "/p/"
_MAX_KNOWN: Final = 256


class EndingSessions(Protocol):
    """The sessions of an endpoint."""

    def end_streams(self) -> None:
        """End event streams."""
        ...


class ProfileEndpoint(Protocol):
    """The endpoint of MCP of one server (`McpEndpoint`)."""

    @property
    def sessions(self) -> EndingSessions:
        """Its sessions of the handshake era."""
        ...

    def run(self) -> AbstractAsyncContextManager[None]:
        """Serve until the end of the context."""
        ...

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        ...


class ProfileServer(Protocol):
    """The server of one profile, or of the whole bridge (`BridgeServer`)."""

    part: ServedPart
    changes: Changes

    def beside(self, profile: Profile) -> Self:
        """Return a server of a profile, which serves next to this one."""
        ...


S = TypeVar("S", bound=ProfileServer)
E = TypeVar("E", bound=ProfileEndpoint)


class ProfileWays(Generic[S, E]):
    """The servers of the profiles next to the one of the whole bridge, and the choice among them."""

    def __init__(self, server: S, endpoint_of: Callable[[S], E], path: str) -> None:
        """`path` is that of MCP, without a slash at its end."""
        self._profiles = server.part.profiles
        self._path = path
        servers: dict[str | None, S] = {None: server}
        if self._profiles.fixed is not None:
            servers[self._profiles.fixed.name] = server
        else:
            for profile in self._profiles:
                servers[profile.name] = server.beside(profile)
        own = {id(one): endpoint_of(one) for one in servers.values()}
        self._servers = {id(one): one for one in servers.values()}
        self._endpoints = {name: own[id(one)] for name, one in servers.items()}
        self._each = own
        self._by_name = servers
        self.paths: Final = [path] if not self._profiles else [path, f"{path.rstrip('/')}{_BELOW}{{name:path}}"]
        """The patterns of the paths of MCP."""
        self.mcp: Final[Any] = self._endpoints[None] if not self._profiles else self._serve_mcp

    @property
    def servers(self) -> list[S]:
        """The server of the whole bridge, or of its one profile, and after it those of further profiles."""
        return [*self._servers.values()]

    @asynccontextmanager
    async def run(self) -> AsyncGenerator[None]:
        """Serve until the end of the context (lifespan)."""
        async with AsyncExitStack() as stack:
            for endpoint in self._each.values():
                await stack.enter_async_context(endpoint.run())
            yield

    def end_streams(self) -> None:
        """End the event streams of every server."""
        for server in self._servers.values():
            server.changes.close()
        for endpoint in self._each.values():
            endpoint.sessions.end_streams()

    def utcp_routes(self, routes_of: Callable[[S, Sequence[str]], Sequence[BaseRoute]]) -> list[BaseRoute]:
        """Return the routes of UTCP. `routes_of` makes those of one server at some paths."""
        if not self._profiles:
            return [*routes_of(self._by_name[None], [UTCP_PATH])]
        routers = {
            name: Router(routes_of(server, [UTCP_PATH] if name is None else [UTCP_PATH, f"{UTCP_PATH}{_BELOW}{name}"]))
            for name, server in self._by_name.items()
        }

        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            name = _named(scope["path"], UTCP_PATH)
            if (
                chosen := await self._chosen(scope, send, None if name is None else name.partition("/")[0])
            ) is not _NONE:
                await routers[chosen](scope, receive, send)

        app: Any = _App(serve)
        return [Route(UTCP_PATH, endpoint=app), Route(f"{UTCP_PATH}/{{rest:path}}", endpoint=app)]

    def ahead(self, posts_of: Callable[[S, E, str], Ahead], keeper: Gatekeeper | None = None) -> Ahead:
        """Return what answers hot requests. `posts_of` makes it for one server at one path."""
        whole = posts_of(self._by_name[None], self._endpoints[None], self._path)
        if not self._profiles:
            return whole
        at_root: dict[str | None, Ahead] = {
            name: posts_of(server, self._endpoints[name], self._path) for name, server in self._by_name.items()
        }
        below = {
            path: (name, posts_of(server, self._endpoints[name], path))
            for name, server in self._by_name.items()
            if name is not None
            for path in (f"{self._path.rstrip('/')}{_BELOW}{name}",)
        }
        return _HotWays(self, self._path, at_root, below, keeper)

    def choose(self, scope: Scope, name: str | None) -> str | None:
        """Return the name of the profile of a request; None is the whole bridge.

        :raises UnknownProfile: the profile does not exist, or the principal may not use it.
        """
        found = self._profiles.chosen(principal_of(scope), name)
        if found is None:
            return None
        note_profile(scope, found.name)
        return found.name

    async def _chosen(self, scope: Scope, send: Send, name: str | None) -> Any:
        try:
            return self.choose(scope, name)
        except UnknownProfile as error:
            who = Requester(principal_of(scope).name, address=address_of(scope))
            self._by_name[None].part.whole.refusals.note("unknown_profile", who, name)
            await respond(send, 404, {"error": "not found", "message": str(error)})
            return _NONE

    async def _serve_mcp(self, scope: Scope, receive: Receive, send: Send) -> None:
        name = _named(scope["path"], self._path)
        if (chosen := await self._chosen(scope, send, name)) is not _NONE:
            await self._endpoints[chosen](scope, receive, send)


_NONE: Final = object()
"""No server serves the request: it has its response."""


class _App:
    """An ASGI application that Starlette does not take for a function of a request."""

    def __init__(self, serve: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self._serve = serve

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._serve(scope, receive, send)


def _named(path: str, root: str) -> str | None:
    """Return the profile that a path names, without a slash at its end; None for the root itself."""
    beginning = f"{root.rstrip('/')}{_BELOW}"
    return path[len(beginning) :].rstrip("/") if path.startswith(beginning) else None


class _HotWays:
    """Answers hot requests with the server of their profile (`net.heads.ahead.Ahead`)."""

    def __init__(
        self,
        ways: ProfileWays[Any, Any],
        path: str,
        at_root: dict[str | None, Ahead],
        below: dict[str, tuple[str, Ahead]],
        keeper: Gatekeeper | None = None,
    ) -> None:
        self._ways = ways
        self._path = path
        self._at_root = at_root
        self._below = below
        self._keeper = keeper
        self._whole = at_root[None]
        self._known: dict[tuple[str, Admission | None], tuple[Ahead, str | None]] = {}
        """The parts and profiles of requests by their path and who sends them."""

    def may_take(self, scope: Scope) -> tuple[Ahead, Any] | None:
        """Return the server's part and the head of a request that may be hot."""
        path, admission = scope["path"], None
        if self._keeper is not None:  # who calls decides which profile it is
            admission = self._keeper.known(scope["headers"], self._keeper.certificate_of(scope))
            if admission is None:
                return None
            note_admission(scope, admission)
        known = self._known.get((path, admission)) or self._chosen(scope, path, admission)
        if known is None:
            return None
        posts, name = known
        if name is not None:
            note_profile(scope, name)
        head = posts.may_take(scope)
        return None if head is None else (posts, head)

    def _chosen(self, scope: Scope, path: str, admission: Admission | None) -> tuple[Ahead, str | None] | None:
        """Return the server's part of a request and the name of its profile; None if the application refuses it."""
        try:
            if path == self._path:
                name = self._ways.choose(scope, None)
                found = self._at_root[name], name
            elif path in self._below:
                name, posts = self._below[path]
                found = posts, self._ways.choose(scope, name)
            else:
                return None
        except UnknownProfile:
            return None
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        self._known[path, admission] = found
        return found

    def let_go(self) -> None:
        """Note that a request that may be taken waits no longer for its body: one count serves all."""
        self._whole.let_go()

    def take(self, head: tuple[Ahead, Any], scope: Scope, body: bytes) -> Any:
        """Return an ASGI application for a request whose body has come; None if the usual one serves it."""
        posts, own = head
        return posts.take(own, scope, body)
