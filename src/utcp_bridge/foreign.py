"""Bytes and text of other programs: decoded without loss of a whole, and without characters that nobody sees.

`decode` and `load_json` read bytes of any origin. `visible` and `visible_json` remove what a person would not see:
terminal sequences, control characters, and characters that are invisible or change the direction of text. These could
hide instructions from people, break a terminal, or make a line that a JSON parser refuses.

One policy for results, errors, logs and definitions:

    lone surrogates, bytes that do not decode    U+FFFD
    terminal sequences (CSI, OSC, DCS, ESC x)    removed, 7-bit and 8-bit
    a letter and a backspace                     removed: the letter printed after it stays
    a carriage return inside a line              the last state of the line stays; a text without any newline is instead
                                                 split there, unless it was written to a terminal
    U+2028, U+2029, U+0085, VT, FF               a newline
    ZWJ, ZWNJ between two letters or emoji,      stay, alone: scripts and emoji need them
    U+FE0E, U+FE0F after a symbol
    other control and invisible characters       removed; tab, newline and CRLF stay
"""

from __future__ import annotations

import codecs
import re
from contextlib import suppress
from typing import Any, Final, cast

import orjson

__all__ = [
    "MAX_DEPTH",
    "Excerpt",
    "StreamDecoder",
    "decode",
    "encodable",
    "escape_line_ends",
    "json_line",
    "load_json",
    "outer_id",
    "visible",
    "visible_json",
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
_READ_AS: Final = {"iso8859-1": "cp1252", "ascii": "cp1252", "utf-16": "utf-16-le", "utf-32": "utf-32-le"}
"""Charsets that are read as another one, as browsers do: their declarations are often not exact. Of ASCII, UTF-8 is
tried first."""
_NOT_TEXT: Final = frozenset({"idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape", "mbcs", "oem"})

_LONE: Final = re.compile("[\ud800-\udfff]")
_ESCAPES: Final = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)
_SURROGATE_ESCAPE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_LINE_ENDS: Final = ((b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"), (b"\xc2\x85", b"\\u0085"))
"""Characters that end a line for some parsers, and how JSON escapes them."""

_TOKEN: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\]]', re.DOTALL)
_ID: Final = re.compile(rb'\s*:\s*(-?\d{1,18}|"[^"\\]{0,200}")\s*[,}]')

_TO_COLUMN_1: Final = re.compile(r"(?:\x1b\[|\x9b)[01]?G")
_SEQUENCE: Final = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI
    r"|\x9b(?:[0-?]+[ -/]*[@-~]|[A-HJKm])"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x90\x98\x9c-\x9f]*(?:\x07|\x1b\\|\x9c|\Z)"  # OSC, DCS and others
    r"|\x1b[ -/]+[0-~]|\x1b[0-Z\\-_cl-o|-~]"
)
_DIRTY: Final = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"  # control characters, tab and newline excepted
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"  # soft hyphen, joiners, fillers
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164"  # zero width, line separators, bidi
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ud800-\udfff"  # variation selectors, BOM, annotations, surrogates
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"  # musical controls, tags
)
_LONE_RETURN: Final = re.compile("\r(?!\n)")
_HIDDEN: Final = re.compile(
    "[\x00-\x07\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0d\ufeff\uffa0\ufff0-\ufffb"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_NEWLINES: Final = re.compile("[\x0b\x0c\x85\u2028\u2029]")
_SELECTORS: Final = re.compile("[\ufe0e\ufe0f]+")
_JOINERS: Final = re.compile("[\u200c\u200d]+")
_KEYCAPS: Final = frozenset("0123456789#*")
_KEYCAP: Final = "\u20e3"

_ASCII_CONTROLS: Final = bytes([*range(9), *range(11, 32), 127])
_HARMLESS_LEADS: Final = bytes(sorted(set(range(256)) - {0xCD, 0xE1, 0xE3, 0xEF, 0xF3}))
"""All bytes but those that start the UTF-8 of a character that is printable for Python and invisible to people."""
_JSON_CONTROL: Final = re.compile(rb"\\(?:u00|[bf]|r(?!\\n))|\x7f")
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


def _by_charset(data: bytes, charset: str) -> str:
    try:
        if codecs.lookup(charset).name == "ascii":
            with suppress(UnicodeDecodeError):
                return data.decode()
        return encodable(data.decode(_codec(charset), "replace"))
    except (LookupError, ValueError):  # also UnicodeError, for codecs that have no replacement
        return data.decode("utf-8", "replace")


def _codec(charset: str) -> str:
    """Return Python's codec for a charset of the web.

    :raises LookupError: Python has no codec that turns bytes of this charset into text.
    """
    found = codecs.lookup(charset.strip(" \"'"))
    if not getattr(found, "_is_text_encoding", True) or found.name in _NOT_TEXT:
        raise LookupError(charset)
    return _READ_AS.get(found.name, found.name)


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
        try:
            return self._charset is None or _codec(self._charset) == "utf-8"
        except LookupError:
            return True

    def _begin(self, data: bytes) -> bytes:
        name, length = "utf-8", 0
        if not self.is_utf8:
            name = _codec(cast("str", self._charset))
        for mark, marked in _BOMS:
            if data.startswith(mark):
                name, length = marked, len(mark)
                break
        self._decoder = codecs.getincrementaldecoder(name)("replace")
        return data[length:]


class Excerpt:
    """The beginning and the end of a stream of bytes, with a note of what is missing between them."""

    __slots__ = ("_half", "_head", "_tail", "size")

    def __init__(self, limit: int = 16_384) -> None:
        self._half = limit // 2
        self._head = b""
        self._tail = b""
        self.size = 0

    def add(self, data: bytes) -> None:
        """Take the next bytes."""
        self.size += len(data)
        room = self._half - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        if data:
            self._tail = (self._tail + data)[-self._half :]

    def data(self) -> bytes:
        """Return what was kept."""
        missing = self.size - len(self._head) - len(self._tail)
        note = f"\n[… {missing} bytes …]\n".encode() if missing else b""
        return self._head + note + self._tail

    @classmethod
    def of(cls, data: bytes, limit: int) -> bytes:
        """Return an excerpt of all the bytes, of about `limit` bytes."""
        excerpt = cls(limit)
        excerpt.add(data)
        return excerpt.data()


# --- JSON ------------------------------------------------------------------------------------------------------------


def load_json(data: bytes | str, charset: str | None = None) -> Any:
    """Return JSON as a value. Its text is valid: what does not decode, and half a pair of surrogates, is U+FFFD.

    Bytes are read as UTF-8 if they are UTF-8, else by `decode`, and UTF-16 and UTF-32 also without a mark.

    :raises orjson.JSONDecodeError: it is not JSON.
    """
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
    for raw, escaped in _LINE_ENDS:
        if raw in line:
            line = line.replace(raw, escaped)
    return line


def outer_id(line: bytes) -> str | int | None:
    """Return the `id` of an object of JSON-RPC that no parser reads, because it is cut or too deep; None if unknown."""
    depth = 0
    for token in _TOKEN.finditer(line):
        text = token[0]
        if text in b"{[":
            depth += 1
        elif text in b"}]":
            depth -= 1
        elif depth == 1 and text == b'"id"' and (found := _ID.match(line, token.end())):
            return cast("str | int", orjson.loads(found[1]))
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
    text = encodable(text)
    if "\x1b" in text or _SEQUENCE.search(text):
        text = _SEQUENCE.sub("", _TO_COLUMN_1.sub("\r", text))
    text = _HIDDEN.sub("", _NEWLINES.sub("\n", text))
    if "\b" in text:
        text = _typed_over(text)
    if "\r" in text:
        text = _last_states(text, terminal=terminal)
    return _JOINERS.sub(_kept_joiner, _SELECTORS.sub(_kept_selector, text))


def visible_json(value: Any, depth: int = 0) -> Any:
    """Return a JSON-shaped value whose texts and keys are `visible`. A clean value is returned itself.

    Members that are not JSON, such as bytes, stay as they are.
    """
    if isinstance(value, str):
        return visible(value)
    if value is None or isinstance(value, bool | int | float) or depth > MAX_DEPTH:
        return value
    if depth == 0 and _is_clean_json(value):
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
    return text.isprintable() and (not text.encode().translate(None, _HARMLESS_LEADS) or not _is_dirty(text))


def _is_clean_json(value: Any) -> bool:
    try:
        data = orjson.dumps(value, option=_JSON_OPTIONS)
    except TypeError:
        return False
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


def _last_states(text: str, *, terminal: bool) -> str:
    if not terminal and "\n" not in text:
        return text.replace("\r", "\n")
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
