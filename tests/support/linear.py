"""Whether Python's `re` needs time in proportion to the text, for any text: a small checker of patterns.

The pattern becomes an automaton without empty steps (Glushkov's), with one state for each character that the pattern
names. Its time is not linear if

* one step can be made in two ways and lies on a loop, as in `(a+)+`: the time is exponential;
* there are states p and q and a text with which p leads to p and to q, and q to q, as in `a*a*b`: it is a power.

A pattern that is searched for starts at every character, so it has a state that any character leads back to. Repeats
with an upper bound count as a constant; look-ahead, look-behind and anchors as steps that may fail.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from re import _constants as constants  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

__all__ = ["why_not_linear"]

_BOUNDED = 1_024
_SAMPLES = [chr(number) for number in range(128)] + list("\x85\xa0\xad\u00e9\u0300\u200b\u2028\u4e00\ud800\U0001f600")
_CATEGORIES: dict[Any, str] = {
    constants.CATEGORY_DIGIT: r"\d",
    constants.CATEGORY_NOT_DIGIT: r"\D",
    constants.CATEGORY_SPACE: r"\s",
    constants.CATEGORY_NOT_SPACE: r"\S",
    constants.CATEGORY_WORD: r"\w",
    constants.CATEGORY_NOT_WORD: r"\W",
}
_START = -1


@dataclass(slots=True)
class _Part:
    """A part of a pattern: whether it may be empty, and its first and last states."""

    empty: bool
    first: frozenset[int] = frozenset()
    last: frozenset[int] = frozenset()
    certain: bool = True
    """False for what may fail without a character: then nothing before it ends a match."""


@dataclass(slots=True)
class _Automaton:
    flags: int
    accepts: list[Callable[[str], bool]] = field(default_factory=list)
    steps: Counter[tuple[int, int]] = field(default_factory=Counter)

    def state(self, accepts: Callable[[str], bool]) -> _Part:
        self.accepts.append(accepts)
        number = frozenset({len(self.accepts) - 1})
        return _Part(False, number, number)

    def sequence(self, nodes: Iterable[Any]) -> _Part:
        whole = _Part(True)
        for node in nodes:
            part = self.part(node)
            self.steps.update((one, other) for one in whole.last for other in part.first)
            whole = _Part(
                whole.empty and part.empty,
                whole.first | (part.first if whole.empty else frozenset()),
                part.last | (whole.last if part.empty else frozenset()),
                part.certain and (whole.certain or not part.empty),
            )
        return whole

    def part(self, node: tuple[Any, Any]) -> _Part:
        kind, value = node
        if kind in {constants.MAX_REPEAT, constants.MIN_REPEAT, constants.POSSESSIVE_REPEAT}:
            return self.repeat(*value)
        if kind is constants.SUBPATTERN:
            return self.sequence(value[-1])
        if kind is constants.ATOMIC_GROUP:
            return self.sequence(value)
        if kind is constants.BRANCH:
            parts = [self.sequence(one) for one in value[1]]
            return _Part(
                any(one.empty for one in parts),
                frozenset().union(*(one.first for one in parts)),
                frozenset().union(*(one.last for one in parts)),
                all(one.certain for one in parts),
            )
        if kind in {constants.AT, constants.ASSERT, constants.ASSERT_NOT, constants.GROUPREF}:
            return _Part(True, certain=False)
        return self.state(self.characters(kind, value))

    def repeat(self, least: int, most: int, body: Any) -> _Part:
        inner = self.sequence(body)
        if most is constants.MAXREPEAT or most > _BOUNDED:
            self.steps.update((one, other) for one in inner.last for other in inner.first)
        return _Part(inner.empty or least == 0, inner.first, inner.last, inner.certain)

    def characters(self, kind: Any, value: Any) -> Callable[[str], bool]:
        if kind is constants.LITERAL:
            text = re.escape(chr(value))
        elif kind is constants.NOT_LITERAL:
            text = f"[^{re.escape(chr(value))}]"
        elif kind is constants.ANY:
            text = "."
        elif kind is constants.IN:
            return self.one_of(value)
        else:
            raise NotImplementedError(str(kind))
        return self.matcher(text)

    def one_of(self, items: list[tuple[Any, Any]]) -> Callable[[str], bool]:
        negated = bool(items) and items[0][0] is constants.NEGATE
        texts: list[str] = []
        for kind, value in items[negated:]:
            if kind is constants.RANGE:
                texts.append(f"[{re.escape(chr(value[0]))}-{re.escape(chr(value[1]))}]")
            elif kind is constants.CATEGORY:
                texts.append(_CATEGORIES[value])
            else:
                texts.append(re.escape(chr(value)))
        inside = self.matcher("|".join(texts))
        return (lambda one: not inside(one)) if negated else inside

    def matcher(self, text: str) -> Callable[[str], bool]:
        compiled = re.compile(text, self.flags & (re.IGNORECASE | re.DOTALL | re.ASCII))
        return lambda one: compiled.fullmatch(one) is not None


def why_not_linear(pattern: str | bytes, flags: int, *, searched: bool, whole: bool = False) -> str | None:
    """Return the kind of time that a pattern may take, if it is not linear.

    `searched` says that it may start anywhere in a text, `whole` that it must match all of it.
    """
    text = pattern.decode("latin-1") if isinstance(pattern, bytes) else pattern
    parsed = parser.parse(text, flags & ~re.UNICODE if isinstance(pattern, bytes) else flags)
    automaton = _Automaton(parsed.state.flags)
    part = automaton.sequence(parsed)
    ends = frozenset() if whole or not part.certain else part.last
    after: dict[int, set[int]] = defaultdict(set)
    for one, other in automaton.steps:
        after[one].add(other)
    if searched:
        after[_START] = {_START, *part.first}
    reach = {state: _reached(state, after) for state in after}
    for (one, other), ways in automaton.steps.items():
        if ways > 1 and one in reach.get(other, ()) and one not in ends:
            return "exponential"
    letters = _letters(automaton.accepts)
    loops = [state for state in after if state in reach[state]]
    for p in loops:
        for q in loops:
            if p != q and q in reach[p] and q not in ends and _is_ambiguous(p, q, after, letters, reach, ends):
                return "quadratic"
    return None


def _reached(state: int, after: dict[int, set[int]]) -> set[int]:
    found: set[int] = set()
    pending = list(after.get(state, ()))
    while pending:
        one = pending.pop()
        if one not in found:
            found.add(one)
            pending.extend(after.get(one, ()))
    return found


def _letters(accepts: list[Callable[[str], bool]]) -> list[frozenset[int]]:
    """Return the states that accept a character, once for all characters that the same states accept."""
    return list({frozenset({_START, *(n for n, one in enumerate(accepts) if one(letter))}) for letter in _SAMPLES})


def _is_ambiguous(
    p: int,
    q: int,
    after: dict[int, set[int]],
    letters: list[frozenset[int]],
    reach: dict[int, set[int]],
    ends: frozenset[int],
) -> bool:
    """Return whether one text leads from p to p, from p to q, and from q to q without an end of a match."""
    pending, seen = [(p, p, q)], {(p, p, q)}
    while pending:
        places = pending.pop()
        for letter in letters:
            a, b, c = (after.get(one, set()) & letter for one in places)
            for one in a:
                if p != one and p not in reach.get(one, ()):
                    continue
                for other in c - ends:
                    if q != other and q not in reach.get(other, ()):
                        continue
                    for middle in b:
                        place = (one, middle, other)
                        if place == (p, q, q):
                            return True
                        if place not in seen and (middle == q or q in reach.get(middle, ())):
                            seen.add(place)
                            pending.append(place)
    return False
