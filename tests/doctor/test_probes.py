"""Probes against real servers with the tests' own certificates, names by a stub resolver; programs and files."""

import socket
import sys
from pathlib import Path

import anyio
import pytest
from tests.upstreams.certificates import Authority
from tests.upstreams.faulty import faulty_server

from utcp_bridge.doctor import probes
from utcp_bridge.errors import ConfigError, PolicyError, ReplyTooLarge, Unreachable
from utcp_bridge.model import Source, TlsOptions, Trust
from utcp_bridge.net.guard import Guard
from utcp_bridge.transport import Endpoint, LocalFile, Program

pytestmark = pytest.mark.anyio

FOLDER, PYTHON = str(Path(sys.executable).parent), Path(sys.executable).name


async def test_a_program_on_the_path_is_reported_with_its_full_path():
    assert (await probes.probe_program(Program(PYTHON, Path(), FOLDER))).message == f"The command is {sys.executable}."


async def test_a_program_outside_the_manuals_path_is_unreachable(tmp_path):
    with pytest.raises(Unreachable, match=f"'{PYTHON}' is not on the PATH") as caught:
        await probes.probe_program(Program(PYTHON, Path(), str(tmp_path)))
    assert "Install it" in str(caught.value.remedy)


async def test_a_relative_program_path_starts_at_the_manuals_folder(tmp_path):
    script = tmp_path / "bin" / "run"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    assert str(script) in (await probes.probe_program(Program("bin/run", tmp_path))).message
    with pytest.raises(Unreachable, match="does not exist"):
        await probes.probe_program(Program("bin/walk", tmp_path))


async def test_a_file_is_read_within_its_limit(tmp_path):
    (tmp_path / "manual.json").write_text("{}")
    wanted = LocalFile("manual.json", tmp_path)
    assert (await probes.probe_file(wanted, 10)).message.endswith("manual.json is readable, 2 bytes.")
    with pytest.raises(ReplyTooLarge):
        await probes.probe_file(wanted, 1)


async def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(Unreachable, match=r"'gone.json' cannot be read: No such file"):
        await probes.probe_file(LocalFile("gone.json", tmp_path), 10)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority.create(tmp_path_factory.mktemp("certificates"))


def resolver(**known):
    """Return a guard that resolves only these hosts."""

    async def resolve(host, _port):
        if host.partition(".")[0] not in known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return known[host.partition(".")[0]]

    return Guard(resolve)


def peer(url, guard=None, source=None, **endpoint):
    return probes.peer_of(Endpoint(url, **endpoint), source or Source("shop"), guard or Guard())


async def handshake(url, tls=None):
    return await probes.probe_tls(peer(url, source=Source("shop", tls=tls or TlsOptions())), Guard())


async def test_a_host_is_reported_with_its_first_three_addresses():
    guard = resolver(api=["93.184.216.34", "93.184.216.34", "93.184.216.35", "93.184.216.36", "93.184.216.37"])
    found = await probes.probe_name(peer("https://api.example.com/", guard), guard)
    assert found.message == "api.example.com resolves to 93.184.216.34, 93.184.216.35, 93.184.216.36 and 1 more."


async def test_an_ip_address_is_not_resolved():
    assert (await probes.probe_name(peer("http://127.0.0.1:1/"), resolver())).message == "127.0.0.1 is an address."


async def test_a_name_without_an_address_is_unreachable():
    guard = resolver()
    with pytest.raises(Unreachable, match=r"'nowhere.example' could not be resolved"):
        await probes.probe_name(peer("https://nowhere.example/", guard), guard)


async def test_a_private_address_is_refused_with_the_line_that_allows_it():
    guard, source = resolver(inner=["10.1.2.3"]), Source("shop", Trust.REMOTE, origin="https://inner.example")
    with pytest.raises(PolicyError) as caught:
        await probes.probe_name(peer("https://inner.example/", guard, source), guard)
    assert '"allow_networks": ["10.1.2.3/32"]' in str(caught.value.remedy)


async def test_a_url_that_the_policy_refuses_raises_before_any_connection():
    with pytest.raises(PolicyError, match="user name or a password"):
        peer("https://me:secret@api.example.com/")
    with pytest.raises(ConfigError, match="has no scheme or no host"):
        peer("somewhere")


async def test_a_host_that_an_argument_fills_in_is_not_probed():
    guard = resolver()
    target = peer("https://{region}.example.com/", guard)
    assert [await probe(target, guard) for probe in (probes.probe_name, probes.probe_connection, probes.probe_tls)] == [
        None
    ] * 3


async def test_a_connection_is_made_and_closed():
    async with faulty_server() as server:
        found = await probes.probe_connection(peer(f"{server.url}/x"), Guard())
        assert found.message == f"{server.endpoint} accepts connections."
        assert (server.connections, server.requests) == (1, [])


async def test_a_refused_port_is_reported_with_the_systems_message():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(Unreachable, match="Connection refused"):
            await probes.probe_connection(peer(f"http://127.0.0.1:{taken.getsockname()[1]}/"), Guard())


async def test_a_peer_that_does_not_accept_in_time_is_unreachable(monkeypatch):
    async def never(_address):
        await anyio.sleep_forever()

    monkeypatch.setattr(probes, "_MAX_SECONDS", 0.05)
    guard = Guard(connect=never)
    with pytest.raises(Unreachable, match=r"No connection to 127.0.0.1:1 within"):
        await probes.probe_connection(peer("http://127.0.0.1:1/", guard), guard)


async def test_udp_has_no_connection_to_probe():
    assert await probes.probe_connection(peer("udp://127.0.0.1:1"), Guard()) is None


async def test_behind_a_proxy_the_proxy_is_probed_and_tls_is_not():
    async with faulty_server() as server:
        target = peer("https://api.example.com/", source=Source("shop", Trust.REMOTE, proxy=server.url))
        assert (await probes.probe_name(target, resolver())).message == "The proxy 127.0.0.1 is an address."
        assert (await probes.probe_connection(target, resolver())).message.startswith(
            f"The proxy {server.endpoint} accepts"
        )
        assert await probes.probe_tls(target, resolver()) is None


async def test_a_url_without_tls_has_no_handshake():
    assert await probes.probe_tls(peer("http://127.0.0.1:1/"), Guard()) is None


async def test_a_valid_certificate_is_reported_with_its_last_day(authority):
    async with faulty_server(tls=authority.server_context(days=90)) as server:
        found = await handshake(server.url, TlsOptions(ca_cert=authority.ca))
    assert found.status == "ok"
    assert found.message.startswith("TLS 1.3; the certificate is valid and expires on ")
    assert found.message.endswith("in 89 days.")


async def test_a_certificate_that_expires_soon_is_a_warning(authority):
    async with faulty_server(tls=authority.server_context(days=2)) as server:
        found = await handshake(server.url, TlsOptions(ca_cert=authority.ca))
    assert (found.status, found.remedy) == ("warning", "Renew the server's certificate.")
    assert found.message.endswith("in 1 day.")


@pytest.mark.parametrize(
    ("made", "trusted", "reason", "remedy"),
    [
        ({"expired": True}, True, "it has expired", "Renew"),
        ({"name": "other.example"}, True, "it is for another host, not for localhost", "`server_name`"),
        ({}, False, "an authority that this machine does not trust signed it", "`ca_cert`"),
    ],
)
async def test_a_refused_certificate_is_reported_with_reason_and_remedy(authority, made, trusted, reason, remedy):
    async with faulty_server(tls=authority.server_context(**made)) as server:
        with pytest.raises(Unreachable) as caught:
            await handshake(server.url, TlsOptions(ca_cert=authority.ca) if trusted else None)
    assert reason in caught.value.message
    assert remedy in str(caught.value.remedy)


async def test_a_self_signed_certificate_is_named_as_such(authority):
    context = authority.self_signed_context()
    async with faulty_server(tls=context) as server:
        with pytest.raises(Unreachable, match="it is self-signed") as caught:
            await handshake(server.url)
    assert "`ca_cert`" in str(caught.value.remedy)


async def test_the_manuals_server_name_is_used_for_the_handshake(authority):
    async with faulty_server(tls=authority.server_context("other.example", days=90)) as server:
        found = await handshake(server.url, TlsOptions(ca_cert=authority.ca, server_name="other.example"))
    assert found.status == "ok"


async def test_an_unchecked_certificate_is_a_warning(authority):
    async with faulty_server(tls=authority.server_context(expired=True)) as server:
        found = await handshake(server.url, TlsOptions(verify=False))
    assert found.status == "warning"
    assert "not checked" in found.message


async def test_an_endpoints_own_tls_options_win_over_the_manuals(authority):
    async with faulty_server(tls=authority.server_context(days=90)) as server:
        target = peer(server.url.replace("https", "grpcs"), tls=TlsOptions(ca_cert=authority.ca), alpn=("h2",))
        assert (await probes.probe_tls(target, Guard())).status == "ok"


async def test_a_server_without_tls_behind_https_is_recognised():
    async with faulty_server() as server:
        server.greeting = b"220 smtp.example ready\r\n"
        with pytest.raises(Unreachable, match="does not speak TLS"):
            await handshake(server.url.replace("http:", "https:"))


async def test_a_server_that_closes_during_the_handshake_is_unreachable():
    async def hang_up(stream):
        await stream.aclose()

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, hang_up)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        with pytest.raises(Unreachable, match="ended the TLS handshake"):
            await handshake(f"https://127.0.0.1:{port}/")
        group.cancel_scope.cancel()
