"""`utcp-bridge init`: write a first configuration, from options or from answers to questions."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from utcp_bridge.cli import exits
from utcp_bridge.cli.opening import run_async
from utcp_bridge.cli.options import debug_option
from utcp_bridge.cli.output import complain, note
from utcp_bridge.cli.program import command_line

if TYPE_CHECKING:
    from utcp_bridge.cli.sources import AuthWay, ToolSource
    from utcp_bridge.model import JsonObject

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
    help="Header of the API key of the OpenAPI descriptions. Each has a variable of its own. By default the header is"
    " the one that a description names.",
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
    """Write a configuration with comments: utcp.yaml, or FILE.

    OpenAPI descriptions are read, so that their entries name the right credentials and the origins of their calls.
    `utcp-bridge add` adds further sources later.
    """
    from utcp_bridge.net.files.writing import write_file

    if (file.exists() or file.is_symlink()) and not force:
        raise click.UsageError(f"{file} already exists. Use --force to overwrite it.")
    asks = not (openapi or manual or mcp)
    if asks:
        openapi, manual, mcp, api_key = _ask()
    draft = _Draft(file.absolute().parent, api_key, asks)
    text = "".join(draft.lines(openapi, manual, mcp))
    backup = write_file(file, text.encode(), backup=True, within=file.absolute().parent)
    for warning in draft.warnings:
        complain(warning)
    note(f"Wrote {file}." + (f" The backup is {backup}." if backup else ""))
    if draft.variables:
        lines = ", ".join(f"`{name}=…`" for name in draft.variables)
        note(f"Add {lines} to {file.absolute().parent / '.env'}, or set the variables in the environment.")
    note(f"Next: `{command_line('check', str(file))}`, then `{command_line('install', 'HOST', str(file))}`.")
    return exits.OK


def _ask() -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], str | None]:
    if not sys.stdin.isatty():
        raise click.UsageError("Name a source of tools with --openapi, --manual or --mcp.")
    openapi = _several("An OpenAPI description, as a URL or file")
    manual = _several("A UTCP manual, as a URL or file")
    mcp = _several("An MCP server, as a command or URL")
    if not (openapi or manual or mcp):
        raise click.UsageError("There is nothing to write. Name at least one source of tools.")
    return openapi, manual, mcp, None


def _several(question: str) -> tuple[str, ...]:
    found: list[str] = []
    while answer := click.prompt(f"{question} (empty: none)", default="", show_default=False, err=True):
        found.append(str(answer).strip())
        question = "Another one"
    return tuple(found)


@dataclass(slots=True)
class _Draft:
    """A configuration that is being written. `asks`: a person at the terminal answers questions."""

    folder: Path
    api_key: str | None
    asks: bool
    names: list[str] = field(default_factory=list[str])
    variables: list[str] = field(default_factory=list[str])
    warnings: list[str] = field(default_factory=list[str])

    def lines(self, openapi: tuple[str, ...], manual: tuple[str, ...], mcp: tuple[str, ...]) -> Iterator[str]:
        """Yield the text of the file."""
        from utcp_bridge.cli.sources import is_command_line
        from utcp_bridge.configuration.entries import NEW_CONFIGURATION

        yield NEW_CONFIGURATION.replace(" []", "")
        commands = tuple(place for place in (*openapi, *manual) if is_command_line(place))
        for place in commands:
            note(f"{place!r} is a command, so it is written as an MCP server.")
        for place in openapi:
            if place not in commands:
                yield from self._description(place)
        for place in manual:
            if place not in commands:
                self._look_for_file(place)
                yield from self._entry(place, "A UTCP manual.", self._name(place, ""))
        for place in (*mcp, *commands):
            yield from self._server(place)
        yield "\nbridge:\n"
        yield "  exposure: auto        # lists all tools if they are few; search_tools finds the others\n"
        yield "  # call_timeout: 55    # seconds for one call\n"

    def _name(self, place: str, title: str) -> str:
        from utcp_bridge.cli.sources import suggested_name

        self.names.append(suggested_name(place, title, self.names))
        return self.names[-1]

    def _description(self, place: str) -> Iterator[str]:
        source = self._examined(place)
        name = self._name(place, source.title if source is not None else "")
        remark = "An OpenAPI description: each operation becomes a tool."
        yield from self._entry(place, remark, name)
        ways = source.ways(name) if source is not None else []
        auth = self._auth(name, ways)
        if auth is not None:
            pairs = ", ".join(f"{key}: {_quoted(str(value))}" for key, value in auth.items())
            yield f"    auth_tools: {{{pairs}}}\n"
        for way in ways[1:] if self.api_key is None else ways:
            yield f"    # or {_one_line(way.what)}: {', '.join(way.variables)}\n"
        matters = source is not None and (bool(source.own) or auth is not None)
        if source is not None and matters and source.foreign and self._allows(name, source.foreign):
            yield f"    allowed_origins: [{', '.join(map(_quoted, source.foreign))}]   # where its calls go\n"
        yield '    # include: {tags: [pets], names: ["get_*"]}   # keep some of the tools\n'

    def _examined(self, place: str) -> ToolSource | None:
        """Return what the description says; None, with a warning, if it cannot be read now."""
        from utcp_bridge.cli.sources import examine
        from utcp_bridge.errors import UtcpError

        try:
            source = run_async(examine, place)
        except UtcpError as error:
            shown = place if place in str(error) else f"{place}: "
            self.warnings.append(f"{'' if shown == place else shown}{error} The entry is written all the same.")
            return None
        if source.kind != "OpenAPI description":
            self.warnings.append(f"{place} is not an OpenAPI description: it is a {source.kind}.")
            return None
        return source

    def _auth(self, name: str, ways: list[AuthWay]) -> JsonObject | None:
        if self.api_key is not None:
            variable = f"{name.upper()}_API_KEY"
            self.variables.append(variable)
            return {"auth_type": "api_key", "api_key": f"${{{variable}}}", "var_name": self.api_key}
        if not ways:
            return None
        self.variables += ways[0].variables
        return ways[0].auth

    def _allows(self, name: str, origins: list[str]) -> bool:
        shown = ", ".join(origins)
        if self.asks:
            return click.confirm(f"May the calls of {name} go to {shown}?", default=True, err=True)
        note(f"The calls of {name} go to {shown}.")
        return True

    def _entry(self, place: str, remark: str, name: str) -> Iterator[str]:
        yield f"  # {remark}\n  - name: {name}\n"
        if _is_url(place):
            yield f"    call_template_type: http\n    url: {_quoted(place)}\n"
        else:
            yield f"    call_template_type: file\n    file_path: {_quoted(place)}\n"

    def _server(self, place: str) -> Iterator[str]:
        from utcp_bridge.cli.sources import is_command_line

        if not _is_url(place) and not is_command_line(place):
            first = place.split(maxsplit=1)[0]
            self.warnings.append(f"The program {first} is not on PATH. Install it before you use {place!r}.")
        key = "url" if _is_url(place) else "command"
        yield f"  # An MCP server: its tools become tools here.\n  - name: {self._name(place, '')}\n"
        yield f"    call_template_type: mcp\n    {key}: {_quoted(place)}\n"

    def _look_for_file(self, place: str) -> None:
        if not _is_url(place) and not (self.folder / place).exists():
            self.warnings.append(f"The file {place} does not exist yet. The entry is written all the same.")


def _is_url(place: str) -> bool:
    return place.startswith(("http://", "https://"))


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
