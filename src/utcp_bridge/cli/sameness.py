"""What the verbs that compare two manuals share: options, calls to make, and the printed report."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from utcp_bridge.cli.output import note, print_line, print_table

if TYPE_CHECKING:
    from utcp_bridge.client.client import UtcpClient
    from utcp_bridge.configuration.loading import LoadedConfig
    from utcp_bridge.doctor.comparison import Comparison
    from utcp_bridge.doctor.tools import TrialCall

__all__ = ["Trials", "ignore_option", "masked", "name_in", "of_manuals", "print_comparison", "trial_options"]

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
