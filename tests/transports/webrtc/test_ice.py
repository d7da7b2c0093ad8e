"""ICE servers and peers pass the gate: which are resolved, which are refused, and where packets really go."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

pytest.importorskip("aiortc", reason="the extra [webrtc] is not installed")

from aioice import stun
from hypothesis import given
from hypothesis import strategies as st
from tests.support.webrtc_session import open_session
from tests.upstreams.certificates import Authority
from tests.upstreams.webrtc_peer import HAS_ADDRESS

from utcp_bridge.errors import ConfigError, PolicyError
from utcp_bridge.model import Source, TlsOptions, Trust, discard
from utcp_bridge.net.gate.connection_watch import CheckedDatagrams
from utcp_bridge.net.guard import Guard
from utcp_bridge.testing.services import make_call, make_target
from utcp_bridge.transports.webrtc.channel import DataChannelOptions, WebRtcChannel, load_aiortc
from utcp_bridge.transports.webrtc.ice import IcePolicy, IceRoute, IceUrl, ice_connection, ice_url
from utcp_bridge.transports.webrtc.transport import WebRtcTransport, _not_opened

pytestmark = pytest.mark.anyio

PUBLIC, PUBLIC6 = "93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946"
FETCHED = Source("shop", Trust.REMOTE, origin="https://signal.example.com")
BLOCKED = ["127.0.0.1", "10.1.2.3", "192.168.0.9", "169.254.169.254", "168.63.129.16", "100.64.0.1", "fd00:ec2::254"]


class Names:
    """Resolves each name to the same addresses, and records what was asked."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> Iterable[str]:
        self.asked.append((host, port))
        if host.startswith("unknown"):
            raise OSError("no such name")
        return self.addresses


async def route(*urls: str, names: Names, source: Source = FETCHED) -> IceRoute:
    servers = [{"urls": list(urls), "username": "u", "credential": "c"}]
    return await IcePolicy(Guard(names), source).route(servers)


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("stun:stun.example.com", ("stun", "stun.example.com", 3478, "udp")),
        ("STUN:Stun.Example.com:19302", ("stun", "Stun.Example.com", 19302, "udp")),
        ("stun://stun.example.com:1", ("stun", "stun.example.com", 1, "udp")),
        ("stuns:stun.example.com", ("stuns", "stun.example.com", 5349, "udp")),
        ("turn:10.0.0.1:3478?transport=tcp", ("turn", "10.0.0.1", 3478, "tcp")),
        ("turn:t.example?TRANSPORT=UDP", ("turn", "t.example", 3478, "udp")),
        ("turns:t.example", ("turns", "t.example", 5349, "tcp")),
        ("turn:[2001:db8::1]:99", ("turn", "2001:db8::1", 99, "udp")),
        (" turn:[::1] ", ("turn", "::1", 3478, "udp")),
    ],
)
async def test_the_parts_of_a_url(url: str, parts: tuple[str, str, int, str]) -> None:
    assert ice_url(url) == IceUrl(*parts)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "stun:",
        "stun",
        "http://a.example",
        "stun:a.example:0",
        "stun:a.example:65536",
        "stun:a.example:٣",
        "stun:::1",
        "stun:[::1",
        "stun:[::1]x",
        "stun:[a.example]:1",
        "stun:user@127.0.0.1",
        "stun:127.0.0.1#a.example",
        "stun:127.0.0.1/a.example",
        "stun:a.example\n127.0.0.1",
        "stun:a.example?transport=udp",
        "turn:a.example?transport=",
        "turn:a.example?x=tcp",
        "turn:a.example?transport=tcp&x=1",
        "turn:a%2eexample",
    ],
)
async def test_a_url_in_another_form_is_a_configuration_error(url: str) -> None:
    with pytest.raises(ConfigError, match="ice_servers"):
        ice_url(url)


@given(st.text())
def test_any_text_is_a_url_or_one_sentence(text: str) -> None:
    for url in (text, f"turn:{text}", f"stun:a:{text}"):
        try:
            parts = ice_url(url)
        except ConfigError:
            continue
        assert parts.host
        assert 0 < parts.port < 65_536


@pytest.mark.parametrize(
    "form", ["stun:{}", "STUN:{}:80", "turn:{}?transport=tcp", "turns:{}:443", "stuns:{}", "turn:{}"]
)
@pytest.mark.parametrize("address", BLOCKED)
async def test_a_fetched_manual_cannot_name_a_server_that_is_not_public(form: str, address: str) -> None:
    written = f"[{address}]" if ":" in address else address
    names = Names(PUBLIC)
    with pytest.raises(PolicyError, match="must not connect"):
        await route("stun:first.example", form.format(written), names=names)
    assert names.asked == []


@pytest.mark.parametrize("form", ["stun:{}", "Turn:{}:80", "turn:{}?transport=tcp", "turns:{}"])
@pytest.mark.parametrize("address", BLOCKED)
async def test_nor_can_it_by_a_name(form: str, address: str) -> None:
    with pytest.raises(PolicyError, match=r"must not connect to ice\.example"):
        await route(form.format("ice.example"), names=Names(PUBLIC, address))


@pytest.mark.parametrize("host", ["2130706433", "127.1", "0177.0.0.1", "①②⑦.⓪.⓪.①"])
async def test_nor_can_it_by_an_old_form_of_an_address(host: str) -> None:
    with pytest.raises(PolicyError, match="unusual form"):
        await route(f"turn:{host}", names=Names(PUBLIC))


async def test_each_name_is_resolved_once_and_only_numbers_are_passed_on() -> None:
    names = Names(PUBLIC6, PUBLIC)
    found = await route(
        "stuns:no.example", "stun:a.example", "stun:b.example", "turn:c.example:80?transport=tcp", names=names
    )
    assert (found.stun, found.turn, found.transport) == ((PUBLIC, 3478), (PUBLIC6, 80), "tcp")
    assert (found.username, found.credential, found.tls) == ("u", "c", None)
    assert names.asked == [("a.example", 3478), ("c.example", 80)]


async def test_a_server_without_an_address_is_left_out_and_the_next_is_used() -> None:
    found = await route("stun:unknown.example", "stun:known.example", "turn:unknown.example", names=Names(PUBLIC))
    assert found == IceRoute(stun=(PUBLIC, 3478))
    assert await route("stun:six.example", names=Names(PUBLIC6)) == IceRoute()


async def test_the_number_of_urls_is_limited() -> None:
    with pytest.raises(ConfigError, match="33 URLs"):
        await route(*["stun:a.example"] * 33, names=Names(PUBLIC))


@pytest.mark.parametrize(("name", "works"), [("turn.example", True), ("other.example", False)])
async def test_turn_over_tls_verifies_the_name_at_the_checked_address(name: str, works: bool, tmp_path: Path) -> None:
    authority = Authority.create(tmp_path)
    server = await asyncio.start_server(
        lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=authority.server_context("turn.example")
    )
    port = server.sockets[0].getsockname()[1]
    source = Source("m", tls=TlsOptions(ca_cert=authority.ca), exempt=frozenset({f"{name}:{port}"}))
    with anyio.fail_after(60):
        async with server:
            found = await route(f"turns:{name}:{port}", names=Names("127.0.0.1"), source=source)
            assert found.turn == ("127.0.0.1", port)
            opening = asyncio.open_connection(*found.turn, ssl=found.tls)
            if works:
                (await opening)[1].close()
            else:
                with pytest.raises(ssl.SSLCertVerificationError, match=r"other\.example"):
                    await opening


class IceServer(asyncio.DatagramProtocol):
    """A STUN server that replies, and refuses allocations."""

    def __init__(self) -> None:
        self.methods: list[Any] = []
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        request = stun.parse_message(data)
        self.methods.append(request.message_method)
        is_binding = request.message_method == stun.Method.BINDING
        kind = stun.Class.RESPONSE if is_binding else stun.Class.ERROR
        reply = stun.Message(request.message_method, kind, request.transaction_id)
        if is_binding:
            reply.attributes["XOR-MAPPED-ADDRESS"] = ("203.0.113.5", 4000)
        else:
            reply.attributes["ERROR-CODE"] = (400, "Bad Request")
        self.transport.sendto(bytes(reply), addr)


@asynccontextmanager
async def ice_server() -> AsyncGenerator[tuple[IceServer, int]]:
    transport, server = await asyncio.get_running_loop().create_datagram_endpoint(
        IceServer, local_addr=("127.0.0.1", 0)
    )
    try:
        yield server, transport.get_extra_info("sockname")[1]
    finally:
        transport.close()


@pytest.mark.skipif(not HAS_ADDRESS, reason="this machine has no address besides loopback, and ICE offers no other")
async def test_servers_that_the_operator_wrote_are_used() -> None:
    with anyio.fail_after(60):
        async with ice_server() as (server, port), open_session() as session:
            servers = [
                {"urls": [f"stun:ice.example:{port}", f"turn:ice.example:{port}"], "username": "u", "credential": "c"}
            ]
            source = Source("m", exempt=frozenset({f"ice.example:{port}"}))
            options = DataChannelOptions(ice_servers=servers)
            policy = IcePolicy(Guard(Names("127.0.0.1")), source, "any")
            channel = WebRtcChannel(await load_aiortc(), options, "Peer 'p'", policy)
            try:
                assert "203.0.113.5" in await channel.offer()
                assert {stun.Method.BINDING, stun.Method.ALLOCATE} <= set(server.methods)
            finally:
                await channel.aclose()
            written = [{"urls": f"stun:127.0.0.1:{port}"}]
            assert (await session.call({"text": "a"}, ice_servers=written))["text"] == "a"


async def test_a_fetched_tool_with_a_refused_server_sends_nothing() -> None:
    with anyio.fail_after(60):
        async with ice_server() as (server, port), open_session() as session:
            source = Source("m", Trust.REMOTE, session.service.url, exempt=frozenset({session.service.url[7:]}))
            for scheme in ("stun", "turn", "turns"):
                target = session.target(ice_servers=[{"urls": f"{scheme}:127.0.0.1:{port}"}])
                opening = session.transport._open(type(target)(target.template, source))
                with pytest.raises(PolicyError, match=r"it is a loopback address"):
                    await opening
            assert server.methods == []
            assert session.service.offers == []


@pytest.mark.skipif(not HAS_ADDRESS, reason="this machine has no address besides loopback, and ICE offers no other")
async def test_tools_may_use_the_servers_of_their_manuals_own_entry_and_no_others() -> None:
    with anyio.fail_after(60):
        async with ice_server() as (server, port), open_session() as session:
            source = Source("m", Trust.REMOTE, session.service.url, exempt=frozenset({session.service.url[7:]}))
            fields = {"ice_servers": [{"urls": f"stun:127.0.0.1:{port}"}]}
            entry = replace(session.target(**fields), source=source)
            await session.transport.discover(entry)
            assert server.methods
            call = make_call({"text": "a"})
            assert (await session.transport.call(entry, call, discard))["text"] == "a"
            other = session.target(ice_servers=[{"urls": f"turn:127.0.0.1:{port + 1}"}])
            with pytest.raises(PolicyError, match="loopback"):
                await session.transport.call(replace(other, source=source), call, discard)
            await session.transport.forget("m")
            with pytest.raises(PolicyError, match="loopback"):
                await session.transport.call(entry, call, discard)


async def test_an_entry_of_a_registry_opens_nothing() -> None:
    async with open_session() as session:
        target = session.target(ice_servers=[{"urls": "stun:127.0.0.1:9"}])
        source = Source("m", Trust.REMOTE, session.service.url, allow_networks=("127.0.0.1/32",))
        policy = session.transport._policy(source, target.template)
        assert policy._peers == "public"
        assert session.transport._written == {}


@pytest.mark.parametrize(
    ("source", "peers"),
    [
        (Source("m"), "any"),
        (Source("m", Trust.REMOTE, "http://10.0.0.5", exempt=frozenset({"10.0.0.5:80"})), "not loopback"),
        (Source("m", Trust.REMOTE, "http://10.0.0.5"), "public"),
        (Source("m", Trust.REMOTE, "http://10.0.0.6", exempt=frozenset({"10.0.0.5:80"})), "public"),
    ],
)
async def test_who_chose_the_signalling_server_decides_about_the_peer(source: Source, peers: str) -> None:
    async with open_session() as session:
        target = session.target(signaling_server="http://10.0.0.5/room")
        assert session.transport._policy(source, target.template)._peers == peers


async def test_without_servers_none_is_used() -> None:
    channel = WebRtcChannel(await load_aiortc(), DataChannelOptions(), "Peer 'p'", IcePolicy(Guard(), FETCHED))
    try:
        with anyio.fail_after(60):
            await channel.offer()
        connection = ice_connection(channel._peer)
        assert (connection.stun_server, connection.turn_server) == (None, None)
    finally:
        await channel.aclose()


# --- the peer's addresses ------------------------------------------------------------------------


class Sent:
    """A transport that records."""

    def __init__(self) -> None:
        self.receivers: list[Any] = []

    def sendto(self, data: bytes, addr: Any = None) -> None:
        self.receivers.append(addr)


async def test_packets_to_addresses_that_the_policy_refuses_are_dropped() -> None:
    sent, policy = Sent(), IcePolicy(Guard(), FETCHED)
    transport = CheckedDatagrams(sent, policy.admit)
    for host in [*BLOCKED, PUBLIC, "fe80::1", "224.0.0.251", PUBLIC]:
        transport.sendto(b"x", (host, 9000))
    transport.sendto(b"x")
    assert sent.receivers == [(PUBLIC, 9000), (PUBLIC, 9000), None]
    assert policy.refused is not None
    assert "loopback" in policy.refused.message


@pytest.mark.parametrize("name", ["printer.local", "7d0c.local", "a.example", "localhost", "2130706433", "0x7f.1", ""])
async def test_only_an_operators_peer_may_have_a_name_and_only_of_the_local_network(name: str) -> None:
    assert not IcePolicy(Guard(), FETCHED, "public").admit(name, 9000)
    assert not IcePolicy(Guard(), FETCHED, "not loopback").admit(name, 9000)
    assert IcePolicy(Guard(), FETCHED, "any").admit(name, 9000) is name.endswith(".local")


async def test_a_peer_of_a_local_signalling_server_is_in_the_own_networks_but_not_on_this_machine() -> None:
    policy = IcePolicy(Guard(), FETCHED, "not loopback")
    assert [policy.admit(host, 9000) for host in ("10.0.0.1", "fd00::1", "127.0.0.1", "::1", PUBLIC)] == [
        True, True, False, False, True,
    ]  # fmt: skip


async def test_an_allowed_network_opens_it_for_peers_and_an_exempt_port_does_not() -> None:
    source = Source("m", Trust.REMOTE, allow_networks=("10.0.0.0/8",), exempt=frozenset({"192.168.0.1:9000"}))
    policy = IcePolicy(Guard(), source)
    assert policy.admit("10.0.0.1", 9000)
    assert not policy.admit("192.168.0.1", 9000)


@pytest.mark.skipif(not HAS_ADDRESS, reason="this machine has no address besides loopback, and ICE offers no other")
async def test_a_real_connection_drops_packets_to_an_address_that_a_packet_brought() -> None:
    async with open_session() as session:
        await session.call({"text": "a"})
        [channel] = session.transport._channels.values()
        transports = [protocol.transport for protocol in ice_connection(channel._peer)._protocols]
        assert transports
        assert all(isinstance(one, CheckedDatagrams) for one in transports)


async def test_a_peer_whose_addresses_are_refused_is_named_with_the_line_that_allows_them() -> None:
    template = make_target(WebRtcTransport, {"signaling_server": "https://signal.example.com", "peer_id": "p"}).template
    channel = WebRtcChannel(await load_aiortc(), DataChannelOptions(), template.where, IcePolicy(Guard(), FETCHED))
    try:
        channel.answered = True
        assert "STUN or TURN" in str(_not_opened(channel, template, 15).remedy)
        channel.policy.admit("10.0.0.1", 9000)
        error = _not_opened(channel, template, 15)
        assert re.search(r"has no address that may be used.*10\.0\.0\.1:9000: it is a private", error.message)
        assert "allow_networks" in str(error.remedy)
    finally:
        await channel.aclose()
