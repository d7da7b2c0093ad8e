"""Examine every manual, several at once, and report in the order of the configuration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio

from utcp_bridge.auth.literals import literal_secrets
from utcp_bridge.catalogue.catalogue import Catalogue
from utcp_bridge.client.offered import OfferReport, offered
from utcp_bridge.doctor.examination import Examination
from utcp_bridge.doctor.steps import DoctorStep, ManualSteps, StepResult, not_tried
from utcp_bridge.doctor.tools import TrialCall, build_requests, look_at, manual_of, try_call
from utcp_bridge.errors import UtcpError
from utcp_bridge.manuals.registration import manual_name
from utcp_bridge.model import JsonObject, Outage
from utcp_bridge.upstream import ServerState

if TYPE_CHECKING:
    from utcp_bridge.auth.redaction import Redactor
    from utcp_bridge.client.client import UtcpClient
    from utcp_bridge.net.guard import Guard

__all__ = ["Diagnosis", "diagnose"]

_MAX_AT_ONCE: Final = 8
"""Manuals that are examined at the same time."""


def _no_progress(_names: Sequence[str]) -> None:
    """Ignore the progress."""


@dataclass(slots=True)
class Diagnosis:
    """The steps of all manuals, in the order of the configuration; and calls of tools that no manual has."""

    manuals: list[ManualSteps]
    other_calls: list[DoctorStep] = field(default_factory=list[DoctorStep])
    outages: list[Outage] = field(default_factory=list[Outage])
    """The upstreams that did not answer, so that calls to them are refused for now."""

    servers: list[ServerState] = field(default_factory=list[ServerState])
    """The MCP servers behind the manuals, without secrets."""

    offers: list[OfferReport] = field(default_factory=list[OfferReport])
    """What the servers and the maps of the manuals offer."""

    @property
    def steps(self) -> list[DoctorStep]:
        """All steps, in that order."""
        return [*(step for manual in self.manuals for step in manual.steps), *self.other_calls]

    @property
    def error(self) -> UtcpError | None:
        """The first error in that order; its class decides the exit code."""
        return next((step.error for step in self.steps if step.error is not None), None)

    def as_json(self) -> JsonObject:
        """Return {manuals: [{name, kind, status, steps: [...]}], calls, outages, servers, offers}, each a list.

        Times are seconds.
        """
        manuals = [
            {"name": one.name, "kind": one.kind, "status": one.status, "steps": [_as_json(step) for step in one.steps]}
            for one in self.manuals
        ]
        calls = [_as_json(step) for step in self.other_calls]
        outages, servers = [asdict(one) for one in self.outages], [_server_as_json(one) for one in self.servers]
        offers = [one.as_json() for one in self.offers]
        return {"manuals": manuals, "calls": calls, "outages": outages, "servers": servers, "offers": offers}


async def diagnose(
    client: UtcpClient,
    entries: Sequence[JsonObject],
    *,
    guard: Guard,
    trials: Sequence[TrialCall] = (),
    progress: Callable[[Sequence[str]], None] = _no_progress,
) -> Diagnosis:
    """Examine the entries, which the client has not loaded, and the manuals that it has loaded; then make the calls.

    `guard` is the client's. `progress` receives the names of the manuals under examination. Faults of manuals never
    raise: they are in the steps, without secrets.
    """
    examinations = [_of_entry(client, guard, entry) for entry in entries]
    examinations += [
        Examination(client, guard, state.entry.template, ManualSteps(state.name, state.kind), state)
        for state in client.report()
    ]
    await _examine(examinations, progress)
    catalogue = Catalogue(client)
    manuals = [one.manual for one in examinations]
    for examination in examinations:
        manual = examination.manual
        if manual.kind != "registry":
            await manual.take("tools", partial(_tools, catalogue, manual.name))
            await manual.take("requests", partial(_requests, client, manual.name))
            await examination.reach_target()
            if reports := offered(client, manual.name):
                await manual.take("offers", partial(_offers, reports))
    diagnosis = Diagnosis(manuals)
    for trial in trials:
        progress([trial.tool])
        await _try(client, catalogue, trial, diagnosis)
    progress(())
    diagnosis.outages = [replace(one, peer=client.redactor(one.peer)) for one in client.outages()]
    diagnosis.offers = offered(client)
    diagnosis.servers = [replace(one, failure=client.redactor(one.failure)) for one in client.servers()]
    _redact(diagnosis, client.redactor)
    return diagnosis


def _of_entry(client: UtcpClient, guard: Guard, entry: JsonObject) -> Examination:
    client.redactor.learn(literal_secrets(entry), is_credential=True)
    try:
        name = manual_name(entry)
    except UtcpError:
        name = "?"
    return Examination(client, guard, entry, ManualSteps(name, str(entry.get("call_template_type"))))


async def _examine(examinations: Sequence[Examination], progress: Callable[[Sequence[str]], None]) -> None:
    limiter = anyio.CapacityLimiter(_MAX_AT_ONCE)
    running: list[str] = []

    async def run(one: Examination) -> None:
        async with limiter:
            running.append(one.manual.name)
            progress(running)
            await one.run()
            running.remove(one.manual.name)
            progress(running)

    async with anyio.create_task_group() as group:
        for one in examinations:
            group.start_soon(run, one)


async def _tools(catalogue: Catalogue, manual: str) -> StepResult:
    return look_at(catalogue, manual)


async def _offers(reports: Sequence[OfferReport]) -> StepResult:
    first = reports[0]
    details = [f"{one.place}: {one}" for one in reports[1:]]
    details += [what for one in reports for what in one.lost]
    where = "" if len(reports) == 1 else f"{first.place}: "
    return StepResult(f"{where}{first}.", details=tuple(details))


async def _requests(client: UtcpClient, manual: str) -> StepResult:
    tools = [tool for tool in client.tools() if tool.manual == manual]
    return await build_requests(client, tools) if tools else StepResult("The manual has no tools.", "skipped")


async def _try(client: UtcpClient, catalogue: Catalogue, trial: TrialCall, diagnosis: Diagnosis) -> None:
    """Make one call; an earlier call that failed does not prevent it, a failed manual does."""
    name = manual_of(trial, catalogue, [manual.name for manual in diagnosis.manuals])
    manual = next((manual for manual in diagnosis.manuals if manual.name == name), None)
    steps = manual.steps if manual else diagnosis.other_calls
    failed = next((step for step in steps if step.status == "failed" and step.name != "call"), None)
    if failed is not None:
        steps.append(not_tried("call", failed.name))
        return
    attempt = ManualSteps(trial.tool, "")
    await attempt.take("call", partial(try_call, client, catalogue, trial))
    steps += attempt.steps


def _redact(diagnosis: Diagnosis, redactor: Redactor) -> None:
    """Remove secrets from all texts; last, because the redactor learns them on the way."""
    for step in diagnosis.steps:
        step.message, step.remedy = redactor(step.message), redactor(step.remedy)
        step.details = tuple(map(redactor, step.details))


def _server_as_json(server: ServerState) -> JsonObject:
    return {
        "manual": server.manual,
        "name": server.shown,
        "state": server.status,
        "tools": server.tools,
        "failure": server.failure or None,
    }


def _as_json(step: DoctorStep) -> JsonObject:
    return {
        "step": step.name,
        "status": step.status,
        "seconds": round(step.seconds, 3),
        "message": step.message,
        "remedy": step.remedy or None,
        "code": step.error.code if step.error is not None else None,
        "details": list(step.details),
    }
