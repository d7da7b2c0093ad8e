"""`utcp-bridge install`: write the entry with which an MCP host starts the bridge."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from utcp_bridge.cli import exits
from utcp_bridge.cli.options import Options, config_options, debug_option
from utcp_bridge.cli.output import note, print_json, print_line, print_table

if TYPE_CHECKING:
    from utcp_bridge.configuration.hosts.table import Host
    from utcp_bridge.model import JsonObject

__all__ = ["install"]

_HOST_NAMES = ("claude-desktop", "claude-code", "cursor", "vscode", "codex", "windsurf")


@click.command(
    epilog="""\b
Examples:
  utcp-bridge install                                   the hosts, and the file of each
  utcp-bridge install cursor utcp.yaml                  in the user's file, for every project
  utcp-bridge install claude-code utcp.yaml --project . in ./.mcp.json, for this project
  utcp-bridge install vscode utcp.yaml --dry-run        show what would change
  utcp-bridge install cursor utcp.yaml --link           print a link that installs it
"""
)
@click.argument("host", required=False, metavar="[HOST]", type=click.Choice(_HOST_NAMES))
@click.option("--name", default="utcp", show_default=True, help="The entry's name.")
@click.option("--project", type=click.Path(path_type=Path), help="Write the project's file in this folder.")
@click.option(
    "--env",
    "variables",
    multiple=True,
    metavar="NAME=VALUE",
    help="A variable for the bridge; may be given several times.",
)
@click.option("--print", "only_print", is_flag=True, help="Print the entry and write nothing.")
@click.option("--link", is_flag=True, help="Print a deep link (cursor, vscode) and write nothing.")
@click.option("--dry-run", is_flag=True, help="Show what would change and write nothing.")
@config_options()
@debug_option
def install(  # noqa: PLR0913, PLR0917 - one parameter for each option
    host: str | None,
    options: Options,
    name: str,
    project: Path | None,
    variables: tuple[str, ...],
    only_print: bool,
    link: bool,
    dry_run: bool,
) -> int:
    """Write the bridge's entry into an MCP host's file. Without HOST, list the hosts.

    HOST is claude-desktop, claude-code, cursor, vscode, codex or windsurf. The other entries of the file stay, and the
    old file is kept as a backup.
    """
    from utcp_bridge.cli.hosts import bridge_command
    from utcp_bridge.configuration.hosts.table import HOSTS

    if host is None:
        _list_hosts(project)
        return exits.OK
    chosen = HOSTS[host]
    entry = chosen.entry(*bridge_command(*_absolute(options.found())), _pairs(variables))
    if link:
        return _print_link(chosen, name, entry)
    if only_print:
        print_json({chosen.key[0]: {name: entry}})
        return exits.OK
    return _write(chosen, name, entry, project, dry_run=dry_run)


def _absolute(sources: Iterable[str]) -> Iterator[str]:
    from utcp_bridge.configuration.places import is_url
    from utcp_bridge.errors import ConfigError

    for source in sources:
        if not is_url(source) and not Path(source).exists():
            raise ConfigError(
                f"There is no file {source}.", remedy="Check the path, or make a configuration with `utcp-bridge init`."
            )
        yield source if is_url(source) else str(Path(source).resolve())


def _pairs(variables: tuple[str, ...]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in variables:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise click.UsageError(f"--env needs NAME=VALUE, and {name!r} has no value.")
        pairs[name] = value
    return pairs


def _print_link(host: Host, name: str, entry: JsonObject) -> int:
    found = host.link(name, entry)
    if found is None:
        raise click.UsageError(f"{host.title} has no deep links. Omit --link.")
    print_line(found)
    return exits.OK


def _write(host: Host, name: str, entry: JsonObject, project: Path | None, *, dry_run: bool) -> int:
    from utcp_bridge.cli.hosts import read_host_file, show_changes
    from utcp_bridge.net.files.writing import exclusive

    path = host.file(home=Path.home(), project=project)
    if path is None:
        raise click.UsageError(f"{host.title} has no file for {'a project' if project else 'the user'}.")
    if project is None and not dry_run:
        path.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(path if project is None else project / host.name):
        file = read_host_file(path, host, within=project)
        text = file.with_servers({**file.servers, name: entry})
        if text == file.text or file.servers.get(name) == entry:
            note(f"{path} has the entry already.")
            return exits.OK
        if dry_run:
            print_line(show_changes(file, text))
            return exits.OK
        if file.has_comments:
            note("The new file has no comments. They are in the backup.")
        backup = file.write(text, private="env" in entry)
    note(f"Wrote the entry {name!r} into {path}." + (f" The backup is {backup}." if backup else ""))
    note(host.after)
    return exits.OK


def _list_hosts(project: Path | None) -> None:
    from utcp_bridge.configuration.hosts.table import HOSTS

    rows = [
        (name, HOSTS[name].title, str(HOSTS[name].file(home=Path.home(), project=project) or "-"))
        for name in _HOST_NAMES
    ]
    print_table(("HOST", "TITLE", "FILE"), rows)
