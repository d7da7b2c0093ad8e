"""`utcp-bridge tools`: the tools of a configuration."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from utcp_bridge.cli import exits
from utcp_bridge.cli.finding import in_short, summary
from utcp_bridge.cli.opening import opened, report_failures, run_async, wait_for_manuals
from utcp_bridge.cli.options import Options, client_options
from utcp_bridge.cli.output import note, print_json, print_table

if TYPE_CHECKING:
    from utcp_bridge.model import Tool

__all__ = ["tools"]


@click.command(
    epilog="""\b
Examples:
  utcp-bridge tools                            all tools of ./providers.json
  utcp-bridge tools utcp.yaml 'github.*'       tools whose name matches
  utcp-bridge tools --tag weather --json       as JSON, with schemas
"""
)
@click.option("-t", "--tag", "tags", multiple=True, help="Only tools with this tag; may be given several times.")
@client_options("[PATTERN]...")
def tools(options: Options, words: tuple[str, ...], tags: tuple[str, ...], as_json: bool) -> int:
    """List the tools by name. Manuals that failed are listed on stderr."""
    return run_async(_tools, options, words, tags, as_json)


async def _tools(options: Options, patterns: tuple[str, ...], tags: tuple[str, ...], as_json: bool) -> int:
    async with opened(options) as client:
        await wait_for_manuals(client)
        failed = report_failures(client)
        found = list(_chosen(client.tools(), patterns, tags))
        if as_json:
            print_json([summary(tool) for tool in found])
        elif found:
            rows = [(tool.qualified_name, tool.kind, in_short(tool)) for tool in found]
            print_table(("NAME", "KIND", "DESCRIPTION"), rows)
        else:
            note("No tool matches." if client.tools() else "There are no tools.")
        return exits.exit_code(failed[0].error) if failed and failed[0].error and not client.tools() else exits.OK


def _chosen(tools: Iterable[Tool], patterns: tuple[str, ...], tags: tuple[str, ...]) -> Iterable[Tool]:
    from utcp_bridge.model import matches_glob

    wanted = {tag.casefold() for tag in tags}
    for tool in tools:
        if patterns and not any(matches_glob(pattern, tool.qualified_name) for pattern in patterns):
            continue
        if not wanted or wanted & {tag.casefold() for tag in tool.tags}:
            yield tool
