"""`utcp-bridge reload`: let a running bridge read its configuration again, and say what has changed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from utcp_bridge.cli import exits
from utcp_bridge.cli.options import Options, config_options, debug_option
from utcp_bridge.cli.output import complain, print_json, print_line
from utcp_bridge.cli.program import Session
from utcp_bridge.model import JsonObject

if TYPE_CHECKING:
    from utcp_bridge.cli.live.doors import Door

__all__ = ["reload"]

_WORDS = {"added": "Added", "changed": "Changed", "removed": "Removed", "settings": "Settings"}


@click.command(
    epilog="""\b
Examples:
  utcp-bridge reload                        the only bridge of this user that runs
  utcp-bridge reload utcp.yaml              the one that serves this configuration
  utcp-bridge reload --pid 4711 --json
\b
Exit codes:
"""
    + exits.listed(exits.OK, exits.USAGE, exits.CONFIGURATION, exits.UPSTREAM, exits.DEADLINE)
)
@click.option("--pid", type=click.IntRange(1), help="Number of the process, if several bridges run.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
@config_options()
@debug_option
@click.pass_obj
def reload(session: Session, options: Options, pid: int | None, as_json: bool) -> int:
    """Let a running bridge read its configuration again.

    The bridge is one of this user on this machine. It says what it took over, what needs a restart, and which manuals
    could not be loaded. A configuration with a fault changes nothing: the fault is printed, and the exit code is 2.
    """
    session.as_json = as_json
    answers = _answers(options.sources, pid)
    first = next((one for one in answers if one.get("error")), answers[0])
    if as_json:
        print_json({**first, "processes": len(answers)})
    elif first.get("error"):
        complain(f"The changed configuration is not used: {first['error']}")
    else:
        _print(first)
    if first.get("error"):
        return exits.CONFIGURATION
    failed = any(manual.get("errors") for manual in first.get("manuals", {}).values())
    return exits.UPSTREAM if failed else exits.OK


def _answers(sources: Sequence[str], pid: int | None) -> list[JsonObject]:
    """Return what the processes of one server say.

    :raises ConfigError: no server runs, or it is not clear which one is meant.
    """
    from utcp_bridge.cli.live.doors import doors, shown_sources
    from utcp_bridge.errors import ConfigError

    wanted = tuple(shown_sources(sources))
    found = [one for one in doors() if one.runs()]
    fitting = [one for one in found if (pid is None or pid in {one.pid, one.server}) and wanted in {(), one.sources}]
    servers = sorted({one.server for one in fitting})
    if len(servers) > 1:
        raise ConfigError(
            f"Several bridges run: {_listed(fitting)}.", remedy="Name one with --pid, or name its configuration."
        )
    if not servers:
        others = f" These run: {_listed(found)}." if found else ""
        raise ConfigError(
            f"No bridge of this user runs{' with this number or configuration' if wanted or pid else ''}.{others}",
            remedy="Run this command as the user who started the bridge, with the same home folder.",
        )
    answers = [answer for one in fitting if (answer := one.reload()) is not None]
    if not answers:
        raise ConfigError("The bridge has just ended.", remedy="Start it again.")
    return answers


def _listed(found: Iterable[Door]) -> str:
    shown = {one.server: " ".join(one.sources) for one in found}
    return ", ".join(f"{pid} ({sources})" for pid, sources in sorted(shown.items()))


def _print(answer: JsonObject) -> None:
    said = False
    for key, word in _WORDS.items():
        if answer.get(key):
            said = True
            print_line(f"{word}: {', '.join(answer[key])}")
    if not said:
        print_line("Nothing has changed.")
    if later := answer.get("needs_restart"):
        complain(f"These changes take effect at the next start: {', '.join(later)}.")
    manuals: dict[str, Any] = answer.get("manuals", {})
    for name, manual in manuals.items():
        for text in manual.get("errors", ()):
            complain(f"Manual {name}: {text}")
