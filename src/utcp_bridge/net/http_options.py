"""Options of HTTP sessions and of WebSockets, and advice on the proxy of the environment. Loads no engine."""

from __future__ import annotations

from utcp_bridge.late.records import dataclass

__all__ = ["PoolOptions", "SocketOptions", "advice_on_proxy"]

_PROXIED = {"http": "http", "https": "https", "ws": "http", "wss": "https"}


@dataclass(frozen=True, slots=True)
class PoolOptions:
    """Options of all sessions of a pool. Sizes in bytes, times in seconds."""

    max_response_bytes: int
    connect_timeout: float
    connections: int
    trust_env: bool


@dataclass(frozen=True, slots=True)
class SocketOptions:
    """How a WebSocket is opened.

    With `ping_interval` (seconds) a connection is closed if the peer does not reply to pings; this works only while
    messages are received. `compression` offers permessage-deflate. Without `decode_text`, text
    frames come as bytes: with it, one that is not UTF-8 closes the connection.
    """

    protocols: tuple[str, ...] = ()
    max_message_bytes: int = 1 << 20
    ping_interval: float | None = None
    compression: bool = False
    decode_text: bool = True


def advice_on_proxy(scheme: str, host: str) -> str | None:
    """Return what to do after a failed connection if the environment names a proxy for it; None without one.

    Proxies of the environment are not used, because a proxy connects past the address gate. Other programs use them, so
    a service that only they reach looks broken. The proxy's URL may hold a password, so the advice leaves it out.
    """
    from urllib.request import getproxies_environment, proxy_bypass

    proxies = getproxies_environment()
    wanted = _PROXIED.get(scheme)
    name = next((name for name in (wanted, "all") if wanted and name in proxies), None)
    if name is None or proxy_bypass(host):
        return None
    return (
        f"{name.upper()}_PROXY of the environment is not used: if the service is behind that proxy, set `proxy` in the "
        "configuration."
    )
