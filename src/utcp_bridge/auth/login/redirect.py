"""The end of a login in a browser: one request to a port of this machine (RFC 8252 section 7.3), or a pasted URL."""

from __future__ import annotations

import hmac
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from html import escape
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, urlsplit

import anyio

from utcp_bridge.errors import ConfigError, LoginFailed

if TYPE_CHECKING:
    from aiohttp import web

__all__ = ["MAX_LOGIN_SECONDS", "RedirectReceiver", "receiving"]

MAX_LOGIN_SECONDS: Final = 300.0
"""For the person in the browser."""
_PATH: Final = "/callback"
_MAX_PASTED: Final = 16_384
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_PAGE: Final = """<!doctype html><html lang="en"><meta charset="utf-8"><title>utcp-bridge</title>
<style>body{{font:18px/1.5 system-ui,sans-serif;max-width:36em;margin:15vh auto;padding:0 1em}}</style>
<h1>{title}</h1><p>{text}</p></html>"""


class RedirectReceiver:
    """Waits for the parameters of one redirect. Requests with another `state` are refused and change nothing."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        """The `redirect_uri` of the login."""
        self._state = ""
        self._found: dict[str, str] | None = None
        self._arrived = anyio.Event()

    def expect(self, state: str) -> None:
        """Accept the redirect with this state, and no other."""
        self._state = state

    def take(self, query: str) -> bool:
        """Take the query of a redirect; False if it is not the one that is expected, or not the first."""
        values = {name: found[0] for name, found in parse_qs(query, keep_blank_values=True).items()}
        state = values.get("state", "")
        if self._found is not None or not self._state or not hmac.compare_digest(state.encode(), self._state.encode()):
            return False
        if "code" not in values and "error" not in values:
            return False
        self._found = values
        self._arrived.set()
        return True

    def paste(self, text: str) -> None:
        """Take the URL of the redirect as a person copied it from the browser.

        :raises LoginFailed: it is not the URL that is expected.
        """
        try:
            query = urlsplit(text.strip()[:_MAX_PASTED]).query
        except ValueError:
            query = ""
        if not self.take(query):
            raise LoginFailed(
                "The pasted text is not the URL to which this login was redirected.",
                remedy="Copy the whole address from the browser, and log in again.",
            )

    async def parameters(self) -> dict[str, str]:
        """Return the parameters of the redirect: `code` and `state`, or `error`, and `iss` (RFC 9207)."""
        await self._arrived.wait()
        return self._found or {}


@asynccontextmanager
async def receiving(port: int | None = None) -> AsyncGenerator[RedirectReceiver]:
    """Listen on 127.0.0.1 for the redirect of one login. Without `port`, the system picks a free one.

    :raises ConfigError: another program uses the port.
    """
    from aiohttp import web

    receiver = RedirectReceiver("")

    async def answer(request: web.Request) -> web.Response:
        if request.host.lower() != own_host or not receiver.take(request.query_string):
            return _page("This is not the login that is expected", "Go back to where you began, and begin again.", 400)
        if "error" in request.query:
            return _page("The login was refused", "The place where you began says why. You may close this window.", 200)
        return _page("The login is complete", "Go back to where you began. You may close this window.", 200)

    app = web.Application()
    app.router.add_get(_PATH, answer)
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, "127.0.0.1", port or 0).start()
        except OSError as error:
            raise ConfigError(
                f"The login cannot listen on the port {port} of 127.0.0.1: {error.strerror}.",
                remedy="End the program that uses it, or choose another `redirect_port`.",
            ) from None
        own_host = f"127.0.0.1:{runner.addresses[0][1]}"
        receiver.uri = f"http://{own_host}{_PATH}"
        yield receiver
    finally:
        with anyio.CancelScope(shield=True):  # a login that was given up keeps no port
            await runner.cleanup()


def _page(title: str, text: str, status: int) -> web.Response:
    from aiohttp import web

    body = _PAGE.format(title=escape(title), text=escape(text))
    return web.Response(text=body, status=status, content_type="text/html", headers=_HEADERS)
