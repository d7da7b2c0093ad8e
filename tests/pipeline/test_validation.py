"""Validation: what is refused, in which words, and what is repaired."""

import logging
from typing import Any

import pytest
from tests.support.steps import Step, make_call, make_tool, run

from utcp_bridge.errors import InvalidArguments
from utcp_bridge.model import JsonObject
from utcp_bridge.pipeline.validation import validation
from utcp_bridge.settings import ArgumentCheck

pytestmark = pytest.mark.anyio

ORDER = {
    "type": "object",
    "properties": {
        "item": {"type": "string", "minLength": 3},
        "count": {"type": ["integer", "null"], "minimum": 1},
        "options": {"type": "object", "properties": {"gift": {"type": "boolean"}}},
        "sizes": {"type": "array", "items": {"enum": ["S", "M"]}},
        "anything": True,
    },
    "required": ["item"],
    "additionalProperties": False,
}


async def received(inputs: JsonObject, arguments: JsonObject, **fields: Any) -> JsonObject:
    """What the next step gets."""
    step = Step()
    await run(validation(make_tool(inputs=inputs, **fields), step), make_call(arguments=arguments))
    return step.calls[0].arguments


async def refusal(inputs: JsonObject, arguments: JsonObject) -> InvalidArguments:
    """The error for arguments that do not fit."""
    step = Step()
    with pytest.raises(InvalidArguments) as caught:
        await run(validation(make_tool(inputs=inputs), step), make_call(arguments=arguments))
    assert step.calls == [], "nothing was sent"
    return caught.value


@pytest.mark.parametrize(
    "inputs", [{"type": "object"}, {"type": "object", "properties": {}}, {"type": "object", "description": "none"}]
)
def test_a_schema_without_constraints_leaves_the_layer_out(inputs: JsonObject) -> None:
    step = Step()
    assert validation(make_tool(inputs=inputs), step) is step


async def test_arguments_that_fit_pass_as_the_same_object() -> None:
    arguments = {"item": "tea", "count": 2, "options": {"gift": True}, "sizes": ["S"], "anything": [None]}
    assert await received(ORDER, arguments) is arguments


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({}, '"item" is a required property'),
        ({"item": 5}, 'item: is not of type "string"'),
        ({"item": "te"}, "item: is shorter than 3 characters"),
        ({"item": "tea", "count": 0}, "count: is less than the minimum of 1"),
        ({"item": "tea", "options": {"gift": "yes"}}, 'options.gift: is not of type "boolean"'),
        ({"item": "tea", "sizes": ["S", "XL"]}, 'sizes[1]: is not one of "S" or "M"'),
        ({"item": "tea", "colour": "red"}, "'colour' was unexpected"),
    ],
)
async def test_a_refusal_names_the_place_and_what_was_expected(arguments: JsonObject, fault: str) -> None:
    error = await refusal(ORDER, arguments)
    assert error.message.startswith("The arguments do not match shop.search: ")
    assert fault in error.message


async def test_a_refusal_lists_the_tools_arguments() -> None:
    error = await refusal(ORDER, {})
    assert error.remedy == (
        "Its arguments are: item (string, required), count (integer|null), options (object), sizes (array), "
        "anything (any)."
    )


async def test_a_refusal_without_arguments_to_offer_says_none() -> None:
    error = await refusal({"type": "object", "additionalProperties": False}, {"a": 1})
    assert error.remedy == "Its arguments are: none."


async def test_an_argument_behind_a_reference_is_shown_with_its_type() -> None:
    inputs = {
        "properties": {"book": {"$ref": "#/$defs/Book"}, "lost": {"$ref": "#/$defs/Nothing"}},
        "required": ["book"],
        "$defs": {"Book": {"type": "object"}, "Nothing": True},
    }
    assert (await refusal(inputs, {})).remedy == "Its arguments are: book (object, required), lost (any)."


async def test_no_value_is_repeated_in_a_refusal() -> None:
    error = await refusal(ORDER, {"item": ["canary-1"], "count": "canary-2", "sizes": ["canary-3"]})
    assert "canary" not in str(error)


async def test_at_most_five_faults_are_named_and_each_is_short() -> None:
    inputs = {"type": "object", "properties": {f"p{number}": {"type": "string"} for number in range(9)}}
    error = await refusal(inputs, {f"p{number}": number for number in range(9)})
    assert error.message.count("is not of type") == 5
    error = await refusal({"type": "object", "properties": {"n" * 9000: {"minLength": 2}}}, {"n" * 9000: ""})
    assert len(error.message) < 400
    assert error.message.endswith("….")


@pytest.mark.parametrize(
    ("inputs", "fault"),
    [
        ({"type": "object", "additionalProperties": False}, "arguments are not allowed."),
        ({"type": "object", "properties": {"a": False}}, "a: is not allowed."),
    ],
)
async def test_an_argument_that_is_not_allowed_is_refused_in_plain_words(inputs: JsonObject, fault: str) -> None:
    assert (await refusal(inputs, {"a": 1})).message == f"The arguments do not match shop.search: {fault}"


async def test_large_arguments_are_refused_quickly_with_the_first_fault() -> None:
    inputs = {"type": "object", "properties": {"rows": {"type": "array", "items": {"oneOf": [{"type": "null"}] * 200}}}}
    error = await refusal(inputs, {"rows": [{"cell": number} for number in range(1_500)]})
    assert error.message.count("rows[") == 1


async def test_arguments_that_are_not_json_are_refused() -> None:
    error = await refusal(ORDER, {"item": object()})
    assert error.message == "The arguments of shop.search are not JSON."


@pytest.mark.parametrize("arguments", [{"item": ["\ud83d"]}, {"item": "tea", "sizes": '["\\ud83d"]'}])
async def test_half_a_surrogate_pair_in_arguments_that_do_not_fit_is_refused(arguments: JsonObject) -> None:
    assert "text that is not valid Unicode" in (await refusal(ORDER, arguments)).message


async def test_a_call_is_checked_by_a_validator_that_is_compiled_once(caplog: pytest.LogCaptureFixture) -> None:
    step = validation(make_tool(inputs={"type": "strange", "required": ["a"]}), Step())
    with caplog.at_level(logging.WARNING):
        await run(step, make_call(arguments={"a": 1}))
        await run(step, make_call(arguments={"a": 1}))
    assert caplog.text.count("its input schema is not valid") == 1


@pytest.mark.parametrize(
    "inputs",
    [
        {"type": "strange", "required": ["a"]},
        {"properties": {"a": {"pattern": "("}}},
        {"properties": {"a": {"minLength": -1}}},
        {"properties": {"a": {"$ref": "#/$defs/nowhere"}}},
        {"properties": {"a": {"$ref": "http://127.0.0.1:9/never-fetched.json"}}},
        {"properties": {"a": {"$ref": "file:///etc/hostname"}}},
    ],
)
async def test_of_a_schema_that_cannot_be_compiled_the_cheap_part_is_checked_with_a_log_line(
    inputs: JsonObject, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert await received(inputs, {"a": "tea"}) == {"a": "tea"}
    assert "shop.search: its input schema is " in caplog.text
    assert "The bridge checks only types, required names and simple values." in caplog.text


async def test_of_a_schema_that_takes_too_many_steps_the_types_are_checked_with_a_log_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    definitions: JsonObject = {"d0": {"type": "string"}}
    for level in range(1, 50):
        definitions[f"d{level}"] = {"anyOf": [{"$ref": f"#/$defs/d{level - 1}"}] * 2}
    properties = {"a": {"$ref": "#/$defs/d49"}, "n": {"type": "integer", "allOf": [{"$ref": "#/$defs/d49"}]}}
    inputs = {"type": "object", "$defs": definitions, "properties": properties, "required": ["n"]}
    with caplog.at_level(logging.WARNING):
        assert await received(inputs, {"a": 1, "n": "2"}) == {"a": 1, "n": 2}
    assert caplog.text.count("too expensive to check (the number of steps)") == 1
    assert (await refusal(inputs, {"n": "x; rm"})).message == (
        'The arguments do not match shop.search: n: is not of type "integer".'
    )
    assert '"n" is a required property' in (await refusal(inputs, {})).message


async def test_more_values_do_not_switch_the_check_off() -> None:
    inputs = {"type": "object", "properties": {"a": {"pattern": "^([a-z]{1,99}-){1,99}$"}, "more": {}}}
    long = "x" * 500_000
    assert "a: does not match" in (await refusal(inputs, {"a": "$(id)", "more": long})).message
    assert "take too long to check" in (await refusal(inputs, {"a": long})).message


@pytest.mark.parametrize("pattern", ["^(a+)+$", "^(?=a)(a+)+$", "^(a+)+\\1$", "(?!x)(a|a)*$"])
async def test_a_hostile_pattern_answers_at_once(pattern: str) -> None:
    inputs = {"type": "object", "properties": {"a": {"type": "string", "pattern": pattern}}}
    error = await refusal(inputs, {"a": "a" * 30_000 + "!"})
    assert error.message.startswith("The arguments do not match shop.search: a: ")


async def test_a_reference_within_the_schema_is_followed() -> None:
    inputs = {"$defs": {"word": {"type": "string"}}, "properties": {"a": {"$ref": "#/$defs/word"}}}
    assert 'a: is not of type "string"' in (await refusal(inputs, {"a": 1})).message


async def test_json_text_is_parsed_if_the_schema_does_not_allow_text() -> None:
    got = await received(ORDER, {"item": "tea", "options": '{"gift": true}', "sizes": '["S"]'})
    assert got == {"item": "tea", "options": {"gift": True}, "sizes": ["S"]}


async def test_json_text_that_still_does_not_fit_is_refused() -> None:
    assert "sizes[0]" in (await refusal(ORDER, {"item": "tea", "sizes": '["XL"]'})).message
    assert 'sizes: is not of type "array"' in (await refusal(ORDER, {"item": "tea", "sizes": "not json"})).message


async def test_numbers_and_truth_values_sent_as_text_are_parsed_and_nulls_dropped() -> None:
    got = await received(ORDER, {"item": "tea", "count": "2", "options": {"gift": "true"}, "sizes": None})
    assert got == {"item": "tea", "count": 2, "options": {"gift": True}}


async def test_a_refusal_names_what_is_still_wrong_after_the_reading() -> None:
    error = await refusal(ORDER, {"item": "tea", "count": "0", "options": '{"gift": "yes"}', "sizes": None})
    assert error.message == (
        "The arguments do not match shop.search: count: is less than the minimum of 1; "
        'options.gift: is not of type "boolean".'
    )


async def test_repairs_are_in_the_log_at_level_debug_without_values(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        await received(ORDER, {"item": "canary", "count": "777"})
    assert "shop.search: arguments were repaired. count: text was read as integer" in caplog.text
    assert "777" not in caplog.text


async def checked(check: ArgumentCheck, arguments: JsonObject, **fields: Any) -> JsonObject:
    """What the next step gets under another value of `validation`."""
    step = Step()
    await run(validation(make_tool(inputs=ORDER, **fields), step, check=check), make_call(arguments=arguments))
    return step.calls[0].arguments


async def test_warn_sends_what_does_not_fit_as_it_was_read_and_names_it_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        got = await checked("warn", {"item": "x", "count": "2", "secret": "canary"})
    assert got == {"item": "x", "count": 2}
    assert "shop.search: the arguments do not match" in caplog.text
    assert "shop.search: arguments that it does not declare were left out: 1." in caplog.text
    assert "item: is shorter than 3 characters" in caplog.text
    assert "canary" not in caplog.text


async def test_warn_is_silent_about_arguments_that_can_be_read(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert await checked("warn", {"item": "tea", "count": "2"}) == {"item": "tea", "count": 2}
    assert caplog.text == ""


async def test_off_sends_arguments_as_they_are_with_the_defaults(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        assert await checked("off", {"count": "x", "item": None}) == {"count": "x", "item": None}
        assert await checked("off", {"count": "2"}, defaults={"item": "tea"}) == {"count": "2", "item": "tea"}
    assert "shop.search" not in caplog.text


def test_off_leaves_the_layer_out_if_nothing_else_is_to_be_done() -> None:
    step = Step()
    assert validation(make_tool(inputs={"type": "object"}), step, check="off") is step


async def test_off_leaves_out_what_the_tool_does_not_declare() -> None:
    assert await checked("off", {"count": 1, "secret": "canary"}) == {"count": 1}


async def test_text_stays_text_where_text_is_allowed_or_no_type_is_named() -> None:
    inputs = {
        "type": "object",
        "properties": {"a": {"type": ["string", "object"]}, "b": {}, "c": {"type": ["object", "null"]}},
    }
    got = await received(inputs, {"a": "{}", "b": "{}", "c": "{}"})
    assert got == {"a": "{}", "b": "{}", "c": {}}


BODY = {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}, "required": ["name"]}


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"body": {"name": "x", "age": 3}}, {"name": "x", "age": 3}),
        ({"body": '{"name": "x", "age": "3"}'}, {"name": "x", "age": 3}),
        ({"name": "x"}, {"name": "x"}),
        ({"name": "x", "body": {"age": 3}}, {"name": "x", "body": {"age": 3}}),
        ({"name": "x", "body": "text"}, {"name": "x", "body": "text"}),
    ],
)
async def test_a_body_object_is_flattened_only_if_nothing_is_lost(given: JsonObject, sent: JsonObject) -> None:
    assert await received(BODY, given, body_members=("name", "age")) == sent


async def test_an_argument_that_is_really_called_body_is_left_alone() -> None:
    inputs = {**BODY, "properties": {**BODY["properties"], "body": {"type": "object"}}, "required": []}
    assert await received(inputs, {"body": {"name": "x"}}, body_members=("name",)) == {"body": {"name": "x"}}


@pytest.mark.parametrize("template", [{"url": "/{{count}}"}, {"args": ["x", {"deep": "{{ count }}"}]}])
async def test_defaults_fill_in_for_templates_with_expressions(template: JsonObject) -> None:
    inputs = {"type": "object", "properties": {"count": {"default": 3}, "page": {"default": 1}, "odd": True}}
    assert await received(inputs, {"page": 2}, template=template) == {"count": 3, "page": 2}


async def test_defaults_are_not_sent_to_other_tools() -> None:
    inputs = {"type": "object", "properties": {"count": {"default": 3}}}
    assert await received(inputs, {}, template={"url": "/{count}", "n": 1}) == {}


async def test_large_arguments_sent_as_json_text_are_repaired_too() -> None:
    inputs = {"type": "object", "properties": {"rows": {"type": "array", "items": {"type": "integer"}}}}
    assert await received(inputs, {"rows": str(list(range(500)))}) == {"rows": list(range(500))}


async def test_defaults_of_the_operator_fill_in_missing_arguments() -> None:
    inputs = {"type": "object", "properties": {"a": {"type": "integer"}}}
    for schema in (inputs, {"type": "object"}):
        assert await received(schema, {}, defaults={"a": 7}) == {"a": 7}
        assert await received(schema, {"a": 1}, defaults={"a": 7}) == {"a": 1}


async def test_a_default_replaces_a_null_that_the_schema_does_not_allow() -> None:
    number, maybe = {"type": "integer"}, {"type": ["integer", "null"]}
    inputs = {"type": "object", "properties": {"a": number, "b": maybe, "c": number}, "required": ["a"]}
    got = await received(inputs, {"a": None, "b": None, "c": None}, defaults={"a": 7, "b": 8})
    assert got == {"a": 7, "b": None}


@pytest.mark.parametrize("name", ["token=hunter2", "a b", "x" * 65, "$(id)", "\u202eabc"])
@pytest.mark.parametrize("inputs", [ORDER, {"type": "object", "properties": {"item": {}}}])
async def test_a_name_that_is_not_a_plain_one_is_not_repeated(inputs: JsonObject, name: str) -> None:
    assert name not in str(await refusal(inputs, {"item": "tea", name: 1}))


PLAN = {
    "parameters": [{"argument": "id__path", "name": "id", "in": "path", "required": True}],
    "body": {"media_type": "application/json", "members": ["id", "name"], "read_only": ["created", "id__path"]},
}
CHANGE = {
    "type": "object",
    "properties": {"id__path": {"type": "string"}, "id": {"type": "string"}, "name": {"type": "string"}},
    "required": ["id__path"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            {"id": "7", "name": "b", "created": "2026"},
            {"id": "7", "name": "b", "id__path": "7"},
        ),
        ({"id__path": "7", "id": "8"}, {"id__path": "7", "id": "8"}),
        ({"body": {"id": "7", "created": 1}}, {"id": "7", "id__path": "7"}),
        ({"id__path": "7"}, {"id__path": "7"}),
    ],
)
async def test_an_object_that_was_read_can_be_sent_back(arguments: JsonObject, expected: JsonObject) -> None:
    template = {"call_template_type": "http", "url": "http://127.0.0.1:9/{id__path}", "request_plan": PLAN}
    assert await received(CHANGE, arguments, template=template, body_members=("id", "name")) == expected


WITHIN = [["owner", "id"], ["lines", None, "id"], ["by_name", None, "id"], ["owner", "listed"]]
MEMBER = {"type": "object", "properties": {"n": {}, "listed": {}}, "additionalProperties": False}
NESTED = {
    "type": "object",
    "properties": {
        "owner": {"$ref": "#/$defs/member"},
        "lines": {"type": "array", "items": MEMBER},
        "by_name": {"type": "object", "additionalProperties": MEMBER},
    },
    "$defs": {"member": MEMBER},
}


def planned(*paths: list[str | None]) -> JsonObject:
    body = {"media_type": "application/json", "read_only_within": list(paths)}
    return {"call_template_type": "http", "url": "http://127.0.0.1:9/", "request_plan": {"body": body}}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"owner": {"id": 1, "n": 2}}, {"owner": {"n": 2}}),
        ({"owner": {"listed": 1}}, {"owner": {"listed": 1}}),
        ({"lines": [{"id": 1, "n": 2}, {"n": 3}]}, {"lines": [{"n": 2}, {"n": 3}]}),
        ({"by_name": {"a": {"id": 1}, "id": {"n": 1}}}, {"by_name": {"a": {}, "id": {"n": 1}}}),
    ],
)
async def test_members_inside_of_arguments_are_dropped_unless_the_schema_describes_them(
    arguments: JsonObject, expected: JsonObject
) -> None:
    assert await received(NESTED, arguments, template=planned(*WITHIN)) == expected


async def test_arguments_without_such_members_are_the_same_object() -> None:
    arguments = {"a": [{"n": 1}], "b": 2}
    got = await received({"type": "object"}, arguments, template=planned(["a", None, "id"]))
    assert got is arguments
