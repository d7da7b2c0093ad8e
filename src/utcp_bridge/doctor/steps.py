"""The steps of an examination: their results, their durations, and the rule that a failed step ends it."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Final, Literal

from utcp_bridge.errors import InternalError, Rejected, UtcpError

__all__ = ["DoctorStep", "ManualSteps", "Status", "StepResult", "not_tried"]

_logger = logging.getLogger(__name__)
_MAX_DETAIL: Final = 300
"""Characters of an upstream's own explanation that are shown."""

Status = Literal["ok", "warning", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class StepResult:
    """The result of a step, in one sentence; `details` list the single facts behind it."""

    message: str
    status: Status = "ok"
    remedy: str = ""
    details: tuple[str, ...] = ()


@dataclass(slots=True)
class DoctorStep:
    """One step that was taken or skipped. A failed step has an `error`, whose class decides the exit code."""

    name: str
    status: Status
    message: str
    remedy: str = ""
    details: tuple[str, ...] = ()
    seconds: float = 0.0
    error: UtcpError | None = field(default=None, repr=False)


@dataclass(slots=True)
class ManualSteps:
    """The steps of one manual in order. After a failed step, the remaining ones are skipped."""

    name: str
    kind: str
    steps: list[DoctorStep] = field(default_factory=list[DoctorStep])

    @property
    def failed(self) -> DoctorStep | None:
        """The first step that failed."""
        return next((step for step in self.steps if step.status == "failed"), None)

    @property
    def status(self) -> Status:
        """The worst status of all steps."""
        found = {step.status for step in self.steps}
        return "failed" if "failed" in found else "warning" if "warning" in found else "ok"

    def step(self, name: str) -> DoctorStep | None:
        """Return the step of this name, or None if the examination did not reach it."""
        return next((step for step in self.steps if step.name == name), None)

    async def take(self, name: str, work: Callable[[], Awaitable[StepResult]], remedy: str = "") -> None:
        """Take a step unless an earlier one failed. `remedy` is for errors without a remedy. Never raises."""
        if (failed := self.failed) is not None:
            self.steps.append(not_tried(name, failed.name))
            return
        started = perf_counter()
        try:
            result = await work()
            step = DoctorStep(name, result.status, result.message, result.remedy, result.details)
        except UtcpError as error:
            step = DoctorStep(
                name, "failed", error.message, error.remedy or remedy, _upstream_detail(error), error=error
            )
        except Exception as error:
            _logger.debug("Step %s of manual %s failed.", name, self.name, exc_info=True)
            fault = InternalError(f"Internal error in utcp-bridge ({type(error).__name__}).")
            step = DoctorStep(name, "failed", fault.message, "Run with --debug for the traceback.", error=fault)
        step.seconds = perf_counter() - started
        self.steps.append(step)


def not_tried(name: str, failed: str) -> DoctorStep:
    """Return a skipped step: the step named `failed` failed before it."""
    return DoctorStep(name, "skipped", f"skipped because {failed} failed.")


def _upstream_detail(error: UtcpError) -> tuple[str, ...]:
    """Return the start of the body that came with a refusal."""
    detail = error.detail if isinstance(error, Rejected) else None
    if not detail:
        return ()
    text = detail if isinstance(detail, str) else json.dumps(detail, ensure_ascii=False, default=str)
    return (f"note: the upstream's response: {text[:_MAX_DETAIL]}",)
