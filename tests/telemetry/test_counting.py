"""Counts of calls: their limit, and the buckets of durations."""

import json
import re
from threading import Event, Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from tests.support.source import ROOT

from utcp_bridge.pipeline.metrics import CallDetails
from utcp_bridge.telemetry import counting
from utcp_bridge.telemetry.counting import BOUNDS, CallCounts, exposition

SECONDS = st.floats(0, 120, allow_nan=False) | st.sampled_from(BOUNDS)


def samples(counts: CallCounts) -> dict[tuple[str, ...], float]:
    text, _ = exposition(counts, {}, {})
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


@given(st.lists(SECONDS, min_size=1, max_size=30))
def test_a_bucket_counts_every_call_up_to_its_bound(times: list[float]) -> None:
    counts = CallCounts()
    for seconds in times:
        counts(CallDetails("m.t", "m", "http", "ok", seconds))
    found = samples(counts)
    for bound in BOUNDS:
        assert found["utcp_bridge_call_seconds_bucket", "http", str(bound), "m"] == sum(one <= bound for one in times)
    assert found["utcp_bridge_call_seconds_bucket", "http", "+Inf", "m"] == len(times)


@given(st.lists(st.tuples(SECONDS, st.booleans(), st.sampled_from(["ok", "timeout"])), min_size=1, max_size=30))
def test_calls_that_wait_are_counted_as_any_other(calls: list[tuple[float, bool, str]]) -> None:
    counts, known = CallCounts(), CallCounts()
    told: list[tuple[float, counting.Key]] = []
    counts.also_many = lambda seconds, key: told.extend((one, key) for one in seconds)
    waiting, settle = counts.waiting("m", "m.t", "http")
    for seconds, is_settled, outcome in calls:
        known(CallDetails("m.t", "m", "http", outcome, seconds))
        if outcome == "ok":
            waiting.append(seconds)
        else:
            counts(CallDetails("m.t", "m", "http", outcome, seconds))
        if is_settled:
            settle()
            assert not waiting
    found, wanted = samples(counts), samples(known)
    assert found == {name: pytest.approx(value) for name, value in wanted.items()}
    assert sorted(told) == sorted((seconds, ("m", "m.t", "ok")) for seconds, _, outcome in calls if outcome == "ok")


def test_nothing_is_lost_between_two_threads() -> None:
    """One thread adds calls while another one counts them."""
    counts = CallCounts()
    waiting, settle = counts.waiting("m", "m.t", "http")
    is_done = Event()

    def settle_again_and_again() -> None:
        while not is_done.is_set():
            settle()

    thread = Thread(target=settle_again_and_again)
    thread.start()
    for number in range(100_000):
        waiting.append(0.1)
        if number % 10 == 0:
            counts(CallDetails("m.t", "m", "http", "ok", 0.1))
    is_done.set()
    thread.join()
    assert counts.calls == {("m", "m.t", "ok"): 110_000}


def test_names_without_end_wait_under_one_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "_MAX_SERIES", 10)
    counts = CallCounts()
    for number in range(25):
        counts.waiting("m", f"m.t{number}", "http")[0].append(0.1)
    counts.waiting("m", "m.t0", "http")[0].append(0.1)
    assert counts.calls["m", "m.t0", "ok"] == 2
    assert counts.calls["m", counting.OTHER, "ok"] == 15
    assert len(counts.calls) == 11


def test_names_without_end_count_under_one_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "_MAX_SERIES", 10)
    counts = CallCounts()
    for number in range(25):
        counts(CallDetails(f"m.t{number}", "m", "http", "ok", 0.1))
    counts(CallDetails("m.t0", "m", "http", "ok", 0.1))
    assert counts.calls["m", "m.t0", "ok"] == 2
    assert counts.calls["m", counting.OTHER, "ok"] == 15
    assert len(counts.calls) == 11


@given(st.text(max_size=20), st.text(max_size=20))
def test_any_name_can_be_read_back(manual: str, tool: str) -> None:
    counts = CallCounts()
    counts(CallDetails(tool, manual, "http", "ok", 0.1))
    assert sum(value for key, value in samples(counts).items() if key[0] == "utcp_bridge_calls_total") == 1


def test_the_dashboard_asks_for_metrics_that_exist() -> None:
    dashboard = json.loads((ROOT / "deploy/grafana/dashboard.json").read_text())
    asked = " ".join(target["expr"] for panel in dashboard["panels"] for target in panel["targets"])
    page = (ROOT / "docs/telemetry.md").read_text()
    known = set(re.findall(r"`(utcp_bridge_\w+)`", page))
    assert {name.removesuffix("_bucket") for name in re.findall(r"utcp_bridge_\w+", asked)} <= known
    counts = CallCounts()
    counts(CallDetails("m.t", "m", "http", "ok", 0.1))
    assert {key[0] for key in samples(counts)} - {
        f"utcp_bridge_call_seconds_{part}" for part in ("bucket", "sum", "count")
    } <= known
