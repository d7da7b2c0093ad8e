"""`utcp-bridge explain`: the request that a call would send, in the tool's own protocol."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from utcp_bridge.cli import exits
from utcp_bridge.cli.finding import loaded_tool
from utcp_bridge.cli.opening import opened, run_async
from utcp_bridge.cli.options import Options, client_options, tool_names
from utcp_bridge.cli.output import note, print_json, print_text

if TYPE_CHECKING:
    from utcp_bridge.client.client import UtcpClient
    from utcp_bridge.model import Tool

__all__ = ["explain"]


@click.command(
    epilog="""\b
Arguments have the same forms as for `utcp-bridge call`.
\b
Examples:
  utcp-bridge explain --quickstart desk.convert_units value=10 from=km to=mi
  utcp-bridge explain utcp.yaml github.create_issue '{"title": "Broken"}'
  utcp-bridge explain utcp.yaml cache.get key=greeting --json
"""
)
@click.option("--show-values", is_flag=True, help="Show values that the configuration contains, except credentials.")
@client_options("TOOL [ARGUMENT]...", required=1, complete=tool_names)
def explain(options: Options, words: tuple[str, ...], as_json: bool, show_values: bool) -> int:
    """Print the exact request that a call would send, and send nothing.

    It prints HTTP requests with every header, command lines, frames of sockets, and gRPC messages as JSON. The
    arguments are validated as they are for a call. Credentials appear as ***: values of variables and of `auth`
    everywhere, others in headers and queries by their names. If the tool's template is in the configuration or in a
    local file, its other values appear as *** too. The manual is loaded, but the tool is not called. The rules of the
    configuration that look at the tool are listed with what they would decide.
    """
    tool, *arguments = words
    return run_async(_explain, options, tool, arguments, as_json, show_values)


async def _explain(options: Options, name: str, words: list[str], as_json: bool, show_values: bool) -> int:
    from utcp_bridge.cli.arguments import read_arguments
    from utcp_bridge.errors import InvalidArguments

    async with opened(options.without_calls(), only=name, alone=True) as client:
        tool = await loaded_tool(client, name)
        if isinstance(tool, int):
            return tool
        try:
            given = read_arguments(words, tool.inputs, sys.stdin.read)
            request = await client.explain(tool, given, show_values=show_values)
            rules = await client.explain_rules(tool, given)
        except InvalidArguments as error:
            error.remedy = error.remedy or f"`utcp-bridge describe {name}` shows its arguments."
            raise
        profiles = _profiles_of(client, tool)
    if as_json:
        shown: dict[str, Any] = {**({"profiles": profiles} if profiles else {}), **({"rules": rules} if rules else {})}
        print_json({"tool": tool.qualified_name, "kind": tool.kind, **request.as_json(), **shown})
        return exits.OK
    print_text(request.as_text())
    for sentence in request.notes:
        note(sentence)
    for profile, one in profiles.items():
        note(f"Profile {profile} {'has' if one['included'] else 'does not have'} the tool: {one['reason']}.")
    for rule in rules:
        note(f"Rule {rule['rule']!r}: {rule['decides'].rstrip('.')}.")
    return exits.OK


def _profiles_of(client: UtcpClient, tool: Tool) -> dict[str, dict[str, Any]]:
    """Return for each profile of the configuration whether it has a tool, and why."""
    from utcp_bridge.access.profiles import read_profiles

    reasons = {profile.name: profile.reason(tool) for profile in read_profiles(client.settings)}
    return {name: {"included": included, "reason": reason} for name, (included, reason) in reasons.items()}
