"""Probes against real servers with certificates of our own making; names by a stub resolver."""

import socket

import anyio
import pytest
from tests.upstreams.certificates import Authority
from tests.upstreams.faulty import faulty_server

from utcp_bridge.doctor import network
from utcp_bridge.errors import ConfigError, PolicyError, Unreachable
from utcp_bridge.model import Source, TlsOptions, Trust
from utcp_bridge.net.guard import Guard
from utcp_bridge.transport import Endpoint

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority.create(tmp_path_factory.mktemp("certificates"))


def names(**known):
    """A resolver that knows these hosts."""

    async def resolve(host, _port):
        if host.partition(".")[0] not in known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return known[host.partition(".")[0]]

    return Guard(resolve)


def peer(url, guard=None, source=None, **endpoint):
    return network.peer_of(Endpoint(url, **endpoint), source or Source("shop"), guard or Guard())


async def probe_tls(url, tls=None):
    return await network.tls(peer(url, source=Source("shop", tls=tls or TlsOptions())), Guard())


async def test_a_host_is_told_with_its_addresses():
    guard = names(api=["93.184.216.34", "93.184.216.34", "93.184.216.35", "93.184.216.36", "93.184.216.37"])
    found = await network.name(peer("https://api.example.com/", guard), guard)
    assert found.message == "api.example.com is 93.184.216.34, 93.184.216.35, 93.184.216.36 and 1 more."


async def test_an_address_needs_no_resolving():
    assert (await network.name(peer("http://127.0.0.1:1/"), names())).message == "127.0.0.1 is an address."


async def test_a_name_without_an_address_is_unreachable():
    guard = names()
    with pytest.raises(Unreachable, match=r"'nowhere.example' could not be resolved"):
        await network.name(peer("https://nowhere.example/", guard), guard)


async def test_a_private_address_is_refused_with_the_line_that_allows_it():
    guard, source = names(inner=["10.1.2.3"]), Source("shop", Trust.REMOTE, origin="https://inner.example")
    with pytest.raises(PolicyError) as caught:
        await network.name(peer("https://inner.example/", guard, source), guard)
    assert '"allow_networks": ["10.1.2.3/32"]' in str(caught.value.remedy)


async def test_a_url_that_the_policy_refuses_is_told_before_anything_is_asked():
    with pytest.raises(PolicyError, match="user name or password"):
        peer("https://me:secret@api.example.com/")
    with pytest.raises(ConfigError, match="lacks its scheme or host"):
        peer("somewhere")


async def test_a_host_that_an_argument_fills_in_is_not_looked_for():
    guard = names()
    target = peer("https://{region}.example.com/", guard)
    assert [await probe(target, guard) for probe in (network.name, network.connection, network.tls)] == [None] * 3


async def test_a_connection_is_made_and_ended():
    async with faulty_server() as server:
        found = await network.connection(peer(f"{server.url}/x"), Guard())
        assert found.message == f"{server.endpoint} takes connections."
        assert (server.connections, server.requests) == (1, [])


async def test_a_refused_port_is_named_in_the_systems_words():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(Unreachable, match="Connection refused"):
            await network.connection(peer(f"http://127.0.0.1:{taken.getsockname()[1]}/"), Guard())


async def test_a_peer_that_does_not_answer_in_time_is_told(monkeypatch):
    async def never(_address):
        await anyio.sleep_forever()

    monkeypatch.setattr(network, "_SECONDS", 0.05)
    guard = Guard(connect=never)
    with pytest.raises(Unreachable, match=r"No connection to 127.0.0.1:1 within"):
        await network.connection(peer("http://127.0.0.1:1/", guard), guard)


async def test_udp_has_no_connection_to_try():
    assert await network.connection(peer("udp://127.0.0.1:1"), Guard()) is None


async def test_behind_a_proxy_the_proxy_is_looked_at_and_tls_is_not():
    async with faulty_server() as server:
        target = peer("https://api.example.com/", source=Source("shop", Trust.REMOTE, proxy=server.url))
        assert (await network.name(target, names())).message == "The proxy 127.0.0.1 is an address."
        assert (await network.connection(target, names())).message.startswith(f"The proxy {server.endpoint} takes")
        assert await network.tls(target, names()) is None


async def test_without_tls_in_the_url_there_is_no_handshake():
    assert await network.tls(peer("http://127.0.0.1:1/"), Guard()) is None


async def test_a_good_certificate_is_told_with_its_end(authority):
    async with faulty_server(tls=authority.server_context(days=90)) as server:
        found = await probe_tls(server.url, TlsOptions(ca_cert=authority.ca))
    assert found.status == "ok"
    assert found.message.startswith("TLS 1.3; the certificate is good and expires on ")
    assert found.message.endswith("in 89 days.")


async def test_a_certificate_that_ends_soon_is_a_warning(authority):
    async with faulty_server(tls=authority.server_context(days=2)) as server:
        found = await probe_tls(server.url, TlsOptions(ca_cert=authority.ca))
    assert (found.status, found.remedy) == ("warning", "Have the server renew it.")
    assert found.message.endswith("in 1 day.")


@pytest.mark.parametrize(
    ("made", "trusted", "reason", "remedy"),
    [
        ({"expired": True}, True, "it has expired", "renew"),
        ({"name": "other.example"}, True, "it is for another host, not for localhost", "`server_name`"),
        ({}, False, "an authority that is not known here signed it", "`ca_cert`"),
    ],
)
async def test_a_refused_certificate_is_told_in_words_with_what_helps(authority, made, trusted, reason, remedy):
    async with faulty_server(tls=authority.server_context(**made)) as server:
        with pytest.raises(Unreachable) as caught:
            await probe_tls(server.url, TlsOptions(ca_cert=authority.ca) if trusted else None)
    assert reason in caught.value.message
    assert remedy in str(caught.value.remedy)


async def test_a_self_signed_certificate_is_told_as_such(authority):
    context = authority.self_signed_context()
    async with faulty_server(tls=context) as server:
        with pytest.raises(Unreachable, match="it is self-signed") as caught:
            await probe_tls(server.url)
    assert "`ca_cert`" in str(caught.value.remedy)


async def test_a_server_name_of_the_manual_is_asked_for(authority):
    async with faulty_server(tls=authority.server_context("other.example", days=90)) as server:
        found = await probe_tls(server.url, TlsOptions(ca_cert=authority.ca, server_name="other.example"))
    assert found.status == "ok"


async def test_an_unchecked_certificate_is_a_warning(authority):
    async with faulty_server(tls=authority.server_context(expired=True)) as server:
        found = await probe_tls(server.url, TlsOptions(verify=False))
    assert found.status == "warning"
    assert "not checked" in found.message


async def test_an_endpoints_own_options_stand_in_place_of_the_manuals(authority):
    async with faulty_server(tls=authority.server_context(days=90)) as server:
        target = peer(server.url.replace("https", "grpcs"), tls=TlsOptions(ca_cert=authority.ca), alpn=("h2",))
        assert (await network.tls(target, Guard())).status == "ok"


async def test_a_plain_server_behind_https_is_told():
    async with faulty_server() as server:
        server.greeting = b"220 smtp.example ready\r\n"
        with pytest.raises(Unreachable, match="does not speak TLS"):
            await probe_tls(server.url.replace("http:", "https:"))


async def test_a_server_that_hangs_up_in_the_handshake_is_told():
    async def hang_up(stream):
        await stream.aclose()

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, hang_up)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        with pytest.raises(Unreachable, match="broke the TLS handshake off"):
            await probe_tls(f"https://127.0.0.1:{port}/")
        group.cancel_scope.cancel()
