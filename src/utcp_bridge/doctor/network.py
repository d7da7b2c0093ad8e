"""Probes of a peer on the network, through the one gate: its name, a connection, the TLS handshake."""

from __future__ import annotations

import math
import ssl
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import SplitResult

import anyio
import anyio.to_thread
from anyio.streams.tls import TLSAttribute, TLSStream

from utcp_bridge.doctor.steps import Finding
from utcp_bridge.errors import Unreachable
from utcp_bridge.model import Source, TlsOptions, Trust
from utcp_bridge.net.guard import Guard, looks_like_address
from utcp_bridge.net.tls import tls_context
from utcp_bridge.transport import Endpoint
from utcp_bridge.urls import DEFAULT_PORTS, endpoint_of, endpoint_of_url, port_of, split_url

if TYPE_CHECKING:
    from anyio.abc import ByteStream

__all__ = ["Peer", "connection", "name", "peer_of", "tls"]

_SECONDS: Final = 10.0
_SOON: Final = 14
"""Days before its end from which on a certificate is worth a warning."""
_TLS_SCHEMES: Final = frozenset({"https", "wss", "grpcs"})
_DAY: Final = 86_400


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is connected to: the endpoint, or the proxy in front of it."""

    host: str
    port: int
    scheme: str
    source: Source
    endpoint: Endpoint
    proxied: bool = False

    @property
    def address(self) -> str:
        """`host:port`, for messages."""
        return endpoint_of(self.host, self.port)

    @property
    def is_named(self) -> bool:
        """Whether the host is known before a call: it is no placeholder for an argument."""
        return "{" not in self.host and "utcp_arg_" not in self.host


def peer_of(endpoint: Endpoint, source: Source, guard: Guard) -> Peer:
    """The peer of an endpoint under its manual's policy. Raises ConfigError for no URL, PolicyError.

    The gate lets through what the operator wrote, as it does for calls.
    """
    parts = split_url(endpoint.url)
    if source.trust is Trust.OPERATOR:
        source = replace(source, exempt=source.exempt | {endpoint_of_url(endpoint.url)})
    if parts.scheme in DEFAULT_PORTS:
        guard.check_url(endpoint.url, source)
        if source.proxy is not None:
            proxy = split_url(source.proxy)
            source = replace(source, exempt=source.exempt | {endpoint_of_url(source.proxy)})
            return _peer(proxy, source, endpoint, proxied=True)
    return _peer(parts, source, endpoint, proxied=False)


def _peer(parts: SplitResult, source: Source, endpoint: Endpoint, *, proxied: bool) -> Peer:
    return Peer(parts.hostname or "", port_of(parts), parts.scheme, source, endpoint, proxied)


async def name(peer: Peer, guard: Guard) -> Finding | None:
    """Resolve the host by the gate's own resolver. Raises PolicyError, Unreachable."""
    if not peer.is_named:
        return None
    with _within(f"The host name {peer.host!r} was not resolved within {_SECONDS:g} seconds."):
        addresses = await guard.resolve(peer.host, peer.port, peer.source)
    who = f"The proxy {peer.host}" if peer.proxied else peer.host
    if looks_like_address(peer.host):
        return Finding(f"{who} is an address.")
    found = list(dict.fromkeys(address.host for address in addresses))
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return Finding(f"{who} is {', '.join(found[:3])}{more}.")


async def connection(peer: Peer, guard: Guard) -> Finding | None:
    """Connect by TCP and hang up. Raises PolicyError, Unreachable."""
    if not peer.is_named or peer.scheme == "udp":
        return None
    async with _connected(peer, guard):
        return Finding(f"{'The proxy ' if peer.proxied else ''}{peer.address} takes connections.")


async def tls(peer: Peer, guard: Guard) -> Finding | None:
    """Shake hands as a call would, and look at the certificate. Raises ConfigError, PolicyError, Unreachable."""
    if not peer.is_named or peer.proxied or peer.scheme not in _TLS_SCHEMES:
        return None
    options = peer.endpoint.tls or peer.source.tls
    context = await anyio.to_thread.run_sync(_context, options, peer.endpoint.alpn)
    async with _connected(peer, guard) as stream:
        try:
            with _within(f"The TLS handshake with {peer.address} took more than {_SECONDS:g} seconds."):
                wrapped = await TLSStream.wrap(
                    stream,
                    hostname=options.server_name or peer.host,
                    ssl_context=context,
                    standard_compatible=False,
                )
        except ssl.SSLCertVerificationError as error:
            raise _refused(error, peer, options) from None
        except (ssl.SSLError, anyio.BrokenResourceError, anyio.EndOfStream, OSError) as error:
            raise _no_handshake(error, peer) from None
        told = wrapped.extra_attributes
        version = str(told[TLSAttribute.tls_version]()).replace("TLSv", "TLS ")
        return _judge(version, told[TLSAttribute.peer_certificate](), options)


@asynccontextmanager
async def _connected(peer: Peer, guard: Guard) -> AsyncGenerator[ByteStream]:
    with _within(f"No connection to {peer.address} within {_SECONDS:g} seconds."):
        stream = await guard.connect_tcp(peer.host, peer.port, peer.source)
    try:
        yield stream
    finally:
        await anyio.aclose_forcefully(stream)


@contextmanager
def _within(message: str) -> Generator[None]:
    try:
        with anyio.fail_after(_SECONDS):
            yield
    except TimeoutError:
        raise Unreachable(message, remedy="Check the address, and firewalls on the way.") from None


def _context(options: TlsOptions, alpn: tuple[str, ...]) -> ssl.SSLContext:
    made = tls_context(options)
    context = made if isinstance(made, ssl.SSLContext) else ssl.create_default_context()
    if not options.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(alpn or ("http/1.1",))
    return context


def _judge(version: str, certificate: Any, options: TlsOptions) -> Finding:
    if not options.verify:
        message = f"{version}; whose certificate it is, is not checked."
        return Finding(message, "warning", "Take `verify_ssl: false` out of the manual; name a `ca_cert` instead.")
    ends = ssl.cert_time_to_seconds(certificate["notAfter"])
    days = math.floor((ends - time.time()) / _DAY)
    when = f"on {time.strftime('%Y-%m-%d', time.gmtime(ends))}, in {days} {'day' if days == 1 else 'days'}"
    if days < _SOON:
        return Finding(f"{version}; the certificate expires {when}.", "warning", "Have the server renew it.")
    return Finding(f"{version}; the certificate is good and expires {when}.")


# OpenSSL's X509_V_ERR_ codes, in words and with what helps.
_RENEW: Final = "Have the server renew it."
_NAME_CA: Final = "Name the PEM file of the authority that signed it as `ca_cert` in the manual."
_REFUSALS: Final[dict[int, tuple[str, str]]] = {
    9: ("it is not valid yet", "Check the clocks of both machines."),
    10: ("it has expired", _RENEW),
    18: ("it is self-signed", "Name its own PEM file as `ca_cert` in the manual."),
    19: ("a self-signed authority that is not trusted here signed it", _NAME_CA),
    20: ("an authority that is not known here signed it", _NAME_CA),
    21: ("an authority that is not known here signed it", _NAME_CA),
    23: ("it was revoked", _RENEW),
    62: ("it is for another host", "Use the host that it is for, or name that one as `server_name` in the manual."),
    64: ("it is for another address", "Use the host that it is for, or name that one as `server_name` in the manual."),
}


def _refused(error: ssl.SSLCertVerificationError, peer: Peer, options: TlsOptions) -> Unreachable:
    reason, remedy = _REFUSALS.get(error.verify_code, (error.verify_message, "Look at the server's certificate."))
    wanted = f", not for {options.server_name or peer.host}" if error.verify_code in {62, 64} else ""
    return Unreachable(f"The certificate of {peer.address} is not accepted: {reason}{wanted}.", remedy=remedy)


def _no_handshake(error: Exception, peer: Peer) -> Unreachable:
    """Whoever answers something else than TLS, or hangs up."""
    reason = getattr(error, "reason", None) or ""
    if reason in {"WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"}:
        return Unreachable(
            f"{peer.address} does not speak TLS.", remedy="Is its URL without the s, as in http:// or ws://?"
        )
    if "ALERT" in reason or "PROTOCOL" in reason:
        told = reason.replace("_", " ").lower()
        return Unreachable(
            f"{peer.address} broke the TLS handshake off: {told}.",
            remedy="If it wants a client's certificate, name `client_cert` and `client_key` in the manual.",
        )
    return Unreachable(f"{peer.address} broke the TLS handshake off.", remedy="Check that this port speaks TLS.")
