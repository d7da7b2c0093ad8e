"""JSON that a template writes as text: where its placeholders are, and how a value is written there (pure).

    {"a": "x {{ x }}", "b": {{ b }}, "c": -{{ c }}}

A placeholder within quotation marks takes text, which is escaped. A bare one takes a value of any type. One that is a
part of a number takes a number. So no argument can end its place, whatever it contains. Several JSON texts in a row,
such as lines, are JSON too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from enum import Enum, auto
from typing import Any, Final

from utcp_bridge.errors import ConfigError, InvalidArguments
from utcp_bridge.placement.encoding import compact_json, format_scalar

__all__ = ["JsonPlace", "JsonText", "places_in_json", "written_in_json"]

_START = re.compile(r"\s*[{\[]")
_BLANK = re.compile(r"\s*")
_MARK = re.compile(r'[\\"]')
_TOUCHES_BEFORE = re.compile(r"[\w.+-]\Z")
_TOUCHES_AFTER = re.compile(r"[\w.+-]")
_DECODER: Final = json.JSONDecoder(strict=False)


class JsonPlace(Enum):
    """Where a placeholder is in a JSON text."""

    QUOTED = auto()
    """Within quotation marks."""
    BARE = auto()
    """In place of a value."""
    NUMBER = auto()
    """A part of a number."""


_PROBES: Final = {JsonPlace.QUOTED: "~", JsonPlace.BARE: "null", JsonPlace.NUMBER: "1"}


class JsonText(str):
    """Text that is JSON already: a bare placeholder writes it as it is."""

    __slots__ = ()


def places_in_json(parts: Sequence[str | None]) -> list[JsonPlace | None] | None:
    """Return the place of each placeholder (None in `parts`) of a JSON text; None if the text is not JSON.

    :raises ConfigError: a placeholder is within an escape sequence, or the text is nested too deeply.
    """
    if not parts or not isinstance(parts[0], str) or not _START.match(parts[0]):
        return None
    places = _places(parts)
    if _is_json(_filled(parts, places, _PROBES)):
        return places
    if JsonPlace.QUOTED in places and _is_json(_filled(parts, places, {**_PROBES, JsonPlace.QUOTED: ""})):
        raise ConfigError(
            "A placeholder in a JSON text is within an escape sequence.",
            remedy="Write two backslashes for one, or remove it.",
        )
    return None


def _places(parts: Sequence[str | None]) -> list[JsonPlace | None]:
    places: list[JsonPlace | None] = []
    quoted = False
    for at, part in enumerate(parts):
        if part is None:
            before, after = parts[at - 1], parts[at + 1] if at + 1 < len(parts) else ""
            touches = before is None or after is None or _TOUCHES_BEFORE.search(before) or _TOUCHES_AFTER.match(after)
            places.append(JsonPlace.QUOTED if quoted else JsonPlace.NUMBER if touches else JsonPlace.BARE)
        else:
            quoted = _ends_quoted(part, quoted=quoted)
            places.append(None)
    return places


def _ends_quoted(text: str, *, quoted: bool) -> bool:
    """Return whether a part ends within quotation marks; `quoted` says whether it begins so."""
    position = 0
    while (mark := _MARK.search(text, position)) is not None:
        escapes = mark[0] == "\\"
        quoted = quoted if escapes else not quoted
        position = mark.end() + escapes
    return quoted


def _filled(parts: Sequence[str | None], places: Sequence[JsonPlace | None], probes: dict[JsonPlace, str]) -> str:
    return "".join(probes[place] if place else str(part) for part, place in zip(parts, places, strict=True))


def _is_json(text: str) -> bool:
    position = len(text) - len(text.lstrip())
    try:
        while position < len(text):
            _, position = _DECODER.raw_decode(text, position)
            blank = _BLANK.match(text, position)
            position = blank.end() if blank else position
    except ValueError:
        return False
    except RecursionError:
        raise ConfigError("A JSON text in a template is nested too deeply.", remedy="Make it flatter.") from None
    return True


def written_in_json(value: Any, place: JsonPlace, *, argument: str) -> str:
    """Return a value as it is written in its place.

    :raises InvalidArguments: it is not a number where only a number fits, or JSON cannot represent it.
    """
    if place is JsonPlace.QUOTED:
        return compact_json(format_scalar(value)).decode("utf-8")[1:-1]
    if place is JsonPlace.NUMBER and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise InvalidArguments(
            f"Argument {argument!r} must be a number, because it is a part of a number in the call template.",
            remedy="Send a number.",
        )
    return value if isinstance(value, JsonText) else compact_json(value).decode("utf-8")
