"""`utcp-bridge install` and `uninstall`: the entry with which an MCP host starts or reaches the bridge."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from utcp_bridge.cli import exits
from utcp_bridge.cli.opening import run_async
from utcp_bridge.cli.options import Options, debug_option, documents, source_options
from utcp_bridge.cli.output import complain, note, print_json, print_line, print_table
from utcp_bridge.cli.program import Session
from utcp_bridge.errors import ConfigError, UtcpError
from utcp_bridge.model import JsonObject, is_object

if TYPE_CHECKING:
    from utcp_bridge.cli.starting import HostLaunch, Needs
    from utcp_bridge.configuration.hosts.files import HostFile
    from utcp_bridge.configuration.hosts.table import Host
    from utcp_bridge.configuration.loading import LoadedConfig
    from utcp_bridge.model import Tool

__all__ = ["check_as_host", "install", "install_into", "uninstall"]

_NAME: Final = "utcp"
_WORKSPACE: Final = "${workspaceFolder}"


def _hosts(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
    from click.shell_completion import CompletionItem

    from utcp_bridge.configuration.hosts.table import HOSTS

    del ctx, param
    return [CompletionItem(name) for name in HOSTS if name.startswith(incomplete)]


def _known_host(ctx: click.Context, param: click.Parameter, value: str | None) -> Host | None:
    """Return the host of this name."""
    del ctx, param
    return None if value is None else _host_named(value)


def _host_named(value: str) -> Host:
    from utcp_bridge.configuration.hosts.table import HOSTS
    from utcp_bridge.search.typos import near_words

    if value in HOSTS:
        return HOSTS[value]
    near = near_words(value, HOSTS)[:3]
    hint = f"Did you mean {' or '.join(near)}?" if near else f"Choose one of {', '.join(HOSTS)}."
    raise click.UsageError(f"{value!r} is not a host. {hint}")


host_argument: Callable[..., Any] = click.argument(
    "host", required=False, metavar="[HOST]", callback=_known_host, shell_complete=_hosts
)
project_option: Callable[..., Any] = click.option(
    "--project", type=click.Path(path_type=Path), help="Use the project's file in this folder."
)


@click.command(
    epilog="""\b
Examples:
  utcp-bridge install                                   the hosts, and the file of each
  utcp-bridge install cursor utcp.yaml                  in the user's file, for every project
  utcp-bridge install claude-code utcp.yaml --project . in ./.mcp.json, to share with the project
  utcp-bridge install vscode https://bridge.example.com/mcp --header "Authorization: Bearer …"
  utcp-bridge install codex utcp.yaml --print           the entry, in the form of the host's file
  utcp-bridge install vscode utcp.yaml --dry-run        show what would change
  utcp-bridge install cursor utcp.yaml --link           print a link that installs it
\b
Exit codes: those of the first manual that fails when the bridge is started as the host does it.
"""
    + exits.listed(exits.OK, exits.USAGE, exits.CONFIGURATION, exits.UPSTREAM, exits.POLICY, exits.DEADLINE)
)
@host_argument
@click.argument("places", metavar="[CONFIG|URL]...", nargs=-1, shell_complete=documents)
@source_options("File, folder or URL of a configuration; may be given several times. Default: as for every verb.")
@click.option("--name", default=_NAME, show_default=True, help="The entry's name.")
@project_option
@click.option(
    "--env",
    "variables",
    multiple=True,
    metavar="NAME=VALUE",
    help="A variable for the bridge; may be given several times.",
)
@click.option(
    "--header",
    "headers",
    multiple=True,
    metavar="'NAME: VALUE'",
    help="A header for the URL of a bridge; may be given several times.",
)
@click.option("--replace", "replaces", is_flag=True, help="Replace an entry that starts another configuration.")
@click.option("--print", "only_print", is_flag=True, help="Print the entry and write nothing.")
@click.option("--link", is_flag=True, help="Print a deep link, if the host has one, and write nothing.")
@click.option("--dry-run", is_flag=True, help="Show what would change and write nothing.")
@click.option("--no-check", is_flag=True, help="Do not start the bridge as the host does it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
@debug_option
@click.pass_obj
def install(  # noqa: PLR0913, PLR0917 - one parameter for each option
    session: Session,
    host: Host | None,
    places: tuple[str, ...],
    sources: tuple[str, ...],
    fallback: str | None,
    name: str,
    project: Path | None,
    variables: tuple[str, ...],
    headers: tuple[str, ...],
    replaces: bool,
    only_print: bool,
    link: bool,
    dry_run: bool,
    no_check: bool,
    as_json: bool,
) -> int:
    """Write the bridge's entry into an MCP host's file. Without HOST, list the hosts.

    The host starts the bridge with CONFIG, or reaches a bridge that runs at URL. Comments and the other entries of the
    file stay, and the old file is kept as a backup. Then the bridge is started once in the way in which the host will
    start it, and each manual is reported.
    """
    session.as_json = as_json
    if host is None:
        return _list_hosts(project, as_json)
    if not name.strip():
        raise click.UsageError("--name must not be empty.")
    plan = _Installation(host, name, project, replaces, no_check, as_json)
    url = _address(places, sources)
    if url is not None:
        entry = host.http_entry(url, _pairs(headers, ":", "--header", "'NAME: VALUE'"), name=name)
    else:
        if headers:
            raise click.UsageError("--header is for the URL of a bridge that runs.")
        options = Options((*sources, *places) or ((fallback,) if fallback else ()))
        plan.launch = _planned(plan, options, _pairs(variables, "=", "--env", "NAME=VALUE"))
        entry = host.entry(plan.launch.command, plan.launch.args, plan.launch.env, name=name)
    if link:
        return _print_link(host, name, entry)
    if only_print:
        return _print_entry(plan, entry)
    return _install(plan, entry, dry_run=dry_run)


@dataclass(slots=True)
class _Installation:
    """What is installed where. `launch` is None for a bridge that is reached by a URL."""

    host: Host
    name: str
    project: Path | None
    replaces: bool
    no_check: bool
    as_json: bool
    launch: HostLaunch | None = None
    report: JsonObject = field(default_factory=dict[str, Any])
    remarks: list[str] = field(default_factory=list[str])
    """What the user should know once the entry is written."""
    warnings: list[str] = field(default_factory=list[str])
    """What the host will not have."""

    def warn(self, text: str) -> None:
        """Report on stderr, and remember for the report, what the host will not have."""
        self.warnings.append(text)
        complain(text)

    @property
    def folder(self) -> Path:
        """The working folder in which the host starts servers: the project's, or the root of the system."""
        from utcp_bridge.cli.starting import home_folder

        return Path(home_folder().anchor) if self.project is None else self.project.absolute()


def _address(places: tuple[str, ...], sources: tuple[str, ...]) -> str | None:
    """Return the URL of a running bridge. A URL that ends like a document, or comes with `-c`, is a configuration."""
    from urllib.parse import urlsplit

    from utcp_bridge.configuration.places import DOCUMENT_SUFFIXES, is_url

    if len(places) != 1 or sources or not is_url(places[0]):
        return None
    return None if Path(urlsplit(places[0]).path).suffix.lower() in DOCUMENT_SUFFIXES else places[0]


def _pairs(texts: tuple[str, ...], sign: str, option: str, form: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in texts:
        name, separator, value = text.partition(sign)
        if not separator or not name.strip():
            raise click.UsageError(f"{option} needs {form}, and {name.strip()!r} has no value.")
        pairs[name.strip()] = value.strip() if sign == ":" else value
    return pairs


# --- the entry -----------------------------------------------------------------------------------


def _planned(plan: _Installation, options: Options, env: dict[str, str]) -> HostLaunch:
    """Return the command of the entry, and warn about what the host will not have."""
    from utcp_bridge.cli import starting

    found = options.found()
    _insist_on_files(found)
    try:
        loaded, tools = run_async(_loaded, found)
        needs = starting.needs_of(loaded, env, tools)
    except UtcpError:  # the start of the bridge reports it
        needs = starting.Needs()
    sources = [_written(source, plan) for source in found]
    launch = starting.own_launch(sources, portable=plan.project is not None)
    _warn(plan, needs, found)
    if plan.project is None and needs.programs and "PATH" not in env:
        env = {**env, "PATH": needs.path}
    if plan.project is not None and env:
        plan.remarks.append("The file of a project is shared. Keep secrets in a .env file that is not.")
    return replace(launch, env=env)


async def _loaded(sources: Sequence[str]) -> tuple[LoadedConfig, list[Tool]]:
    from utcp_bridge.cli.starting import tools_of_files
    from utcp_bridge.configuration.loading import load_config

    loaded = await load_config(sources)
    return loaded, await tools_of_files(loaded)


def _insist_on_files(sources: Sequence[str]) -> None:
    from utcp_bridge.configuration.places import is_url

    for source in sources:
        if is_url(source) or Path(source).exists():
            continue
        if Path(source).is_symlink():
            raise ConfigError(
                f"{source} is a symbolic link to {os.path.realpath(source)}, which does not exist.",
                remedy="Correct the link.",
            )
        raise ConfigError(
            f"{source} does not exist.", remedy="Check the path, or make a configuration with `utcp-bridge init`."
        )


def _written(source: str, plan: _Installation) -> str:
    """Return a source as it is in the entry: an absolute path, or one from the project's folder."""
    from utcp_bridge.configuration.places import is_url

    if is_url(source):
        return source
    path = Path(source).resolve()
    if plan.project is None:
        return str(path)
    relative = Path(os.path.relpath(path, plan.project.resolve())).as_posix()
    if relative.startswith(".."):
        where = f"{source} is not in the folder {plan.project}."
        plan.remarks.append(f"{where} Others who use the project need it in the same place.")
    return f"{_WORKSPACE}/{relative}" if _WORKSPACE in plan.host.variables else relative


def _warn(plan: _Installation, needs: Needs, sources: Sequence[str]) -> None:
    title = plan.host.title
    for program in needs.missing:
        plan.warn(f"The program {program} of the configuration is not found. Install it, or write its full path.")
    if needs.only_here:
        folder = Path(sources[0]).absolute().parent if sources else Path.cwd()
        names = ", ".join(needs.only_here)
        plan.warn(
            f"{names}: set in this shell only, so {title} may not have it. Write it into {folder / '.env'} as"
            f" {needs.only_here[0]}=…, or give it to the entry with --env {needs.only_here[0]}=…"
        )


def _print_link(host: Host, name: str, entry: JsonObject) -> int:
    found = host.link(name, entry)
    if found is None:
        raise click.UsageError(f"{host.title} has no deep links. Omit --link.")
    print_line(found)
    return exits.OK


def _print_entry(plan: _Installation, entry: JsonObject) -> int:
    """Print the entry as it is in the host's file: JSON, TOML or YAML."""
    from utcp_bridge.configuration.hosts.editing import edit

    host = plan.host
    form = "jsonc" if host.form == "json" else host.form
    text = edit("", form, host.key, {plan.name: entry}, where=host.title, listed=host.is_list)
    print_line(text.rstrip())
    return exits.OK


# --- the file ------------------------------------------------------------------------------------


def _path(host: Host, project: Path | None) -> Path:
    from utcp_bridge.cli.starting import home_folder

    path = _chosen_file(host, home_folder() if project is None else Path(), project)
    if path is None:
        raise click.UsageError(f"{host.title} has no file for {'a project' if project else 'the user'}.")
    return path


def _chosen_file(host: Host, home: Path, project: Path | None) -> Path | None:
    """Return the file that is written: the host's first one, or its twin with another ending if only that exists."""
    files = list(host.files(home=home, project=project))
    if not files or files[0].exists():
        return files[0] if files else None
    first = files[0]
    twins = (one for one in files[1:] if one.parent == first.parent and one.stem == first.stem and one.is_file())
    return next((one for one in twins if host.form == "jsonc"), first)


def _install(plan: _Installation, entry: JsonObject, *, dry_run: bool) -> int:
    from utcp_bridge.configuration.hosts.editing import with_servers, write
    from utcp_bridge.configuration.hosts.files import read_host_file
    from utcp_bridge.net.files.writing import exclusive, has_place, make_place

    path = _path(plan.host, plan.project)
    if plan.project is None:
        (has_place if dry_run else make_place)(path)
    with exclusive(path if plan.project is None else plan.project / plan.host.name):
        file = read_host_file(path, plan.host, within=plan.project)
        name = _free_name(plan, file, entry)
        if name != plan.name:
            note(f"The entry {plan.name!r} of {path} starts another configuration and stays. The new one is {name!r}.")
        if "name" in entry:
            entry = {**entry, "name": name}
        text = with_servers(file, {name: entry})
        if dry_run:
            _show_changes(file, text)
            return exits.OK
        is_new = text != file.text
        backup = write(file, text, private=_has_secrets(plan.host, entry)) if is_new else None
    kept = f" The backup is {backup}." if backup else ""
    note(f"Wrote the entry {name!r} into {path}.{kept}" if is_new else f"{path} has the entry already.")
    for remark in (*plan.remarks, *([plan.host.after] if is_new and plan.host.after else [])):
        note(remark)
    plan.report |= {"host": plan.host.name, "file": str(path), "entry": name, "written": is_new}
    return _checked(plan, entry)


def _has_secrets(host: Host, entry: JsonObject) -> bool:
    """Return whether an entry has values that others must not read: variables besides PATH, or headers."""
    env = entry.get(host.entries.env)
    names = set(env) if is_object(env) else set[str]()
    return bool(names - {"PATH"}) or bool(entry.get(host.entries.headers))


def _free_name(plan: _Installation, file: HostFile, entry: JsonObject) -> str:
    """Return the wanted name, or the next one that is free or has the same configuration."""
    known = {server.name: server.raw for server in file.servers}
    name, number = plan.name, 2
    while name in known and not plan.replaces and not _is_same(plan, known[name], entry):
        name, number = f"{plan.name}-{number}", number + 1
    return name


def _is_same(plan: _Installation, known: Any, entry: JsonObject) -> bool:
    """Return whether an entry of the file starts the configuration, or reaches the URL, of the new one."""
    from utcp_bridge.cli.starting import launch_of, same_sources, sources_of

    host = plan.host
    if plan.launch is None:
        return is_object(known) and known.get(host.entries.url or "") == entry.get(host.entries.url or "")
    before, after = sources_of(launch_of(known, host)), sources_of(plan.launch)
    return before is not None and same_sources(before, after or (), plan.folder)


def _show_changes(file: HostFile, text: str) -> None:
    from utcp_bridge.configuration.hosts.preview import preview

    if lines := preview(file.path, file.text, text, file.key):
        print_line("\n".join(lines))
    else:
        note(f"{file.path} has the entry already.")


def _list_hosts(project: Path | None, as_json: bool) -> int:
    from utcp_bridge.cli.starting import home_folder
    from utcp_bridge.configuration.hosts.table import HOSTS

    home = home_folder() if project is None else Path()
    files = [(host, _chosen_file(host, home, project)) for host in HOSTS.values()]
    if as_json:
        hosts = [{"name": host.name, "title": host.title, "file": file and str(file)} for host, file in files]
        print_json({"hosts": hosts})
        return exits.OK
    rows = [
        (host.name, host.title, "yes" if file is not None and file.exists() else "", str(file or "-"))
        for host, file in files
    ]
    print_table(("HOST", "TITLE", "FOUND", "FILE"), rows)
    return exits.OK


# --- the check -----------------------------------------------------------------------------------


def _checked(plan: _Installation, entry: JsonObject) -> int:
    """Start the entry as the host does it, unless that is not wanted, and report its manuals."""
    from utcp_bridge.cli.starting import check_entry

    if plan.no_check:
        code = exits.OK
    else:
        code = check_entry(plan.host, _startable(plan, entry), plan.folder, plan.report, as_json=plan.as_json)
    if plan.as_json:
        notes = [*plan.warnings, *plan.remarks, *plan.report.pop("notes", ())]
        print_json({**plan.report, "notes": notes})
    return code


def install_into(name: str, file: Path) -> int:
    """Write the entry of a configuration into the user's file of a host, and check it, as `install` does.

    :raises UsageError: the host is unknown, or has no file for the user.
    """
    host = _host_named(name)
    plan = _Installation(host, _NAME, None, replaces=False, no_check=False, as_json=False)
    plan.launch = _planned(plan, Options((str(file),)), {})
    entry = host.entry(plan.launch.command, plan.launch.args, plan.launch.env, name=_NAME)
    return _install(plan, entry, dry_run=False)


def check_as_host(name: str, options: Options, project: Path | None, *, as_json: bool) -> int:
    """Start the bridge as a host does it, by the entry that it has or that `install` would write. Write nothing."""
    from utcp_bridge.cli.starting import check_entry, launch_of, sources_of
    from utcp_bridge.configuration.hosts.files import read_host_file

    host = _host_named(name)
    plan = _Installation(host, _NAME, project, replaces=False, no_check=False, as_json=as_json)
    path = _path(host, project)
    servers = [] if options.sources else read_host_file(path, host, within=project).servers
    own = [server for server in servers if sources_of(launch_of(server.raw, host)) is not None]
    found: list[tuple[str, JsonObject]] = [(server.name, server.raw) for server in own]
    if not found:
        plan.launch = _planned(plan, options, {})
        found = [("", host.entry(plan.launch.command, plan.launch.args, plan.launch.env, name=_NAME))]
    reports: list[JsonObject] = []
    codes: list[int] = []
    for entry_name, entry in found:
        notes = [*plan.warnings, *plan.remarks]
        if any(one.name == entry_name and not one.enabled for one in own):
            notes.append(f"The entry {entry_name!r} is switched off, so {host.title} does not start it.")
        if entry_name:
            note(f"The entry {entry_name!r} of {path}:")
        for text in notes[len(plan.warnings) :]:
            note(text)
        reports.append({"host": host.name, "file": str(path), "entry": entry_name or None, "notes": notes})
        codes.append(check_entry(host, entry, plan.folder, reports[-1], as_json=as_json))
    if as_json:
        print_json({"entries": reports})
    return next((code for code in codes if code), exits.OK)


def _startable(plan: _Installation, entry: JsonObject) -> JsonObject:
    """Return the entry, or one with this program in place of a portable command that this machine does not have."""
    import shutil

    from utcp_bridge.cli.starting import own_launch, sources_of

    launch = plan.launch
    if plan.project is None or launch is None or shutil.which(launch.command):
        return entry
    plan.warn(
        f"The entry starts {launch.command}, which is not on PATH here. Install uv, or put utcp-bridge on PATH, before"
        f" {plan.host.title} starts it on this machine."
    )
    own = own_launch(sources_of(launch) or ())
    return plan.host.entry(own.command, own.args, launch.env, name=plan.name)


# --- uninstall -----------------------------------------------------------------------------------


@click.command(
    epilog="""\b
Examples:
  utcp-bridge uninstall cursor                 the entry that starts the bridge
  utcp-bridge uninstall claude-code utcp-2 --project .
"""
)
@host_argument
@click.argument("name", required=False, metavar="[NAME]")
@project_option
@click.option("--dry-run", is_flag=True, help="Show what would change and write nothing.")
@debug_option
def uninstall(host: Host | None, name: str | None, project: Path | None, dry_run: bool) -> int:
    """Remove the bridge's entry from an MCP host's file. The rest of the file stays as it is.

    Without NAME, it is the one entry that starts a bridge.
    """
    from utcp_bridge.configuration.hosts.editing import with_servers, write
    from utcp_bridge.configuration.hosts.files import read_host_file
    from utcp_bridge.net.files.writing import exclusive

    if host is None:
        raise click.UsageError("Missing argument 'HOST'. `utcp-bridge install` lists the hosts.")
    path = _path(host, project)
    with exclusive(path if project is None else project / host.name):
        file = read_host_file(path, host, within=project)
        chosen = _chosen(file, name)
        text = with_servers(file, {chosen: None})
        if dry_run:
            _show_changes(file, text)
            return exits.OK
        backup = write(file, text)
    note(f"Removed the entry {chosen!r} from {path}." + (f" The backup is {backup}." if backup else ""))
    return exits.OK


def _chosen(file: HostFile, name: str | None) -> str:
    """Return the name of the entry to remove.

    :raises ConfigError: the file does not have the entry, it is of another program, or several start a bridge.
    """
    from utcp_bridge.cli.starting import launch_of, sources_of

    names = [server.name for server in file.servers]
    own = [server.name for server in file.servers if sources_of(launch_of(server.raw, file.host)) is not None]
    if name in own or (name is None and len(own) == 1):
        return name or own[0]
    listed = f"Its entries that do are {', '.join(own)}." if own else "None of its entries does."
    if name is None:
        if not own:
            raise ConfigError(f"No entry of {file.path} starts a bridge.", remedy="Name the entry.")
        raise ConfigError(f"Several entries of {file.path} start a bridge: {', '.join(own)}.", remedy="Name one.")
    if name not in names:
        raise ConfigError(f"{file.path} does not have an entry {name!r}.", remedy=listed)
    found = next(server for server in file.servers if server.name == name)
    url = found.raw.get(file.host.entries.url or "") if is_object(found.raw) else None
    if url is not None:
        return name
    raise ConfigError(f"The entry {name!r} of {file.path} does not start a bridge.", remedy=listed)
