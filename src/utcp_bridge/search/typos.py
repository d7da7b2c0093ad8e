"""Correction of query words that are not in the index: misspelt words and words written together.

A word with one or two typing errors keeps its first two letters or its last two. So the vocabulary is stored under
both, with the word's length, and an unknown word is compared only with words under the same keys, and of those only
with words of nearly the same letters (an edit changes at most two).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

__all__ = ["Speller", "edit_distance", "near_words", "split_compound"]

_MIN_WORD: Final = 4
_MIN_FOR_TWO_EDITS: Final = 8
_MIN_HALF: Final = 3


class Speller:
    """The words of a vocabulary by their first and last letters; words are added and removed one at a time."""

    def __init__(self) -> None:
        self._words: Final[dict[tuple[str, bool, int], list[str]]] = {}

    def add(self, word: str) -> None:
        if _repairable(word):
            for key in _keys(word, len(word)):
                self._words.setdefault(key, []).append(word)

    def remove(self, word: str) -> None:
        if _repairable(word):
            for key in _keys(word, len(word)):
                words = self._words[key]
                words.remove(word)
                if not words:
                    del self._words[key]

    def nearest(self, word: str, frequency: Callable[[str], int]) -> str | None:
        """Return the known word with the fewest edits, the more frequent of two; None if no word is near."""
        if not _repairable(word):
            return None
        bound = 1 if len(word) < _MIN_FOR_TWO_EDITS else 2
        letters = set(word)
        best: tuple[int, int, str] | None = None
        for candidate in self._alike(word):
            if len(letters.symmetric_difference(candidate)) > 2 * bound:
                continue
            distance = edit_distance(word, candidate, bound)
            if distance <= bound:
                found = (distance, -frequency(candidate), candidate)
                best = found if best is None else min(best, found)
        return best[2] if best else None

    def _alike(self, word: str) -> Iterator[str]:
        for length in range(len(word) - 1, len(word) + 2):
            for key in _keys(word, length):
                yield from self._words.get(key, ())


def split_compound(word: str, known: Callable[[str], bool]) -> tuple[str, str] | None:
    """Return two known words that make up the unknown one, as equal in length as possible."""
    middle = len(word) / 2
    places = range(_MIN_HALF, len(word) - _MIN_HALF + 1)
    for place in sorted(places, key=lambda place: abs(place - middle)):
        if known(word[:place]) and known(word[place:]):
            return word[:place], word[place:]
    return None


def edit_distance(left: str, right: str, bound: int) -> int:
    """Return the number of insertions, deletions, substitutions and swaps of neighbours, at most `bound + 1`."""
    if abs(len(left) - len(right)) > bound:
        return bound + 1
    before: list[int] = []
    row = list(range(len(right) + 1))
    for i, letter in enumerate(left, 1):
        before, previous, row = row, before, [i]
        for j, other in enumerate(right, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != other))
            if i > 1 and j > 1 and letter == right[j - 2] and left[i - 2] == other:
                cost = min(cost, previous[j - 2] + 1)
            row.append(cost)
        if min(row) > bound:
            return bound + 1
    return min(row[-1], bound + 1)


def near_words(word: str, known: Iterable[str]) -> list[str]:
    """Return the known words that `word` may be a slip of, the nearest first.

    They differ by one typing error, from 8 letters on by two; or one of both begins with the other, which has at least
    3 letters.
    """
    word = word.casefold()
    bound = 1 if len(word) < _MIN_FOR_TWO_EDITS else 2
    found: list[tuple[int, str]] = []
    for one in known:
        distance = edit_distance(word, one.casefold(), bound) if len(word) > 1 else bound + 1
        short, long = sorted((word, one.casefold()), key=len)
        if distance <= bound or (len(short) >= _MIN_HALF and long.startswith(short)):
            found.append((distance, one))
    return [one for _, one in sorted(found)]


def _repairable(word: str) -> bool:
    return len(word) >= _MIN_WORD and word.isascii() and word.isalpha()


def _keys(word: str, length: int) -> tuple[tuple[str, bool, int], tuple[str, bool, int]]:
    return (word[:2], True, length), (word[-2:], False, length)
