"""Probes of what a manual needs: a program or file on this machine; a host's name, TCP connection and TLS handshake.

Connections go through the client's address gate, under the manual's own policy.
"""

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

from utcp_bridge.doctor.steps import StepResult
from utcp_bridge.errors import Unreachable
from utcp_bridge.model import Source, TlsOptions, Trust, counted
from utcp_bridge.net.files.local_file import read_local_file
from utcp_bridge.net.guard import Guard, looks_like_address
from utcp_bridge.net.http_options import advice_on_proxy
from utcp_bridge.net.tls import tls_context
from utcp_bridge.processes.systems import find_program, has_folder
from utcp_bridge.transport import Endpoint, LocalFile, Program
from utcp_bridge.urls import DEFAULT_PORTS, endpoint_of, endpoint_of_url, port_of, split_url

if TYPE_CHECKING:
    from anyio.abc import ByteStream

__all__ = ["NetworkPeer", "peer_of", "probe_connection", "probe_file", "probe_name", "probe_program", "probe_tls"]

_MAX_SECONDS: Final = 10.0
"""For each probe of the network."""
_EXPIRES_SOON: Final = 14
"""Days before a certificate expires from which the report warns."""
_TLS_SCHEMES: Final = frozenset({"https", "wss", "grpcs"})
_DAY: Final = 86_400
"""Seconds."""


async def probe_program(wanted: Program) -> StepResult:
    """Find the program in the way that starting it would.

    :raises Unreachable: there is no such program.
    """
    found = await anyio.to_thread.run_sync(find_program, wanted.name, wanted.path, wanted.folder)
    if found is None:
        where = "does not exist" if has_folder(wanted.name) else "is not on the PATH that the manual uses"
        raise Unreachable(
            f"The command {wanted.name!r} {where}.",
            remedy="Install it, write its whole path, or give the manual another PATH (`env_vars`, `env`).",
        )
    return StepResult(f"The command is {found}.")


async def probe_file(wanted: LocalFile, limit: int) -> StepResult:
    """Read the file, of at most `limit` bytes.

    :raises Unreachable: the file cannot be read.
    :raises ReplyTooLarge: the file is larger.
    """
    path, data = await read_local_file(wanted.path, wanted.folder, limit=limit, confined=False)
    return StepResult(f"{path} is readable, {len(data)} bytes.")


@dataclass(frozen=True, slots=True)
class NetworkPeer:
    """The host and port to connect to: those of the endpoint, or of the proxy in front of it."""

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
        """Whether the host is known before a call, because it is not a placeholder for an argument."""
        return "{" not in self.host and "utcp_arg_" not in self.host


def peer_of(endpoint: Endpoint, source: Source, guard: Guard) -> NetworkPeer:
    """Return the peer of an endpoint under its manual's policy.

    The gate lets through what the operator wrote, as it does for calls.

    :raises ConfigError: the endpoint is not a URL.
    :raises PolicyError: the policy refuses the URL.
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


def _peer(parts: SplitResult, source: Source, endpoint: Endpoint, *, proxied: bool) -> NetworkPeer:
    return NetworkPeer(parts.hostname or "", port_of(parts), parts.scheme, source, endpoint, proxied)


async def probe_name(peer: NetworkPeer, guard: Guard) -> StepResult | None:
    """Resolve the host with the gate's resolver; None if the host comes from an argument.

    :raises PolicyError: the policy refuses an address of the host.
    :raises Unreachable: the name does not resolve.
    """
    if not peer.is_named:
        return None
    with _within(f"The host name {peer.host!r} did not resolve within {_MAX_SECONDS:g} seconds."):
        addresses = await guard.resolve(peer.host, peer.port, peer.source)
    host = f"The proxy {peer.host}" if peer.proxied else peer.host
    if looks_like_address(peer.host):
        return StepResult(f"{host} is an address.")
    found = list(dict.fromkeys(address.host for address in addresses))
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return StepResult(f"{host} resolves to {', '.join(found[:3])}{more}.")


async def probe_connection(peer: NetworkPeer, guard: Guard) -> StepResult | None:
    """Connect by TCP and close the connection; None if there is nothing to connect to.

    :raises PolicyError: the policy refuses the address.
    :raises Unreachable: there is no connection.
    """
    if not peer.is_named or peer.scheme == "udp":
        return None
    try:
        async with _connected(peer, guard):
            return StepResult(f"{'The proxy ' if peer.proxied else ''}{peer.address} accepts connections.")
    except Unreachable as error:
        if not peer.proxied:
            error.remedy = error.remedy or advice_on_proxy(peer.scheme, peer.host)
        raise


async def probe_tls(peer: NetworkPeer, guard: Guard) -> StepResult | None:
    """Make the TLS handshake of a call and examine the certificate; None where calls use no TLS.

    :raises ConfigError: a PEM file of the manual cannot be read.
    :raises PolicyError: the policy refuses the address.
    :raises Unreachable: the handshake fails.
    """
    if not peer.is_named or peer.proxied or peer.scheme not in _TLS_SCHEMES:
        return None
    options = peer.endpoint.tls or peer.source.tls
    context = await anyio.to_thread.run_sync(_context, options, peer.endpoint.alpn)
    async with _connected(peer, guard) as stream:
        try:
            with _within(f"The TLS handshake with {peer.address} took more than {_MAX_SECONDS:g} seconds."):
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
        attributes = wrapped.extra_attributes
        version = str(attributes[TLSAttribute.tls_version]()).replace("TLSv", "TLS ")
        return _judge_certificate(version, attributes[TLSAttribute.peer_certificate](), options)


@asynccontextmanager
async def _connected(peer: NetworkPeer, guard: Guard) -> AsyncGenerator[ByteStream]:
    with _within(f"No connection to {peer.address} within {_MAX_SECONDS:g} seconds."):
        stream = await guard.connect_tcp(peer.host, peer.port, peer.source)
    try:
        yield stream
    finally:
        await anyio.aclose_forcefully(stream)


@contextmanager
def _within(message: str) -> Generator[None]:
    try:
        with anyio.fail_after(_MAX_SECONDS):
            yield
    except TimeoutError:
        raise Unreachable(message, remedy="Check the address and the firewalls in between.") from None


def _context(options: TlsOptions, alpn: tuple[str, ...]) -> ssl.SSLContext:
    made = tls_context(options)
    context = made if isinstance(made, ssl.SSLContext) else ssl.create_default_context()
    if not options.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(alpn or ("http/1.1",))
    return context


def _judge_certificate(version: str, certificate: Any, options: TlsOptions) -> StepResult:
    if not options.verify:
        message = f"{version}; the certificate is not checked."
        return StepResult(message, "warning", "Remove `verify_ssl: false` from the manual and set `ca_cert` instead.")
    ends = ssl.cert_time_to_seconds(certificate["notAfter"])
    days = math.floor((ends - time.time()) / _DAY)
    when = f"on {time.strftime('%Y-%m-%d', time.gmtime(ends))}, in {counted(days, 'day')}"
    if days < _EXPIRES_SOON:
        return StepResult(f"{version}; the certificate expires {when}.", "warning", "Renew the server's certificate.")
    return StepResult(f"{version}; the certificate is valid and expires {when}.")


# OpenSSL's X509_V_ERR_ codes, in words, each with a remedy.
_RENEW: Final = "Renew the server's certificate."
_NAME_CA: Final = "Set `ca_cert` of the manual to the PEM file of the authority that signed it."
_USE_NAME: Final = "Use the host that the certificate is for, or set `server_name` of the manual to that host."
_REFUSALS: Final[dict[int, tuple[str, str]]] = {
    9: ("it is not valid yet", "Check the clocks of both machines."),
    10: ("it has expired", _RENEW),
    18: ("it is self-signed", "Set `ca_cert` of the manual to the certificate's own PEM file."),
    19: ("a self-signed authority that this machine does not trust signed it", _NAME_CA),
    20: ("an authority that this machine does not trust signed it", _NAME_CA),
    21: ("an authority that this machine does not trust signed it", _NAME_CA),
    23: ("it was revoked", _RENEW),
    62: ("it is for another host", _USE_NAME),
    64: ("it is for another address", _USE_NAME),
}


def _refused(error: ssl.SSLCertVerificationError, peer: NetworkPeer, options: TlsOptions) -> Unreachable:
    reason, remedy = _REFUSALS.get(error.verify_code, (error.verify_message, "Check the server's certificate."))
    wanted = f", not for {options.server_name or peer.host}" if error.verify_code in {62, 64} else ""
    return Unreachable(f"The certificate of {peer.address} was refused: {reason}{wanted}.", remedy=remedy)


def _no_handshake(error: Exception, peer: NetworkPeer) -> Unreachable:
    """Map the error of a peer that does not speak TLS, or that ends the handshake."""
    reason = getattr(error, "reason", None) or ""
    if reason in {"WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"}:
        return Unreachable(
            f"{peer.address} does not speak TLS.",
            remedy="Check the scheme of the URL: a server without TLS needs http:// or ws://.",
        )
    if "ALERT" in reason or "PROTOCOL" in reason:
        alert = reason.replace("_", " ").lower()
        return Unreachable(
            f"{peer.address} ended the TLS handshake: {alert}.",
            remedy="If the server requires a client certificate, set `client_cert` and `client_key` of the manual.",
        )
    return Unreachable(f"{peer.address} ended the TLS handshake.", remedy="Check that this port speaks TLS.")
