"""What is wrong with the settings of a server, before a client finds out: for `check`, `status` and `doctor`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from utcp_bridge.access.budgets import read_budgets
from utcp_bridge.access.profiles import Profiles, read_profiles
from utcp_bridge.access.tokens import NamedToken, TokenFile, others_may_read
from utcp_bridge.errors import ConfigError, UtcpError
from utcp_bridge.model import Fault, Tool
from utcp_bridge.net.tls import ListenerTls
from utcp_bridge.stores.replicas import store_faults

if TYPE_CHECKING:
    from utcp_bridge.settings import BridgeSettings

__all__ = ["access_faults", "empty_profiles"]

_SECONDS = 10.0
_PLACES_WITHOUT_FILE = frozenset({"-", "syslog", "otlp"})


async def access_faults(settings: BridgeSettings, root: Path) -> list[Fault]:
    """Return the faults of profiles, tokens, OAuth, TLS, the audit log and the store.

    The authorization server is asked for its keys. Relative files are in `root`, the folder of the configuration.
    """
    faults = await anyio.to_thread.run_sync(_of_files, settings, root)
    if settings.oauth_issuer is not None:
        faults += await _of_issuer(settings)
    if settings.store is not None:
        faults += await store_faults(settings)
    return faults


def empty_profiles(settings: BridgeSettings, tools: Sequence[Tool], not_loaded: Iterable[str]) -> list[Fault]:
    """Return a warning for each profile that has no tool. `not_loaded` are manuals whose tools are not known."""
    try:
        profiles = read_profiles(settings)
    except ConfigError:
        return []  # `access_faults` has it
    unknown = [*not_loaded]
    what, remedy = "No tool matches this profile.", "`utcp-bridge explain TOOL` says why a tool is not in it."
    return [
        Fault(f"access.profiles, {profile.name!r}", what, remedy, "warning")
        for profile in profiles
        if not any(map(profile.admits, unknown)) and not any(map(profile.includes, tools))
    ]


def _of_files(settings: BridgeSettings, root: Path) -> list[Fault]:
    faults: list[Fault] = []
    profiles = None
    try:
        profiles = read_profiles(settings)
        read_budgets(settings.budgets)
    except ConfigError as error:
        faults.append(_fault("access", error))
    if profiles is not None:
        faults += _unknown(profiles, "oauth.profiles", settings.oauth_profiles.items())
        faults += _unknown(profiles, "tls.profiles", settings.tls_profiles.items())
    faults += _of_tokens(settings, root, profiles)
    if settings.tls_profiles and settings.tls_client_ca is None:
        what, remedy = "It has no effect: no client has a certificate.", "Set `tls.client_ca`."
        faults.append(Fault("tls.profiles", what, remedy, "warning"))
    if settings.tls_certificate is not None and settings.tls_key is not None:
        certificate, key = (root / Path(one).expanduser() for one in (settings.tls_certificate, settings.tls_key))
        authorities = None if settings.tls_client_ca is None else root / Path(settings.tls_client_ca).expanduser()
        try:
            ListenerTls(certificate, key, authorities)
        except ConfigError as error:
            faults.append(_fault("tls", error))
    return [*faults, *_of_log(settings.audit_log, "audit_log", root), *_of_log(settings.access_log, "access_log", root)]


def _of_tokens(settings: BridgeSettings, root: Path, profiles: Profiles | None) -> list[Fault]:
    faults: list[Fault] = []
    if settings.tokens_file is not None:
        path = root / Path(settings.tokens_file).expanduser()
        try:
            tokens = TokenFile(path).read()
            if profiles is not None:
                faults += _lost_profiles(profiles, tokens.values())
            if path.exists() and others_may_read(path):
                what = f"Others may read {path}, which has the hashes and names of tokens."
                faults.append(Fault("access.tokens_file", what, f"Run `chmod 600 {path}`.", "warning"))
            elif not path.exists():
                what, remedy = f"{path} does not exist, so no token is valid.", "Run `utcp-bridge token add NAME`."
                faults.append(Fault("access.tokens_file", what, remedy, "warning"))
        except (ConfigError, OSError) as error:
            faults.append(_fault("access.tokens_file", error))
    return faults


def _lost_profiles(profiles: Profiles, tokens: Iterable[NamedToken]) -> Iterator[Fault]:
    """Yield a warning for each token that is bound to profiles that the configuration does not have."""
    known = {profile.name for profile in profiles}
    for token in tokens:
        if missing := [name for name in token.profiles or () if name not in known]:
            what = f"The token {token.name!r} is bound to {_named(missing)}, which the configuration does not have."
            remedy = f"Add it to `access.profiles`, or run `utcp-bridge token revoke {token.name}` and make a new one."
            yield Fault("access.tokens_file", what, remedy, "warning")


def _unknown(profiles: Profiles, where: str, written: Iterable[tuple[str, Sequence[str]]]) -> Iterator[Fault]:
    """Yield a fault for each pattern that gives profiles that the configuration does not have."""
    known = {profile.name for profile in profiles}
    for glob, names in written:
        if missing := [name for name in names if name not in known]:
            has = ", ".join(sorted(known)[:20])
            remedy = f"It has: {has}." if has else "Add it to `access.profiles`."
            yield Fault(where, f"{glob[:64]!r} gives {_named(missing)}, which the configuration does not have.", remedy)


def _named(missing: Sequence[str]) -> str:
    return f"the profile{'' if len(missing) == 1 else 's'} {', '.join(repr(name[:64]) for name in missing)}"


def _of_log(place: str | None, setting: str, root: Path) -> list[Fault]:
    """Return a fault if a log cannot be written. It is not opened, because that would begin a run in an audit log."""
    if place is None or place.partition(":")[0] in _PLACES_WITHOUT_FILE:
        return []
    path = root / Path(place).expanduser()
    if path.exists():
        is_fit = path.is_file() and os.access(path, os.W_OK)
    else:
        is_fit = path.parent.is_dir() and os.access(path.parent, os.W_OK)
    if is_fit:
        return []
    return [Fault(f"log.{setting}", f"The file {path} cannot be written.", f"Change the setting `{setting}`.")]


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
