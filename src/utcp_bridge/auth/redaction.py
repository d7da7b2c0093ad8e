"""Secret values are replaced in texts that leave the process: errors, logs, audit records."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import quote, quote_plus

__all__ = ["MASK", "Redactor"]

MASK: Final = "***"
_MIN_LENGTH: Final = 6


class Redactor:
    """Learns secret values and replaces them in texts, in each form in which they are sent.

    The forms are: unchanged, URL-encoded, form-encoded, JSON-escaped, and Base64 at any position of the encoded text
    (so `user:secret` of HTTP Basic is found too). Values of fewer than six characters are ignored unless forced,
    because they would replace ordinary words.
    """

    def __init__(self) -> None:
        self._values: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def learn(self, values: Iterable[str], *, force: bool = False) -> None:
        """Replace these values from now on."""
        new = {value for value in values if value and (force or len(value) >= _MIN_LENGTH)} - self._values
        if new:
            self._values |= new
            self._pattern = None

    def learn_basic(self, username: str, password: str) -> None:
        """Replace the pair of HTTP Basic from now on, so that a short password is found too."""
        self.learn([base64.b64encode(f"{username}:{password}".encode()).decode()])

    def __call__(self, text: str) -> str:
        """Return `text` with each known secret replaced by `***`."""
        if not self._values:
            return text
        if self._pattern is None:
            self._pattern = _compile(self._values)
        return self._pattern.sub(MASK, text)


def _compile(values: Iterable[str]) -> re.Pattern[str]:
    forms = {form for value in values for form in _forms(value)}
    # The longest form comes first, so that the mask of a shorter secret leaves no rest of a longer one.
    return re.compile("|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True)))


def _forms(value: str) -> Iterator[str]:
    yield value
    for encoded in (quote(value, safe=""), quote(value), quote_plus(value)):
        yield encoded
        yield re.sub(r"%[0-9A-F]{2}", lambda match: match[0].lower(), encoded)
    yield value.replace("\\", "\\\\").replace('"', '\\"')
    yield from _base64_forms(value.encode())


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
