"""Steps: in order, none after one that failed, whatever goes wrong within one."""

import pytest

from utcp_bridge.doctor.steps import Course, Finding
from utcp_bridge.errors import Rejected, Unreachable

pytestmark = pytest.mark.anyio


def finding(*arguments, **fields):
    async def work():
        return Finding(*arguments, **fields)

    return work


def raising(error):
    async def work():
        raise error

    return work


async def test_a_step_holds_what_it_found_and_how_long_it_took():
    course = Course("shop", "http")
    await course.take("name", finding("It is there.", "warning", "Move it.", ("a", "b")))
    (step,) = course.steps
    assert (step.message, step.status, step.remedy, step.details) == ("It is there.", "warning", "Move it.", ("a", "b"))
    assert step.seconds > 0
    assert course.status == "warning"
    assert course.failed is None


async def test_nothing_is_tried_after_a_step_that_failed():
    course, tried = Course("shop", "http"), []

    async def work():
        tried.append(True)
        return Finding("Well.")

    await course.take("name", raising(Unreachable("No such host.")), "Check the host.")
    await course.take("connection", work)
    assert tried == []
    assert [(step.status, step.message) for step in course.steps] == [
        ("failed", "No such host."),
        ("skipped", "not tried: name failed."),
    ]
    assert course.steps[0].remedy == "Check the host."
    assert course.failed is course.step("name")
    assert course.status == "failed"


async def test_an_errors_own_remedy_and_what_the_other_side_said_are_told():
    course = Course("shop", "http")
    error = Rejected("It said no.", status=418, detail={"why": "tea"}, remedy="Ask for tea.")
    await course.take("discovery", raising(error), "Check it.")
    (step,) = course.steps
    assert (step.remedy, step.details, step.error) == ("Ask for tea.", ('note: it said: {"why": "tea"}',), error)


async def test_a_fault_of_the_bridge_itself_fails_the_step_alone():
    course = Course("shop", "http")
    await course.take("tools", raising(ZeroDivisionError("secret")))
    (step,) = course.steps
    assert step.status == "failed"
    assert "ZeroDivisionError" in step.message
    assert "secret" not in step.message
