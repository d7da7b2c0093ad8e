"""Profiles: named sets of tools, and which of them a caller may use (pure).

A tool is in a profile if it matches every key of the profile, and no key of its `exclude`. A key holds one pattern or a
list: one match is enough. Patterns are compared as everywhere (`model.matches_glob`).

    manuals        the manual's name, or `manual.server` of one of its MCP servers
    names          the tool's UTCP name (`manual.tool`), or its own name
    tags, paths, methods, operation_ids, annotations, read_only, destructive, idempotent, open_world
                   as for `include` of a manual (`dialects/selection.py`)
    resources, prompts
                   true, false, or patterns of URIs and of names. Without them, a profile that is made of whole manuals
                   has their resources and prompts, and any other profile has none.
    budget         what all callers of the profile may use together (`budgets.py`)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from utcp_bridge.access.budgets import CallerBudget, read_budget
from utcp_bridge.access.principals import Principal
from utcp_bridge.dialects.fields import sort_of
from utcp_bridge.dialects.selection import HINTS, PATTERNS, ToolFacts, facts_of
from utcp_bridge.errors import ConfigError
from utcp_bridge.late.patterns import late_pattern
from utcp_bridge.late.records import dataclass
from utcp_bridge.model import JsonObject, Tool, is_list, is_object, matches_glob

if TYPE_CHECKING:
    from utcp_bridge.settings import AccessSettings

__all__ = ["Profile", "Profiles", "UnknownProfile", "read_profiles", "server_of"]

_NAME: Final = late_pattern(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_MANUALS: Final = "manuals"
_ANNOTATION: Final = "annotations."
_RULES: Final = (_MANUALS, *PATTERNS, *HINTS, "annotations")
_KEYS: Final = (*_RULES, "exclude", "resources", "prompts", "budget", "description")
_GLOB: Final = late_pattern(r"[*?\[]")
_DOTS: Final = late_pattern(r"(?:^|[/\\])\.\.?(?:[/\\?#]|$)")
_TENANTS: Final = frozenset({"anyone", "shared"})
"""Kinds of principals without a token of their own."""

Patterns = tuple[str, ...]
Rule = tuple[str, Any]
"""A key, and its patterns, or the value of a hint."""


class UnknownProfile(LookupError):
    """The profile does not exist, or the caller may not use it. The caller cannot see which."""

    def __init__(self, name: str) -> None:
        which = f"profile {name[:64]!r}" if name else "profile"
        super().__init__(f"This caller has no {which}. Check the address, or ask the operator of the server.")


def server_of(tool: Tool) -> str | None:
    """Return the name of the MCP server that a tool belongs to; None if it belongs to none."""
    name = (tool.overlay or {}).get("server")
    return name if isinstance(name, str) else None


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """One profile. `include` and `exclude` have the keys as they are written, without the manuals.

    `resources` and `prompts` are patterns; empty, there are none.
    """

    name: str
    description: str = ""
    manuals: Patterns = ()
    without: Patterns = ()
    """The manuals that `exclude` names."""
    include: tuple[Rule, ...] = ()
    exclude: tuple[Rule, ...] = ()
    resources: Patterns = ()
    prompts: Patterns = ()
    budget: CallerBudget | None = None

    @property
    def is_whole(self) -> bool:
        """Whether the profile has every tool of its manuals."""
        return not (self.include or self.exclude)

    def admits(self, manual: str, server: str | None = None) -> bool:
        """Return whether the profile may have something of a manual, or of an MCP server of a manual."""
        names = (manual,) if server is None else (manual, f"{manual}.{server}")
        return (not self.manuals or _matches(self.manuals, names)) and not _matches(self.without, names)

    def may_have(self, manual: str, server: str | None = None) -> bool:
        """Return whether a tool of a manual that is not loaded may be in the profile, as far as names say it."""
        patterns: Patterns = next((value for key, value in self.include if key == "names"), ("*",))
        whole = f"{manual}." if server is None else f"{manual}.{server}."
        return self.admits(manual, server) and any(_may_begin(pattern, whole) for pattern in patterns)

    def includes(self, tool: Tool) -> bool:
        """Return whether the profile has a tool."""
        return self.reason(tool)[0]

    def reason(self, tool: Tool) -> tuple[bool, str]:
        """Return whether the profile has a tool, and the keys that decided it, as words."""
        if not self.admits(tool.manual, server_of(tool)):
            return False, "its manual is not one of `manuals`"
        if self.is_whole:
            return True, "it has every tool of the manual"
        facts = replace(facts_of(tool, tool.annotations), names=(tool.name, tool.qualified_name))
        missed = [f"`{key}`" for key, wanted in self.include if not _fits(key, wanted, facts)]
        if missed:
            return False, f"the tool does not match {' and '.join(missed)}"
        if hit := next((key for key, wanted in self.exclude if _fits(key, wanted, facts)), None):
            return False, f"the tool matches `{hit}` of `exclude`"
        keys = [f"`{key}`" for key, _ in self.include]
        return True, f"the tool matches {' and '.join(keys)}" if keys else "no key of `exclude` matches the tool"

    def has_resource(self, uri: str) -> bool:
        """Return whether the profile has a resource of this URI, or a template, of a manual that it admits.

        Patterns compare texts, so a URI with `..` matches none but `*`: its server may read it as another one.
        """
        if "*" in self.resources:
            return True
        return _DOTS.search(unquote(unquote(uri))) is None and _matches(self.resources, (uri,))

    def has_prompt(self, name: str) -> bool:
        """Return whether the profile has a prompt of this name, of a manual that it admits."""
        return _matches(self.prompts, (name,))


class Profiles:
    """The profiles of one configuration, and who may use which."""

    def __init__(self, by_name: Mapping[str, Profile], fixed: str | None = None, default: str | None = None) -> None:
        """`fixed` is the one profile of the whole server, `default` that of callers without a token of their own."""
        self._by_name = dict(by_name)
        self.fixed = None if fixed is None else self.named(fixed, "profile")
        self.default = None if default is None else self.named(default, "default_profile")

    def __iter__(self) -> Iterator[Profile]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    def named(self, name: str, where: str) -> Profile:
        """Return the profile of a name that the operator wrote.

        :raises ConfigError: there is none.
        """
        if (found := self._by_name.get(name)) is not None:
            return found
        from difflib import get_close_matches  # for mistakes alone

        near = get_close_matches(name, self._by_name, n=1)
        known = ", ".join(sorted(self._by_name)[:20])
        remedy = (
            f"Did you mean {near[0]!r}?" if near else f"It has: {known}." if known else "Add it to `access.profiles`."
        )
        raise ConfigError(f"`{where}`: the configuration does not have a profile {name[:64]!r}.", remedy=remedy)

    def chosen(self, principal: Principal, named: str | None = None) -> Profile | None:
        """Return the profile of a request that names one or none; None is the whole bridge.

        :raises UnknownProfile: the profile does not exist, or the principal may not use it.
        """
        allowed = self._allowed(principal)
        if named is None:
            if allowed is None:
                return None
            named = allowed[0] if allowed else ""
        found = self._by_name.get(named)
        if found is None or (allowed is not None and named not in allowed):
            raise UnknownProfile(named)
        return found

    def binds(self, principal: Principal) -> bool:
        """Return whether a principal has profiles alone, and never the whole bridge."""
        return self._allowed(principal) is not None

    def _allowed(self, principal: Principal) -> Sequence[str] | None:
        """Return the names of the profiles that a principal may use; None if all, and the whole bridge."""
        own = principal.profiles
        if self.fixed is not None:
            return (self.fixed.name,) if own is None or self.fixed.name in own else ()
        if own is None and principal.kind in _TENANTS and self.default is not None:
            return (self.default.name,)
        return own


def read_profiles(settings: AccessSettings) -> Profiles:
    """Return the profiles of the settings.

    :raises ConfigError: a profile cannot be read, or a setting names one that does not exist.
    """
    found = {str(name): _read(str(name), written) for name, written in settings.profiles.items()}
    return Profiles(found, settings.profile, settings.default_profile)


def _read(name: str, written: Any) -> Profile:
    where = f"Profile {name[:64]!r}"
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{where}: the name is part of an address.", remedy="Use at most 64 letters, digits, '-' and '_'."
        )
    if not is_object(written):
        raise ConfigError(f"{where} must be an object, not {sort_of(written)}.", remedy="Write `{}` for every tool.")
    _check_keys(where, written, _KEYS)
    excluded = written.get("exclude", {})
    if not is_object(excluded):
        raise ConfigError(f"{where}: `exclude` must be an object, not {sort_of(excluded)}.")
    _check_keys(f"{where}, `exclude`", excluded, _RULES)
    description = written.get("description", "")
    if not isinstance(description, str):
        raise ConfigError(f"{where}: `description` must be text, not {sort_of(description)}.")
    kept, dropped = _rules(where, written), _rules(f"{where}, `exclude`", excluded)
    include, exclude = _others(kept), _others(dropped)
    is_whole = not (include or exclude)
    return Profile(
        name,
        description,
        _manuals(kept),
        _manuals(dropped),
        include,
        exclude,
        resources=_offered(where, written, "resources", otherwise=is_whole),
        prompts=_offered(where, written, "prompts", otherwise=is_whole),
        budget=read_budget(f"{where}, `budget`", written["budget"]) if "budget" in written else None,
    )


def _check_keys(where: str, written: JsonObject, known: Sequence[str]) -> None:
    for key in written:
        if key not in known:
            from difflib import get_close_matches  # for mistakes alone

            near = get_close_matches(str(key), known, n=1)
            remedy = f"Did you mean {near[0]!r}?" if near else f"It may have: {', '.join(known)}."
            raise ConfigError(f"{where}: {str(key)[:64]!r} is not a key of a profile.", remedy=remedy)


def _rules(where: str, written: JsonObject) -> list[Rule]:
    return [rule for key, value in written.items() if key in _RULES for rule in _rule(where, key, value)]


def _rule(where: str, key: str, value: Any) -> Iterable[Rule]:
    if key in HINTS:
        if not isinstance(value, bool):
            raise ConfigError(f"{where}: `{key}` must be true or false, not {sort_of(value)}.")
        return [(key, value)]
    if key == "annotations":
        if not is_object(value) or not value:
            raise ConfigError(f"{where}: `annotations` must be an object with hints, not {sort_of(value)}.")
        return [(f"{_ANNOTATION}{hint}", wanted) for hint, wanted in value.items()]
    return [(key, _patterns(where, key, value))]


def _patterns(where: str, key: str, value: Any) -> Patterns:
    """Return the patterns of a key. None would match every tool elsewhere, so it is an error here."""
    found = value if is_list(value) else [value]
    if not found or not all(isinstance(one, str) and one for one in found):
        what = "has no patterns" if value == [] else "must hold text or a list of texts"
        raise ConfigError(f"{where}: `{key}` {what}.", remedy="Write patterns such as `github.*`, or remove the key.")
    return tuple(found)


def _offered(where: str, written: JsonObject, key: str, *, otherwise: bool) -> Patterns:
    value = written.get(key, otherwise)
    if isinstance(value, bool):
        return ("*",) if value else ()
    return () if value == [] else _patterns(where, key, value)


def _manuals(rules: Iterable[Rule]) -> Patterns:
    return next((value for key, value in rules if key == _MANUALS), ())


def _others(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    return tuple(rule for rule in rules if rule[0] != _MANUALS)


def _fits(key: str, wanted: Any, facts: ToolFacts) -> bool:
    if key in PATTERNS:
        return _matches(wanted, facts.values(key))
    return bool(facts.hint(HINTS.get(key) or key.removeprefix(_ANNOTATION)) == wanted)


def _matches(patterns: Patterns, values: Iterable[str]) -> bool:
    return any(matches_glob(pattern, value) for value in values for pattern in patterns)


@lru_cache(maxsize=4096)
def _may_begin(pattern: str, beginning: str) -> bool:
    """Return whether a pattern of names may match a UTCP name with this beginning, or a name without a manual."""
    if "." not in pattern:
        return True
    glob = _GLOB.search(pattern)
    plain = (pattern[: glob.start()] if glob else pattern).casefold()
    return plain.startswith(beginning.casefold()) or (bool(glob) and beginning.casefold().startswith(plain))
