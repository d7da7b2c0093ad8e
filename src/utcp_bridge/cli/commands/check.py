"""`utcp-bridge check`: load every manual of a configuration and report its faults."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from utcp_bridge.cli import exits
from utcp_bridge.cli.opening import opened, run_async, wait_for_manuals
from utcp_bridge.cli.options import Options, client_options
from utcp_bridge.cli.output import note, print_json, print_line, print_table
from utcp_bridge.net.backoff import MAX_PAUSE

if TYPE_CHECKING:
    from utcp_bridge.auth.redaction import Redactor
    from utcp_bridge.client.client import UtcpClient
    from utcp_bridge.manuals.registration import ManualState
    from utcp_bridge.model import JsonObject
    from utcp_bridge.upstream import ServerState

__all__ = ["check"]


@click.command(
    epilog="""\b
Examples:
  utcp-bridge check                            each manual of ./providers.json
  utcp-bridge check utcp.yaml --json
  utcp-bridge check --as-host claude-desktop   with the PATH and variables that the host gives
\b
Exit codes. The first manual that failed determines the code:
"""
    + exits.listed(exits.OK, exits.USAGE, exits.CONFIGURATION, exits.UPSTREAM, exits.POLICY, exits.DEADLINE)
)
@click.option(
    "--as-host", "host", metavar="HOST", help="Start the bridge as this MCP host starts it, and write nothing."
)
@click.option(
    "--project", type=click.Path(path_type=Path), help="With --as-host: use the project's file in this folder."
)
@client_options()
def check(options: Options, host: str | None, project: Path | None, as_json: bool) -> int:
    """Load every manual and report what is wrong.

    With `--as-host`, the entry in the host's file is started. With a CONFIG, or if the host has no entry, it is the
    entry that `utcp-bridge install` would write.

    `utcp-bridge validate` tests a file without the network, and `utcp-bridge doctor` finds the step at which a manual
    fails.
    """
    if host is not None:
        from utcp_bridge.cli.commands.install import check_as_host

        return check_as_host(host, options, project, as_json=as_json)
    if project is not None:
        raise click.UsageError("--project needs --as-host.")
    return run_async(_check, options, as_json)


async def _check(options: Options, as_json: bool) -> int:
    async with opened(options) as client:
        await wait_for_manuals(client)
        states = client.report()
        if as_json:
            outages = [asdict(replace(one, peer=client.redactor(one.peer))) for one in client.outages()]
            print_json({"manuals": [_as_json(client, state) for state in states], "outages": outages})
        else:
            _print(client, states)
        return next((exits.exit_code(state.error) for state in states if state.error is not None), exits.OK)


def _print(client: UtcpClient, states: list[ManualState]) -> None:
    from utcp_bridge.client.offered import offer_lines

    if not states:
        note("There are no manuals.")
        return
    rows = [
        (state.name, state.kind, _status(client, state), str(state.tools), f"{state.seconds:.2f} s", state.dialect)
        for state in states
    ]
    print_table(("MANUAL", "KIND", "STATUS", "TOOLS", "TIME", "DIALECT"), rows)
    servers = [one for one in client.servers() if one.status != "ready" or _has_others(one, client)]
    if servers:
        lines = [(one.manual, one.shown, one.status, str(one.tools)) for one in servers]
        print_table(("MANUAL", "MCP SERVER", "STATE", "TOOLS"), lines)
    for state in states:
        if state.error is not None:
            print_line(f"error: {client.redactor(f'{state.name}: {state.error}')}")
        if state.next_try is not None:
            print_line(
                f"note: {state.name}: a running bridge loads it again by itself, at least every {MAX_PAUSE:.0f} s."
            )
        for fault in state.faults:
            text = str(fault)
            place = "" if state.name in text.partition(":")[0] else f"{state.name}: "
            print_line(f"{fault.severity}: {client.redactor(f'{place}{text}')}")
    for line in offer_lines(client):
        print_line(f"note: {line}")
    for outage in client.outages():
        print_line(f"note: {client.redactor(str(outage))}")


def _has_others(server: ServerState, client: UtcpClient) -> bool:
    return any(one.manual == server.manual and one.name != server.name for one in client.servers())


def _status(client: UtcpClient, state: ManualState) -> str:
    """Return the status of a manual; `disabled` if the configuration switches off all its servers."""
    servers = {one.status for one in client.servers() if one.manual == state.name}
    return "disabled" if servers == {"disabled"} else state.status


def _server_as_json(server: ServerState, redact: Redactor) -> JsonObject:
    """Return {name, state, tools, failure} of an MCP server; `failure` is null if its last attempt succeeded."""
    failure = redact(server.failure) or None
    return {"name": server.shown, "state": server.status, "tools": server.tools, "failure": failure}


def _as_json(client: UtcpClient, state: ManualState) -> JsonObject:
    faults = [
        {"severity": fault.severity, "where": fault.where, "what": client.redactor(fault.what), "remedy": fault.remedy}
        for fault in state.faults
    ]
    error = state.error and {"code": state.error.code, "message": client.redactor(str(state.error))}
    servers = [_server_as_json(one, client.redactor) for one in client.servers() if one.manual == state.name]
    from utcp_bridge.client.offered import offered

    offers = [report.as_json() for report in offered(client, state.name)]
    return {
        "name": state.name,
        "kind": state.kind,
        "status": _status(client, state),
        "tools": state.tools,
        "dialect": state.dialect,
        "seconds": round(state.seconds, 3),
        "error": error,
        "retries": state.next_try is not None,
        "faults": faults,
        **({"servers": servers} if servers else {}),
        **({"offers": offers} if offers else {}),
    }
