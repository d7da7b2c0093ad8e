"""The person at the terminal who logs in: with the browser of this machine, or with one elsewhere."""

from __future__ import annotations

import sys
from contextlib import suppress

import anyio
import anyio.to_thread

from utcp_bridge.auth.login.person import DeviceCode, Person, open_browser
from utcp_bridge.auth.login.redirect import MAX_LOGIN_SECONDS
from utcp_bridge.cli.output import note

__all__ = ["TerminalPerson"]


class TerminalPerson(Person):
    """Shows pages and codes on stderr. With `browser`, pages open in the browser of this machine. A login waits for
    `seconds`.
    """

    def __init__(self, *, browser: bool, seconds: float = MAX_LOGIN_SECONDS) -> None:
        self._browser = browser
        self.seconds = seconds

    async def visit(self, url: str) -> None:
        """Show the page, and open it."""
        if self._browser and await open_browser(url):
            note(f"The browser opens the page of the login. If it does not, open it yourself:\n  {url}")
            return
        self._browser = False
        note(f"Open this page in a browser to log in:\n  {url}")
        note(
            "If the browser is on another machine, its last page cannot be loaded. Paste the address of that page here:"
        )

    async def enter(self, device: DeviceCode) -> None:
        """Show the code, and open the page on which it is entered."""
        opened = self._browser and await open_browser(device.complete or device.url)
        how = "The browser opens" if opened else "Open this page in any browser:"
        note(f"{how} {device.url}\nEnter this code there: {device.code}")

    async def remind(self, text: str) -> None:
        """Show why the redirect may not come."""
        note(f"{text} Ctrl+C ends the login.")

    async def pasted(self) -> str:
        """Return the line that the person pastes. Without an input it never comes."""
        while not self._browser and sys.stdin is not None and not sys.stdin.closed:
            line = await _line()
            if line is None:
                break
            if line.strip():
                return line
        return await super().pasted()


async def _line() -> str | None:
    """Return a line of stdin; None at its end. It can be cancelled where the system can wait for a line."""
    if sys.platform == "win32":
        line = await anyio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True)
        return line or None
    with suppress(OSError, ValueError):  # a regular file, which is always ready, or no input at all
        await anyio.wait_readable(sys.stdin)
    try:
        return sys.stdin.readline() or None
    except (OSError, ValueError):
        return None
