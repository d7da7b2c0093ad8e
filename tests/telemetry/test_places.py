"""The place of a request: OpenTelemetry's functions find it, as if its context had been there."""

from contextvars import copy_context

import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.propagate import inject

from utcp_bridge.telemetry.deciding import Deciding
from utcp_bridge.telemetry.places import TracePlace, Unsampled, place_of

TEXT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-02"
PLACES = [TEXT, Unsampled(TEXT, is_remote=True), TracePlace(TEXT[:-1] + "3", is_remote=True)]


def injected() -> dict[str, str]:
    carrier: dict[str, str] = {}
    inject(carrier)
    return carrier


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_opentelemetry_finds_the_place_and_what_is_added_to_it(place: str | TracePlace) -> None:
    stated = place if isinstance(place, str) else place.traceparent

    def looked() -> None:
        deciding = Deciding()
        token = deciding.attach(place)
        found = trace.get_current_span().get_span_context()
        assert found == place_of(stated, is_remote=not isinstance(place, str))
        assert found.is_remote is not isinstance(place, str)
        assert injected() == {"traceparent": stated}
        assert deciding.alone_in(deciding.current()) is place

        more = context.attach(baggage.set_baggage("a", "b"))
        assert injected() == {"traceparent": stated, "baggage": "a=b"}
        assert deciding.alone_in(deciding.current()) is None
        assert deciding.is_left_out(deciding.current()) is not found.trace_flags.sampled
        context.detach(more)

        assert deciding.current() is place
        deciding.leave(token)
        assert not context.get_current()
        assert injected() == {}

    copy_context().run(looked)


def test_a_place_within_a_context_leaves_what_else_it_has() -> None:
    def looked() -> None:
        deciding = Deciding()
        context.attach(baggage.set_baggage("a", "b"))
        token = deciding.enter(TEXT, deciding.current())
        assert injected() == {"traceparent": TEXT, "baggage": "a=b"}
        deciding.leave(token)
        assert injected() == {"baggage": "a=b"}

    copy_context().run(looked)
