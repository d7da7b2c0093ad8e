"""`utcp-bridge add` and `remove`: one source of tools more in a configuration, or one less."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from utcp_bridge.cli import exits
from utcp_bridge.cli.opening import opened_for, run_async, wait_for_manuals
from utcp_bridge.cli.options import Options, config_options, debug_option, manual_names
from utcp_bridge.cli.output import complain, note, print_json, print_line, print_table
from utcp_bridge.cli.program import Session
from utcp_bridge.errors import ConfigError, UtcpError
from utcp_bridge.processes.systems import join_command

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from utcp_bridge.cli.sources import AuthWay, Recipe, ToolSource
    from utcp_bridge.client.client import UtcpClient
    from utcp_bridge.model import JsonObject

__all__ = ["add", "remove"]

_NEW_FILE: Final = "utcp.yaml"
_MAX_SECRET: Final = 64 * 1024
"""Bytes of a file with a key."""


@dataclass(frozen=True, slots=True)
class _Wishes:
    """What the command line says besides the place."""

    name: str | None
    kind: str | None
    base_url: str | None = field(repr=False)
    way: int
    key_stdin: bool
    key_file: Path | None
    yes: bool
    trial: bool
    dry_run: bool
    as_json: bool


def _places(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    from utcp_bridge.cli.sources import recipes

    del ctx, param
    return [CompletionItem(name) for name in recipes() if name.startswith(incomplete)]


@click.command(
    epilog="""\b
Examples:
  utcp-bridge add github                               a public API by name; --list shows all
  utcp-bridge add https://api.example.com/openapi.json an OpenAPI description or a UTCP manual
  utcp-bridge add petstore.yaml --base-url https://pets.example.com
  utcp-bridge add https://mcp.example.com/mcp          an MCP server, or a GraphQL service
  utcp-bridge add "uvx mcp-server-time"                the command of an MCP server
  utcp-bridge add stripe --key-stdin --yes < key.txt   without questions
\b
Exit codes:
"""
    + exits.listed(exits.OK, exits.USAGE, exits.CONFIGURATION, exits.UPSTREAM, exits.POLICY, exits.DEADLINE)
)
@click.option("--name", help="The name of the manual. By default it comes from the source.")
@click.option(
    "--kind",
    type=click.Choice(["openapi", "manual", "mcp", "graphql"]),
    help="What the place is. By default the bridge finds out.",
)
@click.option("--base-url", metavar="URL", help="Where calls go, in place of the servers of an OpenAPI description.")
@click.option("--auth", "way", type=click.IntRange(min=1), default=1, help="Which of the ways to authenticate to use.")
@click.option("--key-stdin", is_flag=True, help="Read the key from stdin, one line for each variable.")
@click.option("--key-file", type=click.Path(path_type=Path), help="Read the key from a file, in the same form.")
@click.option("-y", "--yes", is_flag=True, help="Allow the origins of the calls, and ask no questions.")
@click.option("--install", "hosts", metavar="HOST", multiple=True, help="Install it too; may be given several times.")
@click.option("--no-try", "no_trial", is_flag=True, help="Do not try one harmless GET.")
@click.option("--dry-run", is_flag=True, help="Show the entry and write nothing.")
@click.option("--list", "listed", is_flag=True, help="List the public APIs that have a name.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
@config_options("[PLACE]...", complete=_places)
@debug_option
@click.pass_obj
def add(  # noqa: PLR0913, PLR0917 - one parameter for each option
    session: Session,
    options: Options,
    words: tuple[str, ...],
    name: str | None,
    kind: str | None,
    base_url: str | None,
    way: int,
    key_stdin: bool,
    key_file: Path | None,
    yes: bool,
    hosts: tuple[str, ...],
    no_trial: bool,
    dry_run: bool,
    listed: bool,
    as_json: bool,
) -> int:
    """Add a source of tools to the configuration, with its key.

    PLACE is a URL, a file, the command of an MCP server or the name of a public API. The bridge finds out what it is,
    shows its tools, where its calls go and which credentials it needs, asks for the key without showing it, and keeps
    it in the file .env beside the configuration. Without a configuration, it makes utcp.yaml.
    """
    session.as_json = as_json
    if listed:
        return _list_recipes(as_json)
    place, source = _place(options, words)
    wishes = _Wishes(name, kind, base_url, way, key_stdin, key_file, yes, not no_trial, dry_run, as_json)
    file = _file(source)
    code = run_async(_add, place, file, wishes)
    return code if dry_run or code != exits.OK else _offer_install(file, wishes, hosts)


def _list_recipes(as_json: bool) -> int:
    from utcp_bridge.cli.sources import recipes

    known = recipes().values()
    if as_json:
        print_json([{"name": one.name, "title": one.title, "url": one.url, "origins": one.origins} for one in known])
    else:
        print_table(("NAME", "TITLE", "CALLS GO TO"), [(one.name, one.title, one.origins[0]) for one in known])
    return exits.OK


def _place(options: Options, words: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """Return the place and the sources of the configuration. One word is the place, also if it is a file."""
    sources = options.sources
    if not words and len(sources) == 1:
        words, sources = sources, ()
    if not words:
        raise click.UsageError("Missing argument 'PLACE'.")
    return words[0] if len(words) == 1 else join_command(words), sources


def _file(sources: tuple[str, ...]) -> Path:
    """Return the file that the entry goes into. It need not exist.

    :raises ConfigError: several sources, or a URL or a folder, are the configuration.
    """
    from utcp_bridge.configuration.places import is_url

    try:
        first, *others = sources or Options().found()
    except ConfigError:
        first, others = _NEW_FILE, []
    if others or is_url(first) or Path(first).is_dir():
        raise ConfigError(
            "An entry goes into one configuration file.", remedy=f"Name the file with -c, for example -c {_NEW_FILE}."
        )
    return Path(first)


# --- add -----------------------------------------------------------------------------------------


async def _add(place: str, file: Path, wishes: _Wishes) -> int:
    from utcp_bridge.cli.sources import examine, suggested_name

    recipe = _recipe_of(place)
    kind, trial = wishes.kind or (recipe.kind if recipe else ""), recipe.trial if recipe else ""
    where = place if recipe is None else recipe.url
    source = await examine(where, kind=kind, base_url=wishes.base_url, trial=trial, folder=_folder(file))
    text = _text_of(file)
    taken = _names_in(text, file)
    title = source.title or (recipe.title if recipe else "")
    name = _own_name(wishes.name, taken) or suggested_name(recipe.name if recipe else place, title, taken)
    ways = source.ways(name, recipe)
    if ways and wishes.way > len(ways):
        raise click.UsageError(f"--auth must be at most {len(ways)}.")
    if not wishes.as_json:
        _show(source, name, ways, recipe)
    chosen = _chosen(ways, wishes)
    _allow(source, wishes)
    entry = _entry(source, name, chosen, file)
    values = {} if wishes.dry_run else _values(chosen, wishes, source.needs_key)
    report = _Report(name, source, ways, entry, file, list(values))
    if wishes.dry_run:
        return report.shown(wishes.as_json)
    _write(file, text, entry, source, values)
    report.written = True
    return await _tried(report, chosen, wishes)


@dataclass(slots=True)
class _Report:
    """What was added, for a person or as JSON."""

    name: str
    source: ToolSource
    ways: list[AuthWay]
    entry: JsonObject
    file: Path
    keys: list[str]
    written: bool = False
    status: str = ""
    tools: int = 0
    trial: str = ""
    error: UtcpError | None = None

    def shown(self, as_json: bool) -> int:
        if as_json:
            print_json(self._as_json())
        elif not self.written:
            from utcp_bridge.configuration.entries import entry_text

            print_line(entry_text(self.entry, "").rstrip())
        return exits.OK if self.error is None else exits.exit_code(self.error)

    def _as_json(self) -> JsonObject:
        error = self.error and {"code": self.error.code, "message": str(self.error)}
        return {
            "name": self.name,
            "kind": self.source.kind,
            "title": self.source.title,
            "tools": self.tools or self.source.tools,
            "origins": self.source.origins,
            "credentials": [{"what": way.what, "variables": way.variables, "tools": way.tools} for way in self.ways],
            "entry": self.entry,
            "file": str(self.file),
            "written": self.written,
            "keys_written": self.keys,
            "status": self.status or None,
            "tried": self.trial or None,
            "error": error,
        }


def _folder(file: Path) -> Path:
    return file.absolute().parent


def _recipe_of(place: str) -> Recipe | None:
    """Return the public API of this name; None for another place.

    :raises ConfigError: it is neither a file, nor a URL, nor a program, nor a name.
    """
    from utcp_bridge.cli.sources import is_command_line, recipes
    from utcp_bridge.configuration.places import without_scheme
    from utcp_bridge.search.typos import near_words

    known = None if Path(place).exists() else recipes().get(place.lower())
    if known is not None or "://" in place or Path(place).exists() or is_command_line(place):
        return known
    near = near_words(place, recipes())[:3]
    first = place.split(maxsplit=1)[0] if place.strip() else place
    if " " in place.strip():
        raise ConfigError(
            f"{place} is not a file, and the program {first} is not on PATH.",
            remedy="Install the program, or name it with its full path.",
        )
    remedy = (
        f"Did you mean {' or '.join(near)}?" if near else "`utcp-bridge add --list` lists the APIs that have a name."
    )
    remedy = without_scheme(place).strip() or remedy
    raise ConfigError(f"{place!r} is not a file, a URL, a program or the name of a public API.", remedy=remedy)


def _text_of(file: Path) -> str:
    from utcp_bridge.configuration.entries import NEW_CONFIGURATION

    if not file.exists():
        return NEW_CONFIGURATION if file.suffix.lower() in {".yaml", ".yml"} else "{}\n"
    try:
        return file.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"{file} is not UTF-8 text.", remedy="Save it as UTF-8.") from None


def _names_in(text: str, file: Path) -> list[str]:
    from utcp_bridge.configuration.entries import names_of_entries

    return names_of_entries(text, where=str(file))


def _own_name(name: str | None, taken: Iterable[str]) -> str | None:
    from utcp_bridge.dialects.fields import safe_name

    if name is None:
        return None
    if safe_name(name) != name or not name.strip("_"):
        raise click.UsageError("--name may have letters, digits and _ only.")
    if name in taken:
        raise ConfigError(
            f"There is already a manual named {name!r}.", remedy=f"Remove it with `utcp-bridge remove {name}` first."
        )
    return name


def _show(source: ToolSource, name: str, ways: list[AuthWay], recipe: Recipe | None) -> None:
    from utcp_bridge.urls import bare_url

    place = bare_url(source.place) if "://" in source.place else source.place
    if source.kind == "MCP server" and place == source.place:
        place = place.split(maxsplit=1)[0]  # its arguments may contain secrets
    title = source.title or (recipe.title if recipe else "") or place
    number = f"{source.tools} {'tool' if source.tools == 1 else 'tools'}"
    note(f"{title} ({source.kind}): {number}, as the manual {name!r}.")
    if source.origins:
        note(f"Calls go to {', '.join(source.origins)}.")
    for text in source.notes:
        note(text)
    several = len(ways) > 1
    if ways:
        needed = "Every tool needs" if source.needs_key else "Some tools need"
        note(f"{needed} {'one of these credentials:' if several else 'credentials:'}")
    for number_of, way in enumerate(ways, 1):
        part = "" if way.tools == source.tools else f" (for {way.tools} of {source.tools} tools)"
        note(f"  {f'{number_of}. ' if several else ''}{way.what}{part}: {', '.join(way.variables) or 'no variable'}")
    if recipe is not None and recipe.page and ways:
        note(f"A key is made at {recipe.page}")


def _chosen(ways: list[AuthWay], wishes: _Wishes) -> AuthWay | None:
    if not ways:
        return None
    number = wishes.way
    if len(ways) > 1 and _asks(wishes) and number == 1:
        number = click.prompt("Which one?", default=1, type=click.IntRange(1, len(ways)), err=True)
    return ways[number - 1]


def _asks(wishes: _Wishes) -> bool:
    """Return whether a person can be asked."""
    return not (wishes.yes or wishes.dry_run or wishes.key_stdin) and sys.stdin.isatty() and sys.stderr.isatty()


def _allow(source: ToolSource, wishes: _Wishes) -> None:
    """Ask whether calls may go to other origins than that of the place.

    :raises ConfigError: a question needs a terminal, and `--yes` is not given.
    """
    foreign = ", ".join(source.foreign)
    if not foreign or wishes.yes or wishes.dry_run:
        return
    if not _asks(wishes):
        raise ConfigError(
            f"Calls would go to {foreign}, which is not where the description is.",
            remedy="Allow it with --yes.",
        )
    click.confirm(f"May its calls go to {foreign}, with your credentials?", default=True, abort=True, err=True)


def _entry(source: ToolSource, name: str, way: AuthWay | None, file: Path) -> JsonObject:
    """Return the entry as it is written: paths relative to the configuration where that is possible."""
    entry: JsonObject = {"name": name, **source.entry}
    if "file_path" in entry:
        entry["file_path"] = _relative(Path(str(entry["file_path"])), file)
    if source.foreign and source.kind != "MCP server":
        entry["allowed_origins"] = source.foreign
    if way is None or way.auth is None:
        return entry
    if source.kind == "MCP server":
        return {**entry, "headers": {str(way.auth.get("var_name", "Authorization")): way.auth.get("api_key", "")}}
    return {**entry, "auth_tools" if source.kind == "OpenAPI description" else "auth": way.auth}


def _relative(path: Path, file: Path) -> str:
    absolute, folder = path.absolute(), file.absolute().parent
    inside = absolute.is_relative_to(folder)
    return (f"./{absolute.relative_to(folder).as_posix()}" if inside else str(absolute)).replace("$", "$$")


def _values(way: AuthWay | None, wishes: _Wishes, needed: bool) -> dict[str, str]:
    """Return the values of the variables: from a file, from stdin, or from the person. Nothing is shown.

    :raises ConfigError: the file cannot be read, or has too few lines.
    """
    if way is None or not way.variables:
        return {}
    if wishes.key_file is not None or wishes.key_stdin:
        return _given(way, wishes)
    if not _asks(wishes):
        if needed:
            lines = "".join(f"\n  {name}=…" for name in way.variables)
            note(f"Add to the file .env beside the configuration, or set in the environment:{lines}")
        return {}
    found: dict[str, str] = {}
    for name in way.variables:
        hidden = not name.endswith(("_USERNAME", "_CLIENT_ID"))
        value = click.prompt(f"{name} (empty: later)", default="", show_default=False, hide_input=hidden, err=True)
        if str(value).strip():
            found[name] = str(value).strip()
    return found


def _given(way: AuthWay, wishes: _Wishes) -> dict[str, str]:
    where = "stdin" if wishes.key_file is None else str(wishes.key_file)
    if wishes.key_file is None:
        data = sys.stdin.buffer.read(_MAX_SECRET)
    else:
        with wishes.key_file.open("rb") as file:
            data = file.read(_MAX_SECRET)
    lines = [line.strip() for line in data.decode("utf-8-sig", "replace").splitlines() if line.strip()]
    if len(lines) < len(way.variables):
        raise ConfigError(
            f"{where} must have one line for each of {', '.join(way.variables)}.", remedy="Nothing was written."
        )
    return dict(zip(way.variables, lines, strict=False))


def _write(file: Path, text: str, entry: JsonObject, source: ToolSource, values: dict[str, str]) -> None:
    """Write the keys first: an entry without its key would fail at once in a bridge that is running."""
    from utcp_bridge.configuration.entries import with_entry, with_variables
    from utcp_bridge.net.files.writing import exclusive, write_file

    folder = file.absolute().parent
    title = " ".join(source.title.split())[:80]
    comment = f"{title} ({source.kind})" if title.isprintable() and title else source.kind
    before = file.read_bytes() if file.exists() else None
    changed = with_entry(text, entry, comment=comment, where=str(file))
    with exclusive(file):
        if values:
            secrets = folder / ".env"
            known = secrets.read_bytes() if secrets.exists() else None
            lines = with_variables((known or b"").decode("utf-8-sig"), values, where=str(secrets))
            write_file(secrets, lines.encode(), private=True, within=folder, before=known)
            note(f"Wrote {', '.join(values)} into {secrets}. Keep this file out of version control.")
        write_file(file, changed.encode(), within=folder, before=before)
    note(f"Wrote the manual {entry['name']!r} into {file}.")


async def _tried(report: _Report, way: AuthWay | None, wishes: _Wishes) -> int:
    """Load the new manual as the bridge does, and try one harmless GET if it has what it needs."""
    async with opened_for(Options((str(report.file),)), report.name) as client:
        await wait_for_manuals(client)
        state = next((one for one in client.report() if one.name == report.name), None)
        if state is not None:
            report.status, report.tools, report.error = state.status, state.tools, state.error
        if state is not None and state.error is not None:
            complain(client.redactor(f"{report.name}: {state.error}"))
        elif state is not None and not wishes.as_json:
            print_line(f"{report.name}: {state.status}, {state.tools} {'tool' if state.tools == 1 else 'tools'}.")
        if report.error is None and wishes.trial and report.source.trial:
            await _try(client, report, way)
    return report.shown(wishes.as_json)


async def _try(client: UtcpClient, report: _Report, way: AuthWay | None) -> None:
    tool = client.find(f"{report.name}.{report.source.trial}")
    if tool is None or (way is not None and report.source.needs_key and client.unset_variables(report.entry)):
        return
    try:
        await client.call_tool(tool)
    except UtcpError as error:
        if error.code == "variable_not_found":
            return
        report.trial, report.error = tool.qualified_name, error
        complain(f"The call of {tool.qualified_name} failed: {error}")
        note(f"The entry is written all the same. `utcp-bridge explain {tool.qualified_name}` shows the request.")
        return
    report.trial = tool.qualified_name
    note(f"A call of {tool.qualified_name} worked.")


def _offer_install(file: Path, wishes: _Wishes, hosts: tuple[str, ...]) -> int:
    """Install the configuration into hosts: those named, or those that a person chooses."""
    from utcp_bridge.cli.commands.install import install_into
    from utcp_bridge.cli.starting import home_folder, installed
    from utcp_bridge.configuration.hosts.files import find_host_files

    if any(installed((str(file),))) and not hosts:
        note("The hosts that start this configuration use it from their next session on.")
        return exits.OK
    if not hosts and _asks(wishes):
        found = ", ".join(dict.fromkeys(host.name for host, _ in find_host_files(home_folder())))
        question = f"Install it into which host? (found here: {found or 'none'}; empty: none)"
        answer = click.prompt(question, default="", show_default=False, err=True)
        hosts = tuple(str(answer).replace(",", " ").split())
    if not hosts:
        note(f"Next: `utcp-bridge install HOST {join_command([str(file)])}`. `utcp-bridge install` lists the hosts.")
    return next((code for code in [install_into(host, file) for host in hosts] if code), exits.OK)


# --- remove --------------------------------------------------------------------------------------


@click.command(
    epilog="""\b
Examples:
  utcp-bridge remove petstore
  utcp-bridge remove petstore -c utcp.yaml --dry-run
"""
)
@click.option("--dry-run", is_flag=True, help="Show what would change and write nothing.")
@config_options("NAME", required=1, complete=manual_names)
@debug_option
def remove(options: Options, words: tuple[str, ...], dry_run: bool) -> int:
    """Remove a manual from the configuration. Comments and the other entries stay as they are.

    Its variables stay in .env; `remove` names them.
    """
    [name, *others] = words
    if others:
        raise click.UsageError("Name one manual.")
    from utcp_bridge.configuration.entries import without_entry
    from utcp_bridge.configuration.places import is_url
    from utcp_bridge.manuals.repository import unknown_manual
    from utcp_bridge.net.files.writing import exclusive, write_file

    known: list[str] = []
    for source in options.found():
        file = Path(source)
        if is_url(source) or file.is_dir():
            continue
        with exclusive(file):
            text = _text_of(file) if file.exists() else ""
            changed = without_entry(text, name, where=str(file))
            if changed is None:
                known += _names_in(text, file)
                continue
            if dry_run:
                _show_difference(file, text, changed)
                return exits.OK
            write_file(file, changed.encode(), within=file.absolute().parent, before=text.encode())
        note(f"Removed the manual {name!r} from {file}.")
        _name_rest(text, changed, file)
        return exits.OK
    raise unknown_manual(name, known)


def _show_difference(file: Path, text: str, changed: str) -> None:
    from utcp_bridge.configuration.hosts.preview import preview
    from utcp_bridge.configuration.hosts.undoing import MANUALS

    print_line("\n".join(preview(file, text, changed, MANUALS)))


def _name_rest(text: str, changed: str, file: Path) -> None:
    """Name the variables of `.env` that only the removed entry used."""
    from dotenv import dotenv_values

    secrets = file.absolute().parent / ".env"
    if not secrets.is_file():
        return
    kept: dict[str, Any] = dotenv_values(secrets, interpolate=False)
    left = [name for name in kept if f"{{{name}}}" in text and f"{{{name}}}" not in changed]
    if left:
        note(f"{secrets} still has {', '.join(left)}. Delete the line if nothing else needs it.")
