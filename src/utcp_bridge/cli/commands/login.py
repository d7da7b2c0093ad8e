"""`utcp-bridge login` and `logout`: the logins of a manual at its services."""

from __future__ import annotations

import click

from utcp_bridge.cli import exits
from utcp_bridge.cli.opening import opened_for, run_async, wait_for_manuals
from utcp_bridge.cli.options import Options, client_options, manual_names
from utcp_bridge.cli.output import note, print_json, print_line

__all__ = ["login", "logout"]


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
