"""TLS against a real server with certificates that the tests create."""

import ssl

import pytest
from tests.upstreams.certificates import Authority
from tests.upstreams.faulty import faulty_server

from utcp_bridge.errors import ConfigError, ConnectionLost, MalformedReply, Unreachable
from utcp_bridge.model import Source, TlsOptions, Trust
from utcp_bridge.net.tls import tls_context
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
