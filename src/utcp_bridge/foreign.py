"""Bytes and text of other programs: decoded without loss of a whole, and without characters that nobody sees.

`decode` and `load_json` read bytes of any origin. `visible` and `visible_json` remove what a person would not see: it
could hide instructions from people, break a terminal, or make a line that a JSON parser refuses.

One policy for results, errors, logs and definitions:

    lone surrogates, bytes that do not decode    U+FFFD
    terminal sequences (CSI, OSC, DCS, ESC x)    removed, 7-bit and 8-bit
    a letter and a backspace                     removed: the letter printed after it stays
    a carriage return inside a line              the last state of the line stays; a text without any newline is instead
                                                 split there, unless it was written to a terminal
    U+2028, U+2029, U+0085, VT, FF               a newline
    ZWJ, ZWNJ between two letters or emoji,      stay, alone: scripts and emoji need them
    U+FE0E, U+FE0F after a symbol
    U+2800, the blank of braille                 a space
    other control and invisible characters       removed; tab, newline and CRLF stay
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Generator, Iterator
from contextlib import suppress
from encodings.aliases import aliases
from itertools import cycle
from math import isfinite
from typing import Any, Final, TypeGuard, cast

import orjson

from utcp_bridge.late.patterns import late_pattern

__all__ = [
    "MAX_DEPTH",
    "MAX_VALUES",
    "StreamDecoder",
    "TooManyValues",
    "decode",
    "dotenv_content",
    "encodable",
    "escape_line_ends",
    "has_more_values",
    "is_charset",
    "is_clean_data",
    "is_clean_json",
    "is_deeper",
    "is_heavy",
    "is_number",
    "is_visible_line",
    "json_line",
    "load_json",
    "most_values",
    "outer_id",
    "plainly_written",
    "values_of",
    "visible",
    "visible_json",
    "visible_json_steps",
    "visible_steps",
    "write_json",
    "written_within",
]

MAX_DEPTH: Final = 254
"""The deepest nesting of JSON that orjson writes, and that is looked at here."""

_BOMS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_LONGEST_BOM: Final = 4
_BOM_STARTS: Final = frozenset({b"", *(mark[:1] for mark, _ in _BOMS)})
MAX_VALUES: Final = 1_310_720
"""The most values in one piece of JSON of a program whose size has no setting: that of a reply."""
_BYTES_OF_A_VALUE: Final = 8
_LEAST_VALUES: Final = 100_000
SURELY_LIGHT: Final = 131_072  # bytes up to which `is_heavy` is false: who asks for each call looks at this first
_HEAVY_BYTES: Final = 1024 * 1024
_HEAVY_VALUES: Final = 20_000
_FEW_MARKS: Final = 1_000
_STRING: Final = late_pattern(rb'"[^"]*+(?:"|\Z)')
_UNCOUNTED: Final = bytes(sorted(set(range(256)) - set(b'",[{')))

_READ_AS: Final = {"latin_1": "cp1252", "iso8859_1": "cp1252", "ascii": "cp1252", "utf_16": "utf_16_le"} | {
    "utf_32": "utf_32_le"
}
"""Charsets that are read as another one, as browsers do: their declarations are often not exact. Of ASCII, UTF-8 is
tried first."""
_ALLOWED: Final = frozenset({
    "ascii", "utf_8", "utf_16", "utf_16_le", "utf_16_be", "utf_32", "utf_32_le", "utf_32_be", "latin_1",
    *(f"iso8859_{number}" for number in range(1, 17) if number != 12),
    *(f"cp125{number}" for number in range(9)),
    "cp037", "cp273", "cp424", "cp437", "cp500", "cp720", "cp737", "cp775", "cp850", "cp852", "cp855", "cp856", "cp857",
    "cp858", "cp860", "cp861", "cp862", "cp863", "cp864", "cp865", "cp866", "cp869", "cp874", "cp875", "cp932", "cp949",
    "cp950", "cp1006", "cp1026", "cp1125", "cp1140",
    "gb2312", "gbk", "gb18030", "big5", "big5hkscs", "euc_jp", "euc_jis_2004", "euc_jisx0213", "euc_kr", "johab",
    "shift_jis", "shift_jis_2004", "shift_jisx0213", "iso2022_jp", "iso2022_jp_1", "iso2022_jp_2", "iso2022_jp_3",
    "iso2022_jp_2004", "iso2022_jp_ext", "iso2022_kr",
    "koi8_r", "koi8_u", "koi8_t", "kz1048", "ptcp154", "tis_620", "hp_roman8", "mac_roman", "mac_cyrillic",
    "mac_greek", "mac_iceland", "mac_latin2", "mac_turkish",
})  # fmt: skip
"""The codecs that text of others is decoded with: each takes time in proportion to the bytes, and makes text of them.
They are those of browsers (WHATWG Encoding, section 4.2) and further code pages."""
_WEB_NAMES: Final = {
    "x_sjis": "cp932", "x_gbk": "gbk", "x_euc_jp": "euc_jp", "x_cp1250": "cp1250", "x_cp1251": "cp1251",
    "x_cp1252": "cp1252", "x_cp1253": "cp1253", "x_cp1254": "cp1254", "x_cp1255": "cp1255", "x_cp1256": "cp1256",
    "x_cp1257": "cp1257", "x_cp1258": "cp1258", "windows_949": "cp949", "windows_874": "cp874", "dos_874": "cp874",
    "iso_8859_8_i": "iso8859_8", "iso_8859_8_e": "iso8859_8", "x_mac_roman": "mac_roman", "x_x_big5": "big5",
    "x_mac_cyrillic": "mac_cyrillic", "unicode_1_1_utf_8": "utf_8", "x_unicode20utf8": "utf_8", "windows_31j": "cp932",
    "koi": "koi8_r", "koi8": "koi8_r",
    "ansi_x3.4_1968": "ascii", "utf_8_sig": "utf_8", "unicodefffe": "utf_16_be", "ucs_2": "utf_16_le",
}  # fmt: skip
_CODECS: Final = (
    {name: name for name in _ALLOWED}
    | {alias: name for alias, name in aliases.items() if name in _ALLOWED}
    | {name.replace("_", ""): name for name in _ALLOWED}
    | _WEB_NAMES
)
"""Every known name of a charset, in lower case with `_` between its parts."""
_BETWEEN_PARTS: Final = late_pattern(r"[^a-z0-9.]+")
_MAX_CHARSET: Final = 60

_LONE: Final = late_pattern("[\ud800-\udfff]")
_ESCAPES: Final = late_pattern(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)
_SURROGATE_ESCAPE: Final = late_pattern(rb"\\u[dD][89a-fA-F]")
_LINE_ENDS: Final = ((b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"), (b"\xc2\x85", b"\\u0085"))
"""Characters that end a line for some parsers, and how JSON escapes them."""

_TOKEN: Final = late_pattern(rb'"[^"\\]*+(?:\\(?:.|\Z)[^"\\]*+)*+(?:"|\Z)|[{}\[\]]', re.DOTALL)
_HEAD: Final = 65_536
_MAX_TAIL: Final = 512
_LAST_ID: Final = late_pattern(
    rb',\s*"id"\s*:\s*(-?\d{1,18}|"[^"\\]{0,200}")\s*(?:,\s*"jsonrpc"\s*:\s*"2\.0"\s*)?\}\s*\Z'
)
_ID: Final = late_pattern(rb'\s*:\s*(-?\d{1,18}|"[^"\\]{0,200}")\s*[,}]')

_TO_COLUMN_1: Final = late_pattern(r"(?:\x1b\[|\x9b)[01]?G")
_SEQUENCE: Final = late_pattern(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI
    r"|\x9b(?:[0-?]+[ -/]*[@-~]|[A-HJKm])"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x90\x98\x9c-\x9f]*(?:\x07|\x1b\\|\x9c|\Z)"  # OSC, DCS and others
    r"|\x1b[ -/]+[0-~]|\x1b[0-Z\\-_cl-o|-~]"
)
_DIRTY: Final = late_pattern(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"  # control characters, tab and newline excepted
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"  # soft hyphen, joiners, fillers
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164"  # zero width, line separators, bidi, blank braille
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ud800-\udfff"  # variation selectors, BOM, annotations, surrogates
    "\U0001bca0-\U0001bca3\U0001d159\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"  # shorthand, musical controls, tags
)
_LONE_RETURN: Final = late_pattern("\r(?!\n)")
_HIDDEN: Final = late_pattern(
    "[\x00-\x07\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0d\ufeff\uffa0\ufff0-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d159\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_BLANKS: Final = ("\u2800", "\U0001d159")
"""Characters that Python prints, that people do not see, and whose UTF-8 starts like that of many visible ones."""
_NEWLINES: Final = late_pattern("[\x0b\x0c\x85\u2028\u2029]")
_SELECTORS: Final = late_pattern("[\ufe0e\ufe0f]+")
_JOINERS: Final = late_pattern("[\u200c\u200d]+")
_ESCAPE_RUN: Final = late_pattern("\x1b{2,}")
_PIECE: Final = 32_768
"""Characters that are cleaned at once: at most about 30 ms."""
_LONG: Final = 4 * _PIECE
_CONTAINERS_OF_A_STEP: Final = 64
_BREAKS: Final = ("\n", "\x1b", " ")
"""Where a long text may be cut, best first. No terminal sequence continues after its escape character."""
_KEYCAPS: Final = frozenset("0123456789#*")
_KEYCAP: Final = "\u20e3"
_ASCII_CONTROLS: Final = bytes([*range(9), *range(11, 32), 127])
_HARMLESS_LEADS: Final = bytes(sorted(set(range(256)) - {0xCD, 0xE1, 0xE3, 0xEF, 0xF3}))
"""All bytes but those that start the UTF-8 of a character that is printable for Python and invisible to people."""
_JSON_CONTROL: Final = late_pattern(rb"\\(?:u00|[bf]|r(?!\\n))|\x7f")
_DOTENV_NAME: Final = late_pattern(r"[A-Za-z_][\w.-]*", re.ASCII)
_JSON_OPTIONS: Final = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_SUBCLASS


# --- bytes -----------------------------------------------------------------------------------------------------------


def decode(data: bytes, charset: str | None = None) -> str:
    """Return bytes as text: by their byte order mark, else by the declared `charset`, else as UTF-8.

    Bytes that do not decode become U+FFFD, and an unknown charset counts as UTF-8. The mark is not part of the text.
    """
    for mark, name in _BOMS:
        if data.startswith(mark):
            return data[len(mark) :].decode(name, "replace")
    if charset:
        return _by_charset(data, charset)
    return data.decode("utf-8", "replace")


def is_charset(name: str) -> bool:
    """Return whether bytes of this charset can be decoded."""
    return _known_codec(name) is not None


def _by_charset(data: bytes, charset: str) -> str:
    codec = _known_codec(charset)
    if codec == "ascii":
        with suppress(UnicodeDecodeError):
            return data.decode()
    return encodable(_decoded(data, "utf_8" if codec is None else _READ_AS.get(codec, codec)))


def _decoded(data: bytes, codec: str) -> str:
    """The one place where bytes meet a codec that others choose: `codec` is one of `_ALLOWED`."""
    return data.decode(codec, "replace")


def _known_codec(charset: str) -> str | None:
    """Return the allowed codec for a charset of the web; None if the name is not a charset.

    Python's own look-up is not asked. It knows codecs that are not charsets (`idna`, `punycode`, `zlib`), of which some
    take a time that grows with the square of the bytes, and it keeps each name that it does not know.
    """
    name = charset.strip(" \"'\t")[:_MAX_CHARSET].lower()
    return _CODECS.get(name) or _CODECS.get(_BETWEEN_PARTS.sub("_", name).strip("_"))


class StreamDecoder:
    """`decode` for bytes that arrive in pieces: a character is never cut."""

    __slots__ = ("_charset", "_decoder", "_start")

    def __init__(self, charset: str | None = None) -> None:
        self._charset = charset
        self._start = b""
        self._decoder: codecs.IncrementalDecoder | None = None

    def feed(self, data: bytes, *, final: bool = False) -> str:
        """Return the text that `data` completes."""
        if self._decoder is None:
            data = self._start = self._start + data
            if not final and len(data) < _LONGEST_BOM and data[:1] in _BOM_STARTS:
                return ""
            self._start = b""
            data = self._begin(data)
        text = cast("codecs.IncrementalDecoder", self._decoder).decode(data, final=final)
        return encodable(text)

    def reset(self) -> None:
        """Forget what came before."""
        self._start, self._decoder = b"", None

    @property
    def is_utf8(self) -> bool:
        """Return whether the bytes are UTF-8 as far as they say so."""
        return self._charset is None or _known_codec(self._charset) in {None, "utf_8"}

    def _begin(self, data: bytes) -> bytes:
        found = _known_codec(self._charset or "") or "utf_8"
        name, length = _READ_AS.get(found, found), 0
        for mark, marked in _BOMS:
            if data.startswith(mark):
                name, length = marked, len(mark)
                break
        self._decoder = codecs.getincrementaldecoder(name)("replace")
        return data[length:]


# --- JSON ------------------------------------------------------------------------------------------------------------


class TooManyValues(orjson.JSONDecodeError):
    """JSON that would take far more memory than its text, because it has too many values."""

    def __init__(self, most: int) -> None:
        super().__init__(f"it has more than {most:,} values", "", 0)
        self.most = most

    def __reduce__(self) -> tuple[Any, ...]:
        return TooManyValues, (self.most,)


def most_values(max_bytes: int) -> int:
    """Return the most values of a document that may have `max_bytes` bytes: one for each 8 bytes, at least 100,000.

    A value is a member of an object or a list, or a list itself; an object counts as three. Rows of an API have 9 to 40
    bytes for each, manuals more. An empty list takes three bytes of text and 64 of memory, so a limit of bytes alone
    does not bound memory.
    """
    return max(_LEAST_VALUES, max_bytes // _BYTES_OF_A_VALUE)


def has_more_values(data: bytes | str, most: int) -> bool:
    """Return whether JSON text has more than `most` values, without parsing it. A short text costs nothing.

    Commas and opening brackets are counted, first everywhere, and if those are too many, outside of strings.
    """
    return 2 * len(data) > most and (marks := _marks(data)) > most and _outside_strings(data, marks) > most


def values_of(data: bytes | str) -> int:
    """Return the number of values of JSON text, by its commas and opening brackets outside of strings.

    An object counts as three, because it takes the memory of three lists. Of a text with few values, those
    marks in strings count too.
    """
    marks = _marks(data)
    return marks if marks <= _FEW_MARKS else _outside_strings(data, marks)


def _outside_strings(data: bytes | str, marks: int) -> int:
    if isinstance(data, str):
        data = data.encode("utf-8", "surrogatepass")
    if b'"' not in data:
        return marks
    data = data.replace(rb"\\", b"").replace(rb"\"", b"").translate(None, _UNCOUNTED)
    return _marks(_STRING.sub(b"", data))


def _marks(data: bytes | str) -> int:
    if isinstance(data, str):
        return data.count(",") + data.count("[") + 3 * data.count("{")
    return data.count(b",") + data.count(b"[") + 3 * data.count(b"{")


def is_deeper(value: Any, levels: int) -> bool:
    """Return whether a value of JSON is nested more than `levels` deep, at most 254.

    Trying to write it is seven times faster than walking it.
    """
    return written_within(value, levels) is None


def written_within(value: Any, levels: int) -> bytes | None:
    """Return a value that was read from JSON as compact JSON; None if it is nested more than `levels` deep.

    `levels` is at most 254. The value is wrapped in lists until a value at the limit can just be written.
    """
    around = MAX_DEPTH - levels
    for _ in range(around):
        value = [value]
    try:
        return orjson.dumps(value)[around : -around or None]
    except TypeError:
        return None


def is_number(value: Any) -> TypeGuard[float]:
    """Return whether a value of JSON is a number that can be a float: neither NaN nor out of its range."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return isfinite(value)
    except OverflowError:
        return False


def write_json(value: Any, option: int | None = None) -> bytes:
    """Return a value as JSON, also where orjson refuses it: with integers of any size, and U+FFFD for half a pair of
    surrogates. `option` is one of orjson's.

    :raises TypeError: it cannot be JSON, such as a set.
    """
    try:
        return orjson.dumps(value, option=option)
    except TypeError:
        text = json.dumps(value, ensure_ascii=False, sort_keys=bool((option or 0) & orjson.OPT_SORT_KEYS))
        return encodable(text).encode()


def is_heavy(data: bytes | str) -> bool:
    """Return whether what is in `data` takes so long to read that others should have their turn in between."""
    return len(data) > SURELY_LIGHT and (len(data) > _HEAVY_BYTES or _marks(data) > _HEAVY_VALUES)


def load_json(data: bytes | str, charset: str | None = None, *, most: int = MAX_VALUES) -> Any:
    """Return JSON as a value. Its text is valid: what does not decode, and half a pair of surrogates, is U+FFFD.

    Bytes are read as UTF-8 if they are UTF-8, else by `decode`, and UTF-16 and UTF-32 also without a mark.

    :raises TooManyValues: it has more than `most` values; this is an `orjson.JSONDecodeError` too.
    :raises orjson.JSONDecodeError: it is not JSON.
    """
    if 2 * len(data) > most and (marks := _marks(data)) > most:
        if isinstance(data, bytes) and (0 in data[:4] or _known_codec(charset or "") not in {None, "utf_8"}):
            data, charset = json_line(data, charset), None
        if _outside_strings(data, marks) > most:
            raise TooManyValues(most)
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        mended = json_line(data, charset)
        if isinstance(data, bytes) and mended != data:
            return orjson.loads(mended)
        try:
            return orjson.loads(mended)
        except orjson.JSONDecodeError:
            raise error from None  # its place is one in the given text


def json_line(data: bytes | str, charset: str | None = None) -> bytes:
    """Return the bytes of a JSON text as UTF-8 without a mark and without halves of surrogate pairs.

    Text that is right already stays as it is, and so do faults of the JSON itself.
    """
    if isinstance(data, str):
        mended = encodable(data.removeprefix("\ufeff")).encode()
    else:
        mended = decode(data, charset or _wide(data)).encode() if charset or not _is_utf8(data) else data
        mended = mended.removeprefix(codecs.BOM_UTF8)
    if _SURROGATE_ESCAPE.search(mended):
        mended = _ESCAPES.sub(_whole_escape, mended)
    return mended


def escape_line_ends(line: bytes) -> bytes:
    """Return a JSON text in which no character ends a line, for any parser of lines."""
    if line.isascii():  # a look for two bytes takes a hundred times as long as one for any that is not ASCII
        return line
    for raw, escaped in _LINE_ENDS:
        if raw[:1] in line and raw in line:
            line = line.replace(raw, escaped)
    return line


def outer_id(line: bytes) -> str | int | None:
    """Return the `id` of an object of JSON-RPC that no parser reads, because it is cut, too deep or too much.

    It is None if it is not among the first 64 KiB or the last members of the object.
    """
    depth = 0
    for token in _TOKEN.finditer(line, 0, _HEAD):
        text = token[0]
        if text in b"{[":
            depth += 1
        elif text in b"}]":
            depth -= 1
        elif depth == 1 and text == b'"id"' and (found := _ID.match(line, token.end())):
            return _identifier(found[1])
    last = _LAST_ID.search(line[-_MAX_TAIL:])
    return _identifier(last[1]) if last else None


def _identifier(written: bytes) -> str | int | None:
    try:
        return cast("str | int", orjson.loads(written))
    except orjson.JSONDecodeError:  # bytes that are not UTF-8
        return None


def _whole_escape(match: re.Match[bytes]) -> bytes:
    return b"\\ufffd" if match[1] else match[0]


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return not data.startswith(codecs.BOM_UTF8) and data[:2].count(0) == 0


def _wide(data: bytes) -> str | None:
    """Return the encoding of JSON whose first characters are ASCII, by the zeros around them (RFC 4627, section 3)."""
    zeros = tuple(byte == 0 for byte in data[:4])
    return {
        (True, True, True, False): "utf-32-be",
        (False, True, True, True): "utf-32-le",
        (True, False, True, False): "utf-16-be",
        (False, True, False, True): "utf-16-le",
    }.get(cast("Any", zeros))


def dotenv_content(data: bytes) -> tuple[dict[str, str | None], list[int]]:
    """Return the variables of a dotenv file, and the numbers of the lines that have none and are not comments.

    :raises UnicodeDecodeError: the file is neither UTF-8 nor UTF-16 with its mark, as PowerShell writes it.
    """
    from io import StringIO

    from dotenv import dotenv_values
    from dotenv.parser import parse_stream

    text = decode(data) if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else data.decode("utf-8-sig")
    bindings = [*parse_stream(StringIO(text))]
    values = dotenv_values(stream=StringIO("".join(one.original.string for one in bindings if not one.error)))
    lost = (one for one in bindings if one.error or (one.key is not None and not _DOTENV_NAME.fullmatch(one.key)))
    return values, [one.original.line for one in lost]


# --- text ------------------------------------------------------------------------------------------------------------


def encodable(text: str) -> str:
    """Return `text` with U+FFFD for each lone surrogate, which UTF-8 cannot encode. Halves that meet become one."""
    if text.isascii() or _LONE.search(text) is None:
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def visible(text: str, *, terminal: bool = False) -> str:
    """Return `text` without what a person would not see; see the top of this module. Clean text is returned itself.

    `terminal` says that the text was written for a terminal, where each carriage return starts the line again.
    """
    if _is_clean(text):
        return text
    return _cleaned(text, has_lines=terminal or "\n" in text)


def is_visible_line(text: str) -> bool:
    """Return whether people see a text as it is, on one line."""
    return "\t" not in text and text.splitlines() == [text] and visible(text) == text


def visible_steps(text: str, *, terminal: bool = False) -> Generator[None, None, str]:
    """Return what `visible` returns, in steps, for a text of any length.

    A text above 128 KiB is cleaned in pieces of about 32 KiB that end with a line where that is possible. A sequence or
    a backspace has no effect across the end of a piece.
    """
    if len(text) <= _LONG or _is_clean(text):
        return visible(text, terminal=terminal)
    has_lines = terminal or "\n" in text
    pieces: list[str] = []
    start = 0
    while start < len(text):
        yield
        end = _end_of_piece(text, start)
        pieces.append(_cleaned(text[start:end], has_lines=has_lines))
        start = end
    return "".join(pieces)


def _end_of_piece(text: str, start: int) -> int:
    end = start + _PIECE
    if end >= len(text):
        return len(text)
    places = (text.rfind(mark, start + 1, end) + (mark == "\n") for mark in _BREAKS)
    return next((place for place in places if place > start), end)


def _cleaned(text: str, *, has_lines: bool) -> str:
    text = encodable(text)
    if "\x1b" in text or _SEQUENCE.search(text):
        text = _SEQUENCE.sub("", _TO_COLUMN_1.sub("\r", _ESCAPE_RUN.sub("\x1b", text)))
    text = _HIDDEN.sub("", _NEWLINES.sub("\n", text)).replace("\u2800", " ")
    if "\b" in text:
        text = _typed_over(text)
    text = _JOINERS.sub(_kept_joiner, _SELECTORS.sub(_kept_selector, text))
    if "\r" in text:  # last, because a state of a line that has only hidden characters is an empty one
        text = _last_states(text) if has_lines or "\n" in text else text.replace("\r", "\n")
    return text


def visible_json_steps(value: Any, *, is_checked: bool = False) -> Generator[None, None, Any]:
    """Return what `visible_json` returns, in steps, for a value of any size.

    `is_checked` says that the value is known not to be clean.
    """
    if isinstance(value, str):
        return (yield from visible_steps(value))
    if not isinstance(value, dict | list) or (not is_checked and is_clean_json(value)):
        return cast("Any", value)
    yield
    return (yield from _visible_members(value, 1, cycle(range(_CONTAINERS_OF_A_STEP))))


def _visible_members(value: Any, depth: int, turn: Iterator[int]) -> Generator[None, None, Any]:
    if isinstance(value, str):
        return visible(value) if len(value) <= _LONG else (yield from visible_steps(value))
    if depth > MAX_DEPTH or not isinstance(value, dict | list):
        return value
    if not next(turn):
        yield
    if isinstance(value, list):
        items: list[Any] = []
        for one in cast("Any", value):
            items.append((yield from _visible_members(one, depth + 1, turn)))  # noqa: PERF401 - a comprehension cannot yield
        return items
    members: dict[Any, Any] = {}
    for key, member in cast("Any", value).items():
        shown = (yield from visible_steps(key)) if isinstance(key, str) else key
        members[shown] = yield from _visible_members(member, depth + 1, turn)
    return members


def visible_json(value: Any, depth: int = 0) -> Any:
    """Return a JSON-shaped value whose texts and keys are `visible`. A clean value is returned itself.

    Members that are not JSON, such as bytes, stay as they are.
    """
    if isinstance(value, str):
        return visible(value)
    if value is None or isinstance(value, bool | int | float) or depth > MAX_DEPTH:
        return value
    if depth == 0 and is_clean_json(value):
        return value
    if isinstance(value, dict):
        members = cast("Any", value)
        return {
            visible(key) if isinstance(key, str) else key: visible_json(member, depth + 1)
            for key, member in members.items()
        }
    if isinstance(value, list):
        return [visible_json(one, depth + 1) for one in cast("Any", value)]
    return value


def _is_clean(text: str) -> bool:
    """Return whether nothing is to be removed. It is fast for clean text: no pattern runs over it."""
    if text.isascii():
        if text.isprintable():
            return True
        data = text.encode()
        return len(data.translate(None, _ASCII_CONTROLS)) == len(data) or not _is_dirty(text)
    return _shows_all(text.replace("\n", " ").replace("\t", " ")) or not _is_dirty(text)


def _is_dirty(text: str) -> bool:
    return _DIRTY.search(text) is not None or ("\r" in text and _LONE_RETURN.search(text) is not None)


def _shows_all(text: str) -> bool:
    """Return whether a text without newlines and tabs has visible characters only; False if that is not certain."""
    if any(blank in text for blank in _BLANKS):
        return False
    return text.isprintable() and (not text.encode().translate(None, _HARMLESS_LEADS) or not _is_dirty(text))


def is_clean_json(value: Any) -> bool:
    """Return whether nothing is to be removed from a JSON-shaped value. False if that is not certain."""
    data = plainly_written(value)
    return data is not None and is_clean_data(data)


def plainly_written(value: Any) -> bytes | None:
    """Return a JSON-shaped value as compact JSON; None if it has something that is not of a plain type."""
    try:
        return orjson.dumps(value, option=_JSON_OPTIONS)
    except TypeError:
        return None


def is_clean_data(data: bytes) -> bool:
    """Return whether nothing is to be removed from compact JSON. False if that is not certain."""
    if b"\\" in data and _JSON_CONTROL.search(data):
        return False
    return b"\x7f" not in data if data.isascii() else _shows_all(data.decode())


def _typed_over(text: str) -> str:
    """Return the text after each backspace has removed the character before it, on its line."""
    kept: list[str] = []
    for character in text:
        if character != "\b":
            kept.append(character)
        elif kept and kept[-1] not in "\r\n":
            kept.pop()
    return "".join(kept)


def _last_states(text: str) -> str:
    *lines, last = text.split("\n")
    states = [_last_state(line) + ("\r" if line.endswith("\r") else "") for line in lines]
    return "\n".join([*states, _last_state(last)])


def _last_state(line: str) -> str:
    """Return what a terminal shows of a line at last."""
    if "\r" not in line:
        return line
    states = line.split("\r")
    return next((state for state in reversed(states) if state.strip()), states[-1])


def _neighbours(match: re.Match[str]) -> tuple[str, str]:
    text, start, end = match.string, match.start(), match.end()
    return text[start - 1 : start] if start else "", text[end : end + 1]


def _kept_selector(match: re.Match[str]) -> str:
    before, after = _neighbours(match)
    if len(match[0]) > 1 or not before:
        return ""
    if before in _KEYCAPS:
        return match[0] if after == _KEYCAP else ""
    return match[0] if _is_symbol(before) else ""


def _kept_joiner(match: re.Match[str]) -> str:
    before, after = _neighbours(match)
    return match[0] if len(match[0]) == 1 and _is_symbol(before) and _is_symbol(after) else ""


def _is_symbol(character: str) -> bool:
    return bool(character) and not character.isascii() and character.isprintable()
