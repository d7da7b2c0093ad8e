"""Words of names, descriptions and queries: splitting, folding, stop words, stemming.

The same splitting serves the index and the query, so that both sides meet on the same terms.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final

__all__ = ["STOP_WORDS", "chunks", "compact", "normalise", "stem", "terms", "terms_of_chunk"]

_CHUNK: Final = re.compile(r"\w+(?:[-'\u2019.]\w+)*")
_PIECE: Final = re.compile(r"[^\W_]+")
_CAMEL: Final = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
_APOSTROPHE: Final = re.compile(r"['\u2019](?:s|m|re|ve|ll|d|t)?\b", re.IGNORECASE)
_CJK_RUN: Final = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uac00-\ud7af]+")
_MARKS: Final = re.compile("[\u0300-\u036f]")
_LONGEST_CHUNK: Final = 64
_JOINED_PARTS: Final = 3
_VOWELS: Final = frozenset("aeiouy")

_STOP_WORDS: Final = """
a able about above actually additionally after again all along also am an and any anyone anything are aren as assist
assistance at b be because been before being better between both but by c can cannot certain could couldn curious
currently d dear did didn do does doesn doing don down during e each effectively ensure ensuring etc everything f
few finally firstly for from further furthermore g gather give given gives giving going gonna good got great had has
have having he hello help helpful helping helps her here hers hey hi him his hope hoping how however i if im in
interested into is isn it its itself ive j just k kindly know knowing l lastly let lets like liked likes ll look
looking lot lots love m make many maybe me mention mentioned more moreover most much my n nd need needed needing
needs next no nor not o of off ok okay on once only or other our ours out over own p particular please possible
possibly provided provides q quite r rd re really recently regarding related relevant s same secondly several she
should so some somebody someone something specific specifically st such sure t tell tells th than thank thanks that
the their theirs them then there these they thing things think thinking this those through to too try trying u under
understand until up upon us use used uses using v variety various very via w wanna want wanted wanting wants was way
ways we well were what when where whether which while who whom whose why will wish with wonder wondering would x y
yes yet you your yours z
"""
STOP_WORDS: Final = frozenset(_STOP_WORDS.split())


def normalise(text: str) -> str:
    """NFKC; accents of Latin letters fall away, letter case stays (camel case needs it)."""
    if text.isascii():
        return text
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text))
    return unicodedata.normalize("NFC", _MARKS.sub("", decomposed))


def chunks(text: str) -> list[str]:
    """Runs of word characters as written, inner hyphens, dots and apostrophes included."""
    found: list[str] = _CHUNK.findall(normalise(text))
    return found


def compact(text: str) -> str:
    """Letters and digits alone, folded: how full tool names are compared."""
    return "".join(_PIECE.findall(normalise(text))).casefold()


def terms(text: str) -> list[str]:
    """The index terms of a text, in order, repetitions kept, stop words left out."""
    found: list[str] = []
    for chunk in chunks(text):
        found += terms_of_chunk(chunk)
    return found


@lru_cache(maxsize=4_096)
def terms_of_chunk(chunk: str) -> tuple[str, ...]:
    """Terms of one chunk: its parts, and the joined forms of what was split."""
    if len(chunk) > _LONGEST_CHUNK:
        chunk = chunk[:_LONGEST_CHUNK]
    if chunk.isascii() and chunk.islower() and chunk.isalpha():
        return _kept(chunk)
    found: list[str] = []
    pieces = _PIECE.findall(_APOSTROPHE.sub("", chunk))
    for piece in pieces:
        parts = _CAMEL.findall(piece) if piece.isascii() else _foreign(piece)
        for part in parts:
            found += _kept(part.casefold())
        if len(parts) > 1 and piece.isascii():
            found += _kept(piece.casefold())
    if 1 < len(pieces) <= _JOINED_PARTS:
        found += _kept("".join(pieces).casefold())
    return tuple(found)


def _kept(word: str) -> tuple[str, ...]:
    return () if word in STOP_WORDS else (stem(word),)


def _foreign(piece: str) -> list[str]:
    """Other scripts: CJK runs in overlapping pairs, the rest as it is."""
    found: list[str] = []
    position = 0
    for run in _CJK_RUN.finditer(piece):
        found += [piece[position : run.start()]] if position < run.start() else []
        text = run.group()
        found += [text[i : i + 2] for i in range(max(1, len(text) - 1))]
        position = run.end()
    return found + ([piece[position:]] if position < len(piece) else [])


@lru_cache(maxsize=4_096)
def stem(word: str) -> str:
    """A light stemmer for English: plurals, -ed and -ing, final e and y. Other words come back as they are."""
    if len(word) < 4 or not word.isascii() or not word.isalpha():
        return word
    word = _participle(_singular(word))
    if len(word) > 4 and word.endswith("e"):
        return word[:-1]
    if len(word) > 3 and word.endswith("y") and word[-2] not in _VOWELS:
        return word[:-1] + "i"
    return word


def _singular(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if (word.endswith(("sses", "shes", "ches", "zes")) and len(word) > 5) or word.endswith("xes"):
        return word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def _participle(word: str) -> str:
    if len(word) < 5:
        return word
    if word.endswith("ied"):
        return word[:-3] + "y"
    for suffix in ("ing", "ed"):
        base = word[: -len(suffix)]
        if word.endswith(suffix) and len(base) > 2 and base[-1] != "e" and not _VOWELS.isdisjoint(base):
            doubled = base[-1] == base[-2] and base[-1] not in "lsz" and len(base) > 3
            return base[:-1] if doubled else base
    return word
