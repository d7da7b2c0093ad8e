"""`utcp-bridge login`, `logout` and `auth`: the logins of manuals at their services."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import click

from utcp_bridge.cli import exits
from utcp_bridge.cli.opening import opened_for, run_async, wait_for_manuals
from utcp_bridge.cli.options import Options, client_options, debug_option, manual_names
from utcp_bridge.cli.output import note, print_json, print_line, print_table
from utcp_bridge.cli.program import CONTEXT, NamedGroup

if TYPE_CHECKING:
    from utcp_bridge.client.logins import LoginState

__all__ = ["auth", "login", "logout"]

_WORDS: Final = {"valid": "valid", "renewable": "renewed at its next use", "ended": "ended, log in again"}


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
    from utcp_bridge.cli.person import TerminalPerson

    [manual, *others] = words
    if others:
        raise click.UsageError("Name one manual.")
    async with opened_for(options, manual) as client:
        await wait_for_manuals(client)
        made = await client.login_desk.log_in(manual, TerminalPerson(browser=not no_browser))
        if as_json:
            print_json({"logins": [record.public() for record in made]})
            return exits.OK
        for record in made:
            print_line(f"Logged in to {record.resource} with {record.issuer}.")
        note(f"The login is kept in {client.login_desk.place}. A running bridge uses it at the next call.")
    return exits.OK


@click.command(
    epilog="""\b
Examples:
  utcp-bridge logout tracker                   the manual `tracker` of ./providers.json
"""
)
@client_options("NAME", required=1, complete=manual_names)
def logout(options: Options, words: tuple[str, ...], as_json: bool) -> int:
    """Forget the logins of a manual, and revoke their tokens.

    An authorization server that cannot revoke tokens keeps them until they expire.
    """
    return run_async(_logout, options, words, as_json)


async def _logout(options: Options, words: tuple[str, ...], as_json: bool) -> int:
    [manual, *others] = words
    if others:
        raise click.UsageError("Name one manual.")
    async with opened_for(options, manual) as client:
        await wait_for_manuals(client)
        ended = await client.login_desk.log_out(manual)
        if as_json:
            print_json({"logged_out": [record.resource for record in ended]})
        elif not ended:
            note(f"{manual} has no login.")
        for record in ended if not as_json else ():
            print_line(f"Logged out of {record.resource}.")
    return exits.OK


@click.group(
    cls=NamedGroup,
    context_settings=CONTEXT,
    epilog="""\b
Examples:
  utcp-bridge auth status                      every login, without its tokens
""",
)
@debug_option
def auth() -> None:
    """Show the logins that `utcp-bridge login` made."""


@auth.command(
    epilog="""\b
Examples:
  utcp-bridge auth status
  utcp-bridge auth status utcp.yaml --json
"""
)
@client_options()
def status(options: Options, as_json: bool) -> int:
    """List the logins, without their tokens.

    Each has its manual, service and authorization server, and the time until which its token is valid.
    """
    return run_async(_status, options, as_json)


async def _status(options: Options, as_json: bool) -> int:
    async with opened_for(options, None) as client:
        states = await client.login_desk.states()
        if as_json:
            print_json({"store": client.login_desk.place, "logins": [state.record.public() for state in states]})
        elif not states:
            note(f"{client.login_desk.place} has no logins.")
        else:
            print_table(("MANUAL", "SERVICE", "ISSUER", "STATUS", "UNTIL"), [_row(state) for state in states])
    return exits.OK


def _row(state: LoginState) -> tuple[str, ...]:
    record = state.record
    until = "" if record.stale_at is None else f"{datetime.fromtimestamp(record.stale_at, UTC):%Y-%m-%d %H:%M} UTC"
    name = state.status
    if name == "renewable" and record.stale_at is not None and time.time() < record.stale_at:
        name = "valid"
    elif name == "valid" and record.stale_at is not None and time.time() >= record.stale_at:
        name = "ended"
    return (record.manual, record.resource, record.issuer, _WORDS[name], until)
