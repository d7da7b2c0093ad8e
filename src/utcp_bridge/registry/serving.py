"""Serving a folder as a registry until a signal; on loopback, unless the operator says otherwise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.to_thread

from utcp_bridge.errors import ConfigError
from utcp_bridge.net.asgi_server import serve_asgi
from utcp_bridge.net.listening import LOOPBACK_NAMES, bind, for_url, is_loopback
from utcp_bridge.registry.app import build_registry_app
from utcp_bridge.registry.folder import Folder

__all__ = ["Serving", "serve_registry"]

_GRACE_SECONDS = 2


@dataclass(frozen=True, slots=True)
class Serving:
    """Where and how to serve. `insecure` allows an address beyond loopback, where anyone may read every manual."""

    host: str = "127.0.0.1"
    port: int = 8080
    insecure: bool = False
    public_url: str | None = None


async def serve_registry(folder: Path, serving: Serving, *, on_ready: Callable[[str, int], None]) -> None:
    """Serve until SIGTERM or SIGINT; `on_ready` gets the URL and the number of manuals.

    :raises ConfigError: there is no such folder, the address cannot be bound, or is open to everyone.
    """
    if not await anyio.Path(folder).is_dir():
        raise ConfigError(f"There is no folder {folder}.", remedy="Name a folder of manuals.")
    if not is_loopback(serving.host) and not serving.insecure:
        raise ConfigError(
            f"Serving on {serving.host} would show the manuals to everyone on the network.",
            remedy="If that is intended, say --insecure; a proxy in front can ask for credentials.",
        )
    shelves = Folder(folder)
    shelf = await anyio.to_thread.run_sync(shelves.current)
    hosts = {*LOOPBACK_NAMES, serving.host.strip("[]")} if is_loopback(serving.host) else None
    app = build_registry_app(shelves, public_url=serving.public_url, hosts=hosts)
    listener = bind(serving.host, serving.port)
    url = f"http://{for_url(serving.host)}:{listener.getsockname()[1]}"
    await serve_asgi(app, listener, on_ready=lambda: on_ready(url, len(shelf.files)), grace=_GRACE_SECONDS)
