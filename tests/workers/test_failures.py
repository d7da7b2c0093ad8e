"""Errors of workers."""

from __future__ import annotations

import json

import pytest

from utcp_bridge.errors import ConfigError, MalformedReply, ManualError, Rejected, ReplyTooLarge, UnknownTool, UtcpError
from utcp_bridge.workers.failures import rebuilt_error, stated_error


@pytest.mark.parametrize(
    "error",
    [
        ConfigError("`include` is not right.", remedy="Correct it."),
        ManualError("Not JSON.", line=3, column=4),
        MalformedReply("Not JSON."),
        ReplyTooLarge("Too many values.", remedy="Ask for less."),
        Rejected("Refused.", status="graphql", detail=[{"message": "x"}], retry_after=1.5, retryable=True),
    ],
)
def test_an_error_crosses_the_border_unchanged(error: UtcpError) -> None:
    rebuilt = rebuilt_error(json.loads(json.dumps(stated_error(error, ManualError))))
    assert type(rebuilt) is type(error)
    assert (rebuilt.args, vars(rebuilt)) == (error.args, vars(error))


def test_an_error_that_workers_do_not_raise_becomes_another_one() -> None:
    stated = stated_error(UnknownTool("No such tool.", remedy="Search."), MalformedReply)
    assert str(rebuilt_error(stated)) == "No such tool. Search."
    assert isinstance(rebuilt_error(stated), MalformedReply)
