"""Hot requests have the spans that the SDK's middleware makes of other requests, and pass on the same trace."""

import json
import os
import subprocess
import sys

import pytest
from tests.support.measured import measured
from tests.support.source import ROOT
from tests.support.traced_program import CALLS, NO, PARENT, TRACE, YES

pytest.importorskip("httptools", reason="h11 takes no request ahead of the SDK")


def traced(**variables):
    """Return what came of requests ahead of the SDK, and of the same ones through it."""
    environment = {**os.environ, **measured(), **variables}
    command = [sys.executable, "-m", "tests.support.traced_program"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    hot, cold = found[: len(found) // 2], found[len(found) // 2 :]
    assert all(one["hot"] for one in hot)
    assert not any(one["hot"] for one in cold)
    return hot, cold


def passed(one):
    """Return what is passed on, without the ids that differ: of a span, and of a trace that begins in the bridge."""
    told = dict(one["passed"] or {})
    if "traceparent" in told:
        version, trace, _, flags = told["traceparent"].split("-")
        told["traceparent"] = [version, trace if trace == TRACE else "new", flags]
    return told


@pytest.mark.parametrize(
    ("sampler", "rate"),
    [
        ("parentbased_always_on", ""),
        ("parentbased_always_off", ""),
        ("parentbased_traceidratio", "0.5"),
        ("always_on", ""),
        ("traceidratio", "0"),
    ],
)
def test_spans_and_what_is_passed_on_are_those_of_the_sdk(sampler, rate):
    hot, cold = traced(OTEL_TRACES_SAMPLER=sampler, **({"OTEL_TRACES_SAMPLER_ARG": rate} if rate else {}))
    if rate == "0.5":  # a trace that begins here is noted or not by chance
        pairs = [pair for pair in zip(hot, cold, strict=True) if TRACE in str(pair[1]["passed"])]
    else:
        pairs = list(zip(hot, cold, strict=True))
    assert len(pairs) > len(CALLS)
    for one, other in pairs:
        assert one["spans"] == other["spans"]
        assert passed(one) == passed(other)
    names = [span["name"] for one in hot for span in one["spans"]]
    if sampler == "always_on":
        assert names[:5] == [*(f"tools/call {name}" for name in CALLS), "tools/list"]
    if sampler == "parentbased_always_off":
        assert names  # of callers whose trace is noted
        assert {span["parent"] for one in hot for span in one["spans"]} == {f"{TRACE}-{PARENT}"}


def test_a_trace_that_its_caller_does_not_note_is_passed_on_as_it_came():
    hot, _ = traced()
    found = [one["passed"]["traceparent"] for one in hot if one["passed"] and not one["spans"]]
    assert set(found) >= {NO}
    assert YES not in found
    assert all(one.startswith(f"00-{TRACE}-") and one.endswith("-00") for one in found)


def test_errors_have_a_code_and_no_text():
    hot, _ = traced()
    made = {span["name"]: span for one in hot for span in one["spans"]}
    failed, unknown = made["tools/call m_fail"], made["tools/call m_nothing"]
    assert (failed["attributes"]["error.type"], failed["status"]) == ("tool_error", ["ERROR", None])
    assert unknown["status"] == ["ERROR", None]
    assert "The service said no." not in json.dumps(hot)
