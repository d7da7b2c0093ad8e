"""UTCP name ↔ MCP name. Pure: names depend only on the set of tools and manuals, not on their order or on time.

Hosts disagree on names: some reject dots, some reject a whole server for one bad name, and some count their own prefix
as part of 64 characters. So a listed name matches `^[A-Za-z_][A-Za-z0-9_-]{0,47}$`. If that loses something (a name is
too long, two names become the same or differ only in letter case), every tool concerned gets a suffix made from its
UTCP name. So a new tool elsewhere, or another order, changes no other name.

A host may have approved a name, so a name never leads to a tool of another manual because a manual is down. A name that
could be one of another manual's, because it begins with that manual's name, gets a suffix also while that manual is
down. All aliases are reserved. Short names wait until every manual has loaded: any of them could have the tool too.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from typing import Final, Literal, TypeAlias

from utcp_bridge.errors import ConfigError
from utcp_bridge.late.patterns import late_pattern

__all__ = ["MAX_NAME", "NAME_PATTERN", "ToolKey", "assign_names", "check_alias", "names_of_manual"]

MAX_NAME: Final = 48
"""Characters. This leaves 16 of the usual 64 for a host's own prefix."""
NAME_PATTERN: Final = late_pattern(r"[A-Za-z_][A-Za-z0-9_-]{0,47}")
_ALIAS: Final = late_pattern(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_PLAIN: Final = late_pattern(r"[A-Za-z0-9_-]+")
_OTHER: Final = late_pattern(r"[^A-Za-z0-9_-]+")
_SUFFIX_DIGITS: Final = 8
_MANUAL_SHARE: Final = 15
_MAX_KNOWN: Final = 1_024
"""Manuals whose part of names is remembered: their tools have the same one."""

ToolKey: TypeAlias = tuple[str, str]
"""(manual, tool): the identity of a UTCP tool. `manual.tool` may be ambiguous, because both may contain dots."""


def assign_names(  # noqa: PLR0913 - each is a part of one rule
    keys: Iterable[ToolKey],
    *,
    style: Literal["qualified", "short"] = "qualified",
    aliases: Mapping[str, str] | None = None,
    reserved: Collection[str] = (),
    manuals: Collection[str] = (),
    never_short: Collection[str] = (),
    owners: Mapping[str, ToolKey] | None = None,
    is_complete: bool = True,
) -> dict[ToolKey, str]:
    """Return the one MCP name of every tool, in the order of `keys`.

    `aliases` maps MCP names to UTCP names (`manual.tool`). These MCP names are used unchanged. No tool gets a
    `reserved` name (those of the meta-tools). `manuals` are those of the configuration, loaded or not; tools of
    `never_short` have no short names. `owners` are the tools that had a short name before, by the name in lower case.
    Unless `is_complete`, no other tool gets one.

    :raises ConfigError: an alias is not a usable name.
    """
    wanted: dict[ToolKey, str | None] = dict.fromkeys(keys)
    chosen = _chosen_by_alias(wanted, aliases or {}, reserved)
    open_keys = [key for key in wanted if key not in chosen]
    taken = {name.casefold() for name in (*reserved, *chosen.values(), *(aliases or ()))}
    claims = _Claims({*manuals, *(manual for manual, _ in wanted)})
    proposals: dict[ToolKey, str] = {}
    if style == "short":
        by_owner = owners or {}
        proposals = {
            key: name
            for key, name in _short_names((key for key in open_keys if key[0] not in never_short), taken).items()
            if by_owner.get(name.casefold(), key if is_complete else None) == key and not claims.of_others(name, None)
        }
    crowded: list[ToolKey] = []
    for key in open_keys:
        if key not in proposals:
            proposals[key] = _qualified(*key)
            if claims.of_others(proposals[key], key[0]):
                crowded.append(key)
    named = _settle(proposals, taken, crowded) | chosen
    return {key: named[key] for key in wanted}


def check_alias(alias: str, reserved: Collection[str]) -> None:
    """Check an alias.

    :raises ConfigError: no host would accept the alias, or it hides a meta-tool.
    """
    if not _ALIAS.fullmatch(alias):
        raise ConfigError(
            f"The alias {alias[:80]!r} is not a usable tool name.",
            remedy="Use at most 64 letters, digits, '_' and '-', starting with a letter or '_'.",
        )
    if alias.casefold() in {name.casefold() for name in reserved}:
        raise ConfigError(
            f"The alias {alias!r} is the name of a meta-tool.", remedy="Rename one of them (`aliases`, `meta_tools`)."
        )


def _chosen_by_alias(
    keys: Collection[ToolKey], aliases: Mapping[str, str], reserved: Collection[str]
) -> dict[ToolKey, str]:
    for alias in aliases:
        check_alias(alias, reserved)
    if not aliases:
        return {}
    by_utcp_name = {target: alias for alias, target in sorted(aliases.items(), reverse=True)}
    return {key: by_utcp_name[name] for key in keys if (name := f"{key[0]}.{key[1]}") in by_utcp_name}


def _short_names(keys: Iterable[ToolKey], taken: Collection[str]) -> dict[ToolKey, str]:
    """Return the tools' own names, for tools that need neither a suffix nor the manual's name to be unique."""
    by_name: dict[str, list[tuple[ToolKey, str]]] = {}
    for key in keys:
        name = _startable(_mangle(key[1]))
        by_name.setdefault(name.casefold(), []).append((key, name))
    return {
        claims[0][0]: claims[0][1]
        for folded, claims in by_name.items()
        if len(claims) == 1 and folded not in taken and NAME_PATTERN.fullmatch(claims[0][1])
    }


class _Claims:
    """The beginnings of names that belong to manuals, whether these are loaded or not."""

    def __init__(self, manuals: Iterable[str]) -> None:
        self._by_start: dict[str, set[str]] = {}
        self._manuals = frozenset(manuals)
        for manual in self._manuals:
            start = _startable(_mangle(manual)).casefold()
            for one in {f"{start}_", f"{start[:_MANUAL_SHARE]}_"}:
                self._by_start.setdefault(one, set()).add(manual)
        self._lengths = sorted({len(start) for start in self._by_start}, reverse=True)

    def of_others(self, name: str, manual: str | None) -> bool:
        """Return whether a name begins like those of another manual, and at least as closely as its own does."""
        if len(self._manuals) == 1 and manual in self._manuals:
            return False
        folded = name.casefold()
        for length in self._lengths:
            owners = self._by_start.get(folded[:length])
            if owners is not None:
                return bool(owners - {manual})
        return False


def names_of_manual(name: str, manual: str) -> bool:
    """Return whether a name could be the UTCP name or the MCP name of a tool of this manual."""
    return name.startswith(f"{manual}.") or name.casefold().startswith(f"{_startable(_mangle(manual)).casefold()}_")


def _settle(proposals: Mapping[ToolKey, str], taken: set[str], ambiguous: Collection[ToolKey]) -> dict[ToolKey, str]:
    """Add a suffix to names that are too long, taken, ambiguous, or proposed for several tools. Keep the others."""
    claims = Counter(map(str.casefold, proposals.values()))
    settled: dict[ToolKey, str] = {}
    crowded: list[ToolKey] = []
    unclear = frozenset(ambiguous)
    for key, name in proposals.items():
        folded = name.casefold()
        if (
            key not in unclear
            and claims[folded] == 1
            and folded not in taken
            and len(name) <= MAX_NAME
            and ((key[1].isascii() and key[1].isidentifier()) or _mangle(key[1]))
        ):
            settled[key] = name
        else:
            crowded.append(key)
    used = taken | {name.casefold() for name in settled.values()} if crowded else taken
    for key in sorted(crowded):
        settled[key] = _suffixed(key, used)
        used.add(settled[key].casefold())
    return settled


def _suffixed(key: ToolKey, used: Collection[str]) -> str:
    manual, tool = (_mangle(part) for part in key)
    digest = hashlib.sha256("\0".join(key).encode("utf-8", "surrogatepass")).hexdigest()
    for digits in range(_SUFFIX_DIGITS, MAX_NAME // 2):
        room = MAX_NAME - digits - 1
        stem = "_".join(part for part in (manual, tool) if part)
        if len(stem) > room:
            stem = "_".join(part for part in (manual[:_MANUAL_SHARE], tool) if part)
        name = _startable(f"{_startable(stem)[:room]}_{digest[:digits]}")
        if name.casefold() not in used:
            return name
    raise ConfigError(f"There is no free MCP name for {manual}.{tool}.", remedy="Choose one in `aliases`.")


def _qualified(manual: str, tool: str) -> str:
    start, part = _beginning(manual), _mangle(tool)
    return start + part if start and part else _startable(start.removesuffix("_") or part)


@lru_cache(_MAX_KNOWN)
def _beginning(manual: str) -> str:
    """Return how the names of the tools of a manual begin; an empty text if its own name has nothing to show."""
    part = _mangle(manual)
    return _startable(f"{part}_") if part else ""


def _startable(name: str) -> str:
    return name if name and (name[0].isalpha() or name[0] == "_") else f"_{name}"


def _mangle(part: str) -> str:
    """Return the letters, digits, `_` and `-` of a name. Each other part becomes one `_`, and edges are trimmed."""
    if _PLAIN.fullmatch(part):
        return part
    decomposed = unicodedata.normalize("NFKD", part)
    visible = "".join(
        char for char in decomposed if char.isascii() or unicodedata.category(char) not in {"Mn", "Cf", "Cs", "Co"}
    )
    return _OTHER.sub("_", visible).strip("_")
