"""The listener of the HTTP server: who could reach it, its certificate, and changes of who may call."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import anyio

from utcp_bridge.access.gatekeeper import ACCESS_KEYS, Gatekeeper, gatekeeper_for
from utcp_bridge.access.profiles import read_profiles
from utcp_bridge.errors import ConfigError
from utcp_bridge.net.files.local_file import FileWatcher
from utcp_bridge.net.listening import is_loopback
from utcp_bridge.net.tls import ListenerTls
from utcp_bridge.processes.ending import watched_signals
from utcp_bridge.server.profiles.ways import ProfileWays
from utcp_bridge.server.web.console_door import insist_on_console
from utcp_bridge.server.web.doors import ANY_ADDRESS
from utcp_bridge.settings import GENERATED_TOKEN, BridgeSettings
from utcp_bridge.tasks import spawning_in

__all__ = ["ReachedAt", "following", "listener_tls", "prepare_access", "refuse_open_door"]

_logger = logging.getLogger(__name__)
_MIN_TOKEN: Final = 16
"""Characters of a token beyond loopback. A caller that guesses the token can call every tool."""


@asynccontextmanager
async def following(tls: ListenerTls | None) -> AsyncGenerator[None]:
    """Read the certificate and the authorities again when a file changes, and at each SIGHUP."""
    if tls is None:
        yield
        return
    async with watched_signals() as ending, anyio.create_task_group() as group:
        watcher = FileWatcher(lambda _: tls.reload(), spawning_in(group))

        def watch() -> None:
            watcher.forget("authorities")
            for name, file in zip(("certificate", "key", "authorities"), tls.files, strict=False):
                watcher.watch(name, file)

        watch()
        tls.on_authorities.append(watch)
        with ending.at_hangup(tls.reload):
            yield
        watcher.close()


def listener_tls(settings: BridgeSettings, root: Path) -> ListenerTls | None:
    """Return the certificate of the listener; None for plain HTTP.

    :raises ConfigError: a setting is missing, or a file cannot be used.
    """
    certificate, key, authorities = (
        None if name is None else root / Path(name).expanduser()
        for name in (settings.tls_certificate, settings.tls_key, settings.tls_client_ca)
    )
    if certificate is not None and key is not None:
        return ListenerTls(certificate, key, authorities)
    if certificate is None and key is None and authorities is None:
        return None
    raise ConfigError(
        "TLS of the listener needs both `tls.certificate` and `tls.key`.",
        remedy="Set both, or remove `tls.certificate`, `tls.key` and `tls.client_ca`.",
    )


def refuse_open_door(settings: BridgeSettings) -> None:
    token = None if settings.bearer_token is None else settings.bearer_token.get_secret_value()
    if token == GENERATED_TOKEN:
        raise ConfigError(
            f"`bearer_token: {GENERATED_TOKEN}` makes a token for the command `utcp-bridge serve` only.",
            remedy="Set `bearer_token` to a token of your own.",
        )
    is_open = not is_loopback(settings.host) and not settings.insecure
    if settings.oauth_issuer is not None and settings.oauth_resource is None and settings.host in ANY_ADDRESS:
        raise ConfigError(
            f"`oauth.resource` is not set, and {settings.host} is not an address that clients can write.",
            remedy="Set it to the URL that clients use, such as `https://bridge.example.com/mcp`.",
        )
    others = (settings.tokens_file, settings.oauth_issuer, settings.tls_client_ca)
    if token is None and is_open and not any(others):
        raise ConfigError(
            f"Serving on {settings.host} would let anyone on the network call every tool.",
            remedy=(
                "Set `bearer_token` or `access.tokens_file`, listen on 127.0.0.1, or set `insecure: true` behind a "
                "proxy that authenticates."
            ),
        )
    if token is not None and len(token) < _MIN_TOKEN:
        what = f"The `bearer_token` has fewer than {_MIN_TOKEN} characters and can be guessed."
        remedy = "Set a long random one, such as the output of `openssl rand -hex 32`."
        if is_open:
            raise ConfigError(what, remedy=remedy)
        _logger.warning("%s %s", what, remedy)


class ReachedAt(NamedTuple):
    """Where a server is reached."""

    address: str
    """The URL of the MCP endpoint."""
    root: Path
    """The folder that paths in settings are relative to."""
    tls: ListenerTls | None = None


def prepare_access(
    keeper: Gatekeeper,
    ways: ProfileWays[Any, Any],
    door: ReachedAt,
    settings: BridgeSettings,
    keys: Collection[str],
) -> Callable[[], Awaitable[None]]:
    """Return what takes over who may call, and the profiles (`UtcpClient.on_prepare`).

    :raises ConfigError: the settings are not valid, or would open the bridge to everyone.
    """
    fresh = None
    if not ACCESS_KEYS.isdisjoint(keys):
        refuse_open_door(settings)
        fresh = gatekeeper_for(settings, door.address, door.root)
    if "console" in keys:
        insist_on_console(settings)
    listen = _other_authorities(door, settings) if "tls_client_ca" in keys else None
    profiles = read_profiles(settings)

    def take_over() -> Awaitable[None]:
        if fresh is not None:
            keeper.take_over(fresh)
        if listen is not None:
            listen()
        if "profile" in keys and profiles.fixed is not None:
            keeper.judge_again(unless_in=profiles.fixed.name)
        return ways.take_over(profiles)

    return take_over


def _other_authorities(door: ReachedAt, settings: BridgeSettings) -> Callable[[], None]:
    """Return what lets the authorities of the settings judge new connections.

    :raises ConfigError: the listener is one without TLS, or a file cannot be used.
    """
    if door.tls is None:
        raise ConfigError(
            "`tls.client_ca` needs a bridge that was started with `tls.certificate` and `tls.key`.",
            remedy="Set them, and start the bridge again.",
        )
    name = settings.tls_client_ca
    return door.tls.prepare(None if name is None else door.root / Path(name).expanduser())
