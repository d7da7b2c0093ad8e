"""What the sample tools compute, as pure functions. The text of a ValueError is for the caller."""

from __future__ import annotations

import re
import struct
import zlib
from collections import Counter
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any, Final

__all__ = ["add_to_date", "bar_chart", "convert_units", "days_between", "text_statistics", "top_words"]

# The quantity of each unit and its size in that quantity's base unit.
_UNITS: Final[dict[str, tuple[str, float]]] = {
    "mm": ("length", 0.001),
    "cm": ("length", 0.01),
    "m": ("length", 1.0),
    "km": ("length", 1000.0),
    "in": ("length", 0.0254),
    "ft": ("length", 0.3048),
    "mi": ("length", 1609.344),
    "g": ("mass", 0.001),
    "kg": ("mass", 1.0),
    "oz": ("mass", 0.028349523125),
    "lb": ("mass", 0.45359237),
    "s": ("time", 1.0),
    "min": ("time", 60.0),
    "h": ("time", 3600.0),
    "d": ("time", 86400.0),
}
# Temperature scales: the size of a degree in kelvins, and zero degrees in kelvins.
_SCALES: Final[dict[str, tuple[float, float]]] = {"C": (1.0, 273.15), "F": (5 / 9, 459.67 * 5 / 9), "K": (1.0, 0.0)}
_WORD: Final = re.compile("[^\\W\\d_]+(?:['\u2019-][^\\W\\d_]+)*")
_WORDS_PER_MINUTE: Final = 230


def convert_units(value: float, source: str, target: str) -> dict[str, Any]:
    """Convert a length, mass, time or temperature.

    :raises ValueError: the units are unknown or measure different things.
    """
    if source in _SCALES and target in _SCALES:
        kelvins = value * _SCALES[source][0] + _SCALES[source][1]
        converted = (kelvins - _SCALES[target][1]) / _SCALES[target][0]
    elif source in _UNITS and target in _UNITS and _UNITS[source][0] == _UNITS[target][0]:
        converted = value * _UNITS[source][1] / _UNITS[target][1]
    else:
        known = ", ".join([*_UNITS, *_SCALES])
        raise ValueError(f"{source} cannot be converted to {target}; the units are {known}.")
    return {"value": value, "from": source, "to": target, "result": round(converted, 9)}


def text_statistics(text: str) -> dict[str, Any]:
    """Count characters, words and sentences, and estimate the reading time in minutes."""
    words = _WORD.findall(text)
    return {
        "characters": len(text),
        "words": len(words),
        "unique_words": len({word.casefold() for word in words}),
        "sentences": len(re.findall(r"(?<=[.!?…])(?:\s|$)", text)) or int(bool(words)),
        "lines": len(text.splitlines()),
        "reading_minutes": round(len(words) / _WORDS_PER_MINUTE, 1),
    }


def top_words(text: str, limit: int) -> list[dict[str, Any]]:
    """Return the most frequent words, most frequent first."""
    counts = Counter(word.casefold() for word in _WORD.findall(text))
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [{"word": word, "count": count} for word, count in ordered[:limit]]


def days_between(start: str, end: str) -> dict[str, Any]:
    """Count the days from one date to another, and the weekdays among them.

    :raises ValueError: a date is not written as YYYY-MM-DD.
    """
    first, last = _date(start), _date(end)
    days = (last - first).days
    weekdays = (
        sum((first + timedelta(offset)).weekday() < 5 for offset in range(days)) if 0 <= days <= 400_000 else None
    )
    return {"days": days, "weeks": round(days / 7, 2), "weekdays": weekdays}


def add_to_date(start: str, days: int, weeks: int) -> dict[str, Any]:
    """Return the date some days and weeks later, or earlier if they are negative.

    :raises ValueError: the date is not written as YYYY-MM-DD, or the result is outside the years 1 to 9999.
    """
    try:
        moved = _date(start) + timedelta(days=days, weeks=weeks)
    except OverflowError:
        raise ValueError("The result is outside the years 1 to 9999.") from None
    return {"date": moved.isoformat(), "weekday": f"{moved:%A}", "iso_week": moved.isocalendar().week}


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a date such as 2026-03-31.") from None


# A bar chart as a PNG image, made with zlib alone.

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_BACKGROUND, _BAR, _AXIS = 0, 1, 2
_PALETTE: Final = bytes([255, 255, 255, 37, 99, 235, 55, 65, 81])
_HEIGHT: Final = 160
_MARGIN: Final = 10
_BAR_WIDTH: Final = 24
_GAP: Final = 8
_MAX_BARS: Final = 50


def bar_chart(values: Sequence[float]) -> bytes:
    """Draw one bar for each value, negative ones downwards, as a PNG image.

    :raises ValueError: there are no values, or more than 50.
    """
    if not 0 < len(values) <= _MAX_BARS:
        raise ValueError(f"A chart needs 1 to {_MAX_BARS} values.")
    width = 2 * _MARGIN + len(values) * (_BAR_WIDTH + _GAP) - _GAP
    top, bottom = max([*values, 0.0]), min([*values, 0.0])
    scale = (_HEIGHT - 2 * _MARGIN) / ((top - bottom) or 1.0)
    axis = _MARGIN + round(top * scale)
    rows = [_row(y, values, axis, scale, width) for y in range(_HEIGHT)]
    return _png(width, _HEIGHT, rows)


def _row(y: int, values: Sequence[float], axis: int, scale: float, width: int) -> bytes:
    if y == axis:
        return bytes([_AXIS]) * width
    row = bytearray(width)
    for number, value in enumerate(values):
        end = axis - round(value * scale)
        if min(axis, end) <= y < max(axis, end):
            left = _MARGIN + number * (_BAR_WIDTH + _GAP)
            row[left : left + _BAR_WIDTH] = bytes([_BAR]) * _BAR_WIDTH
    return bytes(row)


def _png(width: int, height: int, rows: Sequence[bytes]) -> bytes:
    """Return an indexed-colour image of 8 bits per pixel (PNG, third edition, section 11)."""
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = ((b"IHDR", header), (b"PLTE", _PALETTE), (b"IDAT", pixels), (b"IEND", b""))
    return _SIGNATURE + b"".join(_part(kind, data) for kind, data in parts)


def _part(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
