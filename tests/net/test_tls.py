"""TLS against a real server with certificates that the tests create."""

import asyncio
import ssl
import subprocess
import sys

import pytest
from tests.upstreams.certificates import Authority
from tests.upstreams.faulty import faulty_server

from utcp_bridge.errors import ConfigError, ConnectionLost, MalformedReply, Unreachable
from utcp_bridge.model import Source, TlsOptions, Trust
from utcp_bridge.net.tls import late_certificates, tls_context
from utcp_bridge.placement.request import RequestParts

PLAIN = TlsOptions()

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("deadline")]


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority.create(tmp_path_factory.mktemp("certificates"))


async def fetch(pool, server, tls=PLAIN, **source):
    session = pool.session(Source("shop", exempt=frozenset({server.endpoint}), tls=tls, **source))
    return await session.request(RequestParts("GET", f"{server.url}/ok"))


async def test_a_certificate_of_a_given_authority_is_accepted(pool, authority):
    async with faulty_server(tls=authority.server_context()) as server:
        assert (await fetch(pool, server, TlsOptions(ca_cert=authority.ca))).status == 200


async def test_a_certificate_of_an_unknown_authority_is_refused_with_the_reason(pool, authority):
    async with faulty_server(tls=authority.server_context()) as server:
        with pytest.raises(Unreachable, match=r"certificate is not accepted \(.*issuer"):
            await fetch(pool, server)
        assert server.requests == []


@pytest.mark.parametrize(
    ("made", "reason"),
    [({"expired": True}, "expired"), ({"name": "other.example"}, "Hostname mismatch")],
)
async def test_an_expired_or_foreign_certificate_is_refused_with_the_reason(pool, authority, made, reason):
    async with faulty_server(tls=authority.server_context(**made)) as server:
        with pytest.raises(Unreachable, match=reason):
            await fetch(pool, server, TlsOptions(ca_cert=authority.ca))


async def test_verification_can_be_switched_off(pool, authority):
    async with faulty_server(tls=authority.server_context(expired=True)) as server:
        assert (await fetch(pool, server, TlsOptions(verify=False))).status == 200
        options = TlsOptions(verify=False, ca_cert=authority.ca)
        assert (await fetch(pool, server, options)).status == 200


async def test_another_server_name_can_be_requested(pool, authority):
    async with faulty_server(tls=authority.server_context("other.example")) as server:
        options = TlsOptions(ca_cert=authority.ca, server_name="other.example")
        assert (await fetch(pool, server, options)).status == 200


async def test_a_client_certificate_is_presented(pool, authority):
    async with faulty_server(tls=authority.server_context(client_certificate=True)) as server:
        options = TlsOptions(ca_cert=authority.ca, client_cert=authority.client_cert, client_key=authority.client_key)
        assert (await fetch(pool, server, options)).status == 200


async def test_a_fetched_manual_cannot_send_the_client_certificate_to_another_origin(pool, authority):
    options = TlsOptions(ca_cert=authority.ca, client_cert=authority.client_cert, client_key=authority.client_key)
    async with faulty_server(tls=authority.server_context(client_certificate=True)) as server:
        assert (await fetch(pool, server, options, trust=Trust.REMOTE, origin=server.url)).status == 200
        with pytest.raises((Unreachable, ConnectionLost)):
            await fetch(pool, server, options, trust=Trust.REMOTE, origin="https://manual.example")
        assert len(server.requests) == 1


async def test_a_plain_server_behind_an_https_url_is_unreachable(pool):
    async with faulty_server() as plain:
        plain.greeting = b"220 smtp.example ready\r\n"
        session = pool.session(Source("shop", exempt=frozenset({plain.endpoint})))
        with pytest.raises(Unreachable, match=r"TLS handshake failed.*write http://"):
            await session.request(RequestParts("GET", f"https://{plain.endpoint}/"))


async def test_a_server_with_tls_behind_an_http_url_gets_the_advice_to_write_https(pool, authority):
    async with faulty_server(tls=authority.server_context()) as secure:
        session = pool.session(Source("shop", exempt=frozenset({secure.endpoint})))
        with pytest.raises((ConnectionLost, MalformedReply), match="write https://"):
            await session.request(RequestParts("GET", f"http://{secure.endpoint}/"))


def test_a_missing_or_invalid_pem_file_is_a_configuration_error(tmp_path):
    (tmp_path / "no.pem").write_text("nothing")
    with pytest.raises(ConfigError, match="No such file"):
        tls_context(TlsOptions(ca_cert=str(tmp_path / "absent.pem")))
    with pytest.raises(ConfigError, match="TLS file"):
        tls_context(TlsOptions(client_cert=str(tmp_path / "no.pem")))


def test_without_files_no_context_is_made():
    assert tls_context(TlsOptions()) is True
    assert tls_context(TlsOptions(verify=False)) is False


def test_old_tls_versions_are_off(authority):
    context = tls_context(TlsOptions(ca_cert=authority.ca))
    assert isinstance(context, ssl.SSLContext)
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


# --- authorities that are read late


def made_late():
    with late_certificates():
        return ssl.create_default_context()


def test_a_late_context_has_the_authorities_of_the_system_when_it_is_asked():
    context = made_late()
    assert type(context) is not ssl.SSLContext
    assert context.cert_store_stats() == ssl.create_default_context().cert_store_stats()
    assert type(context) is ssl.SSLContext


def test_contexts_that_are_made_afterwards_are_as_ever():
    made_late()
    assert type(ssl.create_default_context()) is ssl.SSLContext
    assert not {"set_default_verify_paths"} & vars(ssl.SSLContext).keys()


async def test_a_late_context_refuses_an_unknown_authority_and_takes_one_that_is_added(authority):
    server = await asyncio.start_server(
        lambda _reader, writer: writer.close(), "127.0.0.1", 0, ssl=authority.server_context()
    )
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.open_connection("127.0.0.1", port, ssl=made_late())
        knowing = made_late()
        knowing.load_verify_locations(authority.ca)
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=knowing)
        writer.close()


def test_the_first_session_reads_no_authorities():
    program = """
import anyio
from utcp_bridge.model import Source
from utcp_bridge.net.guard import Guard
from utcp_bridge.net.http import HttpPool

async def main():
    HttpPool(Guard()).session(Source("shop"))

anyio.run(main)
import aiohttp.connector as connector
print([type(one).__name__ for one in (connector._SSL_CONTEXT_VERIFIED, connector._SSL_CONTEXT_UNVERIFIED)])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['_LateContext', '_LateContext']"
