"""Every manual at once, a bounded number at a time; what came of it in the order of the configuration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio

from utcp_bridge.catalogue.catalogue import Catalogue
from utcp_bridge.doctor.calls import Trial, manual_of, try_call
from utcp_bridge.doctor.examination import Examination
from utcp_bridge.doctor.requests import build_requests
from utcp_bridge.doctor.steps import Course, Finding, Step, not_tried
from utcp_bridge.doctor.tools import look_at
from utcp_bridge.errors import UtcpError
from utcp_bridge.manuals.registration import manual_name
from utcp_bridge.model import JsonObject

if TYPE_CHECKING:
    from utcp_bridge.auth.redaction import Redactor
    from utcp_bridge.client.client import UtcpClient
    from utcp_bridge.net.guard import Guard

__all__ = ["Diagnosis", "diagnose"]

_AT_ONCE: Final = 8


@dataclass(slots=True)
class Diagnosis:
    """The courses of all manuals, in the order of the configuration; calls of tools that no manual has."""

    courses: list[Course]
    stray: list[Step] = field(default_factory=list[Step])

    @property
    def error(self) -> UtcpError | None:
        """The first error in that order; its class decides the exit code."""
        steps = [step for course in self.courses for step in course.steps] + self.stray
        return next((step.error for step in steps if step.error is not None), None)

    def as_json(self) -> JsonObject:
        """For scripts: {manuals: [{name, kind, status, steps: [...]}], calls: [...]}; times in seconds."""
        manuals = [
            {"name": one.name, "kind": one.kind, "status": one.status, "steps": [_as_json(step) for step in one.steps]}
            for one in self.courses
        ]
        return {"manuals": manuals, "calls": [_as_json(step) for step in self.stray]}


async def diagnose(
    client: UtcpClient,
    entries: Sequence[JsonObject],
    *,
    guard: Guard,
    trials: Sequence[Trial] = (),
    progress: Callable[[Sequence[str]], None] = lambda _names: None,
) -> Diagnosis:
    """Examine entries that the client has not loaded, and the manuals that it has; then make the calls.

    `guard` is the client's. `progress` is told the names that are being examined. Faults of manuals never raise:
    they are in the steps, without secrets.
    """
    examinations = [_of_entry(client, guard, entry) for entry in entries]
    examinations += [
        Examination(client, guard, state.entry.template, Course(state.name, state.kind), state)
        for state in client.report()
    ]
    await _examine(examinations, progress)
    catalogue = Catalogue(client)
    courses = [one.course for one in examinations]
    for course in courses:
        if course.kind != "registry":
            await course.take("tools", partial(_tools, catalogue, course.name))
            await course.take("requests", partial(_requests, client, course.name))
    diagnosis = Diagnosis(courses)
    for trial in trials:
        progress([trial.tool])
        await _try(client, catalogue, trial, diagnosis)
    progress(())
    _redact(diagnosis, client.redactor)
    return diagnosis


def _of_entry(client: UtcpClient, guard: Guard, entry: JsonObject) -> Examination:
    try:
        name = manual_name(entry)
    except UtcpError:
        name = "?"
    return Examination(client, guard, entry, Course(name, str(entry.get("call_template_type"))))


async def _examine(examinations: Sequence[Examination], progress: Callable[[Sequence[str]], None]) -> None:
    limiter = anyio.CapacityLimiter(_AT_ONCE)
    running: list[str] = []

    async def run(one: Examination) -> None:
        async with limiter:
            running.append(one.course.name)
            progress(running)
            await one.run()
            running.remove(one.course.name)
            progress(running)

    async with anyio.create_task_group() as group:
        for one in examinations:
            group.start_soon(run, one)


async def _tools(catalogue: Catalogue, manual: str) -> Finding:
    return look_at(catalogue, manual)


async def _requests(client: UtcpClient, manual: str) -> Finding:
    tools = [tool for tool in client.tools() if tool.manual == manual]
    return await build_requests(client, tools) if tools else Finding("There is no tool.", "skipped")


async def _try(client: UtcpClient, catalogue: Catalogue, trial: Trial, diagnosis: Diagnosis) -> None:
    """A call that fails does not stand in the way of the next."""
    name = manual_of(trial, catalogue, [course.name for course in diagnosis.courses])
    course = next((course for course in diagnosis.courses if course.name == name), None)
    attempt = Course(trial.tool, "")
    broken = (
        next((step for step in course.steps if step.status == "failed" and step.name != "call"), None)
        if course
        else None
    )
    if broken is not None:
        attempt.steps.append(not_tried("call", broken.name))
    else:
        await attempt.take("call", partial(try_call, client, catalogue, trial))
    (diagnosis.stray if course is None else course.steps).extend(attempt.steps)


def _redact(diagnosis: Diagnosis, redactor: Redactor) -> None:
    """Once everything is known that must not be shown."""
    for step in [*(step for course in diagnosis.courses for step in course.steps), *diagnosis.stray]:
        step.message, step.remedy = redactor(step.message), redactor(step.remedy)
        step.details = tuple(map(redactor, step.details))


def _as_json(step: Step) -> JsonObject:
    return {
        "step": step.name,
        "status": step.status,
        "seconds": round(step.seconds, 3),
        "message": step.message,
        "remedy": step.remedy or None,
        "code": step.error.code if step.error is not None else None,
        "details": list(step.details),
    }
