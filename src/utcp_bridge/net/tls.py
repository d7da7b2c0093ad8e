"""TLS contexts: for the options of a manual, and for the listener of a server."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import Any, Final

from utcp_bridge.errors import ConfigError
from utcp_bridge.model import TlsOptions

__all__ = ["ListenerTls", "certificate_name", "late_certificates", "tls_context", "with_certificate"]

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


class ListenerTls:
    """The certificate of a listener. `reload` reads the files again; connections that are open keep theirs.

    `client_ca` has the authorities of client certificates. A client without one may connect; one with another
    certificate may not.

    :raises ConfigError: a file cannot be used.
    """

    def __init__(self, certificate: Path, key: Path, client_ca: Path | None = None) -> None:
        self.files: Final = (certificate, key)
        self.context: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._load(self.context)
        if client_ca is not None:
            try:
                self.context.load_verify_locations(client_ca)
            except (OSError, ssl.SSLError) as error:
                raise _unusable("tls.client_ca", client_ca, error) from None
            self.context.verify_mode = ssl.CERT_OPTIONAL

    def reload(self) -> None:
        """Read certificate and key again. If they do not fit, those of before stay, and the log says so."""
        try:
            self._load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))  # a failed load would leave half of it
            self._load(self.context)
        except ConfigError as error:
            _logger.warning("%s The certificate of before stays in use.", error)
        else:
            _logger.info("The certificate of the listener was read again.")

    def _load(self, context: ssl.SSLContext) -> None:
        certificate, key = self.files
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
    """Return the state of a connection's requests, with the name in its client certificate, if it has one."""
    name = certificate_name(transport.get_extra_info("peercert"))
    return {**state, "client_certificate": name} if name else state


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
