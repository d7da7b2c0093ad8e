"""Personal data and secrets in texts: what looks like one, and passes its check digits.

Each search is linear in the text. A number counts only if its check digits are right and its form is that of the kind,
so that ordinary numbers stay.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

from utcp_bridge.model import JsonObject, is_list, is_object

__all__ = ["KINDS", "masked_personal_data", "personal_spans"]

_WINDOW: Final = 32 * 1024
"""Characters that are searched in one step."""
_LONGEST: Final = 512
"""Most characters of one match, so the part of a window that the next one sees again."""


class Span(NamedTuple):
    """A place in a text."""

    start: int
    end: int
    kind: str


def personal_spans(text: str, kinds: Sequence[str]) -> Generator[None, None, list[Span]]:
    """Return where a text has data of these kinds, in order, in steps."""
    found: list[Span] = []
    for start in range(0, len(text), _WINDOW):
        for kind in kinds:
            for begin, end in KINDS[kind](text, start, min(len(text), start + _WINDOW + _LONGEST)):
                if begin < start + _WINDOW:
                    found.append(Span(begin, end, kind))
        if len(text) > _WINDOW:
            yield
    return sorted(found)


def masked_personal_data(
    value: Any, kinds: Sequence[str], seen: set[str], *, is_stream: bool = False
) -> Generator[None, None, Any]:
    """Return JSON with `[KIND]` in place of each match, in steps; the same object if there is none.

    `seen` receives the kinds that were found. With `is_stream`, a list of texts is searched as one text too. Whole
    numbers that are payment cards are replaced; other numbers stay.
    """
    if isinstance(value, str):
        return (yield from _masked_text(value, kinds, seen))
    if isinstance(value, int) and not isinstance(value, bool) and "card" in kinds and _is_card(str(value)):
        seen.add("card")
        return "[card]"
    if is_object(value):
        members: JsonObject = {}
        for name, member in value.items():
            masked_name = (yield from _masked_text(name, kinds, seen)) if isinstance(cast("Any", name), str) else name
            members[masked_name] = yield from masked_personal_data(member, kinds, seen)
        return value if _same(members, value) else members
    if is_list(value):
        if is_stream and len(value) > 1 and all(isinstance(one, str) for one in value):
            return (yield from _masked_parts(cast("list[str]", value), kinds, seen))
        items: list[Any] = []
        for one in value:
            items += ((yield from masked_personal_data(one, kinds, seen)),)
        return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
    return value


def _same(new: JsonObject, old: JsonObject) -> bool:
    return len(new) == len(old) and all(
        name is other and new[name] is old[other] for name, other in zip(new, old, strict=True)
    )


def _masked_text(text: str, kinds: Sequence[str], seen: set[str]) -> Generator[None, None, str]:
    spans = yield from personal_spans(text, kinds)
    if not spans:
        return text
    parts: list[str] = []
    position = 0
    for span in spans:
        seen.add(span.kind)
        if span.start >= position:
            parts += (text[position : span.start], f"[{span.kind}]")
        position = max(position, span.end)
    return "".join([*parts, text[position:]])


def _masked_parts(parts: list[str], kinds: Sequence[str], seen: set[str]) -> Generator[None, None, list[str]]:
    """Return texts that may be one text in pieces. What crosses an end is replaced in each piece that it touches."""
    own: list[str] = []
    for part in parts:
        own += ((yield from _masked_text(part, kinds, seen)),)
    spans = yield from personal_spans("".join(parts), kinds)
    begin = 0
    for number, part in enumerate(parts):
        end = begin + len(part)
        crossing = [span for span in spans if span.start < end and span.end > begin]
        if any(span.start < begin or span.end > end for span in crossing):
            own[number] = "".join(f"[{span.kind}]" for span in crossing)
            seen.update(span.kind for span in crossing)
        begin = end
    return parts if all(new is old for new, old in zip(own, parts, strict=True)) else own


# --- the kinds -----------------------------------------------------------------------------------

_Places = Iterator[tuple[int, int]]
_EMAIL: Final = re.compile(
    r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9_][A-Za-z0-9._%+-]{0,63}@[A-Za-z0-9][A-Za-z0-9.-]{0,189}", re.ASCII
)
_DOMAIN: Final = re.compile(r"(?:[A-Za-z0-9-]{1,63}\.){1,10}[A-Za-z]{2,24}", re.ASCII)
_IBAN: Final = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}[0-9]{2}(?=[ -]?[A-Z0-9])", re.ASCII)
_CARD: Final = re.compile(r"(?<![0-9A-Za-z.,_/-])[2-6][0-9][ -]?[0-9]", re.ASCII)
_PHONE: Final = re.compile(r"(?<![0-9A-Za-z+])\+[1-9](?:[ ./-]?[(]?[0-9][)]?){7,14}(?![0-9A-Za-z])", re.ASCII)
_SSN: Final = re.compile(
    r"(?<![0-9A-Za-z-])(?!000|666|9)[0-9]{3}-(?!00)[0-9]{2}-(?!0000)[0-9]{4}(?![0-9A-Za-z-])", re.ASCII
)
_DNI: Final = re.compile(r"(?<![0-9A-Za-z])[0-9XYZ][0-9]{7}-?[A-Z](?![0-9A-Za-z])", re.ASCII)
_CPF: Final = re.compile(r"(?<![0-9A-Za-z])[0-9]{3}\.[0-9]{3}\.[0-9]{3}-[0-9]{2}(?![0-9A-Za-z])", re.ASCII)
_NIR: Final = re.compile(
    r"(?<![0-9A-Za-z])[12] ?[0-9]{2} ?(?:0[1-9]|1[0-2]) ?[0-9]{2} ?[0-9]{3} ?[0-9]{3} ?[0-9]{2}(?![0-9A-Za-z])",
    re.ASCII,
)
_SECRET: Final = re.compile(
    r"-----BEGIN (?:[A-Z]{1,12} ){0,3}PRIVATE KEY-----"
    r"|(?<![A-Za-z0-9])(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])"
    r"|(?<![A-Za-z0-9])(?:gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{22,255}|glpat-[A-Za-z0-9_-]{20,64})"
    r"|(?<![A-Za-z0-9])xox[abeprs]-[A-Za-z0-9-]{10,255}"
    r"|(?<![A-Za-z0-9])AIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])"
    r"|(?<![A-Za-z0-9])sk-[A-Za-z0-9_-]{20,255}"
    r"|(?<![A-Za-z0-9])eyJ[A-Za-z0-9_-]{10,200}\.eyJ[A-Za-z0-9_-]{5,200}\.[A-Za-z0-9_-]{0,100}",
    re.ASCII,
)
_BASE64: Final = re.compile(r"[A-Za-z0-9+/=\\\s]*", re.ASCII)
_MAX_KEY: Final = 16_384
_IBANS: Final = """
AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 ES24 FI18
FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20
LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24
SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30
"""
_IBAN_LENGTHS: Final[Mapping[str, int]] = {entry[:2]: int(entry[2:]) for entry in _IBANS.split()}
"""Characters of an IBAN, by country (SWIFT's IBAN registry)."""
_CARD_SIZES: Final = (14, 15, 16, 19)
_DNI_LETTERS: Final = "TRWAGMYFPDXBNJZSQVHLCKE"


def _emails(text: str, start: int, end: int) -> _Places:
    for found in _EMAIL.finditer(text, start, end):
        at = text.index("@", found.start()) + 1
        domain = _DOMAIN.match(text, at, found.end())
        if domain is not None and ".." not in found[0]:
            yield found.start(), domain.end()


def _ibans(text: str, start: int, end: int) -> _Places:
    for found in _IBAN.finditer(text, start, end):
        length = _IBAN_LENGTHS.get(found[0][:2])
        if length is None:
            continue
        place = _after(text, found.start(), length)
        if place is None or text[place : place + 1].isalnum():
            continue
        code = re.sub(r"[ -]", "", text[found.start() : place])
        if int("".join(str(int(one, 36)) for one in code[4:] + code[:4])) % 97 == 1:
            yield found.start(), place


def _after(text: str, place: int, number: int) -> int | None:
    """Return where `number` capital letters and digits end, which may have single blanks or dashes between them."""
    while number:
        one = text[place : place + 1]
        if one in {" ", "-"} and text[place - 1 : place] not in {" ", "-"}:
            place += 1
            continue
        if not (one.isascii() and (one.isdigit() or one.isupper())):
            return None
        place, number = place + 1, number - 1
    return place


def _cards(text: str, start: int, end: int) -> _Places:
    for found in _CARD.finditer(text, start, end):
        for size in _CARD_SIZES:
            place = _after(text, found.start(), size)
            if place is None:
                break
            follows = text[place : place + 1]
            if not (follows.isalnum() or follows == "_") and _is_card(re.sub(r"[ -]", "", text[found.start() : place])):
                yield found.start(), place
                break


def _is_card(digits: str) -> bool:
    """Return whether digits are a card of a known issuer, with the right length and check digit (ISO/IEC 7812-1)."""
    if not digits.isdecimal():
        return False
    size, two, four = len(digits), int(digits[:2]), int(digits[:4])
    is_known = (
        (digits[:1] == "4" and size in {16, 19})
        or ((51 <= two <= 55 or 2221 <= four <= 2720) and size == 16)
        or (two in {34, 37} and size == 15)
        or (two in {36, 38, 39} and size == 14)
        or ((four == 6011 or two in {64, 65, 62}) and size in {16, 19})
        or (3528 <= four <= 3589 and size == 16)
    )
    if not is_known:
        return False
    doubled = [int(one) * (1 + place % 2) for place, one in enumerate(reversed(digits))]
    return sum(one - 9 * (one > 9) for one in doubled) % 10 == 0


def _phones(text: str, start: int, end: int) -> _Places:
    for found in _PHONE.finditer(text, start, end):
        yield found.span()


def _national_ids(text: str, start: int, end: int) -> _Places:
    for found in _SSN.finditer(text, start, end):
        yield found.span()
    for found in _DNI.finditer(text, start, end):
        digits = found[0][:8].replace("X", "0").replace("Y", "1").replace("Z", "2")
        if _DNI_LETTERS[int(digits) % 23] == found[0][-1]:
            yield found.span()
    for found in _CPF.finditer(text, start, end):
        if _is_cpf([int(one) for one in found[0] if one.isdigit()]):
            yield found.span()
    for found in _NIR.finditer(text, start, end):
        digits = found[0].replace(" ", "")
        if 97 - int(digits[:13]) % 97 == int(digits[13:]):
            yield found.span()


def _is_cpf(digits: list[int]) -> bool:
    if len(set(digits)) == 1:
        return False
    for size in (9, 10):
        rest = sum(digit * weight for digit, weight in zip(digits, range(size + 1, 1, -1), strict=False)) * 10 % 11 % 10
        if rest != digits[size]:
            return False
    return True


def _secrets(text: str, start: int, end: int) -> _Places:
    for found in _SECRET.finditer(text, start, end):
        is_key = found[0].startswith("-----BEGIN")
        yield found.start(), _end_of_key(text, found.end()) if is_key else found.end()


def _end_of_key(text: str, place: int) -> int:
    """Return where a private key in PEM ends: after its last line, or with its Base64 if that is not there."""
    last = text.find("-----END", place, place + _MAX_KEY)
    if last >= 0:
        close = text.find("-----", last + 8, last + 80)
        return last + 8 if close < 0 else close + 5
    rest = _BASE64.match(text, place, place + _MAX_KEY)
    return place if rest is None else rest.end()


KINDS: Final[Mapping[str, Callable[[str, int, int], _Places]]] = {
    "secret": _secrets,
    "email": _emails,
    "iban": _ibans,
    "card": _cards,
    "phone": _phones,
    "national_id": _national_ids,
}
"""The kinds of data, and what finds each between two places of a text. A match may end after the second place."""
