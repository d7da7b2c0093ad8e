"""Arguments that a tool does not declare are not sent."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.tools import make_tool

from utcp_bridge.errors import InvalidArguments
from utcp_bridge.model import Call, JsonObject, Result, discard
from utcp_bridge.pipeline.declared import closed_schema, declared_arguments
from utcp_bridge.pipeline.validation import validation

pytestmark = pytest.mark.anyio

Q = {"properties": {"q": {"type": "string"}}}


async def sent(inputs: JsonObject, arguments: JsonObject, check: Any = "strict", **fields: Any) -> JsonObject:
    """Return what the next step receives."""
    calls: list[Call] = []

    async def step(call: Call, _emit: Any) -> Result:
        calls.append(call)
        return Result(None)

    tool = make_tool(inputs=inputs, **fields)
    await validation(tool, step, check=check)(Call(tool, arguments), discard)
    return calls[0].arguments


@pytest.mark.parametrize(
    ("inputs", "names"),
    [
        (Q, {"q"}),
        ({**Q, "additionalProperties": False}, {"q"}),
        ({**Q, "allOf": [{"properties": {"r": {}}}, {"anyOf": [{"properties": {"s": {}}}, True]}]}, {"q", "r", "s"}),
        ({"$ref": "#/$defs/a", "$defs": {"a": {**Q, "$ref": "#/$defs/a"}}}, {"q"}),
        ({**Q, "if": {"properties": {"r": {}}}, "dependentSchemas": {"q": {"properties": {"s": {}}}}}, {"q", "r", "s"}),
        ({}, None),
        ({"type": "object", "properties": {}}, None),
        ({**Q, "additionalProperties": True}, None),
        ({**Q, "additionalProperties": {"type": "string"}}, None),
        ({**Q, "additionalProperties": {}}, None),
        ({**Q, "patternProperties": {"^x": {}}}, None),
        ({**Q, "allOf": [{"additionalProperties": {"type": "string"}}]}, None),
        ({**Q, "$ref": "https://example.com/schema"}, None),
        ({**Q, "$ref": "#anchor"}, None),
        ({**Q, "$dynamicRef": "#x"}, None),
        ({**Q, "allOf": [{"properties": {"r": {}}}] * 5 + [{"title": str(n)} for n in range(2_000)]}, None),
    ],
)
def test_what_a_schema_declares(inputs: JsonObject, names: set[str] | None) -> None:
    assert declared_arguments(make_tool(inputs=inputs, template={})) == names


@pytest.mark.parametrize(
    "template",
    [
        {"url": "https://a.example/{id}"},
        {"url": "https://a.example/{{ id }}"},
        {"url": "https://a.example/${id}"},
        {"header_fields": ["id"]},
        {"body_field": "id"},
        {"message": {"a": ["UTCP_ARG_id_UTCP_ARG"]}},
        {"commands": [{"command": "echo UTCP_ARG_id_UTCP_END"}]},
        {"body_template": {"x": "{{ id | default:1 }}"}},
    ],
)
def test_an_argument_that_the_call_template_names_is_declared(template: JsonObject) -> None:
    assert declared_arguments(make_tool(inputs=Q, template=template)) == {"q", "id"}


def test_a_plan_of_openapi_decides_itself() -> None:
    assert declared_arguments(make_tool(inputs=Q, template={"request_plan": {}})) is None


def test_defaults_of_the_operator_and_a_flattened_body_are_declared() -> None:
    tool = make_tool(inputs=Q, template={}, defaults={"key": 1}, body_members=("q",))
    assert declared_arguments(tool) == {"q", "key", "body"}


def test_a_closed_schema_keeps_what_the_schema_says() -> None:
    assert closed_schema({**Q, "required": ["q"]}, frozenset({"q", "r"})) == {
        "properties": {"q": {"type": "string"}, "r": {}},
        "required": ["q"],
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    "inputs",
    [
        Q,
        {**Q, "$schema": "http://json-schema.org/draft-07/schema#", "$ref": "#/definitions/a", "definitions": {"a": Q}},
    ],
)
async def test_an_undeclared_argument_is_refused_with_the_names_that_are_known(inputs: JsonObject) -> None:
    with pytest.raises(InvalidArguments, match=r"'tenant'.*Its arguments are: q \(string\)"):
        await sent(inputs, {"q": "x", "tenant": "other"})
    assert await sent(inputs, {"q": "x"}) == {"q": "x"}


async def test_a_schema_that_is_not_checked_refuses_them_too() -> None:
    too_costly = {**Q, "anyOf": [{"allOf": [{"title": "x"}] * 40}] * 40}
    with pytest.raises(InvalidArguments, match="'tenant'"):
        await sent(too_costly, {"q": "x", "tenant": "other"})
    with pytest.raises(InvalidArguments, match="'tenant'"):
        await sent({**Q, "required": "q"}, {"q": "x", "tenant": "other"})


@pytest.mark.parametrize("check", ["warn", "off"])
async def test_without_refusal_an_undeclared_argument_is_left_out_with_one_log_line(
    check: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert await sent(Q, {"q": "x", "tenant": "canary", "admin": "canary"}, check) == {"q": "x"}
    lines = [record.message for record in caplog.records if "does not declare" in record.message]
    assert len(lines) == 1
    assert lines[0].endswith("left out: 2.")
    assert "canary" not in caplog.text


@pytest.mark.parametrize("check", ["strict", "warn", "off"])
async def test_a_tool_that_declares_nothing_or_allows_more_takes_any_argument(check: str) -> None:
    for inputs in ({}, {"type": "object", "properties": {}}, {**Q, "additionalProperties": True}):
        assert await sent(inputs, {"tenant": "other"}, check) == {"tenant": "other"}


async def test_a_needless_wrapper_around_all_arguments_is_removed() -> None:
    assert await sent({**Q, "required": ["q"]}, {"arguments": {"q": "x"}}) == {"q": "x"}
    assert await sent(Q, {"arguments": {"q": "x"}}) == {"q": "x"}
