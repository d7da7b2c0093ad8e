"""`utcp-bridge login`: log in to the services of a manual."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import click

from utcp_bridge.auth.login.person import DeviceCode, Person, open_browser
from utcp_bridge.cli import exits
from utcp_bridge.cli.opening import opened_for, run_async, wait_for_manuals
from utcp_bridge.cli.options import Options, client_options, manual_names
from utcp_bridge.cli.output import note, print_json, print_line

if TYPE_CHECKING:
    from utcp_bridge.auth.login.records import LoginRecord
    from utcp_bridge.model import JsonObject

__all__ = ["login"]


@click.command(
    epilog="""\b
Examples:
  utcp-bridge login tracker                    the manual `tracker` of ./providers.json
  utcp-bridge login utcp.yaml tracker --no-browser
\b
Exit codes:
"""
    + exits.listed(exits.OK, exits.USAGE, exits.CONFIGURATION, exits.UPSTREAM, exits.POLICY, exits.INTERRUPTED)
)
@click.option("--no-browser", is_flag=True, help="Print the address instead of opening a browser.")
@client_options("NAME", required=1, complete=manual_names)
def login(options: Options, words: tuple[str, ...], no_browser: bool, as_json: bool) -> int:
    """Log in to the services of a manual, in a browser or with a code.

    The login is kept for the bridge, which renews it. `utcp-bridge help login` says for which services it works.
    """
    return run_async(_login, options, words, no_browser, as_json)


async def _login(options: Options, words: tuple[str, ...], no_browser: bool, as_json: bool) -> int:
    [manual, *others] = words
    if others:
        raise click.UsageError("Name one manual.")
    async with opened_for(options, manual) as client:
        await wait_for_manuals(client)
        made = await client.login_desk.log_in(manual, TerminalPerson(browser=not no_browser))
        if as_json:
            print_json({"logins": [shown(record) for record in made]})
            return exits.OK
        for record in made:
            print_line(f"Logged in to {record.resource} with {record.issuer}.")
        note(f"The login is kept in {client.login_desk.place}. A running bridge uses it at the next call.")
    return exits.OK


def shown(record: LoginRecord) -> JsonObject:
    """Return what may be shown of a login: everything but its secrets."""
    return {
        "manual": record.manual,
        "service": record.resource,
        "issuer": record.issuer,
        "client_id": record.client.client_id if record.client is not None else None,
        "scope": record.scope,
        "obtained_at": record.obtained_at,
        "stale_at": record.stale_at,
        "renewable": record.refresh_token is not None,
        "ended": record.ended,
    }


class TerminalPerson(Person):
    """Shows pages and codes on stderr. With `browser`, pages open in the browser of this machine."""

    def __init__(self, *, browser: bool) -> None:
        self._browser = browser

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
