"""The TLS context for the options of a manual."""

from __future__ import annotations

import ssl

from utcp_bridge.errors import ConfigError
from utcp_bridge.model import TlsOptions

__all__ = ["tls_context"]


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
