"""Log lines that repeat: the first few are written, then their number."""

import logging

from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.cli.logs import RepeatedLines


def line(template, *arguments, name="utcp_bridge.x"):
    return logging.LogRecord(name, logging.WARNING, "", 0, template, arguments, None)


class Clock:
    def __init__(self):
        self.now = 0.0
        self.written = []
        self.limit = RepeatedLines(lambda record: self.written.append(record.getMessage()), now=lambda: self.now)

    def log(self, template, *arguments):
        record = line(template, *arguments)
        if self.limit.filter(record):
            self.written.append(record.getMessage())

    def minute(self):
        self.now += 60
        self.limit.count()


def test_the_first_lines_are_written_and_then_their_number_once_a_minute():
    clock = Clock()
    for number in range(1000):
        clock.log("%s wrote %d", "manual m", number)
    assert clock.written == [f"manual m wrote {number}" for number in range(10)]
    clock.minute()
    assert clock.written[10:] == ["990 more lines like this one: manual m wrote 999"]
    for number in range(5):
        clock.log("%s wrote %d", "manual m", number)
    clock.minute()
    assert clock.written[11:] == ["5 more lines like this one: manual m wrote 4"]
    clock.minute()
    clock.log("%s wrote %d", "manual m", 7)
    clock.limit.count(at_end=True)
    assert clock.written[12:] == ["manual m wrote 7"]


def test_a_noisy_manual_does_not_hide_another_one():
    clock = Clock()
    for _ in range(50):
        clock.log("%s is noisy", "a")
    clock.log("%s is noisy", "b")
    clock.limit.count(at_end=True)
    assert clock.written[-2:] == ["b is noisy", "40 more lines like this one: a is noisy"]


def test_lines_with_ever_new_arguments_are_limited_too():
    clock = Clock()
    for number in range(5000):
        clock.log("call %s failed", f"c{number}")
    clock.limit.count(at_end=True)
    assert len(clock.written) == 101
    assert clock.written[-1] == "4900 more lines like this one: call c4999 failed"


@given(st.lists(st.tuples(st.sampled_from(["%s a", "%s b", "c"]), st.integers(0, 30)), max_size=300))
def test_each_line_is_written_or_counted_once(lines):
    clock = Clock()
    for template, argument in lines:
        clock.log(template, *([argument] if "%" in template else []))
    clock.limit.count(at_end=True)
    counted = [int(text.split()[0]) for text in clock.written if "more lines" in text]
    assert len(clock.written) - len(counted) + sum(counted) == len(lines)
