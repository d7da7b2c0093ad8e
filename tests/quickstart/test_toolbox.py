"""What the sample tools compute."""

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.quickstart.toolbox import (
    add_to_date,
    bar_chart,
    convert_units,
    days_between,
    text_statistics,
    top_words,
)


@pytest.mark.parametrize(
    ("value", "source", "target", "result"),
    [(1, "mi", "km", 1.609344), (100, "C", "F", 212), (32, "F", "K", 273.15), (1, "lb", "oz", 16), (2, "d", "h", 48)],
)
def test_units_are_converted(value, source, target, result):
    assert convert_units(value, source, target)["result"] == pytest.approx(result)


@pytest.mark.parametrize(("source", "target"), [("mi", "kg"), ("C", "m"), ("m", "C"), ("x", "m")])
def test_units_of_different_quantities_are_refused(source, target):
    with pytest.raises(ValueError, match=f"{source} cannot be converted to {target}"):
        convert_units(1, source, target)


@given(st.floats(-1e6, 1e6), st.sampled_from([("F", "K"), ("km", "ft"), ("h", "s")]))
def test_converting_back_gives_the_original_value(value, units):
    there = convert_units(value, units[0], units[1])["result"]
    assert convert_units(there, units[1], units[0])["result"] == pytest.approx(value, abs=1e-6)


def test_words_sentences_and_lines_of_a_text_are_counted():
    statistics = text_statistics("It's one.\nIs it two? Two!")
    assert statistics == {
        "characters": 25,
        "words": 6,
        "unique_words": 5,
        "sentences": 3,
        "lines": 2,
        "reading_minutes": 0.0,
    }


@pytest.mark.parametrize(("text", "sentences"), [("", 0), ("words only", 1), ("3.14", 0)])
def test_a_text_without_a_full_stop_counts_as_one_sentence_if_it_has_words(text, sentences):
    assert text_statistics(text)["sentences"] == sentences


def test_the_most_frequent_words_come_first_and_ties_are_sorted():
    assert top_words("b a B c a", 2) == [{"word": "a", "count": 2}, {"word": "b", "count": 2}]


def test_days_between_dates_are_counted():
    assert days_between("2026-03-27", "2026-04-03") == {"days": 7, "weeks": 1.0, "weekdays": 5}
    assert days_between("2026-04-03", "2026-03-27") == {"days": -7, "weeks": -1.0, "weekdays": None}


def test_days_and_weeks_are_added_to_a_date():
    assert add_to_date("2026-03-31", 1, 1) == {"date": "2026-04-08", "weekday": "Wednesday", "iso_week": 15}


@pytest.mark.parametrize(
    ("start", "days", "words"), [("soon", 0, "is not a date"), ("9999-12-31", 1, "outside the years")]
)
def test_an_invalid_or_out_of_range_date_is_refused(start, days, words):
    with pytest.raises(ValueError, match=words):
        add_to_date(start, days, 0)


def decoded(image):
    """Decode a chart by the PNG rules into width, height and pixel rows."""
    assert image[:8] == b"\x89PNG\r\n\x1a\n"
    parts, rest = {}, image[8:]
    while rest:
        (size,) = struct.unpack(">I", rest[:4])
        kind, data, checksum = rest[4:8], rest[8 : 8 + size], rest[8 + size : 12 + size]
        assert struct.unpack(">I", checksum) == (zlib.crc32(kind + data),)
        parts[kind], rest = data, rest[12 + size :]
    width, height = struct.unpack(">II", parts[b"IHDR"][:8])
    pixels = zlib.decompress(parts[b"IDAT"])
    return width, height, [pixels[y * (width + 1) + 1 : (y + 1) * (width + 1)] for y in range(height)]


def height_of_bar(rows, x):
    return sum(row[x] == 1 for row in rows)


def test_bars_are_as_tall_as_their_values():
    width, height, rows = decoded(bar_chart([1, 2, 4]))
    assert (len(rows), {len(row) for row in rows}) == (height, {width})
    heights = [height_of_bar(rows, 10 + 32 * number + 12) for number in range(3)]
    assert heights == [35, 70, 140]


def test_negative_bars_are_below_the_axis():
    _, _, rows = decoded(bar_chart([3, -3]))
    axis = next(y for y, row in enumerate(rows) if set(row) == {2})
    assert all(row[22] != 1 for row in rows[axis:])
    assert all(row[54] != 1 for row in rows[:axis])


def test_a_chart_of_zeros_shows_only_the_axis():
    assert {pixel for row in decoded(bar_chart([0.0]))[2] for pixel in row} == {0, 2}


@pytest.mark.parametrize("values", [[], [1.0] * 51])
def test_too_few_or_too_many_values_are_refused(values):
    with pytest.raises(ValueError, match="1 to 50"):
        bar_chart(values)
