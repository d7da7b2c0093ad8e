"""Rules before and after a call: which of them look at a tool, what they decide, and who is asked.

Rules are in the order of the configuration. Before a call, the first rule that decides `allow`, `deny` or `ask` wins,
and the rules after it are not asked. `require`, `cap` and rules of other packages may refuse, and otherwise decide
nothing. After a call, every rule for results looks at the result, in order. A rule that fails or hangs refuses the
call.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from time import monotonic
from typing import Any, Final, Literal, Protocol, TypeVar, cast

import anyio

from utcp_bridge.access.patterns import masked_personal_data
from utcp_bridge.access.principals import ANYONE, Principal
from utcp_bridge.access.rule_entries import RuleEntry, read_entries
from utcp_bridge.access.urls import refused_host
from utcp_bridge.errors import ConfigError, PolicyError, Rejected, UtcpError
from utcp_bridge.late.entry_points import entry_points
from utcp_bridge.model import (
    REQUESTER,
    TRAIL,
    Binary,
    Call,
    ContentBlocks,
    Fault,
    JsonObject,
    Result,
    Tool,
    in_seconds,
    is_list,
    is_object,
)
from utcp_bridge.pipeline import canonical_json
from utcp_bridge.pipeline.validation import argument_fault
from utcp_bridge.tasks import in_slices

__all__ = ["ENTRY_POINT_GROUP", "Asker", "CallRule", "CallRules", "Decision", "RuleVerdict", "open_rules"]

_logger = logging.getLogger(__name__)
ENTRY_POINT_GROUP: Final = "utcp_bridge.rules"
_MAX_COUNTERS: Final = 10_000
_MAX_WHY: Final = 500
Decision = Literal["allow", "deny", "ask"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RuleVerdict:
    """What a rule decides, and for a refusal why, in a sentence for the caller."""

    decision: Decision
    why: str = ""


class CallRule(Protocol):
    """A rule of another package. An entry point of the group `utcp_bridge.rules` makes it from the rule's `options`."""

    async def before(self, call: Call, tool: Tool, principal: Principal) -> RuleVerdict | Decision | None:
        """Decide about a call; None leaves it to the rules after this one."""
        ...

    async def after(self, call: Call, tool: Tool, principal: Principal, result: Result) -> Result | None:
        """Return the result that the caller may have; None refuses it."""
        ...


class Asker(Protocol):
    """Asks a person to approve a call (`approvals.py`)."""

    async def approve(self, call: Call, principal: Principal, rule: str, why: str) -> JsonObject:
        """Return the approval, which is used up.

        :raises PolicyError: nobody approved the call.
        """
        ...

    async def give_back(self, approval: JsonObject) -> None:
        """Let an approval be used once more: the call was not made."""
        ...


class _Step:
    """One rule in use. The built-in ones override what they do."""

    reads_results = False
    is_decision = False

    def __init__(self, entry: RuleEntry) -> None:
        self.entry = entry

    async def before(self, call: Call, principal: Principal, *, dry: bool = False) -> RuleVerdict | None:
        """Decide about a call. `dry` counts nothing."""
        del call, principal, dry
        return None

    async def after(self, call: Call, principal: Principal, result: Result) -> Result:
        """Return the result that the caller may have."""
        del call, principal
        return result

    async def mask(self, text: str) -> str:
        """Return the text of an error as the caller may have it."""
        return text


class _Decide(_Step):
    """`allow`, `deny` and `ask`, of calls whose arguments fit a schema."""

    is_decision = True

    def __init__(self, entry: RuleEntry, decision: Decision) -> None:
        super().__init__(entry)
        self._verdict = RuleVerdict(decision, entry.why)
        self._schema = None if entry.arguments is None else _validator(entry)

    async def before(self, call: Call, principal: Principal, *, dry: bool = False) -> RuleVerdict | None:
        del principal, dry
        return self._verdict if self._schema is None or self._schema.is_valid(call.arguments) else None


class _Require(_Step):
    """`require`: arguments must fit a further schema, and URLs among them must be of certain hosts."""

    def __init__(self, entry: RuleEntry) -> None:
        super().__init__(entry)
        self._schema = None if entry.arguments is None else _validator(entry)

    async def before(self, call: Call, principal: Principal, *, dry: bool = False) -> RuleVerdict | None:
        del principal, dry
        if self._schema is not None:
            fault = next(iter(self._schema.iter_errors(call.arguments)), None)
            if fault is not None:
                why = f"The arguments do not fit the rule: {argument_fault(fault)}."
                return RuleVerdict("deny", self.entry.why or why)
        if self.entry.domains and (host := refused_host(call.arguments, self.entry.domains)) is not None:
            why = f"The arguments have a URL of {host}, which the rule does not allow."
            return RuleVerdict("deny", self.entry.why or why)
        return None


class _Cap(_Step):
    """`cap`: calls in a time, bytes of arguments, bytes of a result."""

    def __init__(self, entry: RuleEntry) -> None:
        super().__init__(entry)
        self.reads_results = entry.result_bytes is not None
        self._times: dict[str, deque[float]] = {}

    async def before(self, call: Call, principal: Principal, *, dry: bool = False) -> RuleVerdict | None:
        entry = self.entry
        if entry.argument_bytes is not None and (size := len(canonical_json(call.arguments))) > entry.argument_bytes:
            why = f"The arguments have {size:,} bytes, and at most {entry.argument_bytes:,} may be sent."
            return RuleVerdict("deny", entry.why or why)
        if entry.calls is None or entry.seconds is None:
            return None
        now, key = monotonic(), {"principal": principal.name, "tool": call.tool.qualified_name, "rule": ""}[entry.per]
        times = self._times.setdefault(key, deque())
        while times and times[0] <= now - entry.seconds:
            times.popleft()
        if len(times) >= entry.calls:
            why = f"At most {entry.calls:,} calls in {in_seconds(entry.seconds)} are allowed."
            return RuleVerdict("deny", entry.why or why)
        if not dry:
            times.append(now)
            self._forget()
        return None

    def _forget(self) -> None:
        if len(self._times) > _MAX_COUNTERS:
            since = monotonic() - (self.entry.seconds or 0)
            self._times = {key: times for key, times in self._times.items() if times and times[-1] > since}

    async def after(self, call: Call, principal: Principal, result: Result) -> Result:
        del principal
        most = self.entry.result_bytes
        if most is not None and (size := _size(result.value)) > most:
            why = f"The result has {size:,} bytes, and at most {most:,} may be given back."
            raise _refused(self.entry, call.tool, why)
        return result


class _Personal(_Step):
    """`redact` and `refuse`: secrets and personal data in results."""

    reads_results = True

    async def after(self, call: Call, principal: Principal, result: Result) -> Result:
        del principal
        seen: set[str] = set()
        value = await self._masked(result.value, seen)
        cut = None if result.truncated is None else await self._masked(result.truncated, seen)
        meta = await self._masked(dict(result.meta), seen)
        if seen and self.entry.do == "refuse":
            raise _refused(self.entry, call.tool, f"The result has data of the kind {', '.join(sorted(seen))}.")
        if seen:
            _note(self.entry.name, "redact", kinds=sorted(seen))
        return replace(result, value=value, truncated=cut, meta=meta, written=None) if seen else result

    async def mask(self, text: str) -> str:
        return str(await self._masked(text, set()))

    async def _masked(self, value: Any, seen: set[str]) -> Any:
        if isinstance(value, Binary):
            return await self._masked_bytes(value, seen)
        if isinstance(value, ContentBlocks):
            content = [await self._masked_block(block, seen) for block in value.content]
            structured, meta = await self._masked(value.structured, seen), await self._masked(value.meta, seen)
            return replace(value, content=content, structured=structured, meta=meta)
        if is_list(value) and any(isinstance(one, Binary | ContentBlocks) for one in value):
            return [await self._masked(one, seen) for one in value]
        return await in_slices(masked_personal_data(value, self.entry.patterns, seen, is_stream=True))

    async def _masked_block(self, block: JsonObject, seen: set[str]) -> JsonObject:
        """Return a block of MCP content. Its Base64 stays."""
        encoded = {key: block[key] for key in ("data", "blob") if isinstance(block.get(key), str)}
        inner = block.get("resource")
        rest = {key: value for key, value in block.items() if key not in encoded and key != "resource"}
        masked: JsonObject = {**await self._masked(rest, seen), **encoded}
        if is_object(inner):
            masked["resource"] = await self._masked_block(inner, seen)
        return masked

    async def _masked_bytes(self, value: Binary, seen: set[str]) -> Binary:
        try:
            text = value.data.decode()
        except UnicodeDecodeError:
            return value
        masked = await self._masked(text, seen)
        return value if masked is text else replace(value, data=masked.encode())


class _Other(_Step):
    """A rule of another package."""

    def __init__(self, entry: RuleEntry, rule: CallRule) -> None:
        super().__init__(entry)
        self._rule = rule
        self.reads_results = hasattr(rule, "after")

    async def before(self, call: Call, principal: Principal, *, dry: bool = False) -> RuleVerdict | None:
        if dry or not hasattr(self._rule, "before"):
            return None
        found: Any = await self._rule.before(call, call.tool, principal)
        if found is None or isinstance(found, RuleVerdict):
            return found if found is None or found.decision in {"allow", "deny", "ask"} else _impossible(found)
        return RuleVerdict(found) if found in {"allow", "deny", "ask"} else _impossible(found)

    async def after(self, call: Call, principal: Principal, result: Result) -> Result:
        found: Any = await self._rule.after(call, call.tool, principal, result)
        if found is None:
            raise _refused(self.entry, call.tool, "The rule does not allow the result.")
        allowed: Result = found if isinstance(found, Result) else _impossible(found)
        return replace(allowed, written=None)  # it may have changed the value itself, and its bytes are those of before


def _impossible(value: object) -> Any:
    raise TypeError(f"A rule cannot return {type(value).__name__}.")


@dataclass(slots=True)
class _Grant:
    """What a call used: an approval."""

    approval: JsonObject | None = None


@dataclass(slots=True)
class _OfTool:
    """The rules for one tool (`pipeline.ruling.ToolRuling`)."""

    tool: Tool
    steps: Sequence[_Step]
    asker: Asker | None
    seconds: float
    reads_results: bool = field(init=False)

    def __post_init__(self) -> None:
        self.reads_results = any(step.reads_results for step in self.steps)

    async def before(self, call: Call) -> _Grant:
        requester = REQUESTER.get()
        principal = requester.identity or ANYONE
        for step in self.steps:
            if not step.entry.selects_caller(principal, requester.profile):
                continue
            verdict = await self._safely(step, partial(step.before, call, principal))
            if verdict is None:
                continue
            _note(step.entry.name, verdict.decision)
            if verdict.decision == "deny":
                raise _refused(step.entry, self.tool, verdict.why[:_MAX_WHY])
            if verdict.decision == "ask":
                return _Grant(await self._asked(step.entry, call, principal, verdict.why))
            return _Grant()
        return _Grant()

    async def _asked(self, entry: RuleEntry, call: Call, principal: Principal, why: str) -> JsonObject:
        if self.asker is None:
            raise PolicyError(
                f"The rule {entry.name!r} requires that a person approves {self.tool.qualified_name}.",
                remedy="This program cannot ask. Call the tool through `utcp-bridge serve`.",
            )
        approval = await self.asker.approve(call, principal, entry.name, why)
        _note(entry.name, "approved", **{key: approval[key] for key in ("id", "by") if key in approval})
        return approval

    async def give_back(self, grant: _Grant) -> None:
        if grant.approval is not None and self.asker is not None:
            await self.asker.give_back(grant.approval)

    async def after(self, call: Call, result: Result) -> Result:
        for step, principal in self._of_results():
            result = await self._safely(step, partial(step.after, call, principal, result))
        return result

    async def mask(self, call: Call, error: UtcpError) -> None:
        del call
        for step, _ in self._of_results():
            for name in ("message", "remedy"):
                if isinstance(text := getattr(error, name), str):
                    setattr(error, name, await self._safely(step, partial(step.mask, text)))
            if isinstance(error, Rejected) and error.detail is not None:
                error.detail = await self._masked_detail(step, error.detail)
        error.args = (error.message,)

    async def _masked_detail(self, step: _Step, detail: Any) -> Any:
        result = await self._safely(step, partial(step.after, Call(self.tool, {}), ANYONE, Result(detail)))
        return result.value

    def _of_results(self) -> Iterable[tuple[_Step, Principal]]:
        requester = REQUESTER.get()
        principal = requester.identity or ANYONE
        for step in self.steps:
            if step.reads_results and step.entry.selects_caller(principal, requester.profile):
                yield step, principal

    async def _safely(self, step: _Step, work: Callable[[], Awaitable[T]]) -> T:
        """Return what a rule returns.

        :raises PolicyError: it refuses, fails or takes too long. The caller does not see the text of its exception.
        """
        try:
            with anyio.fail_after(self.seconds) if isinstance(step, _Other) else nullcontext():
                return await work()
        except _Refusal:
            raise
        except TimeoutError:
            message = "The rule %r did not decide within %s."
            _logger.error(message, step.entry.name, in_seconds(self.seconds))  # noqa: TRY400 - no traceback for hosts
        except Exception as error:  # noqa: BLE001 - code of others, which must not let a call pass
            _logger.error("The rule %r failed (%s).", step.entry.name, type(error).__name__)  # noqa: TRY400
        _note(step.entry.name, "failed")
        raise _Refusal(
            f"The rule {step.entry.name!r} failed, so {self.tool.qualified_name} is refused.",
            remedy="The operator finds the reason in the log.",
        )


class _Refusal(PolicyError):
    """A refusal of this module."""


def _refused(entry: RuleEntry, tool: Tool, why: str) -> PolicyError:
    return _Refusal(f"The rule {entry.name!r} refuses {tool.qualified_name}.", remedy=why or entry.why or None)


def _note(rule: str, decision: str, **more: Any) -> None:
    trail = TRAIL.get()
    if trail is not None:
        trail.append({"rule": rule, "decision": decision, **more})


def _validator(entry: RuleEntry) -> Any:
    import jsonschema_rs  # three megabytes, for few configurations

    try:
        return jsonschema_rs.validator_for(entry.arguments or {})
    except (ValueError, jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError):
        raise ConfigError(f"`access.rules`, {entry.name!r}: `arguments` is not a JSON Schema.") from None


def _size(value: Any) -> int:
    if isinstance(value, Binary):
        return len(value.data)
    if isinstance(value, ContentBlocks):
        return _size([value.content, value.structured])
    if is_list(value) and any(isinstance(one, Binary | ContentBlocks) for one in value):
        return sum(map(_size, value))
    return len(canonical_json(value))


class CallRules:
    """The rules of a configuration (`pipeline.ruling.RulingPort`)."""

    def __init__(self, steps: Sequence[_Step], *, seconds: float, asker: Asker | None = None) -> None:
        self._steps = steps
        self._seconds = seconds
        self.asker = asker

    @property
    def asks(self) -> bool:
        """Whether a rule may ask a person."""
        return any(step.entry.do == "ask" or isinstance(step, _Other) for step in self._steps)

    def of(self, tool: Tool) -> _OfTool | None:
        """Return the rules for a tool; None if none can match its calls."""
        steps = [step for step in self._steps if step.entry.selects(tool)]
        return _OfTool(tool, steps, self.asker, self._seconds) if steps else None

    def faults(self, tools: Sequence[Tool]) -> list[Fault]:
        """Return a warning for each rule that can never match one of these tools."""
        found: list[Fault] = []
        decided: dict[Tool, str] = {}
        for step in self._steps:
            where, chosen = f"`access.rules`, {step.entry.name!r}", [tool for tool in tools if step.entry.selects(tool)]
            before = {decided[tool] for tool in chosen if tool in decided}
            if tools and not chosen:
                found.append(Fault(where, "no tool matches this rule.", "Check its selectors.", severity="warning"))
            elif chosen and not step.reads_results and all(tool in decided for tool in chosen):
                what = f"this rule never decides, because {' and '.join(map(repr, sorted(before)))} always does before."
                found.append(Fault(where, what, "Move it up, or remove it.", severity="warning"))
            if step.is_decision and step.entry.is_for_anyone:
                decided.update((tool, step.entry.name) for tool in chosen if tool not in decided)
        return found

    async def explain(self, tool: Tool, arguments: JsonObject) -> list[JsonObject]:
        """Return {rule, do, decides} for each rule that looks at a tool, in order, without an effect.

        `decides` says in words what it would decide about this call.
        """
        found: list[JsonObject] = []
        first = ""
        for step in self._steps:
            if step.entry.selects(tool):
                decides, is_certain = await _foreseen(step, Call(tool, arguments), first)
                found.append({"rule": step.entry.name, "do": step.entry.do, "decides": decides})
                first = first or (step.entry.name if is_certain else "")
        return found


async def _foreseen(step: _Step, call: Call, first: str) -> tuple[str, bool]:
    """Return what a rule would do about a call, and whether no later rule decides. `first` is a rule that decides."""
    entry = step.entry
    if isinstance(step, _Personal):
        verb = "replaces" if entry.do == "redact" else "refuses a result with"
        return f"{verb} {', '.join(entry.patterns)} in the result", False
    if first:
        return f"nothing, because {first!r} decides before", False
    whom = "" if not entry.principals and not entry.profiles else " for the callers that it selects"
    if isinstance(step, _Other):
        return f"what its code decides at the call{whom}", False
    try:
        verdict = await step.before(call, ANYONE, dry=True)
    except Exception:  # noqa: BLE001 - at a call, this refuses it
        verdict = RuleVerdict("deny", "The rule fails for these arguments.")
    if verdict is None:
        return "nothing about these arguments", False
    why = f": {verdict.why}" if verdict.why else ""
    return f"{verdict.decision}{whom}{why}", not whom


def open_rules(
    written: Sequence[JsonObject],
    *,
    seconds: float = 5.0,
    asker: Asker | None = None,
    profiles: Collection[str] | None = None,
) -> CallRules | None:
    """Return the rules that a configuration has under `access.rules`; None if there are none.

    `profiles` are the names of all profiles, which the rules may name; None: any.

    :raises ConfigError: a rule is wrong, or the code of another package that makes it failed.
    """
    if not written:
        return None
    others = {one.name: one for one in entry_points(group=ENTRY_POINT_GROUP)}
    entries = read_entries(written, sorted(others), profiles)
    return CallRules([_step(entry, others) for entry in entries], seconds=seconds, asker=asker)


def _step(entry: RuleEntry, others: Any) -> _Step:
    if entry.do in {"allow", "deny", "ask"}:
        return _Decide(entry, cast("Decision", entry.do))
    made = {"require": _Require, "cap": _Cap, "redact": _Personal, "refuse": _Personal}.get(entry.do)
    if made is not None:
        return made(entry)
    try:
        return _Other(entry, others[entry.do].load()(**entry.options))
    except Exception as error:
        what = f"`access.rules`, {entry.name!r}: the rule {entry.do!r} cannot be created ({type(error).__name__})."
        raise ConfigError(what) from error
