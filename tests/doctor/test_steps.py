"""Steps run in order, stop after a failure, and never raise."""

import pytest

from utcp_bridge.doctor.steps import ManualSteps, StepResult
from utcp_bridge.errors import Rejected, Unreachable

pytestmark = pytest.mark.anyio


def returning(*arguments, **fields):
    async def work():
        return StepResult(*arguments, **fields)

    return work


def raising(error):
    async def work():
        raise error

    return work


async def test_a_step_has_its_result_and_duration():
    manual = ManualSteps("shop", "http")
    await manual.take("name", returning("It is there.", "warning", "Move it.", ("a", "b")))
    (step,) = manual.steps
    assert (step.message, step.status, step.remedy, step.details) == ("It is there.", "warning", "Move it.", ("a", "b"))
    assert step.seconds > 0
    assert manual.status == "warning"
    assert manual.failed is None


async def test_steps_after_a_failed_step_are_skipped():
    manual, tried = ManualSteps("shop", "http"), []

    async def work():
        tried.append(True)
        return StepResult("Well.")

    await manual.take("name", raising(Unreachable("No such host.")), "Check the host.")
    await manual.take("connection", work)
    assert tried == []
    assert [(step.status, step.message) for step in manual.steps] == [
        ("failed", "No such host."),
        ("skipped", "skipped because name failed."),
    ]
    assert manual.steps[0].remedy == "Check the host."
    assert manual.failed is manual.step("name")
    assert manual.status == "failed"


async def test_an_errors_own_remedy_and_the_upstreams_detail_are_kept():
    manual = ManualSteps("shop", "http")
    error = Rejected("It said no.", status=418, detail={"why": "tea"}, remedy="Ask for tea.")
    await manual.take("discovery", raising(error), "Check it.")
    (step,) = manual.steps
    assert (step.remedy, step.details, step.error) == (
        "Ask for tea.",
        ('note: the upstream\'s response: {"why": "tea"}',),
        error,
    )


async def test_an_internal_error_fails_only_its_step():
    manual = ManualSteps("shop", "http")
    await manual.take("tools", raising(ZeroDivisionError("secret")))
    (step,) = manual.steps
    assert step.status == "failed"
    assert "ZeroDivisionError" in step.message
    assert "secret" not in step.message
