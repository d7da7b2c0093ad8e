"""Rules before and after a call, in the pipeline."""

import logging
from dataclasses import replace
from importlib.metadata import EntryPoint, EntryPoints

import anyio
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.steps import Step, make_call, make_tool

from utcp_bridge.access import rules as rules_module
from utcp_bridge.access.principals import Principal
from utcp_bridge.access.rules import RuleVerdict, open_rules
from utcp_bridge.catalogue.fitting import Budget
from utcp_bridge.catalogue.render import Rendering, render_result
from utcp_bridge.catalogue.spliced import SPLICED_FROM, spliced
from utcp_bridge.errors import ConfigError, InvalidArguments, PolicyError, Rejected
from utcp_bridge.model import (
    REQUESTER,
    TRAIL,
    Binary,
    ContentBlocks,
    Requester,
    Result,
    WrittenValue,
    defers,
    discard,
    large_reader,
)
from utcp_bridge.pipeline.ruling import Rulings
from utcp_bridge.tasks import setting
from utcp_bridge.upstream import TASK_WISH, InputRequired

pytestmark = pytest.mark.anyio


async def run(written, arguments=None, *, step=None, tool=None, emit=discard, rules=None):
    """Return the value of a call under these rules."""
    tool, rules = tool or make_tool(), rules or open_rules(written)
    return (await Rulings(rules)(tool, step or Step())(make_call(tool, arguments or {}), emit)).value


async def refused(written, arguments=None, **more):
    step = more.pop("step", None) or Step()
    with pytest.raises(PolicyError) as caught:
        await run(written, arguments, step=step, **more)
    return str(caught.value)


def caller(name="anyone", profile=None):
    return setting(REQUESTER, Requester(name, Principal(name), profile))


def test_a_tool_without_rules_has_no_layer():
    innermost = Step()
    assert Rulings()(make_tool(), innermost) is innermost
    assert Rulings(open_rules([{"do": "deny", "tools": "other.*"}]))(make_tool(), innermost) is innermost
    assert open_rules([]) is None


async def test_the_first_decision_wins():
    step = Step()
    written = [{"do": "allow", "principals": "boss"}, {"do": "deny", "why": "Not now."}, {"do": "allow"}]
    assert await refused(written, step=step) == "The rule 'rule 2 (deny)' refuses shop.search. Not now."
    assert step.calls == []
    with caller("boss"):
        assert await run(written) == "done"


@pytest.mark.parametrize(
    ("kind", "name"), [("token", "ci-1"), ("certificate", "ci-1"), ("oauth", "ci-1@https://login.example.com")]
)
async def test_a_principal_is_selected_with_its_kind_and_without(kind, name):
    principal = Principal(f"{kind}:{name}", kind)
    with setting(REQUESTER, Requester(principal=principal.name, identity=principal)):
        for pattern in ("ci-*", f"{kind}:ci-*", f"{kind}:*"):
            await refused([{"do": "deny", "principals": pattern}])
        for pattern in ("anyone", "ci", "other:ci-*", "i-1"):
            assert await run([{"do": "deny", "principals": pattern}]) == "done"


def test_a_profile_that_does_not_exist_is_refused_because_a_rule_for_it_would_never_deny():
    written = [{"do": "deny", "profiles": ["support", "suport"]}]
    with pytest.raises(ConfigError, match="rule 1: `profiles` has 'suport', which matches no profile") as raised:
        open_rules(written, profiles=["support", "readers"])
    assert raised.value.remedy == "Did you mean 'support'?"
    assert open_rules([{"do": "deny", "profiles": "read*"}], profiles=["support", "readers"]) is not None
    assert open_rules(written) is not None, "a program of its own may have any profiles"


async def test_decisions_are_noted_for_the_audit_log():
    with setting(TRAIL, trail := []):
        await run([{"do": "cap", "calls": 5, "seconds": 60}, {"do": "allow", "name": "yes"}])
        await refused([{"do": "deny", "name": "no"}])
    assert trail == [{"rule": "yes", "decision": "allow"}, {"rule": "no", "decision": "deny"}]


async def test_conditions_on_arguments():
    written = [{"do": "deny", "arguments": {"required": ["n"], "properties": {"n": {"minimum": 5}}}}]
    assert await run(written, {"n": 4}) == "done"
    assert await run(written) == "done"
    assert "refuses" in await refused(written, {"n": 5})


async def test_required_arguments_and_domains():
    written = [{"do": "require", "arguments": {"properties": {"n": {"maximum": 5}}}, "domains": ["example.com"]}]
    assert await run(written, {"n": 5, "u": "https://example.com"}) == "done"
    assert "n: 6 is greater than the maximum of 5" in await refused(written, {"n": 6})
    assert "a URL of 'evil.com'" in await refused(written, {"u": "https://evil.com"})


@given(st.integers(1, 5), st.lists(st.sampled_from(["a", "b"]), max_size=20))
def test_a_cap_counts_for_each_principal(most, callers):
    async def count():
        rules, used = open_rules([{"do": "cap", "calls": most, "seconds": 3600}]), {"a": 0, "b": 0}
        for name in callers:
            with caller(name):
                try:
                    await run(None, rules=rules)
                    used[name] += 1
                except PolicyError:
                    assert used[name] == most
        return used

    assert anyio.run(count) == {name: min(most, callers.count(name)) for name in ("a", "b")}


async def test_sizes_are_capped():
    assert "The arguments have 15 bytes, and at most 10" in await refused(
        [{"do": "cap", "argument_bytes": 10}], {"a": "1234567"}
    )
    written = [{"do": "cap", "result_bytes": 10}]
    assert await run(written, step=Step("12345678")) == "12345678"
    assert "The result has 11 bytes, and at most 10" in await refused(written, step=Step("123456789"))
    assert "The result has 11 bytes" in await refused(written, step=Step(Binary(b"x" * 11)))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a ann@example.com", "a [email]"),
        ({"x": ["ann@example.com"]}, {"x": ["[email]"]}),
        (Binary(b"ann@example.com", "text/plain"), Binary(b"[email]", "text/plain")),
        (Binary(b"\xff\xfe"), Binary(b"\xff\xfe")),
        ([Binary(b"\xff"), "ann@example.com"], [Binary(b"\xff"), "[email]"]),
        (["ann@exam", "ple.com"], ["[email]", "[email]"]),
        (
            ContentBlocks(
                [
                    {"type": "text", "text": "ann@example.com"},
                    {"type": "resource", "resource": {"uri": "x:y", "text": "bob@example.com", "blob": "QUJD"}},
                ],
                {"m": "ann@example.com"},
                meta={"k": "ann@example.com"},
            ),
            ContentBlocks(
                [
                    {"type": "text", "text": "[email]"},
                    {"type": "resource", "resource": {"uri": "x:y", "text": "[email]", "blob": "QUJD"}},
                ],
                {"m": "[email]"},
                meta={"k": "[email]"},
            ),
        ),
    ],
)
async def test_results_of_all_kinds_are_redacted_or_refused(value, shown):
    assert await run([{"do": "redact", "patterns": "email"}], step=Step(value)) == shown
    written = [{"do": "refuse", "patterns": ["email", "card"]}]
    if shown == value:
        assert await run(written, step=Step(value)) == value
    else:
        assert "The result has data of the kind email." in await refused(written, step=Step(value))


async def test_errors_and_notes_are_redacted():
    written = [{"do": "redact", "patterns": "email"}]
    error = Rejected(
        "shop returned ann@example.com", status=400, detail={"who": "ann@example.com"}, remedy="Ask bob@example.com."
    )
    with pytest.raises(Rejected) as caught:
        await run(written, step=Step(faults=[error]))
    assert (str(caught.value), caught.value.detail) == ("shop returned [email] Ask [email].", {"who": "[email]"})

    async def cut(_call, _emit):
        return Result(
            "x", "because ann@example.com", {"link": "ann@example.com"}, Rejected("ann@example.com", status=1)
        )

    result = await Rulings(open_rules(written))(make_tool(), cut)(make_call(), discard)
    assert (result.truncated, result.meta, str(result.failure)) == ("because [email]", {"link": "[email]"}, "[email]")


async def test_a_tool_whose_results_are_read_gives_no_partial_results_no_task_and_is_read_at_once():
    async def stream(_call, emit):
        await emit("ann@exam")
        assert TASK_WISH.get() is None
        assert not defers(b"x" * 10_000_000)
        return ["ann@exam", "ple.com"]

    async def reader(_tool, result):
        return result

    partials = []

    async def emit(partial):
        partials.append(partial)

    with setting(TASK_WISH, {}), setting(large_reader, reader):
        assert await run([{"do": "redact", "patterns": "email"}], step=Step(does=stream), emit=emit) == ["[email]"] * 2
    assert partials == []


class Plugin:
    """A rule of another package."""

    def __init__(self, does="allow"):
        self.does = does

    async def before(self, call, tool, principal):
        assert (tool.name, principal.name, call.arguments) == ("search", "anyone", {"a": 1})
        match self.does:
            case "raise":
                raise RuntimeError("secret text")
            case "refuse":
                raise PolicyError("secret text")
            case "hang":
                await anyio.sleep_forever()
            case "verdict":
                return RuleVerdict("deny", "Because.")
            case "odd":
                return "perhaps"
        return self.does if self.does in {"allow", "deny"} else None

    async def after(self, call, tool, principal, result):
        if self.does == "raise after":
            raise RuntimeError("secret text")
        if self.does == "odd after":
            return "text"
        if self.does == "change in place":
            del result.value["secret"]
            return result
        return None if self.does == "none after" else replace(result, value=f"{result.value}!")


@pytest.fixture
def plugin(monkeypatch):
    """Offer the rule as an installed package would."""
    found = EntryPoints([EntryPoint("mine", f"{__name__}:Plugin", rules_module.ENTRY_POINT_GROUP)])
    monkeypatch.setattr(rules_module, "entry_points", lambda group: found.select(group=group))
    monkeypatch.setattr(EntryPoint, "load", lambda _self: Plugin)
    return lambda does: open_rules(
        [{"do": "mine", "options": {"does": does}}], seconds=0.05 if does == "hang" else 60.0
    )


async def test_a_rule_of_another_package_decides_and_changes_the_result(plugin):
    assert await run(None, {"a": 1}, rules=plugin("allow")) == "done!"
    assert "refuses" in await refused(None, {"a": 1}, rules=plugin("deny"))
    assert "Because." in await refused(None, {"a": 1}, rules=plugin("verdict"))
    assert "does not allow the result" in await refused(None, {"a": 1}, rules=plugin("none after"))


async def test_the_bytes_of_a_result_that_a_rule_of_another_package_changes_in_place_are_not_sent(plugin):
    value = {"secret": "canary", "rest": "x" * SPLICED_FROM}

    async def innermost(call, emit):
        return Result(value, written=WrittenValue(value, orjson.dumps(value), is_exact=True))

    result = await Rulings(plugin("change in place"))(make_tool(), innermost)(make_call(make_tool(), {"a": 1}), discard)
    message = orjson.dumps(spliced(render_result(result, Rendering(Budget(1_000_000), structured=True))))
    assert b"canary" not in message
    assert message.count(b"x" * SPLICED_FROM) == 2


@pytest.mark.parametrize("does", ["raise", "refuse", "hang", "odd", "raise after", "odd after"])
async def test_a_rule_that_fails_refuses_the_call_and_names_itself_only(plugin, does, caplog):
    with caplog.at_level(logging.ERROR):
        text = await refused(None, {"a": 1}, rules=plugin(does))
    assert text.startswith("The rule 'rule 1 (mine)' failed, so shop.search is refused.")
    assert "rule 1 (mine)" in caplog.text
    assert "secret" not in text + caplog.text


def test_a_rule_that_cannot_be_made_is_an_error(plugin):
    with pytest.raises(ConfigError, match="the rule 'mine' cannot be created"):
        open_rules([{"do": "mine", "options": {"unknown": 1}}])
    with pytest.raises(ConfigError, match="`arguments` is not a JSON Schema"):
        open_rules([{"do": "deny", "arguments": {"type": 5}}])


def test_rules_that_never_match_are_named():
    rules = open_rules(
        [
            {"do": "deny", "tools": "shop.*"},
            {"do": "ask", "tools": "shop.search"},
            {"do": "redact", "tools": "shop.search", "patterns": "email"},
            {"do": "deny", "manuals": "gone"},
        ]
    )
    faults = [str(fault) for fault in rules.faults([make_tool(), make_tool(name="other")])]
    decided = "this rule never decides, because 'rule 1 (deny)' always does before. Move it up, or remove it."
    assert faults == [
        f"`access.rules`, 'rule 2 (ask)': {decided}",
        "`access.rules`, 'rule 4 (deny)': no tool matches this rule. Check its selectors.",
    ]
    assert rules.faults([]) == []


async def test_an_explanation_counts_nothing_and_says_what_each_rule_decides():
    rules = open_rules(
        [
            {"do": "cap", "calls": 1, "seconds": 60},
            {"do": "ask", "principals": "x"},
            {"do": "deny", "arguments": {"required": ["a"]}, "why": "No a."},
            {"do": "allow"},
            {"do": "redact", "patterns": ["email"]},
        ]
    )
    for _ in range(2):
        assert [one["decides"] for one in await rules.explain(make_tool(), {"a": 1})] == [
            "nothing about these arguments",
            "ask for the callers that it selects",
            "deny: No a.",
            "nothing, because 'rule 3 (deny)' decides before",
            "replaces email in the result",
        ]


async def test_arguments_are_seen_as_validation_reads_them():
    from utcp_bridge.pipeline import compose
    from utcp_bridge.pipeline.validation import validation

    tool = make_tool(inputs={"type": "object", "properties": {"n": {"type": "integer"}}})
    rulings = Rulings(open_rules([{"do": "require", "arguments": {"properties": {"n": {"maximum": 5}}}}]))
    chain = compose(tool, (validation, rulings), Step())
    assert (await chain(make_call(tool, {"n": "5"}), discard)).value == "done"
    with pytest.raises(PolicyError):
        await chain(make_call(tool, {"n": "6"}), discard)
    with pytest.raises(InvalidArguments):
        await rulings.explain(tool, {"n": "x"}, validation)


async def test_a_call_that_needs_input_passes_through():
    with pytest.raises(InputRequired):
        await run([{"do": "allow"}], step=Step(faults=[InputRequired({})]))
