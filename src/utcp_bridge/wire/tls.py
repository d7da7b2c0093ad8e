"""TLS options of a manual and the context that follows from them."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

from utcp_bridge.errors import ConfigError

__all__ = ["TlsOptions", "tls_context"]


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """What a template may say about TLS; files are paths to PEM."""

    verify: bool = True
    ca_cert: str | None = None
    """Certificate authorities to trust instead of the system's."""
    client_cert: str | None = None
    client_key: str | None = None
    server_name: str | None = None
    """Name to ask for and to check, where it is not the URL's host."""


def tls_context(options: TlsOptions) -> ssl.SSLContext | bool:
    """A context, or True and False for plain verification and none. Reads files: call it in a thread.

    Raises ConfigError for a file that cannot be used.
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
            f"A TLS file cannot be used: {reason}.", remedy="Check ca_cert, client_cert and client_key."
        ) from error
    return context
