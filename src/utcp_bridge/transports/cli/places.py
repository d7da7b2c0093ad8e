"""What reading a script yields: words, the places of its placeholders, and where it evaluates text (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from utcp_bridge.placement.encoding import JsonPlace, places_in_json

__all__ = [
    "BEFORE_JSON",
    "PLACEHOLDER",
    "DashGuard",
    "Evaluation",
    "Fill",
    "RefusedSpan",
    "StepReading",
    "Word",
    "WordPart",
]


def names(text: str) -> frozenset[str]:
    """Return the names in a text."""
    return frozenset(text.split())


PLACEHOLDER: Final = re.compile(r"UTCP_ARG_(\w{1,128}?)_UTCP_END")
BEFORE_JSON: Final = re.compile(r"(?:-[A-Za-z]|[\w.-]+(?::=|[=:]))(?=[{\[])")
"""What may be before JSON in a word: `-d{…}`, `--data={…}`, `body:={…}`."""


@dataclass(frozen=True, slots=True)
class RefusedSpan:
    """A span of the script in which no placeholder may be, and why: `place` ends the sentence "It is …"."""

    start: int
    end: int
    place: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Fill:
    """A placeholder that may be filled: its span, its argument, and the quotation mark around it.

    `place` is its place in the JSON text that its word is; None if the word is another text.
    """

    start: int
    end: int
    argument: str
    quote: str
    place: JsonPlace | None = None


@dataclass(frozen=True, slots=True)
class WordPart:
    """A part of a word. `kind` is `text`, `argument`, `variable` (`text` is its name) or `other`."""

    kind: str
    text: str
    quote: str
    start: int
    end: int


@dataclass(slots=True)
class Word:
    """One word of a command, before the shell expands it."""

    start: int
    end: int = 0
    raw: str = ""
    parts: list[WordPart] = field(default_factory=list[WordPart])

    @property
    def literal(self) -> str | None:
        """The word without its quotation marks; None if a part of it is known at call time only."""
        if any(part.kind != "text" for part in self.parts):
            return None
        return "".join(part.text for part in self.parts)

    @property
    def arguments(self) -> list[WordPart]:
        """The placeholders in it."""
        return [part for part in self.parts if part.kind == "argument"]

    @property
    def bare(self) -> str:
        """The text outside quotation marks."""
        return "".join(part.text for part in self.parts if part.kind == "text" and not part.quote)

    def json_places(self) -> list[JsonPlace | None]:
        """Return the place of each part in the JSON text that the word is; None for text, and if it is not JSON.

        :raises ConfigError: a placeholder is within an escape sequence of the JSON text.
        """
        nowhere: list[JsonPlace | None] = [None] * len(self.parts)
        text = "".join(part.text if part.kind == "text" else "\0" for part in self.parts)
        if text.count("\0") != sum(part.kind != "text" for part in self.parts):
            return nowhere  # a NUL, which is in no JSON text
        before = BEFORE_JSON.match(text)
        start = before.end() if before else 0
        if before and text.startswith("[", start) and '"' not in text and "{" not in text:
            return nowhere  # a list such as `x=[1,2]`, which is not JSON to every program
        pieces = re.split("(\0)", text[start:])
        places = places_in_json([None if piece == "\0" else piece for piece in pieces if piece])
        if places is None:
            return nowhere
        found = iter([place for place in places if place is not None])
        return [None if part.kind == "text" else next(found) for part in self.parts]

    def leading(self) -> Iterator[WordPart]:
        """Yield the parts with which the word can begin at call time, as any part before them can be empty."""
        for part in self.parts:
            if part.kind == "text":
                if part.text:
                    return
                continue
            yield part


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A text that the shell, or a program that it starts, evaluates."""

    start: int
    end: int
    text: str
    place: str
    reads_input: bool = False
    """Whether it evaluates what the script wrote before it."""


@dataclass(frozen=True, slots=True)
class DashGuard:
    """Arguments that begin a word together, which a command could read as an option."""

    arguments: tuple[str, ...]
    after_option: bool = False
    """Whether an option is before the word, which may take a negative number as its value."""


@dataclass(slots=True)
class StepReading:
    """All that one step of a script contains."""

    refusals: list[RefusedSpan] = field(default_factory=list[RefusedSpan])
    fills: list[Fill] = field(default_factory=list[Fill])
    guards: list[DashGuard] = field(default_factory=list[DashGuard])
    assigned: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """Variables and the text that is assigned to them; `@` for the arguments of functions."""
    read: list[str] = field(default_factory=list[str])
    """Variables that take their value from the input."""
    evaluations: list[Evaluation] = field(default_factory=list[Evaluation])
    unquoted: list[WordPart] = field(default_factory=list[WordPart])
    """Variables that the shell splits into words."""
    in_json: list[WordPart] = field(default_factory=list[WordPart])
    """Variables within words that are JSON texts."""
    commands: list[tuple[str, tuple[str, ...]]] = field(default_factory=list[tuple[str, tuple[str, ...]]])
    """Commands of PowerShell, and the arguments that each receives."""

    def refuse(self, start: int, end: int, place: str, remedy: str = "") -> None:
        """Note a span in which no placeholder may be."""
        self.refusals.append(RefusedSpan(start, end, place, remedy))

    def accept(self, word: Word) -> None:
        """Note that the placeholders of a word may be filled.

        :raises ConfigError: one is within an escape sequence of a JSON text.
        """
        if all(part.kind == "text" for part in word.parts):
            return
        for part, place in zip(word.parts, word.json_places(), strict=True):
            if part.kind == "argument":
                self.fills.append(Fill(part.start, part.end, part.text, part.quote, place))
            elif part.kind == "variable" and place is not None:
                self.in_json.append(part)

    def guard(self, word: Word, *, after_option: bool = False) -> None:
        """Note that the word must not begin with `-` at call time."""
        names = tuple(part.text for part in word.leading() if part.kind == "argument")
        if names:
            self.guards.append(DashGuard(names, after_option))
