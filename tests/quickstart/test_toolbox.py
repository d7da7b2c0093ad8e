"""What the sample tools work out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.quickstart.toolbox import add_to_date, convert_units, days_between, text_statistics, top_words


@pytest.mark.parametrize(
    ("value", "source", "target", "result"),
    [(1, "mi", "km", 1.609344), (100, "C", "F", 212), (32, "F", "K", 273.15), (1, "lb", "oz", 16), (2, "d", "h", 48)],
)
def test_units_are_converted(value, source, target, result):
    assert convert_units(value, source, target)["result"] == pytest.approx(result)


@pytest.mark.parametrize(("source", "target"), [("mi", "kg"), ("C", "m"), ("m", "C"), ("x", "m")])
def test_units_of_different_kinds_are_refused(source, target):
    with pytest.raises(ValueError, match=f"{source} cannot be converted to {target}"):
        convert_units(1, source, target)


@given(st.floats(-1e6, 1e6), st.sampled_from([("F", "K"), ("km", "ft"), ("h", "s")]))
def test_a_conversion_there_and_back_changes_nothing(value, units):
    there = convert_units(value, units[0], units[1])["result"]
    assert convert_units(there, units[1], units[0])["result"] == pytest.approx(value, abs=1e-6)


def test_a_text_is_measured():
    told = text_statistics("It's one.\nIs it two? Two!")
    assert told == {
        "characters": 25,
        "words": 6,
        "unique_words": 5,
        "sentences": 3,
        "lines": 2,
        "reading_minutes": 0.0,
    }


@pytest.mark.parametrize(("text", "sentences"), [("", 0), ("words only", 1), ("3.14", 0)])
def test_sentences_need_words_or_an_end(text, sentences):
    assert text_statistics(text)["sentences"] == sentences


def test_the_most_frequent_words_come_first_and_ties_by_name():
    assert top_words("b a B c a", 2) == [{"word": "a", "count": 2}, {"word": "b", "count": 2}]


def test_days_between_dates_are_counted():
    assert days_between("2026-03-27", "2026-04-03") == {"days": 7, "weeks": 1.0, "weekdays": 5}
    assert days_between("2026-04-03", "2026-03-27") == {"days": -7, "weeks": -1.0, "weekdays": None}


def test_dates_move():
    assert add_to_date("2026-03-31", 1, 1) == {"date": "2026-04-08", "weekday": "Wednesday", "iso_week": 15}


@pytest.mark.parametrize(("start", "days", "words"), [("soon", 0, "is no date"), ("9999-12-31", 1, "beyond the years")])
def test_what_is_no_date_is_refused(start, days, words):
    with pytest.raises(ValueError, match=words):
        add_to_date(start, days, 0)
