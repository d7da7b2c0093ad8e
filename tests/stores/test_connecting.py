"""Stores behind TLS: a real Redis with certificates of a test's own authority, and a server that resets connections."""

from __future__ import annotations

import logging
import socket
import ssl
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

import pytest
from tests.interop.serving import accepts, free_port, until
from tests.support.redis_server import RedisServer, redis_server
from tests.upstreams.certificates import Authority

from utcp_bridge.errors import ConfigError
from utcp_bridge.settings import BridgeSettings, ReplicaSettings
from utcp_bridge.stores.limiter import Lease, Slots
from utcp_bridge.stores.redis import RedisStore
from utcp_bridge.stores.replicas import SharedStore, shared_store, store_faults

pytestmark = pytest.mark.anyio
PASSWORD = "canary"


class Encrypted:
    """A Redis with TLS. The URL has its host and its password, and `more` are files of the bridge."""

    def __init__(self, server: RedisServer, port: int, authority: Authority) -> None:
        self.server, self.port, self.authority = server, port, authority

    def url(self, *more: str, host: str = "127.0.0.1") -> str:
        return f"rediss://:{PASSWORD}@{host}:{self.port}/0?{'&'.join(more)}"

    @property
    def ca(self) -> str:
        return f"ssl_ca_certs={self.authority.ca}"

    @property
    def pair(self) -> tuple[str, str]:
        return f"ssl_certfile={self.authority.client_cert}", f"ssl_keyfile={self.authority.client_key}"


@pytest.fixture(params=["no", "yes"])
def redis(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Encrypted]:
    """Yield one that asks for a client's certificate (`yes`), or does not."""
    yield from encrypted(tmp_path, request.param)


@pytest.fixture
def lenient(tmp_path: Path) -> Iterator[Encrypted]:
    yield from encrypted(tmp_path, "no")


def encrypted(folder: Path, asks: str, name: str = "localhost") -> Iterator[Encrypted]:
    authority = Authority.create(folder)
    authority.server_context(name)
    port = free_port()
    files = ("--tls-cert-file", folder / "server.pem", "--tls-key-file", folder / "server.key")
    options = ("--tls-ca-cert-file", authority.ca, "--tls-auth-clients", asks, "--requirepass", PASSWORD)
    with redis_server(folder, "--tls-port", str(port), *files, *options) as server:
        until(lambda: accepts(port))  # it listens at the other port first
        yield Encrypted(server, port, authority)


def store_of(url: str) -> SharedStore:
    store = shared_store(ReplicaSettings(store=url, store_timeout=5.0))
    assert store is not None
    return store


async def fault_of(url: str, caplog: pytest.LogCaptureFixture) -> str:
    """Return the fault of `check`, after a look that nothing shows the password."""
    caplog.set_level(logging.DEBUG)
    settings = BridgeSettings(store=url, store_timeout=5.0)
    (fault,) = await store_faults(settings)
    assert fault.where == "replicas.store"
    for text in (str(fault), caplog.text, repr(settings)):
        assert PASSWORD not in text
    return f"{fault.severity}: {fault.what} {fault.remedy}"


async def test_an_authority_of_its_own_and_a_certificate_of_the_bridge(redis: Encrypted) -> None:
    url = redis.url(redis.ca, *redis.pair)
    store = store_of(url)
    await store.insist()
    async with store.open():
        await store.hears.wait()
        await store.put("key", b"value", 60)
        assert await store.get("key") == b"value"
        assert isinstance(await store.limits.enter([Slots("slots", 1)]), Lease)
    await store.aclose()
    tokens = RedisStore(url)
    await tokens.put("a", {"token": "b"})
    assert await tokens.get("a") == {"token": "b"}
    await tokens.aclose()


async def test_a_wrong_authority_is_one_clear_sentence(
    lenient: Encrypted, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "other").mkdir()
    other = Authority.create(tmp_path / "other")
    expected = f"The store rediss://127.0.0.1:{lenient.port}/0 has a certificate that the bridge does not accept"
    for url in (lenient.url(f"ssl_ca_certs={other.ca}"), lenient.url()):  # another one, and those of the system
        fault = await fault_of(url, caplog)
        assert fault.startswith(f"error: {expected} (")
        assert "certificate in certificate chain). Use the host" in fault or "issuer certificate). Use" in fault
        assert "?ssl_ca_certs=/path/ca.pem." in fault
        store = store_of(url)
        with pytest.raises(ConfigError, match="does not accept"):
            await store.insist()
        tokens = RedisStore(url)
        with pytest.raises(ConfigError, match="does not accept") as caught:
            await tokens.get("a")
        assert PASSWORD not in str(caught.value)
        await tokens.aclose()


async def test_the_host_of_the_certificate_is_checked(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for redis in encrypted(tmp_path, "no", name="redis.example"):
        fault = await fault_of(redis.url(redis.ca), caplog)
        assert "does not accept (IP address mismatch, certificate is not valid for '127.0.0.1')" in fault
        for unchecked in ("ssl_check_hostname=false", "ssl_cert_reqs=none"):
            store = store_of(redis.url(redis.ca, unchecked))
            await store.insist()
            assert store.state == "ready"
            await store.aclose()


async def test_a_certificate_that_the_store_asks_for_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for redis in encrypted(tmp_path, "yes"):
        fault = await fault_of(redis.url(redis.ca), caplog)
        assert f"127.0.0.1:{redis.port}/0 requires a certificate of the bridge. Name its files: " in fault


@contextmanager
def resetting(folder: Path, *, says_why: bool) -> Iterator[tuple[str, list[str]]]:
    """Yield the URL of a server that requires a client's certificate, and what the connections to it ended with.

    It has the unlucky order of a busy machine: a command arrives before the alert has left, so its connection is reset
    and the alert is lost. With `says_why`, a client that sends nothing more receives the alert.
    """
    authority = Authority.create(folder)
    context = authority.server_context(client_certificate=True)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    ends: list[str] = []

    def serve(peer: socket.socket) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_side=True)
        encrypted = 0
        with peer, peer.makefile("rb") as stream:
            while head := stream.read(5):  # each record by itself: the handshake's, and then the command
                incoming.write(head + stream.read(int.from_bytes(head[3:])))
                encrypted += head[0] == 23
                if encrypted == 3:  # after the empty certificate and the end of the handshake
                    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    ends.append("command")
                    return
                if encrypted == 0:
                    with suppress(ssl.SSLWantReadError):
                        tls.do_handshake()
                    peer.sendall(outgoing.read())
            with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
                tls.do_handshake()
            ends.append("silence")
            if says_why:
                peer.sendall(outgoing.read())

    def accept(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                serve(listener.accept()[0])

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Thread(target=accept, args=[listener])
        server.start()
        yield f"rediss://:{PASSWORD}@127.0.0.1:{listener.getsockname()[1]}/0?ssl_ca_certs={authority.ca}", ends
        listener.shutdown(socket.SHUT_RDWR)
        server.join()


async def test_a_reason_that_a_reset_hides_is_found(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with resetting(tmp_path, says_why=True) as (url, ends):
        assert "/0 requires a certificate of the bridge. Name its files: " in await fault_of(url, caplog)
        assert ends.pop() == "silence"
        assert set(ends) == {"command"}
        tokens = RedisStore(url)
        with pytest.raises(ConfigError, match="requires a certificate of the bridge"):
            await tokens.get("a")
        await tokens.aclose()


async def test_a_connection_that_is_reset_for_no_reason_has_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with resetting(tmp_path, says_why=False) as (url, ends):
        assert await fault_of(url, caplog) == (
            f"warning: The store {url.replace(f':{PASSWORD}@', '').partition('?')[0]} does not answer. Check that Redis"
            " runs there, and its user and password. Until then each replica goes on alone."
        )
        assert ends[-1] == "silence"
        tokens = RedisStore(url)
        with pytest.raises(ConfigError, match="cannot be used"):
            await tokens.get("a")
        await tokens.aclose()


async def test_a_plain_port_does_not_answer_an_encrypted_connection(
    lenient: Encrypted, caplog: pytest.LogCaptureFixture
) -> None:
    settings = BridgeSettings(store=f"rediss://:{PASSWORD}@127.0.0.1:{lenient.server.port}/0", store_timeout=0.1)
    (fault,) = await store_faults(settings)
    assert fault.what == f"The store rediss://127.0.0.1:{lenient.server.port}/0 does not answer."
    assert PASSWORD not in f"{fault}{caplog.text}"


@pytest.mark.parametrize("key", ["ssl_ca_certs", "ssl_certfile"])
async def test_files_that_cannot_be_used_are_named(tmp_path: Path, key: str) -> None:
    missing, text = tmp_path / "missing.pem", tmp_path / "text.pem"
    text.write_text("no certificate", encoding="utf-8")
    cases = {missing: "cannot be read: No such file", text: "has no certificate or no key that fits"}
    for path, expected in cases.items():
        url = f"rediss://:{PASSWORD}@127.0.0.1:1/0?{key}={path}"
        with pytest.raises(ConfigError, match=rf"`store` names the file .*{path.name}.*{expected}"):
            shared_store(ReplicaSettings(store=url))
        with pytest.raises(ConfigError, match=rf"`token_store` names the file .*{path.name}.*{expected}"):
            RedisStore(url)
