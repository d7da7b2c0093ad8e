"""What the sample tools work out. Pure functions; a ValueError's text is for the caller."""

from __future__ import annotations

import re
from collections import Counter
from datetime import date, timedelta
from typing import Any, Final

__all__ = ["add_to_date", "convert_units", "days_between", "text_statistics", "top_words"]

# Each unit's kind and its size in the kind's base unit.
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
# Degrees: what one is in kelvins, and where zero lies.
_SCALES: Final[dict[str, tuple[float, float]]] = {"C": (1.0, 273.15), "F": (5 / 9, 459.67 * 5 / 9), "K": (1.0, 0.0)}
_WORD: Final = re.compile("[^\\W\\d_]+(?:['\u2019-][^\\W\\d_]+)*")
_WORDS_PER_MINUTE: Final = 230


def convert_units(value: float, source: str, target: str) -> dict[str, Any]:
    """A length, mass, time or temperature in another unit."""
    if source in _SCALES and target in _SCALES:
        kelvins = value * _SCALES[source][0] + _SCALES[source][1]
        converted = (kelvins - _SCALES[target][1]) / _SCALES[target][0]
    elif source in _UNITS and target in _UNITS and _UNITS[source][0] == _UNITS[target][0]:
        converted = value * _UNITS[source][1] / _UNITS[target][1]
    else:
        known = ", ".join([*_UNITS, *_SCALES])
        raise ValueError(f"{source} cannot be converted to {target}; units are {known}.")
    return {"value": value, "from": source, "to": target, "result": round(converted, 9)}


def text_statistics(text: str) -> dict[str, Any]:
    """Characters, words, sentences, reading time."""
    words = _WORD.findall(text)
    return {
        "characters": len(text),
        "words": len(words),
        "unique_words": len({word.casefold() for word in words}),
        "sentences": len(re.findall(r"[.!?…]+(?:\s|$)", text)) or int(bool(words)),
        "lines": len(text.splitlines()),
        "reading_minutes": round(len(words) / _WORDS_PER_MINUTE, 1),
    }


def top_words(text: str, limit: int) -> list[dict[str, Any]]:
    """The most frequent words, the more frequent first."""
    counts = Counter(word.casefold() for word in _WORD.findall(text))
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [{"word": word, "count": count} for word, count in ordered[:limit]]


def days_between(start: str, end: str) -> dict[str, Any]:
    """Days from one date to another, and the weekdays among them."""
    first, last = _date(start), _date(end)
    days = (last - first).days
    weekdays = (
        sum((first + timedelta(offset)).weekday() < 5 for offset in range(days)) if 0 <= days <= 400_000 else None
    )
    return {"days": days, "weeks": round(days / 7, 2), "weekdays": weekdays}


def add_to_date(start: str, days: int, weeks: int) -> dict[str, Any]:
    """A date some days and weeks later, or earlier if they are negative."""
    try:
        moved = _date(start) + timedelta(days=days, weeks=weeks)
    except OverflowError:
        raise ValueError("That is beyond the years 1 to 9999.") from None
    return {"date": moved.isoformat(), "weekday": f"{moved:%A}", "iso_week": moved.isocalendar().week}


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no date such as 2026-03-31.") from None
