"""The way of an HTTP request to the server of its profile.

    /mcp, /utcp                     the profile that the principal has first; without one, the whole bridge
    /mcp/p/NAME, /utcp/p/NAME       the profile of this name, if the principal may use it

A name that does not exist and one that the principal may not use give the same response. Without profiles, requests
reach the one server as directly as before.

Profiles come and go while the server runs (`take_over`). A request that comes after the change of the settings finds no
profile that is gone: its server serves the calls in flight to their end, and then closes. Requests to a new one wait
some milliseconds until its server can serve.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, Generic, Protocol, Self, TypeVar

import anyio
from anyio.abc import TaskGroup, TaskStatus
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Route, Router

from utcp_bridge.access.admissions import Admission, address_of, note_admission, note_profile, principal_of
from utcp_bridge.access.gatekeeper import Gatekeeper
from utcp_bridge.access.principals import Principal
from utcp_bridge.access.profiles import Profile, Profiles, UnknownProfile
from utcp_bridge.model import Requester
from utcp_bridge.net.heads.ahead import Ahead
from utcp_bridge.server.changes import Changes
from utcp_bridge.server.profiles.parts import ServedPart
from utcp_bridge.server.replies import Receive, Scope, Send, respond

__all__ = ["UTCP_PATH", "ProfileWays"]

UTCP_PATH: Final = "/utcp"
_BELOW: Final = "/p/"
_LOOK_SECONDS: Final = 0.05
_MAX_KNOWN: Final = 256


class EndingSessions(Protocol):
    """The sessions of an endpoint."""

    def end_streams(self) -> None:
        """End event streams."""
        ...

    async def end_all(self) -> None:
        """End the sessions."""
        ...


class HotPart(Ahead, Protocol):
    """What answers hot requests of one server at one path (`HotPosts`)."""

    in_flight: int
    """The requests that it answers."""


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


class _Way(Generic[S, E]):
    """One server, and what leads to it."""

    def __init__(self, server: S, endpoint: E) -> None:
        self.server: Final = server
        self.endpoint: Final = endpoint
        self.router: Router | None = None
        self.at_root: HotPart | None = None
        self.below: HotPart | None = None
        """What answers its hot requests at `/mcp`, and at the address of the profile."""
        self.leaves: Final = anyio.Event()
        """Set when its profile is gone."""
        self.opened: Final = anyio.Event()
        """Set when it can serve."""
        self.is_open = True
        """Whether it serves: it can, and its profile is not gone. Each request asks."""
        self._in_flight = 0

    @property
    def is_busy(self) -> bool:
        """Whether a request is in flight."""
        return bool(self._in_flight or any(one.in_flight for one in (self.at_root, self.below) if one is not None))

    async def serve(self, app: Callable[[Scope, Receive, Send], Awaitable[None]], *request: Any) -> None:
        """Serve one request with a part of this server."""
        self._in_flight += 1
        try:
            if not (self.is_open or self.leaves.is_set()):
                await self.opened.wait()
            await app(*request)
        finally:
            self._in_flight -= 1

    def leave(self) -> None:
        """Note that its profile is gone."""
        self.is_open = False
        self.leaves.set()
        self.end_streams()

    def end_streams(self) -> None:
        """End its event streams."""
        self.server.changes.close()
        self.endpoint.sessions.end_streams()

    async def run(self, seconds: Callable[[], float], *, task_status: TaskStatus[None]) -> None:
        """Serve until the profile is gone, and then until its calls in flight have ended, at most for some seconds."""
        async with self.endpoint.run():
            self.opened.set()
            self.is_open = not self.leaves.is_set()
            task_status.started()
            await self.leaves.wait()
            with anyio.move_on_after(seconds()):
                while self.is_busy:
                    self.end_streams()  # also those of requests that were let in before
                    await anyio.sleep(_LOOK_SECONDS)
            await self.endpoint.sessions.end_all()
        self.server.part.leave()


class ProfileWays(Generic[S, E]):
    """The servers of the profiles next to the one of the whole bridge, and the choice among them."""

    def __init__(self, server: S, endpoint_of: Callable[[S], E], path: str) -> None:
        """`path` is that of MCP, without a slash at its end."""
        self._profiles = server.part.profiles
        self.has_profiles = bool(self._profiles)
        """Whether requests have to be sent on by their profiles."""
        self.edition = 0
        """How often the profiles have changed."""
        self._path = path
        self._endpoint_of = endpoint_of
        self._routes_of: Callable[[S, Sequence[str]], Sequence[BaseRoute]] = lambda _server, _paths: ()
        self._posts_of: Callable[[S, E, str], HotPart] | None = None
        self._group: TaskGroup | None = None
        self.joins: Callable[[S], object] = lambda _server: None
        """Called for each server that comes later."""
        self.end_calls_of: Callable[[Callable[[Principal], bool]], object] = lambda _is_bound: None
        """Ends the requests in flight of some principals."""
        self.whole: Final = _Way(server, endpoint_of(server))
        self._ways: dict[str, _Way[S, E]] = {}
        if self._profiles.fixed is not None:
            self._ways[self._profiles.fixed.name] = self.whole
        else:
            self._ways = {profile.name: self._beside(profile) for profile in self._profiles}
        self.paths: Final = (path, f"{path.rstrip('/')}{_BELOW}{{name:path}}")
        """The patterns of the paths of MCP."""

    def _beside(self, profile: Profile) -> _Way[S, E]:
        server = self.whole.server.beside(profile)
        return _Way(server, self._endpoint_of(server))

    def _each(self) -> list[_Way[S, E]]:
        return [self.whole, *(way for way in self._ways.values() if way is not self.whole)]

    @property
    def servers(self) -> list[S]:
        """The server of the whole bridge, or of its one profile, and after it those of further profiles."""
        return [way.server for way in self._each()]

    @asynccontextmanager
    async def run(self) -> AsyncGenerator[None]:
        """Serve until the end of the context (lifespan)."""
        async with anyio.create_task_group() as group:
            for way in self._each():
                await group.start(way.run, self._longest)
            self._group = group
            yield
            self._group = None
            group.cancel_scope.cancel()

    def _longest(self) -> float:
        return self.whole.server.part.whole.settings.stream_timeout

    def take_over(self, profiles: Profiles) -> Awaitable[None]:
        """Change to other profiles. Removed ones end at once. Requests to a new one wait until it can serve.

        A profile that has changed keeps its server, which takes over what it has. So does the server of the whole
        bridge if it has one profile alone from now on, another one, or all tools again: its sessions stay.
        """
        if profiles.fixed is None and self._profiles.fixed is not None:
            self.end_calls_of(profiles.binds)  # they are served by what gets all tools now
        self._profiles, self.has_profiles = profiles, bool(profiles)
        self.edition += 1
        fixed = None if profiles.fixed is None else profiles.fixed.name
        wanted = {profile.name for profile in profiles} if fixed is None else {fixed}
        for name, way in list(self._ways.items()):
            if (way is self.whole) != (fixed is not None) or name not in wanted:
                del self._ways[name]
                if way is not self.whole:
                    way.leave()
        if fixed is not None:
            if fixed not in self._ways:
                self._ways[fixed] = self._prepared(fixed, self.whole)
            return self._open(())
        added = {profile.name: self._beside(profile) for profile in profiles if profile.name not in self._ways}
        for name, way in added.items():
            self._ways[name] = self._prepared(name, way)
            way.is_open = self._group is None
        return self._open(added.values())

    async def _open(self, ways: Iterable[_Way[S, E]]) -> None:
        for way in ways:
            if self._group is not None:
                self.joins(way.server)
                await self._group.start(way.run, self._longest)

    def _prepared(self, name: str | None, way: _Way[S, E]) -> _Way[S, E]:
        """Return a way with its routes of UTCP and what answers its hot requests."""
        below = f"{_BELOW}{name}"
        own = [UTCP_PATH] if name is None else [UTCP_PATH, f"{UTCP_PATH}{below}"]
        way.router = Router(self._routes_of(way.server, own))
        if self._posts_of is not None:
            way.at_root = self._posts_of(way.server, way.endpoint, self._path)
            if name is not None:
                way.below = self._posts_of(way.server, way.endpoint, f"{self._path.rstrip('/')}{below}")
        return way

    def end_streams(self) -> None:
        """End the event streams of every server."""
        for way in self._each():
            way.end_streams()

    def prepare(
        self,
        routes_of: Callable[[S, Sequence[str]], Sequence[BaseRoute]],
        posts_of: Callable[[S, E, str], HotPart],
    ) -> None:
        """Have the routes of UTCP and what answers hot requests, both made for one server at its paths."""
        self._routes_of, self._posts_of = routes_of, posts_of
        self._prepared(None, self.whole)
        for name, way in self._ways.items():
            self._prepared(name, way)

    def utcp_routes(self) -> list[BaseRoute]:
        """Return the routes of UTCP."""
        app: Any = _App(self._serve_utcp)
        return [Route(UTCP_PATH, endpoint=app), Route(f"{UTCP_PATH}/{{rest:path}}", endpoint=app)]

    def ahead(self, keeper: Gatekeeper) -> Ahead:
        """Return what answers hot requests, after `prepare`."""
        if self.whole.at_root is None:
            raise RuntimeError("`prepare` says what answers hot requests.")
        return _HotWays(self, self.whole.at_root, self._path, keeper)

    def choose(self, scope: Scope, name: str | None) -> tuple[_Way[S, E], str | None]:
        """Return the way of a request that names a profile or none, and the name of the profile that it has.

        :raises UnknownProfile: the profile does not exist, or the principal may not use it.
        """
        if not self.has_profiles and name is None and principal_of(scope).profiles is None:
            return self.whole, None
        found = self._profiles.chosen(principal_of(scope), name)
        if found is None:
            return self.whole, None
        if (way := self._ways.get(found.name)) is None:
            raise UnknownProfile(found.name)
        note_profile(scope, found.name)
        return way, found.name

    async def _chosen(self, scope: Scope, send: Send, name: str | None) -> _Way[S, E] | None:
        """Return the way of a request; None if it has its response."""
        try:
            return self.choose(scope, name)[0]
        except UnknownProfile as error:
            if not self.has_profiles and principal_of(scope).profiles is None:
                raise HTTPException(404) from None
            who = Requester(principal_of(scope).name, address=address_of(scope))
            self.whole.server.part.whole.refusals.note("unknown_profile", who, name)
            await respond(send, 404, {"error": "not found", "message": str(error)})
            return None

    async def mcp(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request of MCP."""
        if (way := await self._chosen(scope, send, _named(scope["path"], self._path))) is not None:
            await way.serve(way.endpoint, scope, receive, send)

    async def _serve_utcp(self, scope: Scope, receive: Receive, send: Send) -> None:
        name = _named(scope["path"], UTCP_PATH)
        way = await self._chosen(scope, send, None if name is None else name.partition("/")[0])
        if way is not None and way.router is not None:
            await way.serve(way.router, scope, receive, send)


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

    def __init__(self, ways: ProfileWays[Any, Any], whole: HotPart, path: str, keeper: Gatekeeper) -> None:
        self._ways = ways
        self._whole = whole
        self._path = path
        self._keeper = keeper
        self._edition = ways.edition
        self._known: dict[tuple[str, Admission | None], tuple[_Way[Any, Any], HotPart, str | None]] = {}
        """The ways, parts and profiles of requests by path and who sends them, in this edition of the profiles."""

    def may_take(self, scope: Scope) -> tuple[_Way[Any, Any], HotPart, Any] | None:
        """Return the way, the server's part and the head of a request that may be hot."""
        if not self._ways.has_profiles:
            head = self._whole.may_take(scope)
            if head is None:
                return None
            if principal_of(scope).profiles is None:
                return self._ways.whole, self._whole, head
            self.let_go()  # the principal's profile is gone, and the application says so
            return None
        admission = None
        if not self._keeper.is_open:  # who calls decides which profile it is
            admission = self._keeper.known(scope["headers"], self._keeper.certificate_of(scope))
            if admission is None:
                return None
            note_admission(scope, admission)
        if self._edition != self._ways.edition:
            self._known.clear()
            self._edition = self._ways.edition
        known = self._known.get((scope["path"], admission)) or self._chosen(scope, admission)
        if known is None:
            return None
        way, posts, name = known
        if name is not None:
            note_profile(scope, name)
        head = posts.may_take(scope)
        return None if head is None else (way, posts, head)

    def _chosen(self, scope: Scope, admission: Admission | None) -> tuple[_Way[Any, Any], HotPart, str | None] | None:
        """Return the way of a request, its server's part and its profile; None if the application has to look at it."""
        named = _named(scope["path"], self._path)
        try:
            way, name = self._ways.choose(scope, named)
        except UnknownProfile:
            return None  # the application refuses it
        posts = way.at_root if named is None else way.below
        if posts is None:
            return None
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        self._known[scope["path"], admission] = found = way, posts, name
        return found

    def let_go(self) -> None:
        """Note that a request that may be taken waits no longer for its body: one count serves all."""
        self._whole.let_go()

    def again(self, head: tuple[_Way[Any, Any], HotPart, Any], scope: Scope, body: bytes) -> Any:
        """Return the head of a request with known headers, and what answers it: its profile is chosen anew."""
        way, posts, own = head
        if posts is self._whole and not self._ways.has_profiles and way.is_open:
            found = posts.again(own, scope, body)
            if found is None or not (self._keeper.is_open or principal_of(scope).profiles is None):
                return None  # it is not hot, or its profile is gone
            still, taken = found
            return head if still is own else (way, posts, still), taken
        chosen = self.may_take(scope)
        if chosen is None:
            return None
        self.let_go()
        taken = self.take(chosen, scope, body)
        return None if taken is None else (chosen, taken)

    def take(self, head: tuple[_Way[Any, Any], HotPart, Any], scope: Scope, body: bytes) -> Any:
        """Return an ASGI application for a request whose body has come; None if the usual one serves it."""
        way, posts, own = head
        return posts.take(own, scope, body) if way.is_open else None
