"""The limit of traces that begin at the bridge: all below it, none above it, and callers and operators come first."""

import logging
from pathlib import Path

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider
from tests.support.traced_bridge import GIVEN, PARENT, TRACE, Peer, attributes, bridge, call, peer, spans

from utcp_bridge.telemetry import trace_context
from utcp_bridge.telemetry.deciding import Deciding
from utcp_bridge.telemetry.limiting import LimitedSampler, TraceLimit

SECOND = 1_000_000_000
UNSAMPLED = f"00-{TRACE}-{PARENT}-00"


class Hands:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 5 * SECOND

    def __call__(self) -> int:
        return self.now


@given(st.integers(1, 500), st.lists(st.integers(0, 3 * SECOND), max_size=8))
def test_a_second_has_at_most_its_number_and_a_pause_gives_no_more(most: int, pauses: list[int]) -> None:
    clock = Hands()
    limit = TraceLimit(most, clock)
    for pause in [0, *pauses]:
        clock.now += pause
        taken = [limit.takes() for _ in range(most + 2)]
        assert taken == sorted(taken, reverse=True)
        assert sum(taken) <= most
        if pause >= SECOND:
            assert sum(taken) == most
    clock.now += SECOND // most  # the time of one place
    assert [limit.takes() for _ in range(3)] == [True, False, False]


def test_at_the_speed_of_people_every_trace_is_noted() -> None:
    clock = Hands()
    limit = TraceLimit(10, clock)
    for _ in range(500):
        assert limit.takes()
        clock.now += SECOND // 10
    assert limit.left_out == 0


def test_the_log_says_once_that_traces_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    limit = TraceLimit(1, Hands())
    with caplog.at_level(logging.INFO):
        limit.takes()
        assert caplog.messages == []
        for _ in range(5):
            limit.takes()
    [said] = caplog.messages
    assert "More than 1 traces" in said
    assert "traces_per_second" in said
    assert limit.left_out == 5


def test_a_trace_that_the_hot_front_notes_takes_one_place_also_if_the_sdk_makes_its_span() -> None:
    sampler = LimitedSampler(TraceLimit(3, Hands()))
    deciding = Deciding(TracerProvider(sampler=sampler, shutdown_on_exit=False))
    tracer = deciding.tracer("x")
    for _ in range(3):
        assert deciding.root() is None
        span = tracer.start_span("x")
        assert span.is_recording()
        assert f"{span.get_span_context().trace_id:032x}" == sampler.limit.granted[3:35] or not sampler.limit.granted
    place = deciding.root()
    assert place is not None
    assert place.endswith("-02")
    assert not tracer.start_span("x").is_recording()
    assert not deciding.spans.start_span("y").is_recording()
    assert sampler.limit.left_out == 3


def test_a_trace_of_the_sdk_takes_a_place_as_well() -> None:
    deciding = Deciding(TracerProvider(sampler=LimitedSampler(TraceLimit(2, Hands())), shutdown_on_exit=False))
    assert deciding.spans.start_span("x").is_recording()
    assert deciding.root() is None
    deciding.tracer("x").start_span("x")
    assert deciding.root() is not None


def test_a_call_that_no_client_has_begun_asks_the_limit_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = LimitedSampler(TraceLimit(2, Hands()))
    deciding = Deciding(TracerProvider(sampler=sampler, shutdown_on_exit=False))
    monkeypatch.setattr(trace_context, "_otel", deciding, raising=False)
    attempts = trace_context.Attempts("http m.post", {"utcp.tool": "m.post"}, "utcp.call")
    noted: list[bool] = []
    for number in range(4):
        span, token = attempts.enter(str(number))
        noted.append(span.is_recording())
        assert trace_context.is_unsampled() is not noted[-1]
        [(_, passed)] = trace_context.passed_on(())
        assert passed[-2:] == ("03" if noted[-1] else "02")
        attempts.leave(span, token)
    assert noted == [True, True, False, False]
    assert sampler.limit.left_out == 2


def recorded(collector: Peer) -> tuple[int, int]:
    """Return how many spans of the server and of the upstream the collector has."""
    names = [span.name for span in spans(collector)]
    return names.count("tools/call m_post"), names.count("http m.post")


def test_the_first_burst_is_recorded_up_to_the_limit_and_sampled_callers_always(tmp_path: Path) -> None:
    settings = {"retries": 0, "metrics": True, "traces_per_second": 3}
    with peer() as service, peer() as collector:
        otel = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
        program = "tests.support.frozen_bridge"
        with bridge(tmp_path, service.url, settings, otel, program=program) as (base, process):
            call(base, "m_post", traceparent=UNSAMPLED)
            for _ in range(2):
                call(base, "m_post", **GIVEN)
            for _ in range(8):
                call(base, "m_post")
            for _ in range(2):
                call(base, "m_post", **GIVEN)
            page = httpx2.get(f"{base}/metrics", timeout=60).text
            process.terminate()
            assert process.wait() == 0
        assert recorded(collector) == (7, 7)
        own = [span for span in spans(collector) if span.trace_id.hex() != TRACE]
        assert len({span.trace_id for span in own}) == 3
        assert {attributes(span).get("utcp.manual", "m") for span in own} == {"m"}
    assert "utcp_bridge_traces_not_recorded_total 5.0" in page.splitlines()
    flags = [headers["traceparent"][-2:] for headers, _ in service.received["/fine"]]
    assert flags == ["00", "01", "01", *["03"] * 3, *["02"] * 5, "01", "01"]


@pytest.mark.parametrize(
    ("settings", "otel"),
    [
        ({}, {}),
        ({"traces_per_second": 0}, {}),
        ({"traces_per_second": 3}, {"OTEL_TRACES_SAMPLER": "parentbased_always_on"}),
        ({"traces_per_second": 3}, {"OTEL_TRACES_SAMPLER": "always_on"}),
    ],
    ids=["below", "without", "a sampler", "an unusual sampler"],
)
def test_without_a_limit_or_below_it_or_with_a_sampler_every_trace_is_recorded(
    tmp_path: Path, settings: dict[str, int], otel: dict[str, str]
) -> None:
    with peer() as service, peer() as collector:
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, **otel}
        given = {"retries": 0, "metrics": True, **settings}
        program = "tests.support.frozen_bridge"
        with bridge(tmp_path, service.url, given, environment, program=program) as (base, process):
            for _ in range(8):
                call(base, "m_post")
            page = httpx2.get(f"{base}/metrics", timeout=60).text
            process.terminate()
            assert process.wait() == 0
        assert recorded(collector) == (8, 8)
    has_limit = settings == {} and otel == {}
    assert ("utcp_bridge_traces_not_recorded_total 0.0" in page.splitlines()) is has_limit


def test_a_variable_that_turns_traces_off_holds_though_the_limit_has_places(tmp_path: Path) -> None:
    with peer() as service, peer() as collector:
        otel = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_TRACES_SAMPLER": "parentbased_always_off"}
        with bridge(tmp_path, service.url, {"retries": 0}, otel) as (base, process):
            call(base, "m_post")
            call(base, "m_post", **GIVEN)
            process.terminate()
            assert process.wait() == 0
        assert recorded(collector) == (1, 1)
