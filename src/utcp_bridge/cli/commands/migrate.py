"""`utcp-bridge migrate`: move the MCP servers of a host into one UTCP configuration, behind one entry."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from utcp_bridge.cli import exits
from utcp_bridge.cli.opening import opened, run_async
from utcp_bridge.cli.options import DEFAULT_FILES, Options, debug_option
from utcp_bridge.cli.output import complain, note, print_json, print_line, print_table
from utcp_bridge.cli.program import Session
from utcp_bridge.cli.sameness import ignore_option

if TYPE_CHECKING:
    from utcp_bridge.cli.sameness import MovedServer
    from utcp_bridge.configuration.hosts.files import HostFile
    from utcp_bridge.configuration.hosts.moving import Move
    from utcp_bridge.configuration.hosts.permissions import HostRules
    from utcp_bridge.configuration.hosts.reading import HostServer
    from utcp_bridge.configuration.hosts.table import Host
    from utcp_bridge.model import JsonObject

__all__ = ["migrate"]

_CHECK_SECONDS: Final = 20.0
_NO_LOGIN: Final = "needs login"
_LOADERS: Final = ("load_variables_from",)


@dataclass(frozen=True, slots=True)
class _Choices:
    """What the command line says about a move."""

    output: Path | None
    name: str
    only: tuple[str, ...]
    keep: tuple[str, ...]
    drop: tuple[str, ...]
    after: str | None
    compares: bool
    ignored: tuple[str, ...]
    as_json: bool


@click.command(
    epilog="""\b
Examples:
  utcp-bridge migrate                          the hosts that are here, and their servers
  utcp-bridge migrate cursor --dry-run         show what would change, secrets masked
  utcp-bridge migrate cursor                   every server of the user's file, behind one entry
  utcp-bridge migrate --all                    every server of every host
  utcp-bridge migrate .mcp.json --only github  one server of a project's file
  utcp-bridge migrate .mcp.json --keep browser all except this one
  utcp-bridge migrate .mcp.json --undo         take the last move back
  utcp-bridge migrate cursor --dry-run --compare
                                               compare each server before and after
\b
Exit codes of --compare:
  0   each server is the same on both sides
  1   a server differs, or the command line is wrong
  2   the configuration is wrong: a file, a key, a variable, a missing extra
  5   a server did not start on one of the sides
"""
)
@click.argument("hosts", nargs=-1, metavar="[HOST|FILE]...")
@click.option("--all", "every", is_flag=True, help="Move the servers of every host that is here.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="The configuration to write. Default: utcp.json next to the host's file, or the one that is there.",
)
@click.option("--name", default="utcp", show_default=True, help="Name of the bridge's entry.")
@click.option("--only", multiple=True, metavar="SERVER", help="Move only this server; may be given several times.")
@click.option("--keep", multiple=True, metavar="SERVER", help="Do not move this server; may be given several times.")
@click.option(
    "--drop",
    multiple=True,
    metavar="KEY",
    help="Move servers with this key, which the bridge does not have, without it; may be given several times.",
)
@click.option("--dry-run", "after", flag_value="show", help="Show what would change and write nothing.")
@click.option("--no-check", "after", flag_value="leave", help="Do not connect to the moved servers at the end.")
@click.option("--undo", "after", flag_value="undo", help="Take the last move from the host's file back.")
@click.option(
    "--compare",
    "compares",
    is_flag=True,
    help="Start each server as the host has it and as it moved, and compare both.",
)
@ignore_option
@click.option("--json", "as_json", is_flag=True, help="With --compare: print JSON, for scripts.")
@debug_option
@click.pass_obj
def migrate(  # noqa: PLR0913, PLR0917 - one parameter for each option
    session: Session,
    hosts: tuple[str, ...],
    every: bool,
    output: Path | None,
    name: str,
    only: tuple[str, ...],
    keep: tuple[str, ...],
    drop: tuple[str, ...],
    after: str | None,
    compares: bool,
    ignored: tuple[str, ...],
    as_json: bool,
) -> int:
    """Move hosts' MCP servers into a UTCP configuration, behind one entry.

    HOST is a name that `utcp-bridge install` lists, or FILE the path of a host's file. Without one, the hosts that are
    here are listed. Only the entries that move change in the host's file; comments and everything else stay.

    A server stays where it is if it is switched off, or if the bridge would lose something of it. Secrets go into a
    dotenv file next to the configuration, which only its owner can read. The old files are kept as backups, and --undo
    takes the move back. At the end each moved server is asked what it offers, and whether it needs a login.

    With --compare, it is started in both ways, and what it offers and its replies to harmless calls are compared, as
    `utcp-bridge compare` does. A server that does not move is not started.
    """
    from utcp_bridge.configuration.hosts.undoing import is_undoable

    session.as_json = as_json
    if not name.strip():
        raise click.UsageError("--name must not be empty.")
    choices = _Choices(output, name, only, keep, drop, after, compares, ignored, as_json)
    _check_comparing(choices, is_named=bool(hosts) or every)
    found = list(_found())
    if every:
        hosts = tuple(str(path) for _, path in found if after != "undo" or is_undoable(path))
    if not hosts:
        return _list(found, after)
    targets = [_target(one, undo=after == "undo") for one in hosts]
    if len(targets) > 1 and (only or keep):
        raise click.UsageError("--only and --keep need one host, because they name its servers.")
    reports: list[JsonObject] = []
    codes = [_one(path, host, choices, reports, alone=len(targets) == 1) for path, host in targets]
    if as_json:
        print_json({"servers": reports})
    return max(codes)


def _check_comparing(choices: _Choices, *, is_named: bool) -> None:
    """Refuse options that do not fit together.

    :raises UsageError: see there.
    """
    if choices.compares and choices.after == "undo":
        raise click.UsageError("--undo compares nothing.")
    if choices.compares and not is_named:
        raise click.UsageError("--compare needs a host or a file, or --all.")
    if not choices.compares and (choices.as_json or choices.ignored):
        raise click.UsageError(f"{'--json' if choices.as_json else '--ignore'} needs --compare.")


def _one(path: Path, host: Host | None, choices: _Choices, reports: list[JsonObject], *, alone: bool) -> int:
    """Migrate one file, or undo that. One of several that fails is reported and costs no other."""
    from utcp_bridge.errors import UtcpError

    try:
        if choices.after == "undo":
            _undo(path)
            return exits.OK
        return _migrate(path, host, choices, reports)
    except UtcpError as error:
        if alone:
            raise
        complain(str(error))
        return exits.exit_code(error)


def _found() -> Iterator[tuple[Host, Path]]:
    from utcp_bridge.configuration.hosts.files import find_host_files

    yield from find_host_files(Path.home(), Path.cwd())


def _list(found: Sequence[tuple[Host, Path]], after: str | None) -> int:
    """List the hosts that are here; for --undo those from whose files something was moved."""
    from utcp_bridge.configuration.hosts.files import read_host_file
    from utcp_bridge.configuration.hosts.moving import is_bridge
    from utcp_bridge.configuration.hosts.undoing import is_undoable
    from utcp_bridge.errors import ConfigError

    rows: list[tuple[str, str, str]] = []
    for host, path in found:
        if after == "undo" and not is_undoable(path):
            continue
        try:
            names = [server.name for server in read_host_file(path, host).servers if not is_bridge(server.raw)]
        except ConfigError as error:
            note(str(error))
            continue
        rows.append((host.name, ", ".join(names) or "-", str(path)))
    if not rows:
        note("Nothing was moved from the hosts' files." if after == "undo" else "No file of a known host is here.")
        return exits.OK
    print_table(("HOST", "SERVERS", "FILE"), rows)
    others = "" if after == "undo" else ", or move all with --all"
    note(f"Name a host or a file{others}. --dry-run shows what would change.")
    return exits.OK


def _target(text: str, *, undo: bool) -> tuple[Path, Host | None]:
    """Return the file that an argument names, and the host if it is named. To undo, it may have been deleted."""
    from utcp_bridge.configuration.hosts.table import HOSTS
    from utcp_bridge.configuration.hosts.undoing import is_undoable
    from utcp_bridge.dialects.fields import nearest

    path = Path(text)
    if path.is_file() or (undo and is_undoable(path)):
        return path.absolute(), None
    host = HOSTS.get(text)
    if host is None:
        remedy = nearest(text, HOSTS) or "Without an argument, `utcp-bridge migrate` lists the hosts that are here."
        raise click.UsageError(f"{text!r} is neither a file nor a known host. {remedy}")
    places = list(host.files(home=Path.home()))
    found = next((place for place in places if place.is_file() or (undo and is_undoable(place))), None)
    if found is None:
        raise click.UsageError(
            f"{host.title} has no file here: {', '.join(map(str, places)) or 'it has none for a user'}."
            " `utcp-bridge migrate` lists the hosts that have one."
        )
    return found, host


def _within(path: Path) -> Path | None:
    """Return the folder that a file must not lead out of: elsewhere than in the home folder, links may be prepared."""
    from utcp_bridge.configuration.hosts.table import HOSTS

    is_users = any(path in set(host.files(home=Path.home())) for host in HOSTS.values())
    return None if is_users else path.parent


def quoted(path: Path) -> str:
    """Return a path as it can be pasted into a shell."""
    from utcp_bridge.processes.systems import join_command

    return join_command([str(path)])


def _undo(path: Path) -> None:
    from utcp_bridge.configuration.hosts.undoing import undo
    from utcp_bridge.net.files.writing import exclusive

    with exclusive(path):
        for one in undo(path):
            note(f"{'Restored' if one.exists() else 'Removed'} {quoted(one)}.")
    note("Restart the host.")


# --- one host --------------------------------------------------------------------------------------------------------


def _migrate(path: Path, host: Host | None, choices: _Choices, reports: list[JsonObject]) -> int:
    """Migrate one file. Put what a comparison found on `reports`, and return the exit code."""
    from utcp_bridge.configuration.hosts.files import read_host_file
    from utcp_bridge.configuration.hosts.permissions import read_rules
    from utcp_bridge.net.files.writing import exclusive

    within = _within(path)
    file = read_host_file(path, host, within=within)
    configuration = choices.output.absolute() if choices.output else _default_output(file, choices.name)
    rules = read_rules(file, home=Path.home())
    with exclusive(configuration):
        job = _HostMove.prepared(file, configuration, within if choices.output is None else None, choices, rules)
        for line in (*job.move.notes, *job.move.staying.values(), *_of_projects(file)):
            note(line)
        if not job.move.manuals:
            rest = ", so nothing was compared" if choices.compares else ""
            note(f"There is nothing to move in {quoted(path)}{rest}.")
            return exits.OK
        is_written = choices.after != "show"
        if is_written:
            job.write()
        elif not choices.as_json:
            job.show()
    if is_written:
        for line in rules.sentences(job.move.manuals, choices.name):
            note(line)
        note(f"{file.host.after or 'Restart the host.'} `utcp-bridge check {quoted(configuration)}` shows each server.")
        note(f"`utcp-bridge migrate --undo {quoted(path)}` takes the move back.")
    if choices.compares:
        return _compare(job, choices, reports)
    if choices.after is None:
        run_async(_report, configuration, [str(manual["name"]) for manual in job.move.manuals.values()])
    return exits.OK


def _compare(job: _HostMove, choices: _Choices, reports: list[JsonObject]) -> int:
    """Compare each server that moves with the manual that it becomes, and return the exit code."""
    from utcp_bridge.cli.sameness import compare_move
    from utcp_bridge.configuration.hosts.editing import form_of, parse_text

    path = job.configuration.path
    content = parse_text(job.configuration.new, form_of(path), where=str(path))
    planned = (content, job.move.secrets) if choices.after == "show" else None
    work = partial(compare_move, planned=planned, ignored=choices.ignored, as_json=choices.as_json)
    found = run_async(work, job.file.path, path, list(_both_sides(job)))
    reports += found.servers
    return found.code


def _both_sides(job: _HostMove) -> Iterator[MovedServer]:
    """Yield each server that moves, as the host starts it: in the folder of its project, without forbidden tools."""
    from utcp_bridge.cli.sameness import MovedServer

    servers = {server.name: server.template or {} for server in job.file.servers}
    for name, manual in job.move.manuals.items():
        template = {"call_template_type": "mcp", **servers[name]}
        if job.file.within is not None and "command" in template:
            template = {"cwd": str(_folder(job.file)).replace("$", "$$"), **template}
        if "exclude" in manual:  # the host's rules may forbid tools
            template["exclude"] = manual["exclude"]
        yield MovedServer(name, template, str(manual["name"]))


def _of_projects(file: HostFile) -> Iterator[str]:
    """Yield which servers of the file are not looked at."""
    from utcp_bridge.configuration.hosts.reading import as_configuration

    found = as_configuration(file.content, path=file.path)
    yield from map(str, found.faults_of_file(str(file.path)) if found is not None else ())


def _default_output(file: HostFile, name: str) -> Path:
    """Return the configuration that the bridge's entry serves, or the one in the folder, or a new one there."""
    raw = next((server.raw for server in file.servers if server.name == name), None)
    sources = _sources(file, raw)
    if len(sources) == 1 and sources[0].is_file():
        return sources[0]
    folder = file.path.parent
    return next((folder / one for one in DEFAULT_FILES if (folder / one).is_file()), folder / "utcp.json").absolute()


def _sources(file: HostFile, raw: object) -> list[Path]:
    """Return the files that an entry of the bridge serves; nothing if it is something else."""
    from utcp_bridge.configuration.hosts.moving import served

    folder = _folder(file)
    words = [word.replace("${workspaceFolder}", ".") for word in served(raw)[1:] if not word.startswith("-")]
    return [(folder / word).absolute() for word in words if "://" not in word and "$" not in word]


def _folder(file: HostFile) -> Path:
    """Return the folder in which the host starts the servers of a file: that of the project, as far as it is known."""
    from utcp_bridge.configuration.hosts.recognition import project_of

    return project_of(file.path.absolute(), file.host) or file.path.parent


@dataclass(frozen=True, slots=True)
class _Edited:
    """A file with its new text."""

    path: Path
    data: bytes | None
    text: str
    new: str
    within: Path | None


@dataclass(frozen=True, slots=True)
class _HostMove:
    """A move that is planned, and the texts that it writes."""

    file: HostFile
    move: Move
    changes: dict[str, JsonObject | None]
    host: _Edited
    configuration: _Edited
    dotenv: _Edited

    @classmethod
    def prepared(
        cls, file: HostFile, path: Path, within: Path | None, choices: _Choices, rules: HostRules
    ) -> _HostMove:
        """Return the job.

        :raises ConfigError: a file cannot be read or changed.
        """
        from utcp_bridge.configuration.hosts.editing import form_of, parse_text, read_text, with_servers
        from utcp_bridge.configuration.hosts.moving import dotenv_text, plan_move, read_dotenv
        from utcp_bridge.errors import ConfigError

        if path.resolve() == file.path.resolve():
            raise ConfigError(f"{path} is the host's file itself.", remedy="Name another file with --output.")
        text, data = read_text(path, within=within)
        dotenv = path.with_suffix(".env")
        values, secrets = read_text(dotenv, within=within)
        try:
            content = parse_text(text, form_of(path), where=str(path))
        except ConfigError as error:
            raise ConfigError(error.message, remedy="Name another file with --output.") from None
        _check_configuration(content, path)
        servers = list(_chosen(file, choices, is_elsewhere=file.within is not None and path.parent != _folder(file)))
        move = plan_move(servers, content, read_dotenv(values), drop=choices.drop, rules=rules)
        changes = _changes(file, move, path, choices.name)
        new_text = _configured(text, path, content, move, dotenv.name)
        return cls(
            file,
            move,
            changes,
            _Edited(file.path, file.data, file.text, with_servers(file, changes), file.within),
            _Edited(path, data, text, new_text, within),
            _Edited(dotenv, secrets, values, dotenv_text(values, move.secrets) if move.secrets else values, within),
        )

    def show(self) -> None:
        """Print what would change, with masked secrets."""
        from utcp_bridge.configuration.hosts.preview import preview
        from utcp_bridge.configuration.hosts.undoing import MANUALS

        for one, key in ((self.host, self.file.key), (self.configuration, MANUALS)):
            for line in preview(one.path, one.text, one.new, key):
                print_line(line)
        for variable in self.move.secrets:
            print_line(f"{self.dotenv.path}: {variable}=***")

    def write(self) -> None:
        """Write the files, the host's last. If it cannot be written, the others get their old content back."""
        from utcp_bridge.configuration.hosts.editing import write, write_text
        from utcp_bridge.configuration.hosts.undoing import WrittenFile, remember
        from utcp_bridge.errors import ConfigError
        from utcp_bridge.net.files.writing import write_file

        written: dict[str, WrittenFile] = {}
        try:
            for name, one in (("dotenv", self.dotenv), ("configuration", self.configuration)):
                if one.new != one.text:
                    private = name == "dotenv" or one.data is None
                    backup = write_text(one.path, one.new, before=one.data, within=one.within, private=private)
                    written[name] = WrittenFile.now(one.path, backup, one.within)
            backup = write(self.file, self.host.new)
        except ConfigError:
            for name, one in (("dotenv", self.dotenv), ("configuration", self.configuration)):
                if name in written and one.data is None:
                    one.path.unlink()
                elif name in written and one.data is not None:
                    write_file(one.path, one.data, within=one.within)
            raise
        written["host"] = WrittenFile.now(self.file.path, backup, self.file.within)
        manuals = [one for name, one in self.move.manuals.items() if name not in self.move.known]
        remember(self.file, self.changes, manuals, [*self.move.secrets], written)
        self._tell(backup)

    def _tell(self, backup: Path | None) -> None:
        count = len(self.move.secrets)
        if count:
            values = f"{count} {'value' if count == 1 else 'values'}"
            note(f"Wrote {values} into {quoted(self.dotenv.path)}, which only you can read.")
        names = ", ".join(str(manual["name"]) for manual in self.move.manuals.values())
        note(f"Wrote {quoted(self.configuration.path)}: {names}.")
        note(f"Changed {quoted(self.file.path)}." + (f" The backup is {quoted(backup)}." if backup else ""))


def _chosen(file: HostFile, choices: _Choices, *, is_elsewhere: bool) -> Iterator[HostServer]:
    """Yield the servers that may move. Those of a project get its folder if the configuration `is_elsewhere`.

    :raises UsageError: a name is not a server of the file.
    """
    from utcp_bridge.configuration.hosts.moving import is_bridge

    servers = [server for server in file.servers if not is_bridge(server.raw)]
    names = [server.name for server in servers]
    unknown = [name for name in (*choices.only, *choices.keep) if name not in names]
    if unknown:
        raise click.UsageError(f"{file.path} has no server {unknown[0]!r}. Its servers: {', '.join(names) or 'none'}.")
    for server in servers:
        if server.name in choices.keep or (choices.only and server.name not in choices.only):
            continue
        template = server.template
        if is_elsewhere and template is not None and "command" in template:
            server = replace(server, template={"cwd": str(_folder(file)).replace("$", "$$"), **template})  # noqa: PLW2901
        yield server


def _changes(file: HostFile, move: Move, path: Path, name: str) -> dict[str, JsonObject | None]:
    """Return the changes of the host's file: the moved servers go, and the bridge's entry comes if it is missing.

    :raises ConfigError: an entry of the bridge's name is something else.
    """
    from utcp_bridge.cli.starting import own_launch
    from utcp_bridge.errors import ConfigError
    from utcp_bridge.model import is_object

    changes: dict[str, JsonObject | None] = dict.fromkeys(move.manuals)
    present = next((server for server in file.servers if server.name == name), None)
    if move.manuals and present is None and (other := _serving(file, path)) is not None:
        move.notes.append(f"The entry {other!r} of {file.path} serves {path} already, so no other entry is added.")
        return changes
    if present is None or name in move.manuals:
        launch = own_launch([str(path)])
        entry = file.host.entry(launch.command, launch.args, {}, name=name)
        is_item = not is_object(_at(file.content, file.key)) and file.host.is_list
        return {**changes, name: {"name": name, **entry} if is_item else entry}
    sources = _sources(file, present.raw)
    if move.manuals and path.resolve() not in [source.resolve() for source in sources]:
        what = "starts the bridge with other files" if sources else "is not the bridge"
        raise ConfigError(
            f"The entry {name!r} of {file.path} {what}.",
            remedy="Choose another name with --name, or its configuration with --output.",
        )
    if move.manuals and not present.enabled:
        raise ConfigError(
            f"The entry {name!r} of {file.path} is switched off, so the moved servers would not run.",
            remedy="Switch it on, or choose another name with --name.",
        )
    return changes


def _serving(file: HostFile, path: Path) -> str | None:
    """Return the name of an entry with which the host starts the bridge with this configuration alone."""
    target = path.resolve()
    found = (
        one.name for one in file.servers if one.enabled and [*map(Path.resolve, _sources(file, one.raw))] == [target]
    )
    return next(found, None)


def _at(content: JsonObject, key: Sequence[str]) -> object:
    from utcp_bridge.model import is_object

    found: object = content
    for step in key:
        found = found.get(step) if is_object(found) else None
    return found


def _check_configuration(content: JsonObject, path: Path) -> None:
    from utcp_bridge.errors import ConfigError
    from utcp_bridge.model import is_list

    for key in ("manual_call_templates", *_LOADERS):
        if content.get(key) is not None and not is_list(content[key]):
            raise ConfigError(f"`{key}` in {path} must be a list.", remedy="Name another file with --output.")
    if "mcpServers" in content or "tools" in content or "openapi" in content:
        raise ConfigError(
            f"{path} is not a configuration that servers can be added to.", remedy="Name another file with --output."
        )


def _configured(text: str, path: Path, content: JsonObject, move: Move, dotenv: str) -> str:
    """Return the text of the configuration with the new manuals, and with the dotenv file if there are secrets."""
    from utcp_bridge.configuration.hosts.editing import edit, form_of
    from utcp_bridge.configuration.hosts.undoing import MANUALS

    form = form_of(path)
    new: dict[str, JsonObject | None] = {
        str(manual["name"]): manual for server, manual in move.manuals.items() if server not in move.known
    }
    loader = {"variable_loader_type": "dotenv", "env_file_path": dotenv}
    if move.secrets and loader not in (content.get(_LOADERS[0]) or ()):
        text = edit(text, form, _LOADERS, {dotenv: loader}, where=str(path), listed=True)
    return edit(text, form, MANUALS, new, where=str(path), listed=True)


async def _report(configuration: Path, manuals: list[str]) -> None:
    """Connect to the moved servers and say what each offers. A server that fails fails nothing else."""
    from utcp_bridge.client.offered import offered
    from utcp_bridge.errors import AuthRequired, UtcpError

    try:
        async with opened(Options(sources=(str(configuration),), calls=False)) as client:
            await client.wait_loaded(_CHECK_SECONDS)
            for state in client.report():
                if state.name not in manuals:
                    continue
                waiting = [one.name for one in client.servers() if one.manual == state.name and one.status == _NO_LOGIN]
                if waiting or isinstance(state.error, AuthRequired):
                    note(f"{state.name} needs a login: `utcp-bridge login {state.name} -c {quoted(configuration)}`.")
                elif state.error is not None:
                    note(client.redactor(f"{state.name} does not work yet: {state.error}"))
                elif state.status != "ready":
                    note(f"{state.name} has not answered within {_CHECK_SECONDS:.0f} seconds.")
                for report in offered(client, state.name):
                    note(client.redactor(f"{report.place} offers {report}."))
                    for what in report.lost:
                        note(client.redactor(f"{report.place}: {what}"))
    except UtcpError as error:
        note(f"The servers could not be checked: {error}")
