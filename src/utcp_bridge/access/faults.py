"""What is wrong with the settings of a server, before a client finds out: for `check`, `status` and `doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from utcp_bridge.access.tokens import TokenFile, others_may_read
from utcp_bridge.errors import ConfigError, UtcpError
from utcp_bridge.model import Fault
from utcp_bridge.net.tls import ListenerTls
from utcp_bridge.stores.replicas import store_faults

if TYPE_CHECKING:
    from utcp_bridge.settings import BridgeSettings

__all__ = ["access_faults"]

_SECONDS = 10.0


async def access_faults(settings: BridgeSettings, root: Path) -> list[Fault]:
    """Return the faults of tokens, OAuth, TLS and the store. The authorization server is asked for its keys.

    Relative files are in `root`, the folder of the configuration.
    """
    faults = await anyio.to_thread.run_sync(_of_files, settings, root)
    if settings.oauth_issuer is not None:
        faults += await _of_issuer(settings)
    if settings.store is not None:
        faults += await store_faults(settings)
    return faults


def _of_files(settings: BridgeSettings, root: Path) -> list[Fault]:
    faults: list[Fault] = []
    if settings.tokens_file is not None:
        path = root / Path(settings.tokens_file).expanduser()
        try:
            TokenFile(path).read()
            if path.exists() and others_may_read(path):
                what = f"Others may read {path}, which has the hashes and names of tokens."
                faults.append(Fault("access.tokens_file", what, f"Run `chmod 600 {path}`.", "warning"))
            elif not path.exists():
                what, remedy = f"{path} does not exist, so no token is valid.", "Run `utcp-bridge token add NAME`."
                faults.append(Fault("access.tokens_file", what, remedy, "warning"))
        except (ConfigError, OSError) as error:
            faults.append(_fault("access.tokens_file", error))
    if settings.tls_certificate is not None and settings.tls_key is not None:
        certificate, key = (root / Path(one).expanduser() for one in (settings.tls_certificate, settings.tls_key))
        authorities = None if settings.tls_client_ca is None else root / Path(settings.tls_client_ca).expanduser()
        try:
            ListenerTls(certificate, key, authorities)
        except ConfigError as error:
            faults.append(_fault("tls", error))
    return faults


async def _of_issuer(settings: BridgeSettings) -> list[Fault]:
    from utcp_bridge.access.oauth import Issuer

    issuer = Issuer(settings)
    try:
        with anyio.fail_after(_SECONDS):
            keys = await issuer.keys()
    except (UtcpError, TimeoutError) as error:
        if settings.oauth_introspection_url is not None and settings.oauth_jwks_url is None:
            return []  # opaque tokens need no keys
        return [_fault("oauth.issuer", error)]
    finally:
        await issuer.aclose()
    if keys:
        return []
    remedy = "Check `oauth.issuer` and `oauth.jwks_url`."
    return [Fault("oauth.issuer", "The authorization server publishes no keys, so no token is valid.", remedy)]


def _fault(where: str, error: Exception) -> Fault:
    if isinstance(error, UtcpError):
        remedy = error.remedy or "Check `oauth.issuer` and `oauth.jwks_url`."
        return Fault(where, error.message, remedy, code=error.code)
    return Fault(where, f"It cannot be used: {str(error) or 'no reply in time'}.", "Check it.")
