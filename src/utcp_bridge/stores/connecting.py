"""How the bridge connects to Redis or Valkey, and what a person has to change where that fails."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qs, urlsplit

import anyio.to_thread
from pydantic import SecretStr

from utcp_bridge.errors import ConfigError
from utcp_bridge.model import JsonObject

__all__ = ["Obstacle", "connection_options", "obstacle", "obstacle_behind"]

_FILES: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_EXAMPLE: Final = "rediss://host:port/0?ssl_ca_certs=/path/ca.pem"


class Obstacle(NamedTuple):
    """Why a store cannot be used, as what follows "The store …", and what to do about it."""

    what: str
    remedy: str


def connection_options(url: str, setting: str, password: SecretStr | None, seconds: float) -> JsonObject:
    """Return what the library takes besides the URL. `seconds` are for opening a connection.

    The host of the certificate is checked in each version of the library, unless the URL says otherwise.

    :raises ConfigError: a file that the URL names for TLS cannot be used.
    """
    given: JsonObject = {"socket_connect_timeout": seconds}
    if password is not None:
        given["password"] = password.get_secret_value()
    if url.startswith("rediss:"):
        wanted = parse_qs(urlsplit(url).query)
        if wanted.get("ssl_cert_reqs") != ["none"]:
            given["ssl_check_hostname"] = True
        _try_files({key: wanted[key][-1] for key in _FILES if key in wanted}, setting)
    return given


def _try_files(files: dict[str, str], setting: str) -> None:
    for key, path in files.items():
        try:
            Path(path).read_bytes()
        except OSError as error:
            what = f"`{setting}` names the file {path} (`{key}`), which cannot be read: {error.strerror}."
            raise ConfigError(what, remedy="Correct the path.") from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if "ssl_ca_certs" in files:
            context.load_verify_locations(files["ssl_ca_certs"])
        if "ssl_certfile" in files:  # an encrypted key must not ask at the terminal
            context.load_cert_chain(files["ssl_certfile"], files.get("ssl_keyfile"), password="")
    except (ssl.SSLError, ValueError):
        names = " or ".join(files.values())
        what = f"`{setting}` names the file {names}, which has no certificate or no key that fits."
        raise ConfigError(what, remedy="Write certificates and keys as PEM, and keys without a password.") from None


def obstacle(error: BaseException, faults: Any) -> Obstacle | None:
    """Return what is in the way of each connection until a person changes something; None for all else.

    `faults` is the module of the library's errors.
    """
    if isinstance(error, faults.AuthenticationError):
        remedy = "Correct them: redis://user:password@host:port/0, or `store_password` for the store of replicas."
        return Obstacle("refuses the user or the password", remedy)
    for one in _chain(error):
        if isinstance(one, ssl.SSLCertVerificationError):
            remedy = f"Use the host that the certificate names, and name the file of its authority: {_EXAMPLE}."
            what = f"has a certificate that the bridge does not accept ({one.verify_message.rstrip('.')})"
            return Obstacle(what, remedy)
        if isinstance(one, ssl.SSLError) and "CERTIFICATE_REQUIRED" in str(one):
            remedy = f"Name its files: {_EXAMPLE}&ssl_certfile=/path/bridge.pem&ssl_keyfile=/path/bridge.key."
            return Obstacle("requires a certificate of the bridge", remedy)
    return None


async def obstacle_behind(error: BaseException, faults: Any, pool: Any, seconds: float) -> Obstacle | None:
    """Return what `obstacle` returns; if a connection with TLS ended for no known reason, look for the reason.

    Since TLS 1.3, the handshake has ended for a client before the server judges its certificate. The first command then
    meets the end of the connection, and the alert that says why is often lost. So one more connection of `pool` is
    opened, which sends no command and reads the alert. This takes at most `seconds`.
    """
    found = obstacle(error, faults)
    if found is not None or not isinstance(error, faults.ConnectionError | ConnectionError):
        return found
    connection = pool.connection_class(**pool.connection_kwargs)
    if (tls := getattr(connection, "ssl_context", None)) is None:
        return None
    with anyio.move_on_after(seconds):
        try:
            await anyio.to_thread.run_sync(
                _read_alert, connection.host, connection.port, tls.get(), seconds, abandon_on_cancel=True
            )
        except OSError as alert:  # the errors of TLS are such
            return obstacle(alert, faults)
    return None


def _read_alert(host: str, port: int, context: ssl.SSLContext, seconds: float) -> None:
    """Open a connection that says at once that it sends nothing. Its sockets block, because event loops differ in
    whether they read what came before a reset.

    :raises OSError: an alert of TLS, or the connection fails.
    """
    with (
        socket.create_connection((host, port), seconds) as plain,
        context.wrap_socket(plain, server_hostname=host) as encrypted,
    ):
        with suppress(OSError):  # the server has ended it
            socket.socket.shutdown(encrypted, socket.SHUT_WR)  # that of TLS would forget how to decrypt
        encrypted.recv(1)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
