"""`utcp-bridge doctor`: find the step at which each manual fails, and what to do about it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import click

from utcp_bridge.cli import exits
from utcp_bridge.cli.opening import load, open_loaded, run_async, show_progress, wait_for_manuals
from utcp_bridge.cli.options import Options, client_options, manual_names
from utcp_bridge.cli.output import complain, note, print_json, print_line, print_table

if TYPE_CHECKING:
    from utcp_bridge.client.client import UtcpClient
    from utcp_bridge.configuration.loading import LoadedConfig
    from utcp_bridge.doctor import Diagnosis, DoctorStep, ManualSteps, TrialCall
    from utcp_bridge.model import Fault, JsonObject

__all__ = ["doctor"]

_MAX_DETAILS: Final = 10
_CALL: Final = re.compile(r"\s*(?P<tool>[^{]*[^{\s=])\s*=?\s*(?P<arguments>\{.*)?", re.DOTALL)
_COLUMNS: Final = ("MANUAL", "STEP", "STATUS", "TIME", "WHAT")


@click.command(
    epilog="""\b
Steps. Each needs the steps before it:
  configuration   the entry can be read; every variable that it names is set
  name            the host name resolves, the command is on the PATH, the file can be read
  connection      the address policy allows the host, and it accepts a TCP connection
  tls             the handshake succeeds; the certificate is valid, and for how long
  auth            an OAuth 2 token can be fetched; keys and passwords are accepted
  discovery       the manual can be loaded; its tools and every fault
  tools           the schemas and names are those that an MCP host accepts
  requests        the request of each tool can be built from sample arguments; nothing is sent
  target          the address in `base_url` accepts connections
  call            with --call: the call succeeds
\b
Examples:
  utcp-bridge doctor                           each manual of ./providers.json
  utcp-bridge doctor utcp.yaml weather         one manual
  utcp-bridge doctor utcp.yaml --call 'weather.get_forecast {"city": "Paris"}'
  utcp-bridge doctor utcp.yaml --json
\b
Exit codes. The first step that failed determines the code:
"""
    + exits.listed()
)
@click.option(
    "--call",
    "calls",
    metavar="'TOOL {JSON}'",
    multiple=True,
    help="Call a tool with these arguments; may be given several times.",
)
@click.option("--strict", is_flag=True, help="Treat warnings as errors.")
@client_options("[MANUAL]...", complete=manual_names)
def doctor(options: Options, words: tuple[str, ...], calls: tuple[str, ...], strict: bool, as_json: bool) -> int:
    """Find the step at which a manual fails, and what to do about it.

    Without MANUAL, every manual is examined. One that fails does not stop the others. Warnings leave the exit code 0,
    except with --strict.
    """
    options = options.strict() if strict else options
    return run_async(_doctor, options, words, [_trial(call) for call in calls], as_json)


async def _doctor(options: Options, manuals: tuple[str, ...], trials: list[TrialCall], as_json: bool) -> int:
    from utcp_bridge.access.faults import access_faults
    from utcp_bridge.doctor import diagnose
    from utcp_bridge.net.guard import Guard

    async with AsyncExitStack() as stack:
        loaded = await load(options.without_calls(), stack)
        entries = [entry for entry in loaded.config.manual_call_templates if _is_wanted(entry, manuals)]
        guard = Guard()
        client = await open_loaded(_registries_only(loaded, manuals), stack, guard=guard)
        await wait_for_manuals(client)
        await _forget_others(client, manuals)
        _check_names(manuals, loaded, client)
        diagnosis = await diagnose(client, entries, guard=guard, trials=trials, progress=_show_progress)
        of_access = await access_faults(client.settings, client.root)
        known = [*loaded.faults, *client.faults(), *of_access]
        lost = [fault for fault in known if exits.fault_code(fault) or client.settings.fails_on_fault]
        is_strict = client.settings.fails_on_fault
        warned = is_strict and any(step.status == "warning" for step in diagnosis.steps)
        if as_json:
            faults = [_fault_as_json(fault) for fault in known]
            env_files = [str(file.path) for file in loaded.env_files if file.names()]
            print_json({"faults": faults, "env_files": env_files, **diagnosis.as_json()})
        else:
            _print(diagnosis)
            for fault in of_access:
                complain(client.redactor(str(fault)))
        error = diagnosis.error
        if error is not None:
            return exits.exit_code(error)
        return exits.CONFIGURATION if warned or (lost and not manuals) else exits.OK


def _trial(text: str) -> TrialCall:
    """Return the call that `tool`, `tool {"a": 1}` or `tool={"a": 1}` describes."""
    from utcp_bridge.doctor import TrialCall
    from utcp_bridge.model import is_object

    match = _CALL.fullmatch(text)
    try:
        arguments = json.loads(match["arguments"] or "{}") if match is not None else None
    except ValueError:
        arguments = None
    if match is None or not is_object(arguments):
        raise click.UsageError(
            '--call needs a tool\'s name and a JSON object: --call \'weather.get {"city": "Paris"}\'.'
        )
    return TrialCall(match["tool"], arguments)


def _safe(name: object) -> str:
    """Return the name in the form under which manuals are registered."""
    from utcp_bridge.dialects.fields import safe_name

    return safe_name(str(name or ""))


def _is_wanted(entry: JsonObject, manuals: Sequence[str]) -> bool:
    return not manuals or _safe(entry.get("name")) in {_safe(name) for name in manuals}


def _registries_only(loaded: LoadedConfig, manuals: Sequence[str]) -> LoadedConfig:
    """Return the part that the client loads: registries that may contain a named manual. A step loads other manuals."""
    own = {_safe(entry.get("name")) for entry in loaded.config.manual_call_templates}
    others = [name for name in map(_safe, manuals) if name not in own]
    registries = tuple(
        registry
        for registry in loaded.config.registries
        if not manuals or any(name.startswith(_safe(registry.get("name"))) for name in others)
    )
    return replace(
        loaded, config=loaded.config.model_copy(update={"manual_call_templates": (), "registries": registries})
    )


async def _forget_others(client: UtcpClient, manuals: Sequence[str]) -> None:
    """Remove the manuals of registries that the command does not name."""
    wanted = {_safe(name) for name in manuals}
    for state in client.report() if manuals else ():
        if state.name not in wanted and state.kind != "registry":
            await client.deregister_manual(state.name)


def _check_names(manuals: Sequence[str], loaded: LoadedConfig, client: UtcpClient) -> None:
    from utcp_bridge.manuals.repository import unknown_manual

    known = [_safe(entry.get("name")) for entry in loaded.config.manual_call_templates]
    known += [state.name for state in client.report()]
    for name in manuals:
        if _safe(name) not in known:
            raise unknown_manual(name, set(known))


def _show_progress(names: Sequence[str]) -> None:
    show_progress(f"Examining {', '.join(names)} …" if names else "")


def _print(diagnosis: Diagnosis) -> None:
    if not diagnosis.manuals:
        note("The configuration has no manuals.")
    rows = [row for manual in diagnosis.manuals for row in _rows_of(manual)]
    rows += [row for step in diagnosis.other_calls for row in _rows("-", step)]
    if rows:
        print_table(_COLUMNS, rows)
    for outage in diagnosis.outages:
        note(str(outage))
    for server in diagnosis.servers:
        if server.status != "ready":
            note(str(server))
    found = [manual.status for manual in diagnosis.manuals]
    counts = [("ok", found.count("ok")), ("with warnings", found.count("warning")), ("failed", found.count("failed"))]
    counted = ", ".join(f"{number} {word}" for word, number in counts if number)
    if counted:
        print_line(f"{len(found)} {'manual' if len(found) == 1 else 'manuals'}: {counted}.")


def _rows_of(manual: ManualSteps) -> list[tuple[str, ...]]:
    """Return the rows of a manual: one if all is well, otherwise those of the steps that say something."""
    calls = [step for step in manual.steps if step.name == "call"]
    if manual.status != "ok":
        shown = [step for step in manual.steps if step.status in {"failed", "warning"} or step in calls]
        return [row for step in shown for row in _rows(manual.name, step)]
    discovery = manual.step("discovery")
    what = discovery.message if discovery is not None else ""
    time = f"{sum(step.seconds for step in manual.steps) * 1000:.0f} ms"
    notes = [row for step in manual.steps if step not in calls for row in _rows(manual.name, step)[1:]]
    return [
        (manual.name, "all", "ok", time, what),
        *notes,
        *(row for step in calls for row in _rows(manual.name, step)),
    ]


def _rows(manual: str, step: DoctorStep) -> list[tuple[str, ...]]:
    time = "" if step.status == "skipped" else f"{step.seconds * 1000:.0f} ms"
    what = f"{step.message} {step.remedy}".rstrip()
    shown = list(step.details[:_MAX_DETAILS])
    if len(step.details) > _MAX_DETAILS:
        shown.append(f"and {len(step.details) - _MAX_DETAILS} more; --json shows all")
    return [(manual, step.name, step.status, time, what), *((manual, step.name, "", "", line) for line in shown)]


def _fault_as_json(fault: Fault) -> JsonObject:
    return {"severity": fault.severity, "where": fault.where, "what": fault.what, "remedy": fault.remedy}
