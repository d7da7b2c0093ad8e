"""Bar charts as PNG."""

import struct
import zlib

import pytest

from utcp_bridge.quickstart.chart import bar_chart


def decoded(image):
    """Width, height and pixel rows of a chart, read by the format's own rules."""
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


def test_negative_bars_hang_below_the_axis():
    _, _, rows = decoded(bar_chart([3, -3]))
    axis = next(y for y, row in enumerate(rows) if set(row) == {2})
    assert all(row[22] != 1 for row in rows[axis:])
    assert all(row[54] != 1 for row in rows[:axis])


def test_a_chart_of_zeros_is_an_axis():
    assert {pixel for row in decoded(bar_chart([0.0]))[2] for pixel in row} == {0, 2}


@pytest.mark.parametrize("values", [[], [1.0] * 51])
def test_too_few_or_too_many_values_are_refused(values):
    with pytest.raises(ValueError, match="1 to 50"):
        bar_chart(values)
