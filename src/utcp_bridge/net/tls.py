"""TLS contexts: for the options of a manual, and for the listener of a server."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import Any, Final

from utcp_bridge.errors import ConfigError
from utcp_bridge.model import TlsOptions

__all__ = ["ListenerTls", "certificate_name", "is_former", "late_certificates", "tls_context", "with_certificate"]

_logger = logging.getLogger(__name__)
_MAX_NAME: Final = 255
_lock: Final = RLock()
"""Held while the readers are replaced, and while authorities are read."""
_READERS: Final = ("load_default_certs", "set_default_verify_paths")


def tls_context(options: TlsOptions) -> ssl.SSLContext | bool:
    """Return a TLS context, or True for the default verification and False for none.

    It reads files, so call it in a thread.

    :raises ConfigError: a file cannot be used.
    """
    if options.ca_cert is None and options.client_cert is None:
        return options.verify
    try:
        context = ssl.create_default_context(cafile=options.ca_cert)
        if not options.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if options.client_cert is not None:
            context.load_cert_chain(options.client_cert, options.client_key)
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror or "it is not a PEM file"
        raise ConfigError(
            f"A TLS file cannot be used: {reason}.", remedy="Check `ca_cert`, `client_cert` and `client_key`."
        ) from error
    return context


class _Judging(ssl.SSLContext):
    """The context of connections that were judged by the same authorities."""

    is_former = False
    """Whether other authorities judge new connections."""


class _Listening(ssl.SSLContext):
    """The context that a listener has for good. Each new connection gets the one that is in use at the time.

    A context forgets no authority that it has read, and its tickets would let clients in without their certificates.
    asyncio and uvloop ask the context of the listener for the TLS side of each connection.
    """

    now: ssl.SSLContext

    def wrap_bio(self, *given: Any, **named: Any) -> ssl.SSLObject:
        return self.now.wrap_bio(*given, **named)


class ListenerTls:
    """The certificate of a listener, and the authorities of client certificates. Open connections keep theirs.

    A client without a certificate may connect; one with a certificate of another authority than `client_ca` may not.

    :raises ConfigError: a file cannot be used.
    """

    def __init__(self, certificate: Path, key: Path, client_ca: Path | None = None) -> None:
        self._certificate, self._key = certificate, key
        self.client_ca = client_ca
        self.context: Final = _Listening(ssl.PROTOCOL_TLS_SERVER)
        self._now, self._authorities = self._made(client_ca)
        self.context.now = self._now
        self.on_authorities: Final[list[Callable[[], object]]] = []
        """Called when other authorities judge new connections."""

    @property
    def files(self) -> list[Path]:
        """The files that are in use."""
        return [self._certificate, self._key, *([] if self.client_ca is None else [self.client_ca])]

    def reload(self) -> None:
        """Read the files again. If one cannot be used, all of before stay, and the log says so."""
        try:
            fresh, authorities = self._made(self.client_ca)
            if authorities == self._authorities:
                self._load(self._now)  # sessions of clients go on
            else:
                self._exchange(fresh, authorities)
        except ConfigError as error:
            _logger.warning("%s The certificate of before stays in use.", error)
        else:
            _logger.info("The certificate of the listener was read again.")

    def prepare(self, client_ca: Path | None) -> Callable[[], None]:
        """Return what lets other authorities judge new connections.

        :raises ConfigError: a file cannot be used.
        """
        made = self._made(client_ca)

        def take_over() -> None:
            self.client_ca = client_ca
            self._exchange(*made)

        return take_over

    def _exchange(self, fresh: _Judging, authorities: bytes) -> None:
        self._now.is_former = True
        self._now, self._authorities = fresh, authorities
        self.context.now = fresh
        for call in self.on_authorities:
            call()

    def _made(self, client_ca: Path | None) -> tuple[_Judging, bytes]:
        """Return a new context, and the file with its authorities.

        :raises ConfigError: a file cannot be used.
        """
        context = _Judging(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._load(context)
        authorities = b""
        if client_ca is not None:
            try:
                authorities = client_ca.read_bytes()
                context.load_verify_locations(client_ca)
            except OSError as error:
                raise _unusable("tls.client_ca", client_ca, error) from None
            context.verify_mode = ssl.CERT_OPTIONAL
        return context, authorities

    def _load(self, context: ssl.SSLContext) -> None:
        certificate, key = self._certificate, self._key
        for setting, file in (("tls.certificate", certificate), ("tls.key", key)):
            try:
                with file.open("rb"):
                    pass
            except OSError as error:
                raise _unusable(setting, file, error) from None
        try:
            context.load_cert_chain(certificate, key, password=_no_password)
        except (OSError, ssl.SSLError, ValueError) as error:
            raise _unusable("tls.certificate", certificate, error) from None


def _no_password() -> str:
    raise ValueError("the key has a password")


def _unusable(setting: str, file: Path, error: Exception) -> ConfigError:
    if isinstance(error, ssl.SSLError):
        why = "it is not a PEM file of this kind, or the key is that of another certificate"
    else:
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
    remedy = "Check `tls.certificate`, `tls.key` and `tls.client_ca`."
    return ConfigError(f"Setting {setting}: {file} cannot be used: {why}.", remedy=remedy)


def certificate_name(certificate: Any) -> str:
    """Return the name in a verified client certificate; empty without one.

    It is the first of: a URI (SPIFFE), a DNS name, an email address of the subject's alternative names, and the common
    name of the subject. `certificate` is what `SSLSocket.getpeercert` returns.
    """
    if not certificate:
        return ""
    names = [(kind, value) for kind, value in certificate.get("subjectAltName", ()) if isinstance(value, str)]
    for wanted in ("URI", "DNS", "email"):
        if found := next((value for kind, value in names if kind == wanted), None):
            return _plain(found)
    parts = [pair for part in certificate.get("subject", ()) for pair in part]
    return _plain(next((value for key, value in parts if key == "commonName"), ""))


def with_certificate(state: dict[str, Any], transport: asyncio.BaseTransport) -> dict[str, Any]:
    """Return the state of a connection's requests, with the name in its client certificate, if it has one.

    `listener` is what judged the certificate. It is a former one when other authorities judge new connections.
    """
    name = certificate_name(transport.get_extra_info("peercert"))
    return {**state, "client_certificate": name, "listener": _judged_by(transport)} if name else state


def is_former(transport: asyncio.BaseTransport) -> bool:
    """Return whether other authorities than those of this connection judge new connections."""
    return bool(getattr(_judged_by(transport), "is_former", False))


def _judged_by(transport: asyncio.BaseTransport) -> ssl.SSLContext | None:
    side: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
    return None if side is None else side.context


def _plain(name: str) -> str:
    return name if len(name) <= _MAX_NAME and name.isprintable() else ""


class _LateContext(ssl.SSLContext):
    """A context that has yet to read the authorities: before the first connection, or when it is asked for them."""

    def _read(self) -> None:
        with _lock:
            pending: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = self.__dict__.pop("_pending", [])
            for name, given, named in pending:
                getattr(ssl.SSLContext, name)(self, *given, **named)
            self.__class__ = ssl.SSLContext  # type: ignore[assignment]

    def wrap_socket(self, *given: Any, **named: Any) -> ssl.SSLSocket:
        self._read()
        return self.wrap_socket(*given, **named)

    def wrap_bio(self, *given: Any, **named: Any) -> ssl.SSLObject:
        self._read()
        return self.wrap_bio(*given, **named)

    def load_verify_locations(self, *given: Any, **named: Any) -> None:
        self._read()
        self.load_verify_locations(*given, **named)

    def get_ca_certs(self, *given: Any, **named: Any) -> Any:
        self._read()
        return self.get_ca_certs(*given, **named)

    def cert_store_stats(self) -> dict[str, int]:
        self._read()
        return self.cert_store_stats()


@contextmanager
def late_certificates() -> Generator[None]:
    """Let contexts that are made during the block read the authorities of the system with their first connection.

    aiohttp makes two contexts when it is imported, and each reads and checks every authority of the system: a third of
    the import's time and two megabytes, which a bridge without TLS upstreams never needs.
    """
    kept = {name: vars(ssl.SSLContext).get(name) for name in _READERS}

    def reader(name: str) -> Any:
        def read_late(context: ssl.SSLContext, *given: Any, **named: Any) -> None:
            context.__dict__.setdefault("_pending", []).append((name, given, named))
            context.__class__ = _LateContext

        return read_late

    with _lock:
        for name in _READERS:
            setattr(ssl.SSLContext, name, reader(name))
        try:
            yield
        finally:
            for name, method in kept.items():
                if method is None:
                    delattr(ssl.SSLContext, name)
                else:
                    setattr(ssl.SSLContext, name, method)
