"""Words of names, descriptions and queries: splitting, folding, stop words, stemming.

The same splitting serves the index and the query, so that both sides meet on the same terms.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final

__all__ = ["STOP_WORDS", "chunks", "compact", "is_cjk", "normalise", "stem", "terms", "terms_of_chunk"]

_CHUNK: Final = re.compile(r"\w+(?:[-'\u2019.]\w+)*")
_PIECE: Final = re.compile(r"[^\W_]+")
_CAMEL: Final = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
_APOSTROPHE: Final = re.compile(r"['\u2019](?:s|m|re|ve|ll|d|t)?\b", re.IGNORECASE)
_CJK_RUN: Final = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uac00-\ud7af]+")
_MARKS: Final = re.compile("[\u0300-\u036f]")
_LONGEST_CHUNK: Final = 64
_JOINED_PARTS: Final = 3

_STOP_WORDS: Final = """
a about above after again all also am an and any are aren as at b be because been before being between both but by c
can cannot could couldn d did didn do does doesn doing don down during e each etc f few for from further g had has
have having he her here hers him his how i if in into is isn it its itself j just k l ll m me more most my n no nor
not o of off on once only or other our ours out over own p q r re s same she should so some such t than that the
their theirs them then there these they this those through to too u under until up upon us v very w was we were what
when where whether which while who whom whose why will with would x y yes yet you your yours z
please thanks thank hi hello hey dear kindly okay ok sure maybe want wants wanted wanting need needs needed needing
like likes liked would could help helps helping let lets tell tells give gives given giving know knowing interested
looking look trying try wish hoping hope love able going gonna wanna currently recently really actually quite
provide provides provided assist thinking think wondering wonder curious planning plan using use used uses via
something anything everything thing things someone anyone somebody way ways much many lot lots got get's im ive id
make sure specific particular certain various several various related relevant regarding based along well
also additionally furthermore moreover lastly finally first firstly second secondly then next however
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


def is_cjk(word: str) -> bool:
    """Whether a word holds Chinese, Japanese or Korean characters."""
    return not word.isascii() and _CJK_RUN.search(word) is not None


@lru_cache(maxsize=16_384)
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


_SUFFIXES: Final = (
    ("ization", "ize"),
    ("isation", "ize"),
    ("ational", "ate"),
    ("fulness", "ful"),
    ("iveness", "ive"),
    ("ations", "ate"),
    ("ation", "ate"),
    ("ators", "ate"),
    ("ator", "ate"),
    ("ities", "ity"),
    ("ings", ""),
    ("ing", ""),
    ("edly", ""),
    ("ies", "y"),
    ("ied", "y"),
    ("sses", "ss"),
    ("ches", "ch"),
    ("shes", "sh"),
    ("xes", "x"),
    ("ers", "er"),
    ("ed", ""),
    ("ly", ""),
    ("s", ""),
)


@lru_cache(maxsize=16_384)
def stem(word: str) -> str:
    """A light stemmer for English words; anything else comes back as it is."""
    if len(word) < 4 or not word.isalpha() or not word.isascii():
        return word
    for suffix, replacement in _SUFFIXES:
        if word.endswith(suffix):
            base = word[: -len(suffix)]
            if len(base) + len(replacement) < 3 or (suffix == "s" and base[-1] in "siu"):
                break
            if not replacement and suffix != "s":
                if not _has_vowel(base):
                    break
                base = _undouble(base)
            word = base + replacement
            break
    return word[:-1] if word.endswith("e") and len(word) > 4 else word


def _has_vowel(base: str) -> bool:
    return any(letter in "aeiouy" for letter in base)


def _undouble(base: str) -> str:
    return base[:-1] if len(base) > 3 and base[-1] == base[-2] and base[-1] not in "lsz" else base
