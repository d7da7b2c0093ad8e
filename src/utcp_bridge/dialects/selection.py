"""The operator's choice among a manual's tools: `include`, `exclude` and `overrides`, alike for every dialect (pure).

`include` keeps a tool that matches every key that is given, `exclude` drops a tool that matches any. A key holds one
value or a list: one match is enough.

    names          the tool's name; of an OpenAPI operation its operationId too
    tags           one of its tags
    paths          the path of an OpenAPI operation, or of the URL in the tool's call template
    methods        the HTTP method of either
    operation_ids  the operationId of an OpenAPI operation, else the tool's name
    annotations    MCP's hints, as in {"readOnlyHint": true}; each hint counts as a key
    read_only, destructive, idempotent, open_world    the same hints in short

Names, tags, paths, methods and operationIds are shell-style patterns, matched whatever their case. A key of `overrides`
is a tool's name or such a pattern: patterns apply in their order, and the exact name last, so it wins.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field, replace
from typing import Any, Protocol

from utcp_bridge.dialects.fields import nearest, sort_of, word
from utcp_bridge.dialects.readings import RawTool
from utcp_bridge.late.patterns import late_pattern
from utcp_bridge.late.records import dataclass
from utcp_bridge.model import Fault, Faults, JsonObject, is_list, is_object, matches_glob

__all__ = ["HINTS", "PATTERNS", "ToolFacts", "ToolSelection", "changed", "facts_of", "select"]

PATTERNS = {
    "names": "name",
    "tags": "tag",
    "paths": "path",
    "methods": "method",
    "operation_ids": "operationId",
}
"""Each key that holds patterns, and how a message calls what it matches."""
HINTS = {
    "read_only": "readOnlyHint",
    "destructive": "destructiveHint",
    "idempotent": "idempotentHint",
    "open_world": "openWorldHint",
}
_RULE_KEYS = frozenset({*PATTERNS, *HINTS, "annotations"})
_OVERRIDE_KEYS = frozenset({"name", "title", "description", "annotations", "hidden", "defaults", "result"})
_TEXT_KEYS = ("name", "title", "description")
_GLOB = late_pattern(r"[*?\[]")
_HTTP_KINDS = frozenset({"http", "sse", "streamable_http"})
_BEFORE_PATH = late_pattern(r"(?:[^:/?#{$]+:)?//[^/?#]*|\$\{?\w+\}?")
_MAX_NEAR = 3
_NO_HINTS: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class ToolFacts:
    """What the operator's rules compare of one tool. `annotations` are MCP's hints, as far as they are known."""

    names: tuple[str, ...]
    tags: tuple[str, ...] = ()
    path: str = ""
    method: str = ""
    operation_id: str = ""
    annotations: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def values(self, key: str) -> tuple[str, ...]:
        """Return the texts that the patterns of a rule's key are compared with."""
        if key == "names":
            return self.names
        if key == "tags":
            return self.tags
        value = {"paths": self.path, "methods": self.method, "operation_ids": self.operation_id}[key]
        return (value,) if value else ()

    def hint(self, name: str) -> Any:
        """Return a hint, or the value that MCP clients assume if it is absent."""
        if name in self.annotations:
            return self.annotations[name]
        read_only = self.annotations.get("readOnlyHint") is True
        assumed = {"destructiveHint": not read_only, "idempotentHint": read_only, "openWorldHint": True}
        return assumed.get(name, False)


@dataclass(slots=True)
class _Pattern:
    """One pattern of one key, and whether any tool has matched it."""

    section: str
    key: str
    text: str
    used: bool = False

    def matches(self, values: Iterable[str]) -> bool:
        found = any(matches_glob(self.text, value) for value in values)
        self.used = self.used or found
        return found


class ToolSelection:
    """The operator's rules for one manual. It records which patterns matched a tool while the tools are judged."""

    def __init__(
        self,
        include: Mapping[str, Any] | None = None,
        exclude: Mapping[str, Any] | None = None,
        overrides: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self._faults = Faults()
        self._include = _Rule("include", include or {}, self._faults)
        self._exclude = _Rule("exclude", exclude or {}, self._faults)
        self._overrides = _Overrides(overrides or {}, self._faults)
        self._asked = ("names", *self._include.keys(), *self._exclude.keys())
        self._seen: dict[str, set[str]] = {}
        self.is_empty = not (include or exclude or overrides)
        self.asks_hints = self._include.asks_hints or self._exclude.asks_hints
        """Whether `ToolFacts.annotations` matter."""

    def decide(self, facts: ToolFacts) -> JsonObject | None:
        """Return what the operator says of a tool in place of its document; None if the tool is not wanted."""
        for key in self._asked:
            self._seen.setdefault(key, set()).update(facts.values(key))
        included = self._include.verdicts(facts)
        excluded = self._exclude.verdicts(facts)
        override = self._overrides.of(facts)
        return override if all(included) and not any(excluded) and override.get("hidden") is not True else None

    def warn_of_name(self, name: str, tool: str) -> None:
        """Note that an override would give two tools one name."""
        self._faults.warn("`overrides`", f"two tools would have the name {word(name)!r}; {word(tool)!r} keeps its own.")

    def faults(self, *, unused: bool = True) -> list[Fault]:
        """Return what is wrong with the rules, with a warning for each pattern that matched no tool if `unused`.

        Ask after the last tool was judged. The place of each fault is a key of the manual's entry.
        """
        found = Faults()
        found.extend(self._faults.faults)
        if unused and self._seen.get("names"):
            for pattern in (*self._include.patterns(), *self._exclude.patterns(), *self._overrides.patterns()):
                if not pattern.used:
                    what = f"no tool has a {PATTERNS[pattern.key]} that matches {word(pattern.text)!r}."
                    found.warn(f"`{pattern.section}`", what, _similar(pattern.text, self._seen[pattern.key]))
        return found.faults


class _Rule:
    """`include` or `exclude`."""

    def __init__(self, section: str, rule: Mapping[str, Any], faults: Faults) -> None:
        self._patterns: dict[str, list[_Pattern]] = {}
        self._hints: dict[str, Any] = {}
        for key, value in rule.items():
            if key in PATTERNS:
                self._patterns[key] = list(_read_patterns(section, key, value, faults))
            elif key in HINTS:
                self._hints[HINTS[key]] = value
            elif key == "annotations" and is_object(value):
                self._hints.update(value)
            elif key == "annotations":
                faults.misread(f"`{section}`", f"`annotations` must be an object, not {sort_of(value)}.")
            else:
                what = f"{word(key)!r} is not a key of `{section}`, and is ignored."
                faults.misread(f"`{section}`", what, nearest(key, _RULE_KEYS))
        self._patterns = {key: patterns for key, patterns in self._patterns.items() if patterns}
        self.asks_hints = bool(self._hints)

    def keys(self) -> Iterable[str]:
        return self._patterns.keys()

    def patterns(self) -> Iterator[_Pattern]:
        for patterns in self._patterns.values():
            yield from patterns

    def verdicts(self, facts: ToolFacts) -> list[bool]:
        """Return for each key whether the tool matches it. Every pattern is tried, to find those that match no tool."""
        by_pattern = [_any_matches(patterns, facts.values(key)) for key, patterns in self._patterns.items()]
        return by_pattern + [facts.hint(name) == wanted for name, wanted in self._hints.items()]


def _any_matches(patterns: Iterable[_Pattern], values: tuple[str, ...]) -> bool:
    found = [pattern.matches(values) for pattern in patterns]
    return any(found)


def _read_patterns(section: str, key: str, value: Any, faults: Faults) -> Iterator[_Pattern]:
    """Yield the patterns of a key, which has one or a list of them."""
    for item in value if is_list(value) else [] if value is None else [value]:
        if isinstance(item, str):
            yield _Pattern(section, key, item)
        else:
            faults.misread(f"`{section}`", f"`{key}` must hold text, not {sort_of(item)}.")


class _Overrides:
    """`overrides`: patterns in the order written, then names without regard to case, then the exact name."""

    def __init__(self, overrides: Mapping[str, Mapping[str, Any]], faults: Faults) -> None:
        self._globs: list[tuple[_Pattern, Mapping[str, Any]]] = []
        self._plain: dict[str, list[tuple[_Pattern, Mapping[str, Any]]]] = {}
        self._exact: dict[str, tuple[_Pattern, Mapping[str, Any]]] = {}
        for name, override in overrides.items():
            _check_override(name, override, faults)
            both = _Pattern("overrides", "names", name), override
            self._exact[name] = both
            if _GLOB.search(name):
                self._globs.append(both)
            else:
                self._plain.setdefault(name.casefold(), []).append(both)

    def patterns(self) -> Iterator[_Pattern]:
        for pattern, _ in self._exact.values():
            yield pattern

    def of(self, facts: ToolFacts) -> JsonObject:
        found: JsonObject = {}
        for pattern, override in self._globs:
            if pattern.text not in facts.names and pattern.matches(facts.names):
                _lay_over(found, override)
        for name in facts.names:
            for pattern, override in self._plain.get(name.casefold(), ()):
                pattern.used = True
                _lay_over(found, override)
        for name in facts.names:
            if name in self._exact:
                pattern, override = self._exact[name]
                pattern.used = True
                _lay_over(found, override)
        return found


def _check_override(name: str, override: Mapping[str, Any], faults: Faults) -> None:
    for key, value in override.items():
        if key not in _OVERRIDE_KEYS:
            what = f"{word(key)!r} of {word(name)!r} is not a key of an override, and is ignored."
            faults.misread("`overrides`", what, nearest(key, _OVERRIDE_KEYS))
        elif key in _TEXT_KEYS and not isinstance(value, str):
            faults.misread("`overrides`", f"`{key}` of {word(name)!r} must be text, not {sort_of(value)}.")


def _lay_over(found: JsonObject, override: Mapping[str, Any]) -> None:
    """Lay an override over what was found, key by key; annotations and defaults are merged."""
    for key, value in override.items():
        known = found.get(key)
        merged = key in {"annotations", "defaults"} and is_object(known) and is_object(value)
        found[key] = {**known, **value} if merged and is_object(known) else value


def select(
    tools: Iterable[RawTool],
    selection: ToolSelection,
    hints_of: Callable[[RawTool], Mapping[str, Any]],
) -> list[RawTool]:
    """Return the tools that the operator wants, with the operator's overrides.

    `hints_of` gives the hints of a tool that may be believed; it is called only if a rule asks for hints.
    A tool is not renamed to a name that another has: the fault is in `selection.faults()`.
    """
    if selection.is_empty:
        return list(tools)
    kept: list[tuple[RawTool, RawTool]] = []
    for tool in tools:
        hints = hints_of(tool) if selection.asks_hints else _NO_HINTS
        override = selection.decide(facts_of(tool, hints))
        if override is not None:
            kept.append((tool, changed(tool, override)))
    return list(_without_clashes(kept, selection))


def _without_clashes(kept: list[tuple[RawTool, RawTool]], selection: ToolSelection) -> Iterator[RawTool]:
    taken = {before.name for before, _ in kept}
    for before, after in kept:
        if after.name == before.name:
            yield after
        elif after.name in taken:
            selection.warn_of_name(after.name, before.name)
            yield replace(after, name=before.name)
        else:
            taken.add(after.name)
            yield after


class DescribedTool(Protocol):
    """A tool as far as its manual describes it."""

    @property
    def name(self) -> str:
        """Its name in its manual."""
        ...

    @property
    def tags(self) -> tuple[str, ...]:
        """Its tags."""
        ...

    @property
    def template(self) -> JsonObject:
        """Its call template."""
        ...


def facts_of(tool: DescribedTool, hints: Mapping[str, Any]) -> ToolFacts:
    """Return the facts of a tool of a UTCP manual, or of a tool that a transport made itself."""
    url, kind = tool.template.get("url"), tool.template.get("call_template_type")
    method = tool.template.get("http_method") or ("GET" if kind in _HTTP_KINDS else "")
    return ToolFacts(
        names=(tool.name,),
        tags=tool.tags,
        path=_path_of(url) if isinstance(url, str) else "",
        method=method if isinstance(method, str) else "",
        operation_id=tool.name,
        annotations=hints,
    )


def _path_of(url: str) -> str:
    """Return the path of a URL with placeholders and variables: `https://${HOST}/pets/{id}?x=1` → `/pets/{id}`."""
    found = _BEFORE_PATH.match(url)
    return url[found.end() if found else 0 :].partition("?")[0].partition("#")[0] or "/"


def changed(tool: RawTool, override: Mapping[str, Any]) -> RawTool:
    """Return the tool with the changes of an override, `hidden` aside."""
    changes: JsonObject = {
        key: override[key]
        for key in _TEXT_KEYS
        if isinstance(override.get(key), str) and (override[key] or key != "name")
    }
    if is_object(annotations := override.get("annotations")):
        changes["decided"] = {**tool.decided, **annotations}
    if override.get("result") is not None:
        changes["projection"] = str(override["result"])
    if is_object(defaults := override.get("defaults")):
        changes |= {"inputs": _with_defaults(tool.inputs, defaults), "defaults": {**tool.defaults, **defaults}}
    return replace(tool, **changes) if changes else tool


def _with_defaults(schema: JsonObject, defaults: JsonObject) -> JsonObject:
    """Return the input schema with default values; arguments that have one are no longer required."""
    properties = schema.get("properties")
    members: JsonObject = dict(properties) if is_object(properties) else {}
    for name, value in defaults.items():
        member = members.get(name)
        members[name] = {**(member if is_object(member) else {}), "default": value}
    required = schema.get("required")
    kept = [name for name in required if name not in defaults] if is_list(required) else []
    rest = {key: value for key, value in schema.items() if key != "required"}
    return {**rest, "properties": members, **({"required": kept} if kept else {})}


def _similar(pattern: str, values: Iterable[str]) -> str:
    """Return a remedy that names the values nearest to a pattern."""
    by_fold = {value.casefold(): value for value in sorted(values)}
    plain = re.sub(r"[*?\[\]]", "", pattern.casefold())
    from difflib import get_close_matches  # for mistakes alone

    near = get_close_matches(plain, by_fold, n=_MAX_NEAR, cutoff=0.5)
    return f"Did you mean {' or '.join(repr(word(by_fold[value])) for value in near)}?" if near else ""
