"""JSON values as text in a request: scalars, percent-encoding, query strings, header values (pure).

Rule 1. Booleans are `true` or `false`, numbers keep their JSON form, text is sent unchanged.
Rule 2. Everything but the unreserved characters of RFC 3986 is encoded; a space is `%20`, never `+`.
Rule 3. No value can leave its path segment or its header line.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum, auto
from typing import Any, Final, NoReturn, cast
from urllib.parse import quote, unquote

import orjson

from utcp_bridge.errors import ConfigError, InvalidArguments
from utcp_bridge.late.patterns import late_pattern

__all__ = [
    "MAX_URL",
    "JsonPlace",
    "JsonText",
    "compact_json",
    "encode_path_segment",
    "encode_query",
    "format_scalar",
    "header_value",
    "percent_encode",
    "places_in_json",
    "reference_json",
    "refuse_dot_segments",
    "refuse_long_url",
    "written_in_json",
]

MAX_URL: Final = 262_144
"""Characters of a URL with its arguments. Servers accept 8,000 to 64,000 in a request."""
_MAX_KEPT_NAMES: Final = 4_096
_MAX_KEPT_NAME: Final = 128

_MAX_SPACED: Final = 16_384
_CONTROL = late_pattern(r"[\x00-\x08\x0a-\x1f\x7f]")
_UNRESERVED = late_pattern(r"[A-Za-z0-9_.~-]{0,1000}")
_SEPARATORS = late_pattern(r"[/\\]")
_MAX_DECODINGS = 8
_EXACT: Final = 2**53
_ARRAYS = (list, tuple)


def format_scalar(value: Any) -> str:
    """Return one JSON value as plain text; arrays and objects become compact JSON, null becomes `null`.

    :raises InvalidArguments: the value is a number that JSON cannot write (NaN, infinity).
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return str(int(value))  # 1.0 and 1 are one JSON number, but not one text
    return compact_json(value).decode("utf-8")


def compact_json(value: Any) -> bytes:
    """Return JSON without spaces, in UTF-8; integers of any size.

    :raises InvalidArguments: the value contains NaN, infinity, a lone surrogate or a non-JSON type.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidArguments("A number in the arguments is not finite.", remedy="Send a finite number.")
    try:
        return orjson.dumps(value)
    except TypeError:
        return _json_of_any_size(value)


def reference_json(compact: bytes) -> bytes:
    """Return JSON as UTCP's Python library writes it, with spaces and in ASCII: some servers compare it as text.

    JSON above 16,384 bytes stays compact: no server compares it, and a datagram has little room.
    """
    if len(compact) > _MAX_SPACED:
        return compact
    import json

    return json.dumps(orjson.loads(compact)).encode("ascii")


def _json_of_any_size(value: Any) -> bytes:
    """Write what orjson refuses and JSON allows: integers beyond 64 bits."""
    import json

    try:
        text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return text.encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArguments(
            "The arguments contain a value that JSON cannot represent.", remedy="Send plain JSON values."
        ) from error


def percent_encode(text: str, *, argument: str, safe: str = "") -> str:
    """Percent-encode as UTF-8; `safe` lists reserved characters that are not encoded.

    :raises InvalidArguments: the text contains a lone surrogate, which has no UTF-8 form.
    """
    if not safe and _UNRESERVED.fullmatch(text):
        return text  # `quote` would return it too, and takes ten times as long
    try:
        return quote(text, safe=safe)
    except UnicodeEncodeError as error:
        raise InvalidArguments(f"Argument {argument!r} contains text that is not valid Unicode.") from error


def refuse_long_url(argument: str = "") -> NoReturn:
    """Raise the error of a URL above `MAX_URL`; `argument` is the cause if one alone is.

    :raises InvalidArguments: always.
    """
    cause = f"Argument {argument!r} is part of the URL and" if argument else "The URL with these arguments"
    raise InvalidArguments(f"{cause} has more than {MAX_URL:,} characters.", remedy="Send shorter arguments.")


def refuse_dot_segments(text: str, *, argument: str) -> None:
    """Refuse `.` and `..` as path segments, with either slash and at any depth of percent-encoding.

    :raises InvalidArguments: a server could read the text as another path.
    """
    if "." not in text and "%" not in text:
        return
    for segment in _SEPARATORS.split(_decoded(text, argument)):
        if segment.split(";", 1)[0].strip() in {".", ".."}:
            raise InvalidArguments(
                f"Argument {argument!r} contains a '.' or '..' path segment.",
                remedy="Send the plain identifier that belongs in this part of the URL.",
            )


def _decoded(text: str, argument: str) -> str:
    for _ in range(_MAX_DECODINGS):
        plainer = unquote(text)
        if plainer == text:
            return text
        text = plainer
    raise InvalidArguments(f"Argument {argument!r} is percent-encoded too many times.")


def encode_path_segment(value: Any, *, argument: str) -> str:
    """Return a value for `{argument}` in a URL path: one segment, with `/` encoded and arrays joined by commas.

    :raises InvalidArguments: the value is null or empty, or could be read as a dot segment.
    """
    text = _joined(value)
    if not text:
        raise InvalidArguments(
            f"Argument {argument!r} must not be empty because it is part of the URL path.", remedy=f"Send {argument!r}."
        )
    refuse_dot_segments(text, argument=argument)
    return percent_encode(text, argument=argument)


def _joined(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return ",".join(format_scalar(item) for item in cast("Iterable[Any]", value) if item is not None)
    return format_scalar(value)


def encode_query(pairs: Iterable[tuple[str, Any]]) -> str:
    """Return `name=value` pairs joined by `&`, without the `?`.

    Arrays repeat the name, objects are compact JSON, nulls are omitted, also within arrays.

    :raises InvalidArguments: the query alone is above `MAX_URL`.
    """
    encoded: list[str] = []
    for name, value in pairs:
        key = _query_names.get(name) or _query_name(name)
        # most values are a number or a plain text, and each call passes here
        if value.__class__ is int or (value.__class__ is str and value.isalnum() and value.isascii()):
            encoded.append(f"{key}={value}")
        else:
            _encode_into(encoded, name, key, value)
    query = "&".join(encoded)
    if len(query) > MAX_URL:
        _refuse_long_query(encoded)
    return query


def _encode_into(encoded: list[str], name: str, key: str, value: Any) -> None:
    room = MAX_URL
    for text in _texts(value):
        room -= len(key) + len(text) + 2
        if room < 0:
            refuse_long_url(name)
        encoded.append(f"{key}={percent_encode(text, argument=name)}")


_query_names: Final[dict[str, str]] = {}
"""Names of arguments as a query has them."""


def _query_name(name: str) -> str:
    key = name if name.isascii() and name.isalnum() else percent_encode(name, argument=name)
    if len(name) <= _MAX_KEPT_NAME:
        if len(_query_names) >= _MAX_KEPT_NAMES:
            _query_names.clear()
        _query_names[name] = key
    return key


def _refuse_long_query(encoded: list[str]) -> None:
    """Raise the error that names the argument with which a query has become too long."""
    size = -1
    for pair in encoded:
        size += 1 + len(pair)
        if size > MAX_URL:
            refuse_long_url(unquote(pair.partition("=")[0]))


def _texts(value: Any) -> Iterator[str]:
    """Yield the items of an array, or the one value, as text, without nulls."""
    for item in cast("Iterable[Any]", value) if isinstance(value, _ARRAYS) else (value,):
        if item is not None:
            yield item if isinstance(item, str) else str(item) if type(item) is int else format_scalar(item)


def header_value(value: Any, *, argument: str) -> str:
    """Return a header's value: scalars as text, arrays joined by commas, objects as compact JSON.

    Non-ASCII text is written as UTF-8 (obs-text of RFC 9110). Percent-encoding would change the value for servers
    that read headers without decoding. Surrounding blanks are dropped, as in HTTP.

    :raises InvalidArguments: the text contains CR, LF, NUL or another control character, or a lone surrogate.
    """
    text = _joined(value)
    if _CONTROL.search(text):
        raise InvalidArguments(
            f"Argument {argument!r} is sent in a header and contains a line break or control character.",
            remedy="Send text without line breaks.",
        )
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise InvalidArguments(f"Argument {argument!r} contains text that is not valid Unicode.")
    return text.strip(" \t")


_START = late_pattern(r"\s*[{\[]")
_BLANK = late_pattern(r"\s*")
_MARK = late_pattern(r'[\\"]')
_TOUCHES_BEFORE = late_pattern(r"[\w.+-]\Z")
_TOUCHES_AFTER = late_pattern(r"[\w.+-]")
_DECODER: Final = json.JSONDecoder(strict=False)


class JsonPlace(Enum):
    """Where a placeholder is in a JSON text."""

    QUOTED = auto()
    """Within quotation marks."""
    BARE = auto()
    """In place of a value."""
    NUMBER = auto()
    """A part of a number."""


_ESCAPED_PROBES: Final = ("", "n", "0", "00", "000", "0000")
"""Values that complete an escape sequence: after `\\`, and after `\\u` and up to four digits."""
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
    if JsonPlace.QUOTED in places and any(
        _is_json(_filled(parts, places, {**_PROBES, JsonPlace.QUOTED: probe})) for probe in _ESCAPED_PROBES
    ):
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
