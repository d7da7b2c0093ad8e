"""Hints of tools: a stranger's word makes a tool look more dangerous, never less."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.dialects import RawTool
from utcp_bridge.manuals.hints import hints_of_template, is_repeatable, stated_hints, template_of
from utcp_bridge.model import Source, Trust
from utcp_bridge.transports.http import HttpTransport

HARMLESS = {"readOnlyHint": True, "destructiveHint": False, "idempotentHint": True, "openWorldHint": False}
ASSUMED = {"readOnlyHint": False, "destructiveHint": True, "idempotentHint": False, "openWorldHint": True}
"""What hosts assume without a hint (MCP 2026-07-28, ToolAnnotations)."""
ANNOTATIONS = st.dictionaries(st.sampled_from(sorted(HARMLESS)), st.booleans() | st.none() | st.just("yes"))
METHODS = st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"])
STRANGERS = [Source(name="m", trust=Trust.REMOTE), Source(name="m", trust=Trust.OPERATOR, from_file=True)]
OWN = [Source(name="m", trust=Trust.OPERATOR), Source(name="m", trust=Trust.REMOTE, trusted=True)]


def tool(method: str, annotations: dict[str, Any]) -> RawTool:
    template = {"call_template_type": "http", "url": "https://api.example.com/t", "http_method": method}
    return RawTool("t", template, annotations=annotations)


def listed(raw: RawTool, source: Source) -> tuple[dict[str, Any], dict[str, Any]]:
    template = template_of(raw, HttpTransport)
    known = dict(hints_of_template(HttpTransport, template))
    return known, stated_hints(raw, source, HttpTransport, template, known)


@given(METHODS, ANNOTATIONS, st.sampled_from(STRANGERS))
def test_a_stranger_never_makes_a_tool_look_less_dangerous(
    method: str, annotations: dict[str, Any], source: Source
) -> None:
    known, hints = listed(tool(method, annotations), source)
    for name, harmless in HARMLESS.items():
        if hints.get(name, ASSUMED[name]) is harmless:
            assert known.get(name, ASSUMED[name]) is harmless


@given(METHODS, st.sampled_from(sorted(HARMLESS)), st.sampled_from(STRANGERS))
def test_a_strangers_warning_is_listed(method: str, name: str, source: Source) -> None:
    _, hints = listed(tool(method, {name: not HARMLESS[name]}), source)
    assert hints[name] is not HARMLESS[name]


@given(METHODS, ANNOTATIONS, st.sampled_from(OWN))
def test_the_operators_word_counts_in_full(method: str, annotations: dict[str, Any], source: Source) -> None:
    _, hints = listed(tool(method, annotations), source)
    assert annotations.items() <= hints.items()


@given(METHODS, ANNOTATIONS, st.sampled_from([*STRANGERS, OWN[1]]))
def test_a_document_never_decides_about_a_retry(method: str, annotations: dict[str, Any], source: Source) -> None:
    known, _ = listed(tool(method, {}), source)
    assert is_repeatable(tool(method, annotations), source, known) == is_repeatable(tool(method, {}), source, known)
