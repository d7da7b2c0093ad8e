"""`access.rules` of a configuration: what a rule may have, and which tools it is for."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from utcp_bridge.access.patterns import KINDS
from utcp_bridge.access.principals import Principal
from utcp_bridge.dialects.selection import ToolFacts
from utcp_bridge.errors import ConfigError, explain
from utcp_bridge.model import JsonObject, Tool, matches_glob

__all__ = ["BUILT_IN", "RuleEntry", "read_entries"]

BUILT_IN: Final = ("allow", "deny", "ask", "require", "cap", "redact", "refuse")
_HTTP_KINDS: Final = frozenset({"http", "sse", "streamable_http"})
_HINTS: Final = {
    "read_only": "readOnlyHint",
    "destructive": "destructiveHint",
    "idempotent": "idempotentHint",
    "open_world": "openWorldHint",
}
_OWN_KEYS: Final[Mapping[str, frozenset[str]]] = {
    "allow": frozenset({"arguments"}),
    "deny": frozenset({"arguments"}),
    "ask": frozenset({"arguments"}),
    "require": frozenset({"arguments", "domains"}),
    "cap": frozenset({"calls", "seconds", "per", "argument_bytes", "result_bytes"}),
    "redact": frozenset({"patterns"}),
    "refuse": frozenset({"patterns"}),
}
"""The keys that only some rules have. Rules of other packages have `options`."""
_SPECIAL: Final = frozenset({"options", *(key for keys in _OWN_KEYS.values() for key in keys)})


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Globs = Annotated[tuple[str, ...], BeforeValidator(_listed)]
Kind = Literal["secret", "email", "iban", "card", "phone", "national_id"]


class RuleEntry(BaseModel):
    """One rule as it is written. A selector that is absent matches everything."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    do: str
    """One of `BUILT_IN`, or the name of an entry point."""
    name: str = Field(default="", max_length=100)
    why: str = Field(default="", max_length=500)
    principals: Globs = ()
    profiles: Globs = ()
    manuals: Globs = ()
    tools: Globs = ()
    tags: Globs = ()
    methods: Globs = ()
    annotations: Mapping[str, bool] = Field(default_factory=dict)
    read_only: bool | None = None
    destructive: bool | None = None
    idempotent: bool | None = None
    open_world: bool | None = None
    arguments: JsonObject | None = Field(default=None, repr=False)
    domains: Globs = ()
    calls: Annotated[int, Field(ge=0)] | None = None
    seconds: Annotated[float, Field(gt=0, le=2_678_400)] | None = None
    per: Literal["principal", "tool", "rule"] = "principal"
    argument_bytes: Annotated[int, Field(gt=0)] | None = None
    result_bytes: Annotated[int, Field(gt=0)] | None = None
    patterns: Annotated[tuple[Kind, ...], BeforeValidator(_listed)] = ()
    options: JsonObject = Field(default_factory=dict, repr=False)

    def selects(self, tool: Tool) -> bool:
        """Return whether the rule is for a tool, for some callers or all."""
        facts = _facts(tool)
        chosen = (
            (self.manuals, (tool.manual,)),
            (self.tools, facts.names),
            (self.tags, facts.tags),
            (self.methods, (facts.method,) if facts.method else ()),
        )
        if any(globs and not _matches(globs, values) for globs, values in chosen):
            return False
        hints = {**self.annotations, **{_HINTS[key]: getattr(self, key) for key in _HINTS}}
        return all(wanted is None or facts.hint(hint) is wanted for hint, wanted in hints.items())

    def selects_caller(self, principal: Principal, profile: str | None) -> bool:
        """Return whether the rule is for a caller."""
        return not (self.principals and not _matches(self.principals, principal.names)) and not (
            self.profiles and not _matches(self.profiles, () if profile is None else (profile,))
        )

    @property
    def is_for_anyone(self) -> bool:
        """Whether the rule decides about each call of the tools that it selects."""
        return not self.principals and not self.profiles and self.arguments is None


def _facts(tool: Tool) -> ToolFacts:
    method = tool.template.get("http_method") or ("GET" if tool.kind in _HTTP_KINDS else "")
    return ToolFacts(
        names=(tool.qualified_name,),
        tags=tool.tags,
        method=method if isinstance(method, str) else "",
        annotations=tool.annotations,
    )


def _matches(globs: Sequence[str], values: Sequence[str]) -> bool:
    return any(matches_glob(glob, value) for glob in globs for value in values)


def read_entries(
    written: Sequence[JsonObject], others: Sequence[str], profiles: Collection[str] | None = None
) -> list[RuleEntry]:
    """Return the rules of a configuration, each with a name. `others` are the names of rules of other packages.

    `profiles` are the names of all profiles; None: any may exist.

    :raises ConfigError: a rule is wrong. A rule that is not understood must not be left out.
    """
    entries: list[RuleEntry] = []
    for number, one in enumerate(written, 1):
        place = f"`access.rules`, rule {number}"
        entry = _read(one, place)
        _check(entry, place, others, one)
        if profiles is not None:
            _check_profiles(entry, place, profiles)
        entries.append(entry if entry.name else entry.model_copy(update={"name": f"rule {number} ({entry.do})"}))
    names = [entry.name for entry in entries]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"`access.rules`: two rules have the name {twice!r}.", remedy="Give each its own name.")
    return entries


def _read(written: JsonObject, place: str) -> RuleEntry:
    unknown = next((key for key in written if key not in RuleEntry.model_fields), None)
    if unknown is not None:
        near = get_close_matches(str(unknown), list(RuleEntry.model_fields), n=1)
        remedy = f"Did you mean `{near[0]}`?" if near else "`utcp-bridge help rules` lists the keys."
        raise ConfigError(f"{place}: {str(unknown)[:80]!r} is not a key of a rule.", remedy=remedy)
    try:
        return RuleEntry.model_validate(written)
    except ValidationError as error:
        raise ConfigError(f"{place}: {explain(error)}.", remedy="`utcp-bridge help rules` shows examples.") from None


def _check(entry: RuleEntry, place: str, others: Sequence[str], written: JsonObject) -> None:
    own = _OWN_KEYS.get(entry.do)
    if own is None and entry.do not in others:
        known = [*BUILT_IN, *others]
        near = get_close_matches(entry.do, known, n=1)
        remedy = f"Did you mean `{near[0]}`?" if near else f"Write one of {', '.join(known)}."
        raise ConfigError(f"{place}: no rule does {entry.do[:80]!r}.", remedy=remedy)
    wrong = next((key for key in written if key in _SPECIAL and key not in (own or {"options"})), None)
    if wrong is not None:
        raise ConfigError(f"{place}: a rule that does {entry.do!r} has no `{wrong}`.", remedy="Remove it.")
    if missing := _missing(entry):
        raise ConfigError(f"{place}: a rule that does {entry.do!r} needs {missing}.")


def _check_profiles(entry: RuleEntry, place: str, profiles: Collection[str]) -> None:
    """Refuse a pattern that matches no profile: a rule that denies would let every call pass."""
    wrong = next((glob for glob in entry.profiles if not _matches((glob,), [*profiles])), None)
    if wrong is not None:
        near = get_close_matches(wrong, profiles, n=1)
        known = f"It has: {', '.join(sorted(profiles)[:20])}." if profiles else "Add it to `access.profiles`."
        what = f"{place}: `profiles` has {wrong[:64]!r}, which matches no profile of the configuration."
        raise ConfigError(what, remedy=f"Did you mean {near[0]!r}?" if near else known)


def _missing(entry: RuleEntry) -> str:
    if entry.do == "require" and entry.arguments is None and not entry.domains:
        return "`arguments` (a JSON Schema) or `domains`"
    if entry.do == "cap":
        if (entry.calls is None) != (entry.seconds is None):
            return "both `calls` and `seconds`"
        if entry.calls is None and entry.argument_bytes is None and entry.result_bytes is None:
            return "`calls` with `seconds`, `argument_bytes` or `result_bytes`"
    if entry.do in {"redact", "refuse"} and not entry.patterns:
        return f"`patterns`: {', '.join(KINDS)}"
    return ""
