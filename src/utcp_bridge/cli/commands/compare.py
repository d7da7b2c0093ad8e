"""`utcp-bridge compare`, `shadow` and `promote`: whether one manual can replace another, and the replacement itself."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import click

from utcp_bridge.cli import exits
from utcp_bridge.cli.opening import load, open_loaded, report_failures, run_async, wait_for_manuals
from utcp_bridge.cli.options import Options, client_options, config_options, debug_option, manual_names
from utcp_bridge.cli.output import note, print_json, print_table
from utcp_bridge.cli.program import Session
from utcp_bridge.cli.sameness import Trials, masked, name_in, of_manuals, print_comparison, trial_options

__all__ = ["compare", "promote", "shadow"]


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
@trial_options
@client_options("OLD NEW", required=2, complete=manual_names)
def compare(options: Options, words: tuple[str, ...], as_json: bool, **trials: Any) -> int:
    """Compare what two manuals offer and reply, to replace one by the other.

    The command compares tools, schemas, hints, resources, prompts, and replies to harmless calls. Harmless are calls of
    tools that both manuals call read-only, with arguments that the schema states itself as examples, defaults or
    enumerations.
    """
    old, new, *surplus = words
    if surplus:
        raise click.UsageError(f"`compare` compares two manuals; {surplus[0]!r} is one argument too many.")
    return run_async(_compare, options, (old, new), Trials(**trials), as_json)


async def _compare(options: Options, names: tuple[str, str], wishes: Trials, as_json: bool) -> int:
    from utcp_bridge.doctor.comparison import compare_manuals
    from utcp_bridge.pipeline.differences import Ignored

    trials, ignored = wishes.read(), Ignored(wishes.ignored)
    async with AsyncExitStack() as stack:
        loaded = of_manuals(await load(options.without_calls(), stack), names)
        client = await open_loaded(loaded, stack)
        await wait_for_manuals(client)
        failed = report_failures(client)
        if failed:
            return exits.exit_code(failed[0].error) if failed[0].error else exits.UPSTREAM
        old, new = (name_in(client, name) for name in names)
        comparison = await compare_manuals(client, old, new, calls=trials, ignored=ignored, automatic=not wishes.silent)
        if as_json:
            print_json(masked(comparison.as_json(), client.redactor))
        else:
            print_comparison(comparison, client, uncalled="Name calls with --call to compare their replies.")
        return exits.OK if comparison.is_same else exits.FAULTS


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


@click.command(
    epilog="""\b
Examples:
  utcp-bridge promote old --all-same             every tool that is the same on both sides
  utcp-bridge promote old --all-same --dry-run   show what would change in the file
  utcp-bridge promote old forecast convert
  utcp-bridge promote old note --call 'note {"text": "x"}'
  utcp-bridge promote old forecast --undo        the old side answers this tool again
  utcp-bridge promote old --undo                 ... and all others
\b
Exit codes:
  0   done
  1   a tool that was named is not the same, or the command line is wrong
  2   the configuration is wrong: a file, a key, a variable, a missing extra
  3   no tool has this name
  5   the upstream service failed, or is busy
"""
)
@click.option("--all-same", "every", is_flag=True, help="Promote every tool that is the same on both sides.")
@click.option("--force", is_flag=True, help="Promote the named tools in spite of differences.")
@click.option("--undo", is_flag=True, help="Let the old side answer the named tools again, or all of them.")
@click.option("--dry-run", is_flag=True, help="Show what would change and write nothing.")
@trial_options
@client_options("ENTRY [TOOL]...", required=1, complete=manual_names)
def promote(options: Options, words: tuple[str, ...], every: bool, force: bool, undo: bool, **rest: Any) -> int:
    """Let the new side answer tools of a manual with `shadow`, tool by tool.

    ENTRY is the manual of the old side. Its `shadow` names the new one. Hosts see the same tools as before; calls of
    the promoted ones go to the new side, and all others to the old one. The tools are written into `promoted` of the
    `shadow`; comments and order of the file stay.

    A tool is the same if the comparison that is made now and the counts of `utcp-bridge shadow` have no difference
    without an explanation, and at least one reply was compared. --all-same leaves the other tools out. A tool that is
    named and is not the same is refused.
    """
    from utcp_bridge.cli.promoting import Promotion, promote_tools, take_back

    entry, *tools = words
    shown = {key: rest.pop(key) for key in ("dry_run", "as_json")}
    if undo and (every or force or any(rest.values())):
        raise click.UsageError("--undo compares nothing, so it takes only TOOL, --dry-run and --json.")
    if every and (tools or force):
        raise click.UsageError(f"--all-same takes no {'TOOL' if tools else '--force'}.")
    if not (undo or every or tools):
        raise click.UsageError("Name the tools to promote, or use --all-same.")
    wishes = Promotion(entry, tuple(tools), Trials(**rest), every=every, force=force, **shown)
    return run_async(take_back if undo else promote_tools, options, wishes)
