"""Pauses between tries, on a clock that the test sets."""

from utcp_bridge.net.backoff import Backoff


def test_the_first_failure_has_no_pause_and_later_pauses_double_to_the_maximum() -> None:
    backoff, pauses, now = Backoff(first=1, maximum=8), [], 100.0
    for _ in range(7):
        backoff.failed(now)
        pauses.append(backoff.pause(now))
        now += pauses[-1]
    assert pauses == [0, 1, 2, 4, 8, 8, 8]


def test_a_pause_ends() -> None:
    backoff = Backoff(first=4)
    assert backoff.pause(0) == 0
    backoff.failed(10)
    backoff.failed(10)
    assert [backoff.pause(10), backoff.pause(13), backoff.pause(14), backoff.pause(99)] == [4, 1, 0, 0]


def test_pauses_start_again_only_after_a_long_success() -> None:
    backoff = Backoff(first=1, healthy=60)
    for start, end, pause in ((0, 1, 0), (1, 2, 1), (3, 10, 2), (12, 80, 0), (80, 81, 1)):
        backoff.started(start)
        backoff.failed(end)
        assert backoff.pause(end) == pause
