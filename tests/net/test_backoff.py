"""Pauses between tries, on a clock of the test's own."""

from utcp_bridge.net.backoff import Backoff


def test_the_first_failure_costs_nothing_and_further_ones_double_up_to_the_most() -> None:
    backoff, pauses, now = Backoff(first=1, maximum=8), [], 100.0
    for _ in range(7):
        backoff.failed(now)
        pauses.append(backoff.pause(now))
        now += pauses[-1]
    assert pauses == [0, 1, 2, 4, 8, 8, 8]


def test_a_pause_goes_by() -> None:
    backoff = Backoff(first=4)
    assert backoff.pause(0) == 0
    backoff.failed(10)
    backoff.failed(10)
    assert [backoff.pause(10), backoff.pause(13), backoff.pause(14), backoff.pause(99)] == [4, 1, 0, 0]


def test_what_lived_long_enough_starts_afresh_and_what_came_up_for_a_moment_does_not() -> None:
    backoff = Backoff(first=1, healthy=60)
    for start, end, pause in ((0, 1, 0), (1, 2, 1), (3, 10, 2), (12, 80, 0), (80, 81, 1)):
        backoff.started(start)
        backoff.failed(end)
        assert backoff.pause(end) == pause
