"""`utcp-bridge auth`: the logins that are kept."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import click

from utcp_bridge.cli import exits
from utcp_bridge.cli.opening import opened_for, run_async
from utcp_bridge.cli.options import Options, client_options, debug_option
from utcp_bridge.cli.output import note, print_json, print_table
from utcp_bridge.cli.program import CONTEXT, NamedGroup

if TYPE_CHECKING:
    from utcp_bridge.client.logins import LoginState

__all__ = ["auth"]

_WORDS: Final = {"valid": "valid", "renewable": "renewed at its next use", "ended": "ended, log in again"}


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
