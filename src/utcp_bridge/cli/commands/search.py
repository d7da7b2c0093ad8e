"""`utcp-bridge search`: the search that MCP hosts call as `search_tools`."""

from __future__ import annotations

import click

from utcp_bridge.cli.finding import in_short, summary
from utcp_bridge.cli.opening import opened, report_failures, run_async, wait_for_manuals
from utcp_bridge.cli.options import Options, client_options
from utcp_bridge.cli.output import note, print_json, print_table

__all__ = ["search"]


@click.command(
    epilog="""\b
Examples:
  utcp-bridge search --quickstart "how many words"
  utcp-bridge search utcp.yaml --limit 3 --json "create an issue"
"""
)
@click.option(
    "-n", "--limit", default=10, type=click.IntRange(1, 1000), show_default=True, help="Maximum number of results."
)
@click.option("-t", "--tag", "tags", multiple=True, help="Only tools with this tag; may be given several times.")
@client_options("QUERY...", required=1)
def search(options: Options, words: tuple[str, ...], limit: int, tags: tuple[str, ...], as_json: bool) -> None:
    """Find tools by what they do. The best match comes first."""
    run_async(_search, options, " ".join(words), limit, tags, as_json)


async def _search(options: Options, query: str, limit: int, tags: tuple[str, ...], as_json: bool) -> None:
    async with opened(options) as client:
        await wait_for_manuals(client)
        report_failures(client)
        if fallback := await client.prepare_search([query], patient=True):
            note(client.redactor(fallback))
        hits = client.search(query, limit=limit, tags=tags or None)
        if as_json:
            print_json([{"score": round(hit.score, 4), **summary(hit.tool)} for hit in hits])
        elif hits:
            rows = [(f"{hit.score:.2f}", hit.tool.qualified_name, in_short(hit.tool)) for hit in hits]
            print_table(("SCORE", "NAME", "DESCRIPTION"), rows)
        else:
            note("No tool matches.")
