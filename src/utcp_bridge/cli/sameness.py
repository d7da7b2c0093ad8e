"""What the verbs that compare two manuals share: options, calls, the printed report, and both sides of a move."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import click

from utcp_bridge.cli import exits
from utcp_bridge.cli.opening import load, open_loaded, wait_for_manuals
from utcp_bridge.cli.options import Options
from utcp_bridge.cli.output import complain, note, print_line, print_table
from utcp_bridge.model import JsonObject

if TYPE_CHECKING:
    from utcp_bridge.client.client import UtcpClient
    from utcp_bridge.configuration.loading import LoadedConfig
    from utcp_bridge.doctor.comparison import Comparison
    from utcp_bridge.doctor.tools import TrialCall

__all__ = [
    "ComparedMove",
    "MovedServer",
    "Trials",
    "compare_move",
    "ignore_option",
    "masked",
    "name_in",
    "of_manuals",
    "print_comparison",
    "trial_options",
]

_MAX_BITS: Final = 63

ignore_option = click.option(
    "--ignore",
    "ignored",
    metavar="POINTER",
    multiple=True,
    help="A member of replies that differs by nature, such as /time or /items/*/id; may be given several times.",
)


def trial_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--call`, `--calls`, `--ignore` and `--no-calls`, whose values are the first fields of `Trials`."""
    options = (
        click.option(
            "--call",
            "calls",
            metavar="'TOOL JSON'",
            multiple=True,
            help="Compare the replies to this call; may be given several times.",
        ),
        click.option(
            "--calls",
            "file",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="A file with one call on each line, written as for --call.",
        ),
        ignore_option,
        click.option("--no-calls", "silent", is_flag=True, help="Make only the calls that --call and --calls name."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@dataclass(frozen=True, slots=True)
class Trials:
    """Which calls a comparison makes, and what of their replies does not count."""

    calls: tuple[str, ...] = ()
    file: Path | None = None
    ignored: tuple[str, ...] = ()
    silent: bool = False

    def read(self) -> list[TrialCall]:
        """Return the calls that were named.

        :raises UsageError: one is not the name of a tool and a JSON object.
        """
        lines = self.file.read_text(encoding="utf-8").splitlines() if self.file else []
        return [_trial(text) for text in [*self.calls, *(line for line in lines if line.strip())]]


def _trial(text: str) -> TrialCall:
    from utcp_bridge.doctor.tools import TrialCall
    from utcp_bridge.model import is_object

    tool, _, rest = text.strip().partition(" ")
    try:
        arguments: Any = json.loads(rest) if rest.strip() else {}
    except ValueError as error:
        raise click.UsageError(f"The arguments of the call {tool!r} must be JSON: {error}.") from error
    if not tool or not is_object(arguments):
        raise click.UsageError(f"A call is the name of a tool and a JSON object; {text!r} is something else.")
    return TrialCall(tool, arguments)


def of_manuals(loaded: LoadedConfig, names: Sequence[str]) -> LoadedConfig:
    """Return the configuration with these manuals alone, each of which answers its own calls: without `shadow`.

    :raises ConfigError: it does not have one of them.
    """
    from utcp_bridge.dialects.fields import safe_name
    from utcp_bridge.manuals.repository import unknown_manual

    entries = {safe_name(str(entry.get("name") or "")): entry for entry in loaded.config.manual_call_templates}
    for name in names:
        if safe_name(name) not in entries:
            raise unknown_manual(name, list(entries))
    chosen = tuple(
        {key: value for key, value in entries[name].items() if key != "shadow"}
        for name in dict.fromkeys(map(safe_name, names))
    )
    return replace(loaded, config=loaded.config.model_copy(update={"manual_call_templates": chosen, "registries": ()}))


def name_in(client: UtcpClient, name: str) -> str:
    """Return the name under which a client has a manual of the configuration."""
    from utcp_bridge.dialects.fields import safe_name

    return next(state.name for state in client.report() if state.name in {name, safe_name(name)})


def print_comparison(comparison: Comparison, client: UtcpClient, *, uncalled: str) -> None:
    """Print a comparison on stdout for people, without secrets of the client. `uncalled` is a sentence about the tools
    that were not called.
    """
    hide = client.redactor
    rows = [
        ("explained" if one.explained else "different", hide(str(one)))
        for one in sorted(comparison.differences, key=lambda one: bool(one.explained))
    ]
    if rows:
        print_table(("KIND", "DIFFERENCE"), rows)
    for call in comparison.calls:
        if call.outcome == "unproven":
            note(hide(f"{call.tool}: {call.note}"))
    equal = sum(call.outcome == "equal" for call in comparison.calls)
    print_line(
        f"{comparison.old} and {comparison.new}: {comparison.tools} tools of both,"
        f" {len(comparison.unexplained)} unexplained differences,"
        f" {len(comparison.differences) - len(comparison.unexplained)} explained;"
        f" {equal} of {len(comparison.calls)} calls gave equal replies."
    )
    if comparison.uncalled:
        note(f"Not called: {', '.join(comparison.uncalled)}. {uncalled}")


def masked(value: Any, redactor: Callable[[str], str]) -> Any:
    """Return a JSON value without secrets, and without numbers and characters that cannot be printed as JSON."""
    from utcp_bridge.model import is_list, is_object

    if is_object(value):
        return {redactor(str(name)): masked(one, redactor) for name, one in value.items()}
    if is_list(value):
        return [masked(one, redactor) for one in value]
    if isinstance(value, int) and value.bit_length() > _MAX_BITS:
        return str(value)
    return redactor(value).encode(errors="backslashreplace").decode() if isinstance(value, str) else value


_NO_LOGIN: Final = "needs login"
Outcome = Literal["same", "different", "not_started"]
_CODES: Final[Mapping[Outcome, int]] = {"same": exits.OK, "different": exits.FAULTS, "not_started": exits.UPSTREAM}


@dataclass(frozen=True, slots=True)
class MovedServer:
    """A server of a host's file, as the host starts it, and the manual that it becomes."""

    name: str
    template: JsonObject = field(repr=False)
    """The server in the fields of an `mcp` call template."""
    manual: str


@dataclass(frozen=True, slots=True)
class ComparedMove:
    """What the comparison of one move found."""

    servers: list[JsonObject]
    """A report for each server, for scripts."""
    code: int
    """The exit code: that of a server that did not start, otherwise that of a difference."""


async def compare_move(
    host_file: Path,
    configuration: Path,
    servers: Sequence[MovedServer],
    *,
    planned: tuple[JsonObject, Mapping[str, str]] | None,
    ignored: Sequence[str],
    as_json: bool,
) -> ComparedMove:
    """Start each server twice, as its host has it and as a manual of the configuration, and compare both.

    `planned` is the content that the configuration is to have, and its new variables, if it is not written yet.
    `ignored` are JSON pointers of members of replies that differ by nature. With `as_json`, nothing is printed on
    stdout.

    :raises ConfigError: the configuration cannot be read, or a pointer is not valid.
    """
    from utcp_bridge.pipeline.differences import Ignored

    pointers = Ignored(ignored)
    async with AsyncExitStack() as stack:
        loaded = await _loaded(configuration, planned, stack)
        names = {one.manual: _free_name(f"host_{one.manual}", servers) for one in servers}
        client = await open_loaded(_with_both(loaded, servers, names), stack)
        if planned is not None:
            client.redactor.learn([*planned[1].values()], source="planned variables", is_credential=True)
        await wait_for_manuals(client)
        reports: list[JsonObject] = []
        codes: list[int] = []
        for one in servers:
            places = (f"{one.name} in {host_file.name}", f"{one.manual} in {configuration.name}")
            outcome, error, comparison = await _compared(client, (names[one.manual], one.manual), places, pointers)
            codes.append(_CODES[outcome])
            if error:
                complain(client.redactor(error))
            if comparison is not None and not as_json:
                print_comparison(comparison, client, uncalled="They may write, or their schema states no arguments.")
            report = {
                "file": str(host_file),
                "configuration": str(configuration),
                "server": one.name,
                "manual": one.manual,
                "outcome": outcome,
                "error": error or None,
                "comparison": comparison and comparison.as_json(),
            }
            reports.append(masked(report, client.redactor))
        return ComparedMove(reports, max(codes, default=exits.OK))


async def _loaded(
    path: Path, planned: tuple[JsonObject, Mapping[str, str]] | None, stack: AsyncExitStack
) -> LoadedConfig:
    from utcp_bridge.configuration.loading import as_config

    if planned is None:
        return await load(Options(sources=(str(path),), calls=False), stack)
    content, variables = planned
    loaded = await as_config(content, root=path.parent)
    loaded.calls = False
    known = {**loaded.config.variables, **variables}
    return replace(loaded, config=loaded.config.model_copy(update={"variables": known}))


def _free_name(wanted: str, servers: Sequence[MovedServer]) -> str:
    taken = {one.manual for one in servers}
    return wanted if wanted not in taken else _free_name(f"{wanted}_", servers)


def _with_both(loaded: LoadedConfig, servers: Sequence[MovedServer], names: Mapping[str, str]) -> LoadedConfig:
    """Return the configuration with these servers alone, each as a manual of its own and as the host has it."""
    manuals = {one.manual for one in servers}
    new = [
        {key: value for key, value in entry.items() if key != "shadow"}
        for entry in loaded.config.manual_call_templates
        if entry.get("name") in manuals
    ]
    old: list[JsonObject] = [{**one.template, "name": names[one.manual]} for one in servers]
    update: dict[str, Any] = {"manual_call_templates": (*new, *old), "registries": ()}
    return replace(loaded, config=loaded.config.model_copy(update=update))


async def _compared(
    client: UtcpClient, names: tuple[str, str], places: tuple[str, str], ignored: Any
) -> tuple[Outcome, str, Comparison | None]:
    """Return the outcome for one server, why it could not be compared, and the comparison."""
    from utcp_bridge.doctor.comparison import compare_manuals

    for name, place in zip(names, places, strict=True):
        if reason := _why_not_ready(client, name):
            return "not_started", f"{place} did not start, so nothing of it was compared: {reason}", None
    found = await compare_manuals(client, *names, ignored=ignored)
    found = replace(found, old=places[0], new=places[1])
    return "same" if found.is_same else "different", "", found


def _why_not_ready(client: UtcpClient, name: str) -> str:
    """Return why a manual cannot be compared; empty if it can."""
    state = next((one for one in client.report() if one.name == name), None)
    if state is None:
        return "The configuration does not have it."
    waiting = [one for one in client.servers() if one.manual == name and one.status != "ready"]
    if state.error is not None:
        return str(state.error)
    if any(one.status == _NO_LOGIN for one in waiting):
        return f"It needs a login. Run `utcp-bridge login {name}`."
    return next((one.failure for one in waiting if one.failure), "")
