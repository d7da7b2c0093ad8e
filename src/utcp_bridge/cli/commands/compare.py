"""`utcp-bridge compare` and `shadow`: whether one manual can replace another, by trial and in daily use."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from utcp_bridge.cli import exits
from utcp_bridge.cli.opening import load, open_loaded, report_failures, run_async, wait_for_manuals
from utcp_bridge.cli.options import Options, Session, client_options, config_options, debug_option, manual_names
from utcp_bridge.cli.output import note, print_json, print_line, print_table

if TYPE_CHECKING:
    from utcp_bridge.client.client import UtcpClient
    from utcp_bridge.configuration.loading import LoadedConfig
    from utcp_bridge.doctor.comparison import Comparison
    from utcp_bridge.doctor.tools import TrialCall

__all__ = ["compare", "print_comparison", "shadow"]

_MAX_BITS: Final = 63


@dataclass(frozen=True, slots=True)
class _Trials:
    """Which calls the comparison makes, and what of their replies does not count."""

    calls: tuple[str, ...]
    file: Path | None
    ignored: tuple[str, ...]
    silent: bool
    as_json: bool


@click.command(
    epilog="""\b
Examples:
  utcp-bridge compare old new                          two manuals of ./providers.json
  utcp-bridge compare utcp.yaml old new --json
  utcp-bridge compare old new --call 'get_sum {"a": 1, "b": 2}'
  utcp-bridge compare old new --ignore /time --ignore '/items/*/id'
\b
Exit codes:
  0   no difference without an explanation
  1   differences, or the command line is wrong
  2   the configuration is wrong: a file, a key, a variable, a missing extra
  3   no tool has this name
  5   the upstream service failed, or is busy
"""
)
@click.option(
    "--call",
    "calls",
    metavar="'TOOL JSON'",
    multiple=True,
    help="Compare the replies to this call; may be given several times.",
)
@click.option(
    "--calls",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file with one call on each line, written as for --call.",
)
@click.option(
    "--ignore",
    "ignored",
    metavar="POINTER",
    multiple=True,
    help="A member of replies that differs by nature, such as /time or /items/*/id; may be given several times.",
)
@click.option("--no-calls", "silent", is_flag=True, help="Make only the calls that --call and --calls name.")
@client_options("OLD NEW", required=2, complete=manual_names)
def compare(
    options: Options,
    words: tuple[str, ...],
    calls: tuple[str, ...],
    file: Path | None,
    **rest: Any,
) -> int:
    """Compare what two manuals offer and reply, to replace one by the other.

    The command compares tools, schemas, hints, resources, prompts, and replies to harmless calls. Harmless are calls of
    tools that both manuals call read-only, with arguments that the schema states itself as examples, defaults or
    enumerations.
    """
    old, new, *surplus = words
    if surplus:
        raise click.UsageError(f"`compare` compares two manuals; {surplus[0]!r} is one argument too many.")
    return run_async(_compare, options, (old, new), _Trials(calls, file, **rest))


async def _compare(options: Options, names: tuple[str, str], wishes: _Trials) -> int:
    from utcp_bridge.doctor.comparison import compare_manuals
    from utcp_bridge.pipeline.differences import Ignored

    trials, ignored = _trials(wishes), Ignored(wishes.ignored)
    async with AsyncExitStack() as stack:
        loaded = _of_manuals(await load(options, stack), names)
        client = await open_loaded(loaded, stack)
        await wait_for_manuals(client)
        failed = report_failures(client)
        if failed:
            return exits.exit_code(failed[0].error) if failed[0].error else exits.UPSTREAM
        old, new = (_name_in(client, name) for name in names)
        comparison = await compare_manuals(client, old, new, calls=trials, ignored=ignored, automatic=not wishes.silent)
        print_comparison(comparison, client, as_json=wishes.as_json)
        return exits.OK if comparison.is_same else exits.FAULTS


def _of_manuals(loaded: LoadedConfig, names: tuple[str, str]) -> LoadedConfig:
    """Return the configuration with these two manuals alone.

    :raises ConfigError: it does not have one of them.
    """
    from utcp_bridge.dialects.fields import safe_name
    from utcp_bridge.manuals.repository import unknown_manual

    entries = {safe_name(str(entry.get("name") or "")): entry for entry in loaded.config.manual_call_templates}
    for name in names:
        if safe_name(name) not in entries:
            raise unknown_manual(name, list(entries))
    chosen = tuple(entries[name] for name in dict.fromkeys(map(safe_name, names)))
    return replace(loaded, config=loaded.config.model_copy(update={"manual_call_templates": chosen, "registries": ()}))


def _name_in(client: UtcpClient, name: str) -> str:
    from utcp_bridge.dialects.fields import safe_name

    return next(state.name for state in client.report() if state.name in {name, safe_name(name)})


def _trials(wishes: _Trials) -> list[TrialCall]:
    lines = wishes.file.read_text(encoding="utf-8").splitlines() if wishes.file else []
    return [_trial(text) for text in [*wishes.calls, *(line for line in lines if line.strip())]]


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


def print_comparison(comparison: Comparison, client: UtcpClient, *, as_json: bool) -> None:
    """Print a comparison on stdout, without secrets of the client."""
    masked = client.redactor
    if as_json:
        print_json(_masked(comparison.as_json(), masked))
        return
    rows = [
        ("explained" if one.explained else "different", masked(str(one)))
        for one in sorted(comparison.differences, key=lambda one: bool(one.explained))
    ]
    if rows:
        print_table(("KIND", "DIFFERENCE"), rows)
    for call in comparison.calls:
        if call.outcome == "unproven":
            note(masked(f"{call.tool}: {call.note}"))
    equal = sum(call.outcome == "equal" for call in comparison.calls)
    print_line(
        f"{comparison.old} and {comparison.new}: {comparison.tools} tools of both,"
        f" {len(comparison.unexplained)} unexplained differences,"
        f" {len(comparison.differences) - len(comparison.unexplained)} explained;"
        f" {equal} of {len(comparison.calls)} calls gave equal replies."
    )
    if comparison.uncalled:
        note(f"Not called: {', '.join(comparison.uncalled)}. Name calls with --call to compare their replies.")


def _masked(value: Any, redactor: Callable[[str], str]) -> Any:
    """Return a JSON value without secrets, and without numbers and characters that cannot be printed as JSON."""
    from utcp_bridge.model import is_list, is_object

    if is_object(value):
        return {redactor(str(name)): _masked(one, redactor) for name, one in value.items()}
    if is_list(value):
        return [_masked(one, redactor) for one in value]
    if isinstance(value, int) and value.bit_length() > _MAX_BITS:
        return str(value)
    return redactor(value).encode(errors="backslashreplace").decode() if isinstance(value, str) else value


@click.command(
    epilog="""\b
Examples:
  utcp-bridge shadow                  the tools of ./providers.json
  utcp-bridge shadow utcp.yaml --json
"""
)
@config_options()
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
@debug_option
@click.pass_obj
def shadow(session: Session, options: Options, as_json: bool) -> None:
    """Show how replies of shadowed tools compare.

    A manual with the key `shadow` sends calls of its read-only tools to the manual that is to replace it, too. Bridges
    that serve the configuration count the outcomes in `utcp-shadow.json` next to it.
    """
    session.as_json = as_json
    run_async(_shadow, options, as_json)


async def _shadow(options: Options, as_json: bool) -> None:
    from utcp_bridge.client.shadowing import OUTCOMES, read_record, record_file
    from utcp_bridge.configuration.loading import load_config
    from utcp_bridge.errors import ConfigError

    path = record_file((await load_config(options.found())).lock_file)
    if path is None:
        raise ConfigError("This configuration is not a file, so no differences are kept.", remedy="Name its file.")
    tools = read_record(path)
    if as_json:
        print_json({"file": str(path), "tools": tools})
        return
    if not tools:
        note(f"No call was shadowed yet. {path} is missing or empty.")
        return
    headings = ("TOOL", *(name.replace("_", " ").upper() for name in OUTCOMES), "NEW")
    print_table(headings, [(name, *(str(one[key]) for key in OUTCOMES), one["new"]) for name, one in tools.items()])
    for name, one in tools.items():
        for text in one["last"]:
            note(f"{name}: {text}")
