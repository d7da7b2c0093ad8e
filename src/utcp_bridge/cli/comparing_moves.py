"""Whether a server that moves behind the bridge offers and replies the same: as the host has it, and as a manual."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from utcp_bridge.cli import exits
from utcp_bridge.cli.opening import load, open_loaded, wait_for_manuals
from utcp_bridge.cli.options import Options
from utcp_bridge.cli.output import complain
from utcp_bridge.cli.sameness import masked, print_comparison
from utcp_bridge.model import JsonObject

if TYPE_CHECKING:
    from utcp_bridge.client.client import UtcpClient
    from utcp_bridge.configuration.loading import LoadedConfig
    from utcp_bridge.doctor.comparison import Comparison

__all__ = ["ComparedMove", "MovedServer", "compare_move"]

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
        return await load(Options(sources=(str(path),)), stack)
    content, variables = planned
    loaded = await as_config(content, root=path.parent)
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
