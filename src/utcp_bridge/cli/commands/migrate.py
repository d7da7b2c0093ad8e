"""`utcp-bridge migrate`: move the MCP servers of a host into one UTCP configuration, behind one entry."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import click

from utcp_bridge.cli import exits
from utcp_bridge.cli.opening import opened, run_async
from utcp_bridge.cli.options import Options, debug_option
from utcp_bridge.cli.output import note, print_line

if TYPE_CHECKING:
    from utcp_bridge.cli.hosts import EditedFile
    from utcp_bridge.model import JsonObject

__all__ = ["migrate"]

_SECRET_PLACES = ("env", "headers")
_KEPT = ("command", "args", "cwd", "url", "env", "headers")
_CHECK_SECONDS = 20.0
_NO_LOGIN = "needs login"
_NOT_A_WORD = re.compile(r"\W+", re.ASCII)
_INPUT = re.compile(r"\$\{input:([^}]+)\}")
_CREDENTIAL = re.compile(r"(?P<scheme>Bearer|Basic|Token) +(?P<secret>\S+)", re.IGNORECASE)


@click.command(
    epilog="""\b
Examples:
  utcp-bridge migrate ~/.cursor/mcp.json --dry-run      show what would change, secrets masked
  utcp-bridge migrate ~/.cursor/mcp.json                every server, behind one entry
  utcp-bridge migrate .mcp.json --only github           one server only
  utcp-bridge migrate .mcp.json --keep browser          all except this one
"""
)
@click.argument("host_file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="The configuration to write. Default: utcp.json next to HOST_FILE.",
)
@click.option("--name", default="utcp", show_default=True, help="Name of the bridge's entry.")
@click.option("--only", multiple=True, metavar="SERVER", help="Move only this server; may be given several times.")
@click.option("--keep", multiple=True, metavar="SERVER", help="Do not move this server; may be given several times.")
@click.option("--dry-run", "after", flag_value="show", help="Show what would change and write nothing.")
@click.option("--no-check", "after", flag_value="leave", help="Do not connect to the moved servers at the end.")
@debug_option
def migrate(
    host_file: Path, output: Path | None, name: str, only: tuple[str, ...], keep: tuple[str, ...], after: str | None
) -> int:
    """Move a host's MCP servers into a UTCP configuration, behind one entry.

    Values of `env` and `headers` go into a dotenv file next to the configuration, which only its owner can read. The
    servers are added to an existing configuration, so they can move one by one. The old files are kept as backups.
    At the end it says what each server offers, which of it hosts do not get, and which server needs a login.
    """
    from utcp_bridge.cli.hosts import is_users_file, read_host_file
    from utcp_bridge.net.files.writing import exclusive

    # Elsewhere than in the home folder, files of these names may be links that a stranger prepared.
    within = None if is_users_file(host_file) else host_file.absolute().parent
    file = read_host_file(host_file, within=within)
    unknown = [server for server in (*only, *keep) if server not in file.servers]
    if unknown:
        raise click.UsageError(
            f"{host_file} has no server {unknown[0]!r}. Its servers: {', '.join(file.servers) or 'none'}."
        )
    moving = {
        server: entry
        for server, entry in file.servers.items()
        if not is_bridge(entry) and server not in keep and (not only or server in only)
    }
    migrated = migrate_servers(moving)
    for remark in migrated.remarks:
        note(remark)
    if not migrated.manuals:
        note(f"There is nothing to move in {host_file}.")
        return exits.OK
    configuration = (output or host_file.with_name("utcp.json")).absolute()
    with exclusive(configuration):
        files = _MigratedFiles(file, configuration, within if output is None else None)
        _apply(files, migrated, name, set(moving), dry_run=after == "show")
    if after is None:
        run_async(_report, configuration, [str(manual["name"]) for manual in migrated.manuals])
    return exits.OK


async def _report(configuration: Path, manuals: list[str]) -> None:
    """Connect to the moved servers and say what each offers. A server that fails fails nothing else."""
    from utcp_bridge.client.offered import offered
    from utcp_bridge.errors import AuthRequired, UtcpError

    try:
        async with opened(Options(sources=(str(configuration),))) as client:
            await client.wait_loaded(_CHECK_SECONDS)
            for state in client.report():
                if state.name not in manuals:
                    continue
                waiting = [one.name for one in client.servers() if one.manual == state.name and one.status == _NO_LOGIN]
                if waiting or isinstance(state.error, AuthRequired):
                    note(f"{state.name} needs a login: `utcp-bridge login {state.name} -c {configuration}`.")
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


@dataclass(frozen=True)
class _MigratedFiles:
    """The host's file, and the configuration that its servers move to. See `EditedFile` for `within`."""

    host: EditedFile
    configuration: Path
    within: Path | None

    @property
    def dotenv(self) -> Path:
        return self.configuration.with_suffix(".env")


def _apply(files: _MigratedFiles, migrated: Migrated, name: str, moving: set[str], *, dry_run: bool) -> None:
    import orjson

    from utcp_bridge.cli.hosts import EditedFile, bridge_command, read_text_file, show_changes
    from utcp_bridge.configuration.hosts.table import HOSTS

    file, configuration, dotenv = files.host, files.configuration, files.dotenv
    before, data = read_text_file(configuration, within=files.within)
    known, secrets = read_text_file(dotenv, within=files.within)
    content = merge(_as_object(before, configuration), migrated, dotenv.name)
    written = orjson.dumps(content, option=orjson.OPT_INDENT_2).decode() + "\n"
    host = next(host for host in HOSTS.values() if host.key == (file.key,))
    left = {server: entry for server, entry in file.servers.items() if server not in moving}
    text = file.with_servers({**left, name: host.entry(*bridge_command(str(configuration)), {})})
    target = EditedFile(configuration, before, {}, "", data, files.within)
    if dry_run:
        masked = _masked(show_changes(file, text), migrated)
        print_line(masked)
        print_line(show_changes(target, written))
        for variable in migrated.secrets:
            print_line(f"{dotenv}: {variable}=***")
        return
    if migrated.secrets:
        EditedFile(dotenv, known, {}, "", secrets, files.within).write(
            dotenv_text(known, migrated.secrets), private=True
        )
        count = len(migrated.secrets)
        note(f"Wrote {count} {'value' if count == 1 else 'values'} into {dotenv}, which only you can read.")
    target.write(written)
    note(f"Wrote {configuration}: {', '.join(manual['name'] for manual in migrated.manuals)}.")
    if file.has_comments:
        note("The new host file has no comments. They are in the backup.")
    backup = file.write(text)
    note(f"Wrote the entry {name!r} into {file.path}. The backup is {backup}.")
    note(f"Restart the host. `utcp-bridge check {configuration}` shows the state of each server.")


def _as_object(text: str, path: Path) -> JsonObject:
    import orjson

    from utcp_bridge.errors import ConfigError
    from utcp_bridge.model import is_object

    try:
        content: Any = orjson.loads(text) if text.strip() else {}
    except orjson.JSONDecodeError:
        content = None
    if not is_object(content):
        raise ConfigError(
            f"{path} must be a JSON object, so that servers can be added.", remedy="Name another file with --output."
        )
    return content


def _masked(text: str, migrated: Migrated) -> str:
    for secret in sorted(migrated.secrets.values(), key=len, reverse=True):
        if secret:
            text = text.replace(secret, "***")
    return text


@dataclass
class Migrated:
    """Manual call templates, the values of their variables, and remarks for the operator."""

    manuals: list[JsonObject] = field(default_factory=list[dict[str, Any]])
    secrets: dict[str, str] = field(default_factory=dict[str, str], repr=False)
    remarks: list[str] = field(default_factory=list[str])


def is_bridge(entry: Any) -> bool:
    """Return whether a server's entry starts this bridge."""
    from utcp_bridge.model import is_object

    if not is_object(entry):
        return False
    words = [str(entry.get("command") or ""), *map(str, entry.get("args") or ())]
    return "serve" in words and any(PurePath(word).stem in {"utcp-bridge", "utcp", "utcp_bridge"} for word in words)


def migrate_servers(servers: Mapping[str, Any]) -> Migrated:
    """Return one `mcp` manual for each server. Values of `env` and `headers` become variables."""
    from utcp_bridge.model import is_object

    made = Migrated()
    for name, entry in servers.items():
        if not is_object(entry) or not (entry.get("command") or entry.get("url")):
            made.remarks.append(f"{name} has neither a command nor a URL, so it is not moved.")
            continue
        manual = _NOT_A_WORD.sub("_", name).strip("_") or "server"
        template: JsonObject = {"name": manual, "call_template_type": "mcp"}
        for key in _KEPT:
            if entry.get(key):
                template[key] = entry[key]
        if entry.get("type") == "sse":
            template["transport"] = "sse"
        for place in _SECRET_PLACES:
            if is_object(template.get(place)):
                template[place] = _with_variables(template[place], manual, made)
        if "args" in template:
            template["args"] = [_INPUT.sub(r"${\1}", str(word)) for word in template["args"]]
        made.manuals.append(template)
    return made


def _with_variables(values: JsonObject, manual: str, made: Migrated) -> JsonObject:
    written: JsonObject = {}
    for key, value in values.items():
        text = str(value)
        if asked := _INPUT.findall(text):
            made.remarks.append(f"Set {', '.join(asked)}, which the host asks the user for.")
            written[key] = _INPUT.sub(r"${\1}", text)
        elif "$" in text:
            written[key] = text
        else:
            variable = _NOT_A_WORD.sub("_", f"{manual}_{key}").upper()
            credential = _CREDENTIAL.fullmatch(text)
            made.secrets[variable] = credential["secret"] if credential else text
            written[key] = f"{credential['scheme']} ${{{variable}}}" if credential else f"${{{variable}}}"
    return written


def merge(configuration: JsonObject, migrated: Migrated, dotenv: str) -> JsonObject:
    """Return the configuration with these manuals added. A manual of the same name is replaced."""
    from utcp_bridge.model import is_object

    names = {manual["name"] for manual in migrated.manuals}
    known: list[Any] = list(configuration.get("manual_call_templates") or ())
    kept = [manual for manual in known if not (is_object(manual) and manual.get("name") in names)]
    loaders: list[Any] = list(configuration.get("load_variables_from") or ())
    loader = {"variable_loader_type": "dotenv", "env_file_path": dotenv}
    if migrated.secrets and loader not in loaders:
        loaders.append(loader)
    merged = {**configuration, "manual_call_templates": [*kept, *migrated.manuals]}
    return {**merged, "load_variables_from": loaders} if loaders else merged


def dotenv_text(before: str, secrets: Mapping[str, str]) -> str:
    """Return the dotenv file with these variables. Lines of the same names are replaced."""
    lines = [line for line in before.splitlines() if line.partition("=")[0].strip() not in secrets]
    return "\n".join([*lines, *_assignments(secrets.items())]) + "\n"


def _assignments(pairs: Iterable[tuple[str, str]]) -> Iterable[str]:
    for name, value in pairs:
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        yield f"{name}='{escaped}'"
