"""`utcp-bridge init`: write a first configuration, from options or from answers to questions."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from utcp_bridge.cli import exits
from utcp_bridge.cli.options import debug_option
from utcp_bridge.cli.output import note
from utcp_bridge.cli.program import command_line

__all__ = ["init"]


@click.command(
    epilog="""\b
Examples:
  utcp-bridge init                                              asks questions on a terminal
  utcp-bridge init --openapi https://api.example.com/openapi.json --api-key X-Api-Key
  utcp-bridge init --mcp "uvx mcp-server-time" --manual https://example.com/utcp tools.yaml
"""
)
@click.argument("file", default="utcp.yaml", type=click.Path(path_type=Path))
@click.option(
    "--openapi", multiple=True, metavar="URL|FILE", help="An OpenAPI description; may be given several times."
)
@click.option("--manual", multiple=True, metavar="URL|FILE", help="A UTCP manual; may be given several times.")
@click.option("--mcp", multiple=True, metavar="COMMAND|URL", help="An MCP server; may be given several times.")
@click.option(
    "--api-key",
    metavar="HEADER",
    help="Header of the API key of the OpenAPI descriptions. The key is read from the variable API_KEY.",
)
@click.option("--force", is_flag=True, help="Overwrite the file if it exists.")
@debug_option
def init(
    file: Path,
    openapi: tuple[str, ...],
    manual: tuple[str, ...],
    mcp: tuple[str, ...],
    api_key: str | None,
    force: bool,
) -> int:
    """Write a configuration with comments: utcp.yaml, or FILE."""
    from utcp_bridge.net.files.writing import write_file

    if (file.exists() or file.is_symlink()) and not force:
        raise click.UsageError(f"{file} already exists. Use --force to overwrite it.")
    if not (openapi or manual or mcp):
        openapi, manual, mcp, api_key = _ask()
    text = "".join(_configuration(openapi, manual, mcp, api_key))
    backup = write_file(file, text.encode(), backup=True, within=file.absolute().parent)
    note(f"Wrote {file}." + (f" The backup is {backup}." if backup else ""))
    if api_key:
        note(f"Add the line `API_KEY=…` to {file.absolute().parent / '.env'}, or set API_KEY in the environment.")
    note(f"Next: `{command_line('check', str(file))}`, then `{command_line('install', 'HOST', str(file))}`.")
    return exits.OK


def _ask() -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], str | None]:
    if not sys.stdin.isatty():
        raise click.UsageError("Name a source of tools with --openapi, --manual or --mcp.")
    openapi = _several("An OpenAPI description, as a URL or file")
    api_key = click.prompt("The header of its API key, if it needs one", default="", show_default=False, err=True)
    manual = _several("A UTCP manual, as a URL or file")
    mcp = _several("An MCP server, as a command or URL")
    if not (openapi or manual or mcp):
        raise click.UsageError("There is nothing to write. Name at least one source of tools.")
    return openapi, manual, mcp, api_key or None


def _several(question: str) -> tuple[str, ...]:
    found: list[str] = []
    while answer := click.prompt(f"{question} (empty: none)", default="", show_default=False, err=True):
        found.append(str(answer))
        question = "Another one"
    return tuple(found)


def _configuration(
    openapi: tuple[str, ...], manual: tuple[str, ...], mcp: tuple[str, ...], api_key: str | None
) -> Iterator[str]:
    yield "# Tools for utcp-bridge. `utcp-bridge help configuration` explains every key,\n"
    yield "# `utcp-bridge help settings` every setting of `bridge`.\n\n"
    yield "manual_call_templates:\n"
    taken: set[str] = set()
    for place in openapi:
        yield from _entry(place, "An OpenAPI description: each operation becomes a tool.", taken)
        if api_key:
            key = f'{{auth_type: api_key, api_key: "${{API_KEY}}", var_name: {_quoted(api_key)}}}'
            yield f"    auth_tools: {key}\n"
        yield '    # include: {tags: [pets], names: ["get_*"]}   # keep some of the tools\n'
    for place in manual:
        yield from _entry(place, "A UTCP manual.", taken)
    for place in mcp:
        yield from _server(place, taken)
    yield "\nbridge:\n"
    yield "  exposure: auto        # lists all tools if they are few; search_tools finds the others\n"
    yield "  # call_timeout: 55    # seconds for one call\n"


def _entry(place: str, remark: str, taken: set[str]) -> Iterator[str]:
    yield f"  # {remark}\n  - name: {_name(place, taken)}\n"
    if place.startswith(("http://", "https://")):
        yield f"    call_template_type: http\n    url: {_quoted(place)}\n"
    else:
        yield f"    call_template_type: file\n    file_path: {_quoted(place)}\n"


def _server(place: str, taken: set[str]) -> Iterator[str]:
    is_url = place.startswith(("http://", "https://"))
    words = [word for word in re.split(r"[\s/@]+", place) if word and not word.startswith("-")]
    yield f"  # An MCP server: its tools become tools here.\n  - name: {_name(place if is_url else words[-1], taken)}\n"
    yield f"    call_template_type: mcp\n    {'url' if is_url else 'command'}: {_quoted(place)}\n"


def _name(place: str, taken: set[str]) -> str:
    """Return a new name for a place: from the host of a URL, or from the name of a file."""
    host = re.match(r"https?://(?:api\.|www\.)?([^/:.]+)", place)
    base = re.sub(r"\W+", "_", host[1] if host else Path(place).stem, flags=re.ASCII).strip("_").lower() or "tools"
    name, number = base, 1
    while name in taken:
        number += 1
        name = f"{base}_{number}"
    taken.add(name)
    return name


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
