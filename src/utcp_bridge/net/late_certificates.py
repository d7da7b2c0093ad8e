"""TLS contexts that read the system's authorities with their first connection.

aiohttp makes two contexts when it is imported, and each reads and checks every authority of the system: a third of the
import's time and two megabytes, which a bridge without TLS upstreams never needs.
"""

from __future__ import annotations

import ssl
from collections.abc import Generator
from contextlib import contextmanager
from threading import RLock
from typing import Any, Final

__all__ = ["late_certificates"]

_lock: Final = RLock()
"""Held while the readers are replaced, and while authorities are read."""
_READERS: Final = ("load_default_certs", "set_default_verify_paths")


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
    """Let contexts that are made during the block read the authorities of the system with their first connection."""
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
