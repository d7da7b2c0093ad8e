"""`utcp-bridge convert`: make a UTCP manual of OpenAPI descriptions, MCP servers and documents of UTCP v0."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from utcp_bridge.cli import exits
from utcp_bridge.cli.opening import run_async, show_progress
from utcp_bridge.cli.options import debug_option, documents
from utcp_bridge.cli.output import complain, note, print_json, print_line, print_table, print_text

if TYPE_CHECKING:
    from utcp_bridge.convert import Converted, Wishes
    from utcp_bridge.convert.outcome import ToolProof
    from utcp_bridge.dialects.documents import Form
    from utcp_bridge.model import JsonObject

__all__ = ["convert"]

_FORMS: Final = ("json", "yaml")
_GENERATIONS: Final = ("v1", "v0")
_MAX_NOTES: Final = 20


@click.command(
    epilog="""\b
Examples:
  utcp-bridge convert openapi.json > utcp-manual.json
  utcp-bridge convert https://api.example.com/openapi.json -o shop.yaml --tag orders
  utcp-bridge convert openapi.json --prove                 which tools other clients call rightly
  curl -s https://example.com/swagger.json | utcp-bridge convert - --base-url https://example.com
  utcp-bridge convert collection.json -o shop.json         a Postman collection
  utcp-bridge convert providers.json -o utcp_config.json   from UTCP v0 to v1
  utcp-bridge convert mcp.json -o servers.json             the tools of an MCP host's servers
  utcp-bridge convert --mcp-command "uvx mcp-server-time" --name time -o time.json
\b
Exit codes:
"""
    + exits.listed(exits.OK, exits.USAGE, exits.CONFIGURATION, exits.UPSTREAM, exits.POLICY)
)
@click.argument("sources", metavar="[SOURCE]...", nargs=-1, shell_complete=documents)
@click.option(
    "--mcp-command",
    "commands",
    metavar="COMMAND",
    multiple=True,
    help="Command of an MCP server, whose tools are listed; may be given several times.",
)
@click.option(
    "--mcp-url",
    "urls",
    metavar="URL",
    multiple=True,
    help="URL of an MCP server, whose tools are listed; may be given several times.",
)
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file instead of stdout."
)
@click.option("--force", is_flag=True, help="Overwrite the file that -o names.")
@click.option(
    "--format",
    "form",
    type=click.Choice(_FORMS),
    help="Form of the output. Default: that of the file name after -o, or json.",
)
@click.option(
    "--to", "target", type=click.Choice(_GENERATIONS), default="v1", show_default=True, help="Version of UTCP to write."
)
@click.option("--name", help="Title of the manual. Without -o, it is also the prefix of the variables to set.")
@click.option(
    "--base-url", metavar="URL", help="Base URL of the calls, instead of the servers of an OpenAPI description."
)
@click.option(
    "--server-variable",
    "pairs",
    metavar="NAME=VALUE",
    multiple=True,
    help="Value of a variable in an OpenAPI server's URL; may be given several times.",
)
@click.option(
    "-t",
    "--tag",
    "tags",
    multiple=True,
    help="Only OpenAPI operations with a tag like this, for example `pet*`; may be given several times.",
)
@click.option(
    "--operation",
    "operations",
    metavar="PATTERN",
    multiple=True,
    help="Only OpenAPI operations with an operationId like this; may be given several times.",
)
@click.option(
    "--portable", is_flag=True, help="Write a manual that every UTCP client calls as this one does (default)."
)
@click.option(
    "--extended", is_flag=True, help="Write a manual for this client alone, with all tools, titles and request plans."
)
@click.option(
    "--prove", is_flag=True, help="Print which tools other clients call with the same requests, and write only to -o."
)
@click.option("--json", "as_json", is_flag=True, help="Print the table of --prove as JSON.")
@click.option(
    "--keep-values",
    is_flag=True,
    help="Write secrets, and the values of an MCP server's `env` and `headers`, instead of variables.",
)
@debug_option
def convert(sources: tuple[str, ...], output: Path | None, force: bool, **flags: Any) -> None:
    """Make one UTCP manual of all SOURCEs.

    SOURCE is a file, a URL, or - for stdin: an OpenAPI description (2.0, 3.0, 3.1, 3.2), a description by Swagger 1,
    AsyncAPI or Google Discovery, a Postman collection, a UTCP manual or configuration of any version, or an MCP host's
    file. The manual needs no other file. Every UTCP client calls its tools with the same requests. stderr reports the
    tools for which that is not possible, and what could not be converted.
    """
    proving, as_json = flags.pop("prove"), flags.pop("as_json")
    _refuse_contradictions(flags, proving=proving, as_json=as_json)
    lines = [f"mcp+stdio:{command}" for command in flags.pop("commands")]
    lines += [f"mcp+{url}" for url in flags.pop("urls")]
    if not sources and not lines:
        raise click.UsageError("Name a file, a URL, or - for stdin; or an MCP server with --mcp-command or --mcp-url.")
    if output is not None:
        _refuse_to_overwrite(output, force)
    form = flags.pop("form")
    converted = run_async(_convert, sources, lines, _wishes(flags))
    if output is not None or not proving:
        _write(converted, output, form)
    if proving:
        sys.exit(_show_proof(converted, as_json=as_json))
    _tell(converted, output)


def _refuse_contradictions(flags: JsonObject, *, proving: bool, as_json: bool) -> None:
    extended = flags.pop("extended")
    if extended and (proving or flags["portable"] or flags["target"] == "v0"):
        raise click.UsageError("--extended is for utcp-bridge alone; leave out --prove, --portable and --to v0.")
    if as_json and not proving:
        raise click.UsageError("--json is the form of the table of --prove; for the manual, use --format json.")
    flags["portable"] = not extended


def _show_proof(converted: Converted, *, as_json: bool) -> int:
    """Print what became of each tool, and return the exit code: `FAULTS` if a tool was left out."""
    from utcp_bridge.convert.outcome import LEFT_OUT
    from utcp_bridge.errors import ConfigError

    if converted.proof is None:
        raise ConfigError("A configuration has no tools to prove.", remedy="Name a manual or an OpenAPI description.")
    rows = converted.proof
    left = sum(row.state == LEFT_OUT for row in rows)
    limited = sum(row.state != LEFT_OUT and bool(row.why) for row in rows)
    requests = sum(row.requests for row in rows)
    counts = {
        "tools": len(rows),
        "proven": len(rows) - left,
        "limited": limited,
        "left_out": left,
        "requests": requests,
    }
    if as_json:
        print_json({**counts, "rows": [row.as_json() for row in rows]})
    else:
        print_table(("TOOL", "STATE", "REQUESTS", "WHY"), [_proof_row(row) for row in rows])
        print_line(
            f"{len(rows):,} tools: {len(rows) - left:,} proven ({limited:,} with limits), {left:,} left out; "
            f"{requests:,} requests compared."
        )
    return exits.FAULTS if left else exits.OK


def _proof_row(row: ToolProof) -> tuple[str, str, str, str]:
    return row.tool, row.state, str(row.requests), "; ".join(row.why)


async def _convert(sources: tuple[str, ...], lines: list[str], wishes: Wishes) -> Converted:
    from utcp_bridge.convert import convert as run

    try:
        return await run(sources, wishes, mcp_servers=lines, progress=show_progress)
    finally:
        show_progress("")


def _wishes(flags: JsonObject) -> Wishes:
    from utcp_bridge.convert import Wishes

    chosen = {"tags": list(flags.pop("tags")), "operation_ids": list(flags.pop("operations"))}
    include = {key: patterns for key, patterns in chosen.items() if patterns}
    pairs = [pair.partition("=") for pair in flags.pop("pairs")]
    if any(not separator for _, separator, _ in pairs):
        raise click.UsageError("--server-variable needs NAME=VALUE.")
    variables = {name: value for name, _, value in pairs}
    return Wishes(server_variables=variables, include=include or None, **flags)


def _refuse_to_overwrite(output: Path, force: bool) -> None:
    from utcp_bridge.errors import ConfigError

    if (output.exists() or output.is_symlink()) and not force:
        raise ConfigError(f"{output} already exists.", remedy="Use --force to overwrite it.")


def _write(converted: Converted, output: Path | None, form: Form | None) -> None:
    from utcp_bridge.dialects.documents import form_of, write_document
    from utcp_bridge.net.files.writing import write_file

    text = write_document(converted.document, form or form_of(str(output or "")))
    if output is None:
        print_text(text, newline=False)
        return
    write_file(output, text.encode(), within=output.absolute().parent)


def _tell(converted: Converted, output: Path | None) -> None:
    """Report on stderr what was left out, which variables to set, and where the result is."""
    from utcp_bridge.convert.outcome import LEFT_OUT
    from utcp_bridge.dialects.fields import safe_name
    from utcp_bridge.manuals.variables_needed import variables_of_tools

    for fault in converted.notes[:_MAX_NOTES]:
        complain(f"{fault.severity}: {fault}")
    if len(converted.notes) > _MAX_NOTES:
        complain(f"… and {len(converted.notes) - _MAX_NOTES} more.")
    if any(row.state == LEFT_OUT for row in converted.proof or ()):
        note("To keep the tools that were left out, for utcp-bridge alone, use --extended.")
    name = safe_name(output.stem if output else converted.name)
    needed = variables_of_tools(converted.tools, name)
    if needed:
        note(f"Variables to set if the manual has the name {name}: {', '.join(needed)}")
    if converted.is_manual and (output is not None or sys.stderr.isatty()):
        tools = len(converted.tools)
        note(f"{tools} {'tool' if tools == 1 else 'tools'}" + (f" in {output}" if output else ""))
