"""`utcp-bridge check`: load every manual of a configuration and report its faults."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from utcp_bridge.cli import exits
from utcp_bridge.cli.opening import env_file_lines, opened_parts, run_async, wait_for_manuals
from utcp_bridge.cli.options import Options, client_options
from utcp_bridge.cli.output import note, print_json, print_line, print_table
from utcp_bridge.errors import ManualError
from utcp_bridge.net.backoff import MAX_PAUSE

if TYPE_CHECKING:
    from utcp_bridge.auth.redaction import Redactor
    from utcp_bridge.client.client import UtcpClient
    from utcp_bridge.configuration.loading import LoadedConfig
    from utcp_bridge.manuals.registration import ManualState
    from utcp_bridge.model import Fault, JsonObject
    from utcp_bridge.upstream import ServerState

__all__ = ["check"]


_DEGRADED: Final = "degraded"
_IDLE: Final = frozenset({"ready", "disabled", "waiting"})
"""States of an MCP server that no failure has caused."""


@click.command(
    epilog="""\b
Examples:
  utcp-bridge check                            each manual of ./providers.json
  utcp-bridge check utcp.yaml --json
  utcp-bridge check --as-host claude-desktop   with the PATH and variables that the host gives
  utcp-bridge check utcp.yaml --strict         for CI: warnings count like errors
\b
Exit codes. The first manual that failed determines the code. If none failed, the first
part that is lost does: an entry, a key that nothing reads, a tool, an MCP server:
"""
    + exits.listed(exits.OK, exits.USAGE, exits.CONFIGURATION, exits.UPSTREAM, exits.POLICY, exits.DEADLINE)
)
@click.option(
    "--as-host", "host", metavar="HOST", help="Start the bridge as this MCP host starts it, and write nothing."
)
@click.option(
    "--project", type=click.Path(path_type=Path), help="With --as-host: use the project's file in this folder."
)
@click.option("--strict", is_flag=True, help="Treat warnings as errors.")
@client_options()
def check(options: Options, host: str | None, project: Path | None, strict: bool, as_json: bool) -> int:
    """Load every manual and report what is wrong.

    A manual is `degraded` if it lost a tool or an MCP server. With `--as-host`, the entry in the host's file is
    started. With a CONFIG, or if the host has no entry, it is the entry that `utcp-bridge install` would write.

    `utcp-bridge validate` tests a file without the network, and `utcp-bridge doctor` finds the step at which a manual
    fails.
    """
    if strict:
        options = options.strict()
    if host is not None:
        from utcp_bridge.cli.commands.install import check_as_host

        return check_as_host(host, options, project, as_json=as_json)
    if project is not None:
        raise click.UsageError("--project needs --as-host.")
    return run_async(_check, options, as_json)


async def _check(options: Options, as_json: bool) -> int:
    from utcp_bridge.access.faults import access_faults, empty_profiles

    async with AsyncExitStack() as stack:
        loaded, client = await opened_parts(options.without_calls(), stack, reports=False)
        await wait_for_manuals(client)
        of_access = await access_faults(client.settings, client.root)
        not_loaded = [state.name for state in client.report() if state.status != "ready"]
        of_access += empty_profiles(client.settings, client.tools(), not_loaded)
        found = _Outcome(client, loaded, [*loaded.faults, *client.faults(), *of_access])
        if as_json:
            print_json(found.as_json())
        else:
            _print(found)
        return found.exit_code()


@dataclass(slots=True)
class _Outcome:
    """What loading has found. `faults` are those of the configuration; the manuals have their own."""

    client: UtcpClient
    loaded: LoadedConfig
    faults: list[Fault]
    states: list[ManualState] = field(init=False)
    of_manuals: dict[str, list[Fault]] = field(init=False)

    def __post_init__(self) -> None:
        self.states = self.client.report()
        cut = _cut_schemas(self.client)
        self.of_manuals = {state.name: [*state.faults, *cut.get(state.name, ())] for state in self.states}

    def status(self, state: ManualState) -> str:
        """Return the status of a manual: `degraded` if it is ready and has lost a part.

        `disabled` if the configuration switches off all its servers.
        """
        if {one.status for one in self.client.servers() if one.manual == state.name} == {"disabled"}:
            return "disabled"
        return _DEGRADED if state.status == "ready" and any(self._codes_of(state)) else state.status

    def exit_code(self) -> int:
        """Return the code of the first failure, then that of the first loss, then that of a warning if those count."""
        codes = [exits.exit_code(state.error) for state in self.states if state.error is not None]
        codes += [exits.fault_code(fault) for fault in self.faults]
        codes += [code for state in self.states for code in self._codes_of(state)]
        first = next((code for code in codes if code), exits.OK)
        counts = self.client.settings.fails_on_fault and any((self.faults, *self.of_manuals.values()))
        return first or (exits.CONFIGURATION if counts else exits.OK)

    def as_json(self) -> JsonObject:
        """Return {status, faults, env_files, manuals, outages}, and `store` if replicas share one."""
        redact, code = self.client.redactor, self.exit_code()
        failed = [state for state in self.states if state.status == "failed"]
        is_lost = bool(failed) and len(failed) == len(self.states)
        return {
            "status": "failed" if is_lost else _DEGRADED if code else "ok",
            "faults": _faults_as_json(self.faults, redact),
            "env_files": [str(file.path) for file in self.loaded.env_files if file.names()],
            "manuals": [self._manual(state) for state in self.states],
            "outages": [asdict(replace(one, peer=redact(one.peer))) for one in self.client.outages()],
            **({} if self.store is None else {"store": self.store}),
        }

    @property
    def store(self) -> str | None:
        """The state of the store that replicas share, in one word; None without one."""
        if self.client.settings.store is None:
            return None
        found = {fault.severity for fault in self.faults if fault.where == "replicas.store"}
        return "refused" if "error" in found else "away" if found else "ready"

    def _codes_of(self, state: ManualState) -> Iterator[int]:
        """Yield the exit code of each part that a manual has lost."""
        yield from filter(None, (exits.fault_code(fault, ManualError) for fault in self.of_manuals[state.name]))
        for server in self.client.servers():
            if server.manual == state.name and server.failure and server.status not in _IDLE:
                yield exits.UPSTREAM

    def _manual(self, state: ManualState) -> JsonObject:
        from utcp_bridge.client.offered import offered

        redact = self.client.redactor
        error = state.error and {"code": state.error.code, "message": redact(str(state.error))}
        servers = [_server_as_json(one, redact) for one in self.client.servers() if one.manual == state.name]
        offers = [report.as_json() for report in offered(self.client, state.name)]
        return {
            "name": state.name,
            "kind": state.kind,
            "status": self.status(state),
            "tools": state.tools,
            "dialect": state.dialect,
            "seconds": round(state.seconds, 3),
            "error": error,
            "retries": state.next_try is not None,
            "faults": _faults_as_json(self.of_manuals[state.name], redact),
            **({"servers": servers} if servers else {}),
            **({"offers": offers} if offers else {}),
        }


def _cut_schemas(client: UtcpClient) -> dict[str, list[Fault]]:
    """Return a warning for each manual with input schemas that are listed shorter than they are."""
    from utcp_bridge.catalogue.catalogue import Catalogue
    from utcp_bridge.model import Fault

    entries = [*Catalogue(client).entries.values()]
    tools = Counter(entry.tool.manual for entry in entries)
    cut = Counter(entry.tool.manual for entry in entries if entry.input.cut)
    remedy = "`utcp-bridge doctor` names them. Shorten them, or raise `max_schema_bytes`."
    return {
        manual: [
            Fault(
                f"manual {manual!r}",
                f"{number} of {tools[manual]} input schemas are too large for hosts, which get them shortened.",
                remedy,
                "warning",
            )
        ]
        for manual, number in cut.items()
    }


def _print(found: _Outcome) -> None:
    from utcp_bridge.client.offered import offer_lines

    client, states = found.client, found.states
    for line in env_file_lines(found.loaded):
        note(line)
    if states:
        rows = [
            (state.name, state.kind, found.status(state), str(state.tools), f"{state.seconds:.2f} s", state.dialect)
            for state in states
        ]
        print_table(("MANUAL", "KIND", "STATUS", "TOOLS", "TIME", "DIALECT"), rows)
    else:
        note("The configuration has no manuals.")
    servers = [one for one in client.servers() if one.status != "ready" or _has_others(one, client)]
    if servers:
        lines = [(one.manual, one.shown, one.status, str(one.tools)) for one in servers]
        print_table(("MANUAL", "MCP SERVER", "STATE", "TOOLS"), lines)
    _print_faults(found.faults, client.redactor)
    for state in states:
        if state.error is not None:
            print_line(f"error: {client.redactor(f'{state.name}: {state.error}')}")
        if state.next_try is not None:
            print_line(
                f"note: {state.name}: a running bridge loads it again by itself, at least every {MAX_PAUSE:.0f} s."
            )
        _print_faults(found.of_manuals[state.name], client.redactor, state.name)
    for line in offer_lines(client):
        print_line(f"note: {line}")
    for outage in client.outages():
        print_line(f"note: {client.redactor(str(outage))}")
    if found.store == "ready":
        print_line("note: The store of the replicas answers.")


def _print_faults(faults: list[Fault], redact: Redactor, manual: str = "") -> None:
    """Print a line for each fault, and one for all that differ only in their tool."""
    from utcp_bridge.model import grouped_faults

    for group in grouped_faults(faults):
        text = str(group)
        place = "" if manual in text.partition(":")[0] else f"{manual}: "
        print_line(f"{group.faults[0].severity}: {redact(f'{place}{text}')}")


def _faults_as_json(faults: list[Fault], redact: Redactor) -> list[JsonObject]:
    """Return {severity, code, where, what, remedy, count, places} for each group of equal faults."""
    from utcp_bridge.model import grouped_faults

    return [
        {
            "severity": group.faults[0].severity,
            "code": group.faults[0].code or None,
            "where": redact(group.where),
            "what": redact(group.faults[0].what),
            "remedy": group.faults[0].remedy,
            "count": len(group.faults),
            "places": [redact(fault.where) for fault in group.faults],
        }
        for group in grouped_faults(faults)
    ]


def _has_others(server: ServerState, client: UtcpClient) -> bool:
    return any(one.manual == server.manual and one.name != server.name for one in client.servers())


def _server_as_json(server: ServerState, redact: Redactor) -> JsonObject:
    """Return {name, state, tools, failure} of an MCP server; `failure` is null if its last attempt succeeded."""
    failure = redact(server.failure) or None
    return {"name": server.shown, "state": server.status, "tools": server.tools, "failure": failure}
