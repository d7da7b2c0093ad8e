"""The contract suite: the tests that every transport must pass, against a real peer of its kind.

A test module brings a `Peer`; the pytest plugin adds the tests and fixtures of this module to it:

    # conftest.py
    pytest_plugins = ["utcp_bridge.testing.plugin"]

    # test_my_transport.py
    from utcp_bridge.testing.contract import Case, Dialect, Peer

    class MyPeer(Peer): ...

    PEER = MyPeer

The peer starts a real server, process or file, and says how to reach it. Every template that it returns is a call
template as an operator writes it, in plain dicts; a `Case` adds the arguments and, for a fault, the expected error
class. What a kind cannot have goes into `Peer.impossible` with the reason, and the suite skips it.
"""

from __future__ import annotations

import asyncio
import logging
import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, TypeAlias, cast

import anyio
import pytest
import yaml

from utcp_bridge.client.client import UtcpClient
from utcp_bridge.client.extensions import Extensions
from utcp_bridge.errors import ConnectionLost, DeadlineExceeded, MalformedReply, ReplyTooLarge, Unreachable, UtcpError
from utcp_bridge.model import Document, Emit, JsonObject, Result, discard
from utcp_bridge.settings import BridgeSettings, UtcpClientConfig
from utcp_bridge.testing.services import LOOPBACK, make_call, make_target, open_services
from utcp_bridge.transport import Target, Transport

__all__ = ["CANARY", "FAULTS", "LIMIT", "Bench", "Case", "Dialect", "Peer"]

LIMIT: Final = 64 * 1024
"""Bytes: `max_reply_bytes` and `max_manual_bytes` during the suite."""

CANARY: Final = "canary-5f0c9a7be1"
"""The secret that no message, log or repr may contain."""

FAULTS: Final[Mapping[str, type[UtcpError]]] = {
    "refused": Unreachable,
    "reset": ConnectionLost,
    "malformed": MalformedReply,
    "oversized": ReplyTooLarge,
}
"""The faults of a peer and the error class of each, unless `Case.error` says otherwise."""

Dialect: TypeAlias = Literal["v0", "v1"]

_DEADLINE: Final = 90.0
"""Seconds within which every step of the suite must end. Only a step that hangs takes so long, on any machine."""
_AT_ONCE: Final = 30.0
"""Seconds within which a call must end after its deadline: less than `idle_timeout`, more than a busy machine needs."""
_MAX_POOL: Final = 16
"""Connections by which a pool may grow between two moments: far fewer than one for each call."""
_V0_NAMES: Final = {"streamable_http": "http_stream", "file": "text"}


@dataclass(frozen=True)
class Case:
    """One call: the call template, the arguments, and for a fault the expected error class (None: as in `FAULTS`)."""

    template: JsonObject
    arguments: JsonObject = field(default_factory=dict[str, Any])
    error: type[UtcpError] | tuple[type[UtcpError], ...] | None = None


class Peer(ABC):
    """A real peer of one transport."""

    transport: ClassVar[type[Transport[Any]]]
    """The transport under test."""
    streams: ClassVar[bool] = False
    """Whether calls emit partial results."""
    impossible: ClassVar[Mapping[str, str]] = {}
    """What this kind cannot have, with the reason: a fault of `FAULTS`, `slow`, `auth` or `explain`."""
    settings: ClassVar[BridgeSettings] = BridgeSettings(
        max_reply_bytes=LIMIT, max_manual_bytes=LIMIT, idle_timeout=60.0
    )
    """The settings during the suite."""
    root: Path = Path()
    """The folder from which relative paths start."""

    @abstractmethod
    async def start(self) -> None:
        """Start the server. Listen on 127.0.0.1, port 0, and log nothing."""

    @abstractmethod
    async def stop(self) -> None:
        """Stop the server."""

    @abstractmethod
    def manual(self, dialect: Dialect) -> JsonObject:
        """Return the template whose discovery finds a manual with a tool `echo`, written in this dialect."""

    @abstractmethod
    def echo(self, text: str) -> Case:
        """Return a call whose reply contains `text`."""

    @abstractmethod
    def fault(self, name: str) -> Case:
        """Return a call that meets this fault of `FAULTS`. "oversized" sends more than `LIMIT` bytes."""

    def echoed(self, value: Any) -> str:
        """Return the text in the reply of `echo`; by default the member `text`."""
        return str(value["text"])

    def stream(self, count: int) -> Case:
        """Return a call that emits `items(count)` in order; for peers with `streams`."""
        raise NotImplementedError

    def items(self, count: int) -> list[Any]:
        """Return the partial results of `stream`; by default `{"n": 0}`, `{"n": 1}` and so on."""
        return [{"n": number} for number in range(count)]

    def slow(self) -> Case:
        """Return a call that never ends by itself."""
        raise NotImplementedError

    async def arrived(self) -> None:
        """Return once the slow call is at the peer."""
        raise NotImplementedError

    async def gone(self) -> None:
        """Return once the peer has seen the caller of the slow call leave."""
        raise NotImplementedError

    def with_secret(self, case: Case, secret: str) -> Case:
        """Return the case with `secret` in every template field that may contain one; by default in a header."""
        return replace(case, template={**case.template, "headers": {"X-Canary": secret}})

    def with_auth(self, template: JsonObject) -> JsonObject:
        """Return the template with credentials; by default `CANARY` as the API key `X-Auth`."""
        return {**template, "auth": {"auth_type": "api_key", "api_key": CANARY, "var_name": "X-Auth"}}

    def authenticated(self) -> bool:
        """Return whether the last call at the peer presented the credentials of `with_auth`."""
        raise NotImplementedError

    def in_dialect(self, template: JsonObject, dialect: Dialect) -> JsonObject:
        """Return the template as a tool of a manual in this dialect contains it."""
        fields = {key: value for key, value in template.items() if key not in {"call_template_type", "provider_type"}}
        kind = self.transport.kinds[0]
        if dialect == "v1":
            return {"call_template_type": kind, **fields}
        return {"provider_type": _V0_NAMES.get(kind, kind), **fields}

    def names_in(self, document: Document) -> set[str]:
        """Return the names of the tools in a discovered document; by default those of a UTCP manual."""
        content = document.content
        parsed = yaml.safe_load(content) if isinstance(content, bytes | str) else content
        return {str(tool["name"]) for tool in parsed["tools"]}

    def need(self, what: str) -> None:
        """Skip the test if this kind cannot have what it is about."""
        if reason := self.impossible.get(what):
            pytest.skip(f"{self.transport.kinds[0]}: {reason}")


@dataclass
class Bench:
    """One transport with the client's services, for one test."""

    transport: Transport[Any]
    peer: Peer

    def target(self, template: JsonObject) -> Target[Any]:
        """Return the resolved template."""
        return make_target(self.transport, template)

    async def call(self, case: Case, emit: Emit = discard) -> Any:
        """Make the call and return the plain value."""
        value = await self.transport.call(self.target(case.template), make_call(case.arguments), emit)
        return value.value if isinstance(value, Result) else value


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run on asyncio only: aiohttp, grpcio and aiortc run on nothing else."""
    return "asyncio"


@pytest.fixture
async def peer(request: pytest.FixtureRequest) -> AsyncIterator[Peer]:
    peer: Peer = cast("Any", request).module.PEER()
    await peer.start()
    try:
        yield peer
    finally:
        await peer.stop()


@pytest.fixture
async def bench(peer: Peer) -> AsyncIterator[Bench]:
    async with open_services(root=peer.root, settings=peer.settings) as services:
        transport = peer.transport(services)
        try:
            yield Bench(transport, peer)
        finally:
            await transport.aclose()


@pytest.mark.anyio
@pytest.mark.parametrize("dialect", ["v0", "v1"])
async def test_a_manual_of_either_dialect_is_discovered(bench: Bench, dialect: Dialect) -> None:
    with anyio.fail_after(_DEADLINE):
        document = await bench.transport.discover(bench.target(bench.peer.manual(dialect)))
    assert "echo" in bench.peer.names_in(document)


@pytest.mark.anyio
async def test_a_call_returns_what_the_peer_answered(bench: Bench) -> None:
    with anyio.fail_after(_DEADLINE):
        value = await bench.call(bench.peer.echo("h\u00e9llo w\u00f6rld"))
    assert bench.peer.echoed(value) == "h\u00e9llo w\u00f6rld"


@pytest.mark.anyio
async def test_partial_results_come_in_order_and_the_final_value_lists_them(bench: Bench) -> None:
    seen: list[Any] = []

    async def emit(partial: Any) -> None:
        seen.append(partial)

    case = bench.peer.stream(20) if bench.peer.streams else bench.peer.echo("whole")
    with anyio.fail_after(_DEADLINE):
        value = await bench.call(case, emit)
    expected = bench.peer.items(20) if bench.peer.streams else []
    assert seen == expected
    if bench.peer.streams:
        assert value == expected


@pytest.mark.anyio
async def test_a_hundred_calls_in_flight_each_get_their_own_reply(bench: Bench) -> None:
    with anyio.fail_after(_DEADLINE):
        got = await _call_at_once(bench, 100)
    assert len(got) == 100
    assert all(sent == received for sent, received in got.items())


@pytest.mark.anyio
@pytest.mark.timeout(660)
async def test_two_thousand_calls_leave_no_more_open_than_a_few_hundred(bench: Bench) -> None:
    with anyio.fail_after(600):
        for _ in range(3):
            await _call_at_once(bench, 100)  # pools fill up
        before = _Residue.now()
        for _ in range(17):
            await _call_at_once(bench, 100)
        await _assert_nothing_left(before, allowed=_MAX_POOL)


async def _call_at_once(bench: Bench, count: int) -> dict[str, str]:
    """Make calls at the same time; return what came back by what was sent."""
    got: dict[str, str] = {}
    target = bench.target(bench.peer.echo("").template)

    async def one(text: str) -> None:
        case = bench.peer.echo(text)
        same = case.template == bench.peer.echo("").template
        used = target if same else bench.target(case.template)
        value = await bench.transport.call(used, make_call(case.arguments), discard)
        got[text] = bench.peer.echoed(value.value if isinstance(value, Result) else value)

    async with anyio.create_task_group() as group:
        for number in range(count):
            group.start_soon(one, f"call {number}")
    return got


@pytest.mark.anyio
async def test_the_callers_cancellation_reaches_the_peer(bench: Bench) -> None:
    bench.peer.need("slow")
    with anyio.fail_after(_DEADLINE):
        async with anyio.create_task_group() as group:
            group.start_soon(bench.call, bench.peer.slow())
            await bench.peer.arrived()
            group.cancel_scope.cancel()
        await bench.peer.gone()


@pytest.mark.anyio
async def test_a_deadline_ends_a_slow_call_at_once(bench: Bench) -> None:
    bench.peer.need("slow")
    with anyio.fail_after(_DEADLINE):
        await bench.call(bench.peer.echo("first"))  # connecting may take longer than the deadline
        started = anyio.current_time()
        with anyio.move_on_after(0.3) as scope, _stream_ends(bench.peer):
            await bench.call(bench.peer.slow())
        assert scope.cancelled_caught or bench.peer.streams
        assert anyio.current_time() - started < _AT_ONCE


def _stream_ends(peer: Peer) -> AbstractContextManager[None]:
    """Return the context of a slow call with a deadline: a stream ends itself in time, to keep what came until then."""
    return suppress(DeadlineExceeded) if peer.streams else nullcontext()


@pytest.mark.anyio
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_faulty_peer_gives_the_right_error_class(bench: Bench, fault: str) -> None:
    bench.peer.need(fault)
    case = bench.peer.fault(fault)
    with anyio.fail_after(_DEADLINE), pytest.raises(case.error or FAULTS[fault]) as caught:
        await bench.call(case)
    assert str(caught.value).strip()


@pytest.mark.anyio
@pytest.mark.parametrize("fault", [name for name in FAULTS if name != "malformed"])
async def test_discovery_at_a_faulty_peer_ends_in_a_typed_error(bench: Bench, fault: str) -> None:
    bench.peer.need(fault)
    with anyio.fail_after(_DEADLINE), pytest.raises(UtcpError):
        await bench.transport.discover(bench.target(bench.peer.fault(fault).template))


@pytest.mark.anyio
@pytest.mark.parametrize("fault", FAULTS)
async def test_no_message_log_or_repr_holds_a_secret(
    bench: Bench, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    bench.peer.need(fault)
    case = bench.peer.with_secret(bench.peer.fault(fault), CANARY)
    target = bench.target(case.template)
    with anyio.fail_after(_DEADLINE), pytest.raises(UtcpError) as caught:
        await bench.transport.call(target, make_call(case.arguments), discard)
    shown = [str(caught.value), repr(caught.value), repr(target), str(target.template), repr(target.template)]
    assert CANARY in str(case), "with_secret() must put the secret into the case"
    assert not [text for text in [*shown, caplog.text] if CANARY in text]


@asynccontextmanager
async def _client(peer: Peer, case: Case, dialect: Dialect) -> AsyncGenerator[UtcpClient]:
    """Open a client with one tool, `peer.echo`, that a manual in this dialect describes."""
    head, place = (
        ({"version": "0.2.0"}, "tool_provider")
        if dialect == "v0"
        else ({"utcp_version": "1.0.1"}, "tool_call_template")
    )
    tool = {"name": "echo", "inputs": {"type": "object"}, place: peer.in_dialect(case.template, dialect)}
    entry = {
        "name": "peer",
        "call_template_type": "text",
        "content": {**head, "tools": [tool]},
        "allowed_communication_protocols": [peer.transport.kinds[0]],
        "allow_networks": list(LOOPBACK),
    }
    config = UtcpClientConfig(manual_call_templates=(entry,), bridge=peer.settings)
    extensions = Extensions(transports=(peer.transport,))
    async with await UtcpClient.create(config, root=peer.root, extensions=extensions) as client:
        assert [str(fault) for fault in client.report()[0].faults] == []
        yield client


@pytest.mark.anyio
@pytest.mark.parametrize("dialect", ["v0", "v1"])
async def test_a_tool_of_either_dialect_is_called_through_the_client(peer: Peer, dialect: Dialect) -> None:
    case = peer.echo("h\u00e9llo")
    with anyio.fail_after(_DEADLINE):
        async with _client(peer, case, dialect) as client:
            assert peer.echoed(await client.call_tool("peer.echo", case.arguments)) == "h\u00e9llo"


@pytest.mark.anyio
@pytest.mark.parametrize("dialect", ["v0", "v1"])
async def test_a_tool_of_either_dialect_streams_through_the_client(peer: Peer, dialect: Dialect) -> None:
    if not peer.streams:
        pytest.skip(f"{peer.transport.kinds[0]}: one answer per call")
    case = peer.stream(5)
    with anyio.fail_after(_DEADLINE):
        async with _client(peer, case, dialect) as client:
            assert [item async for item in client.call_tool_streaming("peer.echo", case.arguments)] == peer.items(5)


@pytest.mark.anyio
@pytest.mark.parametrize("dialect", ["v0", "v1"])
async def test_a_tool_of_either_dialect_presents_its_credentials(peer: Peer, dialect: Dialect) -> None:
    peer.need("auth")
    case = peer.echo("who am I")
    case = replace(case, template=peer.with_auth(case.template))
    with anyio.fail_after(_DEADLINE):
        async with _client(peer, case, dialect) as client:
            await client.call_tool("peer.echo", case.arguments)
    assert peer.authenticated()


@pytest.mark.anyio
async def test_an_explanation_shows_the_call_without_its_credentials_and_makes_none(peer: Peer) -> None:
    peer.need("explain")
    case = peer.echo("told")
    authenticates = "auth" not in peer.impossible
    template = peer.with_auth(case.template) if authenticates else case.template
    with anyio.fail_after(_DEADLINE):
        async with _client(peer, case, "v1") as client:
            await client.call_tool("peer.echo", case.arguments)
        async with _client(peer, replace(case, template=template), "v1") as client:
            tool = client.find("peer.echo")
            assert tool is not None
            request = await client.explain(tool, case.arguments)
    shown = request.as_text()
    assert request.line
    assert CANARY not in f"{shown}{request.as_json()}"
    assert all(str(value) in shown for value in case.arguments.values())
    assert not (authenticates and peer.authenticated())


@pytest.mark.anyio
@pytest.mark.parametrize("dialect", ["v0", "v1"])
async def test_a_call_of_either_dialect_is_cancelled_through_the_client(peer: Peer, dialect: Dialect) -> None:
    peer.need("slow")
    case = peer.slow()
    with anyio.fail_after(_DEADLINE):
        async with _client(peer, case, dialect) as client, anyio.create_task_group() as group:
            group.start_soon(client.call_tool, "peer.echo", case.arguments)
            await peer.arrived()
            group.cancel_scope.cancel()
        await peer.gone()


@pytest.mark.anyio
@pytest.mark.parametrize("dialect", ["v0", "v1"])
async def test_a_reply_above_the_limit_is_refused_in_either_dialect(peer: Peer, dialect: Dialect) -> None:
    peer.need("oversized")
    case = peer.fault("oversized")
    with anyio.fail_after(_DEADLINE):
        async with _client(peer, case, dialect) as client:
            with pytest.raises(case.error or FAULTS["oversized"]):
                await client.call_tool("peer.echo", case.arguments)


@pytest.mark.anyio
async def test_nothing_is_left_open(peer: Peer) -> None:
    with anyio.fail_after(3 * _DEADLINE):
        await _use_and_close(peer)  # imports, resolvers and worker threads open things once for the whole process
        before = _Residue.now()
        await _use_and_close(peer)
        await _assert_nothing_left(before)


async def _use_and_close(peer: Peer) -> None:
    async with open_services(root=peer.root, settings=peer.settings) as services:
        bench = Bench(peer.transport(services), peer)
        await bench.transport.discover(bench.target(peer.manual("v1")))
        await bench.call(peer.echo("once"))
        for fault in sorted(FAULTS.keys() - peer.impossible.keys()):
            with pytest.raises(UtcpError):
                await bench.call(peer.fault(fault))
        if "slow" not in peer.impossible:
            with anyio.move_on_after(0.2), _stream_ends(peer):
                await bench.call(peer.slow())
        await bench.transport.forget("peer")
        await bench.transport.aclose()
        await bench.transport.aclose()


# What a piece of work left open.


@dataclass(frozen=True)
class _Residue:
    """The open descriptors, tasks and child processes of this process at one moment."""

    descriptors: Counter[str]
    tasks: int
    children: frozenset[int]

    @classmethod
    def now(cls) -> _Residue:
        """Count the sockets, pipes and files of this process, its unfinished tasks and its children."""
        return cls(
            descriptors=Counter(_descriptor_kinds()), tasks=len(asyncio.all_tasks()), children=frozenset(_children())
        )

    def left_since(self, before: _Residue, *, allowed: int = 0) -> dict[str, object]:
        """Return what is open now and was not then, beyond `allowed` descriptors and tasks."""
        left: dict[str, object] = {}
        if (more := self.descriptors - before.descriptors) and more.total() > allowed:
            left["descriptors"] = dict(more)
        if self.tasks > before.tasks + allowed:
            left["tasks"] = [repr(task.get_coro()) for task in asyncio.all_tasks()]
        if children := self.children - before.children:
            left["children"] = sorted(children)
        return left


async def _assert_nothing_left(before: _Residue, *, within: float = _DEADLINE, allowed: int = 0) -> None:
    """Wait until no more is open than before; fail with a list of what is after `within` seconds."""
    left: dict[str, object] = {}
    with anyio.move_on_after(within):
        while left := _Residue.now().left_since(before, allowed=allowed):  # noqa: ASYNC110 - closing a descriptor fires no event
            await anyio.sleep(0.01)
    assert not left, f"left open: {left}"


def _descriptor_kinds() -> list[str]:
    """Return what each descriptor leads to, without its number; empty on systems without /proc."""
    kinds: list[str] = []
    if not Path("/proc/self/fd").is_dir():
        return kinds
    for entry in os.listdir("/proc/self/fd"):  # noqa: PTH208 - Path.iterdir opens one more descriptor for longer
        try:
            kinds.append(os.readlink(f"/proc/self/fd/{entry}").split(":[", 1)[0])  # noqa: PTH115 - plain text is wanted
        except OSError:
            continue
    return kinds


def _children() -> list[int]:
    """Return the process ids of child processes; empty on systems without /proc."""
    found: list[int] = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid():
            found.append(int(stat.parent.name))
    return found
