"""Steps of an examination: what each found, how long it took, and that nothing is tried after one that failed."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Final, Literal

from utcp_bridge.errors import MalformedReply, Rejected, UtcpError

__all__ = ["Course", "Finding", "Status", "Step", "not_tried"]

_log = logging.getLogger(__name__)
_LONGEST_DETAIL: Final = 300

Status = Literal["ok", "warning", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a step came to, in one sentence; `details` are the single things behind it."""

    message: str
    status: Status = "ok"
    remedy: str = ""
    details: tuple[str, ...] = ()


@dataclass(slots=True)
class Step:
    """One step that was taken, or not. `error` is there if it failed; its class decides the exit code."""

    name: str
    status: Status
    message: str
    remedy: str = ""
    details: tuple[str, ...] = ()
    seconds: float = 0.0
    error: UtcpError | None = field(default=None, repr=False)


@dataclass(slots=True)
class Course:
    """The steps of one manual in their order. After one that failed the others are not tried."""

    name: str
    kind: str
    steps: list[Step] = field(default_factory=list[Step])

    @property
    def failed(self) -> Step | None:
        """The first step that failed."""
        return next((step for step in self.steps if step.status == "failed"), None)

    @property
    def status(self) -> Status:
        """The worst of the steps."""
        found = {step.status for step in self.steps}
        return "failed" if "failed" in found else "warning" if "warning" in found else "ok"

    def step(self, name: str) -> Step | None:
        """The step of this name, if it came to it."""
        return next((step for step in self.steps if step.name == name), None)

    async def take(self, name: str, work: Callable[[], Awaitable[Finding]], remedy: str = "") -> None:
        """Take a step, unless one before it failed. `remedy` is for errors that name none. Never raises."""
        if (broken := self.failed) is not None:
            self.steps.append(not_tried(name, broken.name))
            return
        started = perf_counter()
        try:
            found = await work()
            step = Step(name, found.status, found.message, found.remedy, found.details)
        except UtcpError as error:
            step = Step(name, "failed", error.message, error.remedy or remedy, _said(error), error=error)
        except Exception as error:  # noqa: BLE001 - one manual never stops the others
            _log.debug("The step %s of %s failed.", name, self.name, exc_info=True)
            fault = MalformedReply(f"The step failed inside the bridge ({type(error).__name__}).")
            step = Step(name, "failed", fault.message, "Run the command with --debug to see where.", error=fault)
        step.seconds = perf_counter() - started
        self.steps.append(step)


def _said(error: UtcpError) -> tuple[str, ...]:
    """The beginning of what the other side said beside its refusal."""
    detail = error.detail if isinstance(error, Rejected) else None
    if not detail:
        return ()
    text = detail if isinstance(detail, str) else json.dumps(detail, ensure_ascii=False, default=str)
    return (f"note: it said: {text[:_LONGEST_DETAIL]}",)


def not_tried(name: str, broken: str) -> Step:
    """A step that another one stands in the way of."""
    return Step(name, "skipped", f"not tried: {broken} failed.")
