"""Pauses between tries, on a clock that the test sets."""

from itertools import islice

import pytest

from utcp_bridge.net.backoff import Backoff, jittered, pauses


def exact(seconds: float) -> float:
    return seconds


def test_the_first_failure_has_no_pause_and_later_pauses_double_to_the_maximum() -> None:
    backoff, found, now = Backoff(first=1, maximum=8, spread=exact), [], 100.0
    for _ in range(7):
        backoff.failed(now)
        found.append(backoff.pause(now))
        now += found[-1]
    assert found == [0, 1, 2, 4, 8, 8, 8]
    assert backoff.failures == 7


def test_a_pause_ends() -> None:
    backoff = Backoff(first=4, spread=exact)
    assert backoff.pause(0) == 0
    backoff.failed(10)
    backoff.failed(10)
    assert [backoff.pause(10), backoff.pause(13), backoff.pause(14), backoff.pause(99)] == [4, 1, 0, 0]


def test_pauses_start_again_after_a_success() -> None:
    backoff = Backoff(first=1, spread=exact)
    found = []
    for step in "ffsfffs":
        if step == "s":
            backoff.succeeded()
        else:
            backoff.failed(0)
        found.append(backoff.pause(0))
    assert found == [0, 1, 0, 0, 1, 2, 0]


def test_pauses_differ_by_a_quarter_either_way() -> None:
    found = [jittered(8.0) for _ in range(300)]
    assert all(6 <= pause <= 10 for pause in found)
    assert len(set(found)) > 200
    assert max(found) - min(found) > 2


@pytest.mark.parametrize("maximum", [5.0, 60.0])
def test_no_pause_is_above_the_maximum_whatever_the_jitter(maximum: float) -> None:
    for _ in range(50):
        backoff = Backoff(maximum=maximum)
        for _ in range(12):
            backoff.failed(0)
        assert maximum * 0.75 <= backoff.pause(0) <= maximum
        first, *_, last = islice(pauses(2.0, maximum), 12)
        assert 1.5 <= first <= 2.5
        assert maximum * 0.75 <= last <= maximum
