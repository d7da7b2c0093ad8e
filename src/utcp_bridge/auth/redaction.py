"""Secret values are replaced in texts that leave the process: errors, logs, audit records.

A program that prints a secret often encodes it. Encodings of the whole value (Base64, hexadecimal) are searched as they
are. Escapes of single characters (URL, JSON, HTML, Python, C, shell) are undone first, also if one is inside another,
and what is found is replaced in the original text. One pattern, a tree of all forms, finds every secret in one pass.
"""

from __future__ import annotations

import base64
import json
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, quote, urlsplit

from utcp_bridge.late.patterns import late_pattern

__all__ = ["MASK", "Redactor", "secrets_in_url"]

MASK: Final = "***"
_MIN_LENGTH: Final = 6
_MIN_LINE: Final = 16
"""Characters of one line of a longer secret, such as a private key, for which the line counts as a secret."""
_MIN_SEGMENT: Final = 8
_MIN_CREDENTIAL: Final = 8
"""Characters of a credential that is searched in results. A shorter one may be a part of any word."""
_MAX_OF_A_SOURCE: Final = 64
"""Values of one source, such as the access tokens of one client, that are known at once. The oldest are forgotten."""
_MAX_TEXT: Final = 256 * 1024
"""Characters of a text that are searched. Nobody reads an error of this length, so the rest is left out."""
_ROUNDS: Final = 3
"""How many escapes are undone that are inside one another, as in JSON within JSON."""
_ESCAPE: Final = late_pattern(
    r"(?:%[0-9A-Fa-f]{2})+|(?:\\x[0-9A-Fa-f]{2})+|(?:\\u[0-9A-Fa-f]{4})+|\\u\{[0-9A-Fa-f]{1,6}\}|\\U[0-9A-Fa-f]{8}"
    r"|(?:\\[0-7]{3})+|\\[^A-Za-z0-9]|\\[abefnrtv0]|&#[0-9]{1,7};|&#[xX][0-9A-Fa-f]{1,6};|&[A-Za-z][A-Za-z0-9]{1,31};",
    re.DOTALL,
)
_LETTERS: Final = dict(zip("abefnrtv0", "\a\b\x1b\f\n\r\t\v\0", strict=True))
_Span = tuple[int, int]


class Form(NamedTuple):
    """One form of a credential: as text, as bytes, and as the bytes of JSON."""

    text: str
    plain: bytes
    as_json: bytes

    @classmethod
    def of(cls, text: str) -> Form:
        """Return the form that is this text."""
        plain, quoted = (one.encode("utf-8", "surrogatepass") for one in (text, json.dumps(text, ensure_ascii=False)))
        return cls(text, plain, quoted[1:-1])

    @property
    def is_unicode(self) -> bool:
        """Whether JSON can carry the text: it has no half of a surrogate pair."""
        return self.plain.decode("utf-8", "replace") == self.text


class Redactor:
    """Learns secret values and replaces them in texts, in each form in which programs print them.

    Values of fewer than six characters are ignored unless forced, because they would replace ordinary words. A value
    is known for as long as the bridge runs, or while it is one of the newest of its source: secrets that rotate take a
    bounded amount of memory. What uses a secret learns it again, so that a secret in use is not the oldest.
    """

    def __init__(self) -> None:
        self.changes = 0
        """How often the known values have changed: what was replaced before may have to be replaced anew."""
        self._values: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        self._sources: dict[str, dict[str, None]] = {}
        self._uses: Counter[str] = Counter()
        self._credentials: set[str] = set()
        self.has_credentials = False
        """Whether there is anything to replace in results."""
        self._credential_forms: tuple[Form, ...] | None = None

    def __repr__(self) -> str:
        return f"<Redactor of {len(self._values)} values>"

    def learn(
        self, values: Iterable[str], *, force: bool = False, source: str = "", is_credential: bool = False
    ) -> None:
        """Replace these values from now on.

        `source` says what the values belong to if it may have others later. Credentials are replaced in results, too.
        """
        for value in values:
            if value and (force or len(value) >= _MIN_LENGTH):
                self._remember(value, source)
                if is_credential and len(value) >= _MIN_CREDENTIAL and value not in self._credentials:
                    self._credentials.add(value)
                    self.has_credentials, self._credential_forms = True, None

    def _remember(self, value: str, source: str) -> None:
        own = self._sources.setdefault(source, {})
        if value in own:
            if source:
                own[value] = own.pop(value)  # it is the newest again
            return
        own[value] = None
        self._uses[value] += 1
        if value not in self._values:
            self._values.add(value)
            self._pattern = None
            self.changes += 1
        if source and len(own) > _MAX_OF_A_SOURCE:
            self._forget(own)

    def _forget(self, values: dict[str, None]) -> None:
        """Forget the oldest value of a source, unless another source has it too."""
        oldest = next(iter(values))
        del values[oldest]
        self._uses[oldest] -= 1
        if not self._uses[oldest]:
            del self._uses[oldest]
            self._values.discard(oldest)
            self._credentials.discard(oldest)
            self.has_credentials = bool(self._credentials)
            self._pattern = self._credential_forms = None
            self.changes += 1

    def credential_forms(self) -> tuple[Form, ...]:
        """Return the usual forms of credentials, the longest first."""
        if self._credential_forms is None:
            forms = {form for value in self._credentials for form in (*_forms(value), *_escaped_forms(value))}
            usual = sorted(filter(_is_long_enough, forms), key=lambda form: (-len(form), form))
            self._credential_forms = tuple(map(Form.of, usual))
        return self._credential_forms

    def learn_basic(self, username: str, password: str) -> None:
        """Replace the pair of HTTP Basic from now on, so that a short password is found too."""
        self.learn([base64.b64encode(f"{username}:{password}".encode()).decode()])

    def __call__(self, text: str) -> str:
        """Return `text` with each known secret replaced by `***`."""
        if not self._values:
            return text
        if self._pattern is None:
            forms = {form for value in self._values for form in _forms(value)}
            self._pattern = re.compile(_tree(sorted(forms)), re.DOTALL)
        if len(text) > _MAX_TEXT:
            text = f"{text[:_MAX_TEXT]}…"
        spans = _found(self._pattern, text)
        return _masked(text, spans) if spans else text


def secrets_in_url(url: str) -> Iterator[str]:
    """Yield what may be secret in a URL: the password, values of the query, and random parts of the path."""
    try:
        parts = urlsplit(url)
        password = parts.password
    except ValueError:
        return
    if password:
        yield password
    yield from (value for _, value in parse_qsl(parts.query))
    for segment in parts.path.split("/"):
        has_digits = any(character.isdigit() for character in segment)
        if len(segment) >= _MIN_SEGMENT and has_digits and any(character.isalpha() for character in segment):
            yield segment


# --- the forms of a value ------------------------------------------------------------------------


def _forms(value: str) -> Iterator[str]:
    """Yield the forms of a value, except those that `_ESCAPE` undoes."""
    from html import escape  # half a megabyte of names of characters, for secrets alone

    for plain in (value, *_long_lines(value)):
        texts = {
            plain,
            plain.replace(" ", "+"),  # of a form, after its other escapes are undone
            quote(plain, safe=""),
            escape(plain),  # what follows a backslash at its end may look like an escape
            ascii(plain)[1:-1],  # the escapes of two characters may look like the two bytes of one
            plain.replace("'", "''"),  # SQL, PowerShell
            plain.replace('"', '""'),  # CSV
            plain.replace("'", "'\"'\"'"),  # a shell
            plain.replace("'", "'\\''"),  # the same
        }
        for text in texts:
            yield from _with_undone(text)
        data = plain.encode(errors="surrogatepass")
        yield from _base64_forms(data)
        if len(data) >= _MIN_LENGTH // 2:
            for text in (data.hex(), data.hex(" "), data.hex(":")):
                yield text
                yield text.upper()


def _escaped_forms(value: str) -> Iterator[str]:
    """Yield what `_ESCAPE` undoes, as programs write it."""
    from html import escape

    yield repr(value)[1:-1]
    yield escape(value)
    yield escape(value, quote=False)
    yield quote(value, safe="/")
    yield re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), quote(value, safe=""))
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]


def _is_long_enough(form: str) -> bool:
    return len(form) >= _MIN_LENGTH


def _with_undone(text: str) -> Iterator[str]:
    """Yield a text, and what becomes of it where it only looks like an escape, next to others that are undone."""
    for _ in range(_ROUNDS + 1):
        if text:
            yield text
        undone = _Undone(text).text
        if undone == text:
            return
        text = undone


def _long_lines(value: str) -> list[str]:
    lines = value.splitlines()
    return [line for line in lines if len(line) >= _MIN_LINE] if len(lines) > 1 else []


def _base64_forms(value: bytes) -> Iterator[str]:
    """Yield the characters of `value` in Base64 for any text before and after it.

    Base64 encodes three bytes at a time, so there are three alignments. The characters at both ends, which also depend
    on the text around `value`, are left out.
    """
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + value).decode().rstrip("=")
        first = (before * 8 + 5) // 6
        last = (before + len(value)) * 8 // 6
        core = encoded[first:last]
        if len(core) >= _MIN_LENGTH:
            yield core
            yield core.replace("+", "-").replace("/", "_")


def _tree(words: list[str]) -> str:
    """Return a pattern of sorted words, the longest first, which tries one branch at each character."""
    branches: list[str] = []
    for _, group in groupby(words, key=lambda word: word[0]):
        members = list(group)
        prefix = _common(members[0], members[-1])
        rest = [member[len(prefix) :] for member in members]
        longer = [member for member in rest if member]
        below = _tree(longer) if longer else ""
        branches.append(re.escape(prefix) + (f"(?:{below})?" if below and len(longer) < len(rest) else below))
    return branches[0] if len(branches) == 1 else f"(?:{'|'.join(branches)})"


def _common(first: str, last: str) -> str:
    """Return the beginning that two words share, and so all words between them in order."""
    size = next((index for index, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), len(first))
    return first[:size]


# --- the search ----------------------------------------------------------------------------------


def _found(pattern: re.Pattern[str], text: str) -> list[_Span]:
    """Return the places of secrets in a text, also in escaped forms."""
    spans = list(_matches(pattern, text))
    layers: list[_Undone] = []
    current = text
    for _ in range(_ROUNDS):
        if not ("\\" in current or "%" in current or "&" in current):
            break
        undone = _Undone(current)
        if not undone.starts:
            break
        layers.append(undone)
        current = undone.text
        for span in _matches(pattern, current):
            for layer in reversed(layers):
                span = layer.original(span)  # noqa: PLW2901 - one layer after the other
            spans.append(span)
    return spans


def _matches(pattern: re.Pattern[str], text: str) -> Iterator[_Span]:
    """Yield each match, also those that begin within another one."""
    start = 0
    while found := pattern.search(text, start):
        yield found.span()
        start = found.start() + 1


class _Undone:
    """A text without its escapes, and where each of them was."""

    __slots__ = ("_ends", "_lengths", "_origins", "starts", "text")

    def __init__(self, text: str) -> None:
        parts: list[str] = []
        self.starts: list[int] = []
        self._lengths: list[int] = []
        self._origins: list[int] = []
        self._ends: list[int] = []
        position = size = 0
        for found in _ESCAPE.finditer(text):
            plain = _plain(found[0])
            parts += (text[position : found.start()], plain)
            size += found.start() - position
            self.starts.append(size)
            self._lengths.append(len(plain))
            self._origins.append(found.start())
            self._ends.append(found.end())
            size += len(plain)
            position = found.end()
        parts.append(text[position:])
        self.text: Final = "".join(parts)

    def original(self, span: _Span) -> _Span:
        """Return the place in the original text, with each escape that it touches."""
        start, last = span[0], span[1] - 1
        return self._place(start, self._origins)[0], self._place(last, self._ends)[1]

    def _place(self, position: int, within: list[int]) -> _Span:
        index = bisect_right(self.starts, position) - 1
        if index < 0:
            return position, position + 1
        beyond = position - self.starts[index] - self._lengths[index]
        place = within[index] if beyond < 0 else self._ends[index] + beyond
        return place, place if beyond < 0 else place + 1


def _plain(escape: str) -> str:
    """Return the characters that an escape, or a run of equal ones, stands for."""
    if escape[0] == "%":
        return _text_of(bytes.fromhex(escape.replace("%", "")))
    return _plain_entity(escape) if escape[0] == "&" else _plain_backslash(escape)


def _plain_entity(escape: str) -> str:
    digits = escape[2:-1]
    if escape[1] != "#":
        from html import unescape

        return unescape(escape)
    return _character(int(digits[1:], 16) if digits[0] in "xX" else int(digits))


def _plain_backslash(escape: str) -> str:
    kind = escape[:2]
    if kind == r"\x":
        return _text_of(bytes.fromhex(escape.replace(r"\x", "")))
    if kind in {r"\u", r"\U"}:
        if kind == r"\U" or escape[2] == "{":
            return _character(int(escape[2:].strip("{}"), 16))
        return bytes.fromhex(escape.replace(r"\u", "")).decode("utf-16-be", "replace")
    if kind[1].isdigit() and len(escape) > len(kind):
        return _text_of(bytes(int(octal, 8) & 0xFF for octal in escape[1:].split("\\")))
    return _LETTERS.get(kind[1], kind[1])


def _character(number: int) -> str:
    return chr(number) if number < 0x11_0000 else ""


def _text_of(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _masked(text: str, spans: list[_Span]) -> str:
    parts: list[str] = []
    position = 0
    for start, end in sorted(spans):
        if end <= position:
            continue
        if start >= position:
            parts += (text[position:start], MASK)
        position = end
    parts.append(text[position:])
    return "".join(parts)
