"""`utcp-bridge logout`: forget the logins of a manual."""

from __future__ import annotations

import click

from utcp_bridge.cli import exits
from utcp_bridge.cli.opening import opened_for, run_async, wait_for_manuals
from utcp_bridge.cli.options import Options, client_options, manual_names
from utcp_bridge.cli.output import note, print_json, print_line

__all__ = ["logout"]


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
