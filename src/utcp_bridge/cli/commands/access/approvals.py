"""`utcp-bridge approvals`: decide about calls that wait for an approval."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal

import click

from utcp_bridge.cli import exits
from utcp_bridge.cli.opening import run_async
from utcp_bridge.cli.options import Options, config_options, debug_option
from utcp_bridge.cli.output import complain, note, print_json, print_line
from utcp_bridge.cli.program import CONTEXT, NamedGroup, Session

if TYPE_CHECKING:
    from utcp_bridge.access.approvals import ApprovalOptions, ApprovalRecords
    from utcp_bridge.model import JsonObject

__all__ = ["approvals"]


@click.group(
    cls=NamedGroup,
    context_settings=CONTEXT,
    epilog="""\b
Examples:
  utcp-bridge approvals list                   the calls that wait, with their arguments
  utcp-bridge approvals approve 4f0c12ab90de
  utcp-bridge approvals deny 4f0c
""",
)
@debug_option
def approvals() -> None:
    """Decide about calls that wait for an approval.

    An approval is for one call: the same principal, tool and arguments, once, and for a limited time.
    """


@approvals.command(
    "list",
    epilog="""\b
Examples:
  utcp-bridge approvals list
  utcp-bridge approvals list utcp.yaml --json
""",
)
@config_options()
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
@debug_option
@click.pass_obj
def list_approvals(session: Session, /, options: Options, as_json: bool) -> int:
    """List the calls that wait, the oldest first, with their arguments. Secrets are masked."""
    session.as_json = as_json
    found = run_async(_waiting, options)
    if as_json:
        print_json({"approvals": found})
    elif not found:
        note("No call waits for an approval.")
    for record in () if as_json else found:
        left = max(0, round(record["ends"] - time.time()))
        print_line(f"{record['id']}  {record['state']}, ends in {left} s")
        print_line(f"{record['principal']}: {record['tool']} (rule {record['rule']!r})")
        for line in [record["why"], *record["shown"].splitlines()]:
            if line:
                print_line(f"    {line}")
    return exits.OK


@approvals.command(epilog="\b\nExamples:\n  utcp-bridge approvals approve 4f0c12ab90de")
@config_options("ID", required=1)
@debug_option
def approve(options: Options, words: tuple[str, ...]) -> int:
    """Approve the call with this ID, or whose ID begins so. The caller then sends it again."""
    return run_async(_decide, options, _one(words), "approved")


@approvals.command(epilog="\b\nExamples:\n  utcp-bridge approvals deny 4f0c12ab90de")
@config_options("ID", required=1)
@debug_option
def deny(options: Options, words: tuple[str, ...]) -> int:
    """Refuse the call with this ID, or whose ID begins so."""
    return run_async(_decide, options, _one(words), "denied")


def _one(words: tuple[str, ...]) -> str:
    [ident, *others] = words
    if others:
        raise click.UsageError("Name one ID.")
    return ident


async def _records(options: Options) -> tuple[ApprovalOptions, ApprovalRecords]:
    from utcp_bridge.access.approvals import ApprovalOptions, ApprovalRecords
    from utcp_bridge.configuration.loading import load_config

    loaded = await load_config(options.found(), overrides=options.settings)
    found = ApprovalOptions.read(loaded.config.bridge.approvals)
    return found, ApprovalRecords(found.open_store(loaded.root, loaded.config.bridge))


async def _waiting(options: Options) -> list[JsonObject]:
    _, records = await _records(options)
    return [{key: value for key, value in one.items() if key != "key"} for one in await records.waiting()]


async def _decide(options: Options, ident: str, state: Literal["approved", "denied"]) -> int:
    found, records = await _records(options)
    record = await records.decide(ident, state, _user(), found.seconds)
    if record is None:
        complain(f"No single call waits under the id {ident!r}. `utcp-bridge approvals list` lists the ids.")
        return exits.FAULTS
    note(
        f"{state.capitalize()}: {record['principal']} may {'' if state == 'approved' else 'not '}call {record['tool']}."
    )
    return exits.OK


def _user() -> str:
    """Return the name of the person, for the records and the audit log."""
    from getpass import getuser

    try:
        return getuser()
    except (OSError, KeyError):  # a user without a name, as in a container
        return "operator"
