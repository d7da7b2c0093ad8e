"""Traces that are not noted: the sampler decides, and what is passed on is what OpenTelemetry would read."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.context import attach, detach, get_current
from opentelemetry.propagate import extract
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    DEFAULT_OFF,
    DEFAULT_ON,
    AlwaysRecordSampler,
    ParentBased,
    ParentBasedTraceIdRatio,
    Sampler,
    TraceIdRatioBased,
)
from opentelemetry.trace import get_current_span

from utcp_bridge.telemetry.deciding import Deciding
from utcp_bridge.telemetry.places import Unsampled, place_of

RATES = st.sampled_from([0.0, 1e-9, 0.01, 0.5, 1 - 1e-9, 1.0]) | st.floats(0, 1)
USUAL = st.sampled_from([DEFAULT_ON, DEFAULT_OFF]) | st.builds(ParentBasedTraceIdRatio, RATES)
IDS = st.integers(1, 2**128 - 1) | st.integers(1, 2**20).map(lambda low: (1 << 100) | (2**63 + low))
PARTS = st.sampled_from(
    ["00", "01", "02", "03", "04", "ff", "0", "0a", "", "4bf92f3577b34da6a3ce929d0e0e4736", "0" * 32]
)
STATED = st.lists(PARTS | st.sampled_from(["00f067aa0ba902b7", "0" * 16, "é", "A" * 16]), max_size=5).map("-".join)


class Counting(IdGenerator):
    """Gives the ids of a test."""

    def __init__(self, trace: int) -> None:
        self.trace = trace

    def generate_trace_id(self) -> int:
        return self.trace

    def generate_span_id(self) -> int:
        return 7


@given(USUAL, IDS)
def test_a_trace_that_begins_is_noted_if_the_sampler_would_note_it(sampler: Sampler, ident: int) -> None:
    provider = TracerProvider(sampler=sampler, id_generator=Counting(ident), shutdown_on_exit=False)
    deciding = Deciding(provider)
    wanted = sampler.should_sample(None, ident, "x").decision.is_sampled()
    place = deciding.root()
    assert (place is None) is wanted
    if place is not None:
        ids = place_of(place, is_remote=False)
        assert (ids.trace_id, ids.span_id, ids.trace_flags.sampled) == (ident, 7, False)
        return
    span = deciding.tracer("x").start_span("x")
    assert span.is_recording()
    assert span.get_span_context().trace_id == ident


@given(RATES)
def test_ids_of_the_sdk_are_decided_once(rate: float) -> None:
    """The id by which it was decided is that of the span: of many traces, none is lost between two decisions."""
    deciding = Deciding(TracerProvider(sampler=ParentBasedTraceIdRatio(rate), shutdown_on_exit=False))
    tracer = deciding.tracer("x")
    for _ in range(20):
        place = deciding.root()
        if place is None:
            assert tracer.start_span("x").is_recording()
        else:
            found = get_current_span(extract({"traceparent": place})).get_span_context()
            assert found.is_valid
            ids = place_of(place, is_remote=False)
            assert (found.trace_id, found.span_id) == (ids.trace_id, ids.span_id)
            assert (found.trace_flags.sampled, found.trace_flags.random_trace_id) == (False, True)


@pytest.mark.parametrize(
    "sampler",
    [
        ALWAYS_ON,
        ALWAYS_OFF,
        TraceIdRatioBased(0.5),
        AlwaysRecordSampler(DEFAULT_OFF),
        ParentBased(AlwaysRecordSampler(ALWAYS_OFF)),
        ParentBased(ALWAYS_ON, local_parent_not_sampled=ALWAYS_ON),
        ParentBased(ALWAYS_ON, remote_parent_not_sampled=TraceIdRatioBased(0.5)),
    ],
)
def test_any_other_sampler_is_asked_span_for_span(sampler: Sampler) -> None:
    deciding = Deciding(TracerProvider(sampler=sampler, shutdown_on_exit=False))
    assert not deciding.is_usual
    assert deciding.root() is None
    assert deciding.continued("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00") is None


class Own(ParentBased):
    """A sampler of a program, which says the same of itself as the usual one."""

    def should_sample(self, *parts: Any, **named: Any) -> Any:
        return ALWAYS_ON.should_sample(*parts, **named)


def test_a_sampler_of_a_program_is_asked_whatever_it_says_of_itself() -> None:
    assert not Deciding(TracerProvider(sampler=Own(ALWAYS_OFF), shutdown_on_exit=False)).is_usual


@given(STATED | st.text(max_size=60))
def test_the_trace_of_a_caller_is_read_as_opentelemetry_reads_it(stated: str) -> None:
    deciding = Deciding(TracerProvider(sampler=DEFAULT_ON, shutdown_on_exit=False))
    place = deciding.continued(stated)
    if place is None:
        return  # OpenTelemetry reads it
    found, wanted = place.get_span_context(), get_current_span(extract({"traceparent": stated})).get_span_context()
    assert (found, found.is_remote) == (wanted, wanted.is_remote)
    assert isinstance(place, Unsampled) is not wanted.trace_flags.sampled


ZEROS = st.sampled_from(["0" * 16, "a1b2c3d4e5f60718", "A" * 16, "00000000000000g0", "000000000000000f"])
FORMS = st.builds(
    "{}-{}{}-{}-{}".format,
    st.sampled_from(["00", "01", "0g", "ff"]),
    ZEROS,
    ZEROS,
    ZEROS,
    st.sampled_from(["00", "01", "02", "03", "04", "0a", "ff", "0"]),
)


@given(STATED | FORMS | st.text(st.characters(max_codepoint=255), min_size=55, max_size=55))
def test_a_request_continues_the_trace_that_opentelemetry_reads_in_its_head(stated: str) -> None:
    deciding = Deciding(TracerProvider(sampler=DEFAULT_ON, shutdown_on_exit=False))
    token = attach(get_current())
    try:
        if not deciding.continues(stated.encode("latin-1")):
            return  # OpenTelemetry reads it
        found = get_current_span().get_span_context()
        is_left_out = deciding.is_left_out(deciding.current())
    finally:
        detach(token)
    wanted = get_current_span(extract({"traceparent": stated})).get_span_context()
    assert wanted.is_valid
    assert (found.trace_id, found.span_id, found.trace_flags) == (wanted.trace_id, wanted.span_id, wanted.trace_flags)
    assert found.is_remote is wanted.trace_flags.sampled  # nobody asks that of a trace of which nothing is noted
    assert is_left_out is not wanted.trace_flags.sampled


@given(FORMS)
def test_what_is_usual_is_not_left_to_opentelemetry(stated: str) -> None:
    """Else, each request would take the long way, and no other test would notice."""
    deciding = Deciding(TracerProvider(sampler=DEFAULT_ON, shutdown_on_exit=False))
    token = attach(get_current())
    try:
        is_read = deciding.continues(stated.encode())
    finally:
        detach(token)
    place = get_current_span(extract({"traceparent": stated})).get_span_context()
    assert is_read is (place.is_valid and stated[:2] == "00" and stated[-2:] in {"00", "01", "02", "03"})
