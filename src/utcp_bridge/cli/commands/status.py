"""`utcp-bridge list` and `status`: the manuals of a configuration as they are written, and as they are now."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import click

from utcp_bridge.cli import exits
from utcp_bridge.cli.opening import opened_parts, run_async, wait_for_manuals
from utcp_bridge.cli.options import Options, client_options, config_options, debug_option
from utcp_bridge.cli.output import complain, note, print_json, print_line, print_table
from utcp_bridge.cli.program import Session
from utcp_bridge.manuals.states import shown_place, source_of, word_of
from utcp_bridge.model import JsonObject

if TYPE_CHECKING:
    from utcp_bridge.client.client import UtcpClient
    from utcp_bridge.manuals.registration import ManualState

__all__ = ["list_manuals", "status"]


@click.command(
    "list",
    epilog="""\b
Examples:
  utcp-bridge list                             the manuals of ./utcp.yaml
  utcp-bridge list servers.json --json
\b
Exit codes. The first entry or key that cannot be used determines the code, as for `status`:
"""
    + exits.listed(exits.OK, exits.USAGE, exits.CONFIGURATION, exits.POLICY),
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
@config_options()
@debug_option
@click.pass_obj
def list_manuals(session: Session, options: Options, as_json: bool) -> int:
    """List the manuals of the configuration with kind and source. Nothing is loaded."""
    session.as_json = as_json
    return run_async(_list, options, as_json)


async def _list(options: Options, as_json: bool) -> int:
    from utcp_bridge.configuration.loading import load_config

    loaded = await load_config(options.found(), overrides=options.settings)
    for fault in loaded.faults:
        complain(str(fault))
    rows = [
        {"name": str(entry.get("name")), "kind": str(entry.get("call_template_type")), "source": source_of(entry)}
        for entry in loaded.config.manual_call_templates
    ]
    rows += [
        {"name": str(one.get("name")), "kind": "registry", "source": shown_place(one.get("registry"))}
        for one in loaded.config.registries
    ]
    if as_json:
        print_json({"manuals": rows})
    elif rows:
        print_table(("MANUAL", "KIND", "SOURCE"), [tuple(row.values()) for row in rows])
    else:
        note("The configuration has no manuals. `utcp-bridge add` adds one.")
    return exits.first_fault_code(loaded.faults)


@click.command(
    epilog="""\b
Examples:
  utcp-bridge status
  utcp-bridge status utcp.yaml --json
\b
Exit codes. The first manual that failed determines the code. If none failed, the first
entry or key of the configuration that cannot be used does, as for `list`:
"""
    + exits.listed(exits.OK, exits.USAGE, exits.CONFIGURATION, exits.UPSTREAM, exits.POLICY, exits.DEADLINE)
)
@client_options()
def status(options: Options, as_json: bool) -> int:
    """Show how each manual is now, and which hosts start this configuration.

    Every manual is loaded. `utcp-bridge check` lists each fault.
    """
    return run_async(_status, options, as_json)


async def _status(options: Options, as_json: bool) -> int:
    from utcp_bridge.access.faults import access_faults

    hosts = list(_hosts_with(options))
    async with AsyncExitStack() as stack:
        loaded, client = await opened_parts(options.without_calls(), stack)
        await wait_for_manuals(client)
        states = client.report()
        of_access = await access_faults(client.settings, client.root)
        if as_json:
            access = [client.redactor(str(fault)) for fault in of_access]
            print_json({"manuals": [_as_json(client, state) for state in states], "hosts": hosts, "access": access})
        else:
            _print(client, states, hosts)
            for fault in of_access:
                complain(client.redactor(str(fault)))
        failed = next((exits.exit_code(state.error) for state in states if state.error is not None), exits.OK)
        return failed or exits.first_fault_code([*loaded.faults, *client.faults(), *of_access])


def _print(client: UtcpClient, states: list[ManualState], hosts: list[JsonObject]) -> None:
    rows = [
        (
            state.name,
            word_of(state, client.servers()),
            str(state.tools),
            source_of(state.entry.template),
            _remark(client, state),
        )
        for state in states
    ]
    if rows:
        print_table(("MANUAL", "STATE", "TOOLS", "SOURCE", "REMARK"), rows)
    else:
        note("The configuration has no manuals. `utcp-bridge add` adds one.")
    if hosts:
        print_line("Started by " + ", ".join(f"{one['title']} ({one['entry']})" for one in hosts) + ".")
    else:
        note("No host on this machine starts this configuration. `utcp-bridge install HOST` changes that.")


def _remark(client: UtcpClient, state: ManualState) -> str:
    if state.error is not None:
        return client.redactor(str(state.error))
    first = next((fault for fault in state.faults if fault.severity == "error"), None)
    first = first or next(iter(state.faults), None)
    more = f" ({len(state.faults) - 1} more: `utcp-bridge check`)" if len(state.faults) > 1 else ""
    return client.redactor(f"{first.what} {first.remedy}".strip()) + more if first is not None else ""


def _as_json(client: UtcpClient, state: ManualState) -> JsonObject:
    error = state.error and {"code": state.error.code, "message": client.redactor(str(state.error))}
    return {
        "name": state.name,
        "kind": state.kind,
        "state": word_of(state, client.servers()),
        "tools": state.tools,
        "title": state.title,
        "source": source_of(state.entry.template),
        "error": error,
        "faults": len(state.faults),
    }


def _hosts_with(options: Options) -> Iterator[JsonObject]:
    """Yield the hosts of this user whose files have an entry that starts this configuration."""
    from utcp_bridge.cli.starting import installed

    for host, path, name in installed(options.found()):
        yield {"host": host.name, "title": host.title, "file": str(path), "entry": name}
