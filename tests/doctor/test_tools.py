"""The steps after discovery: names and schemas as hosts see them, requests that are not sent, calls that are."""

import jsonschema_rs
import pytest
from tests.support.server_client import StandIn
from tests.upstreams.http_service import HttpService

from utcp_bridge.catalogue.catalogue import Catalogue
from utcp_bridge.client.client import UtcpClient
from utcp_bridge.doctor.tools import TrialCall, build_requests, example_arguments, look_at, manual_of, try_call
from utcp_bridge.errors import InvalidArguments, UnknownTool, VariableNotFound
from utcp_bridge.settings import BridgeSettings

TREE = {"type": "object", "properties": {"kids": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/t"}}}}
NEEDED = {"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]}


def looked_at(manual, *tools, **settings):
    client = StandIn(settings=BridgeSettings(**settings))
    for name, fields in tools:
        client.add(manual, name, **fields)
    return look_at(Catalogue(client), manual)


def test_unchanged_tools_are_reported_in_one_sentence():
    found = looked_at("shop", ("buy", {"inputs": {"type": "object", "properties": {"id": {"type": "integer"}}}}))
    assert (found.status, found.message, found.details) == ("ok", "Names and schemas are listed unchanged.", ())


def test_an_invalid_schema_is_a_warning_with_its_pointer():
    found = looked_at("shop", ("buy", {"inputs": {"type": "object", "properties": {"id": {"type": "whole"}}}}))
    assert found.status == "warning"
    assert "1 invalid schema" in found.message
    assert "error: tool 'shop.buy', /inputs/properties/id/type:" in found.details[0]


def test_an_output_schema_is_checked_too():
    found = looked_at("shop", ("buy", {"outputs": {"type": "object", "required": "id"}}))
    assert "/outputs/required" in found.details[0]


def test_changed_names_of_tools_and_arguments_are_notes():
    found = looked_at("shop", ("buy now!", {"inputs": {"type": "object", "properties": {"item[]": {}}}}))
    assert found.status == "ok"
    assert "2 changed names" in found.message
    assert found.details[0] == "note: tool 'shop.buy now!' is listed as shop_buy_now"
    assert "the argument 'item[]' is listed as item" in found.details[1]


def test_a_shortened_schema_is_a_warning_that_names_the_setting():
    properties = {f"argument_{number}": {"type": "string", "description": "long " * 30} for number in range(30)}
    found = looked_at("shop", ("buy", {"inputs": {"type": "object", "properties": properties}}), max_schema_bytes=600)
    assert found.status == "warning"
    assert "`max_schema_bytes`" in found.remedy
    [line] = found.details
    assert line == "warning: tool 'shop.buy': long descriptions, optional arguments"
    assert "1 shortened input schema." in found.message


def test_a_manual_without_tools_skips_the_step():
    assert looked_at("shop").status == "skipped"


# The step `requests`.


@pytest.fixture
async def service():
    async with HttpService() as running:
        yield running


def http_tool(service, name, inputs=NEEDED, **fields):
    template = {"call_template_type": "http", "url": f"{service.base}/echo", **fields}
    return {"name": name, "inputs": inputs, "tool_call_template": template}


async def found_in(*tools):
    content = {"utcp_version": "1.0.1", "tools": list(tools)}
    entry = {"name": "shop", "call_template_type": "text", "content": content}
    async with await UtcpClient.create({"manual_call_templates": [entry]}) as client:
        return await build_requests(client, client.tools())


@pytest.mark.anyio
async def test_buildable_requests_are_counted_and_not_sent(service):
    found = await found_in(http_tool(service, "a"), http_tool(service, "b"))
    assert (found.status, found.message) == ("ok", "2 requests can be built; nothing was sent.")
    assert service.requests == []


@pytest.mark.anyio
async def test_a_request_that_cannot_be_built_is_a_warning_with_its_reason(service):
    found = await found_in(http_tool(service, "a"), http_tool(service, "b", headers={"X-Key": "${KEY}"}))
    assert (found.status, found.message) == ("warning", "1 request can be built, 1 cannot.")
    assert found.details[0].startswith("error: shop.b: Variable 'shop_KEY' is not set")


@pytest.mark.anyio
async def test_a_post_with_an_empty_body_is_a_warning_that_names_the_key(service):
    found = await found_in(
        http_tool(service, "a", http_method="POST"), http_tool(service, "b", http_method="POST", body_field="*")
    )
    assert found.status == "warning"
    assert '"body_field": "*"' in found.remedy
    assert found.details == ("warning: shop.a: the body of this POST is empty: id is in the query.",)


@pytest.mark.anyio
async def test_the_step_fails_if_no_request_can_be_built(service):
    with pytest.raises(VariableNotFound):
        await found_in(http_tool(service, "b", headers={"X-Key": "${KEY}"}))


@pytest.mark.anyio
async def test_a_schema_without_example_arguments_is_a_note(service):
    inputs = {"type": "object", "properties": {"id": {"type": "string", "pattern": "^[A-Z]{7}$"}}, "required": ["id"]}
    found = await found_in(http_tool(service, "a", inputs))
    assert found.status == "ok"
    (note,) = found.details
    assert note.startswith("note: shop.a: the example arguments do not fit: ")
    assert "^[A-Z]{7}$" in note


# Example arguments.


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string"},
        {"type": "string", "minLength": 9},
        {"type": "string", "maxLength": 2},
        {"type": "string", "format": "date-time"},
        {"type": "string", "enum": ["km", "mi"]},
        {"const": 5},
        {"type": "integer", "minimum": 3},
        {"type": "integer", "exclusiveMinimum": 3, "maximum": 4},
        {"type": "number", "maximum": -2},
        {"type": "integer", "minimum": 5, "multipleOf": 4},
        {"type": "boolean"},
        {"type": ["null", "integer"]},
        {"type": "null"},
        {"type": "array", "minItems": 2, "items": {"type": "integer"}},
        {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
        {"anyOf": [{"type": "integer", "minimum": 9}, {"type": "null"}]},
        {"type": "string", "pattern": "^[a-z]{3}$", "examples": ["abc"]},
        {"type": "string", "pattern": "^x$", "default": "x"},
        {"$ref": "#/$defs/a~1b"},
        {"allOf": [{"type": "string", "maxLength": 2}, {"enum": ["no", "yes"]}]},
        {"type": "string", "allOf": [{"enum": ["a", "b"]}]},
        {"allOf": [{"$ref": "#/$defs/named"}, {"required": ["size"], "properties": {"size": {"type": "integer"}}}]},
        {
            "type": "object",
            "properties": {"x": {"type": "integer"}},
            "anyOf": [{"required": ["x"]}, {"required": ["y"]}],
        },
        {"oneOf": [{"type": "null"}, {"$ref": "#/$defs/named"}]},
        {},
        True,
    ],
)
def test_an_example_argument_matches_its_schema(schema):
    inputs = {
        "type": "object",
        "properties": {"it": schema, "other": {"type": "integer"}},
        "required": ["it"],
        "$defs": {
            "a/b": {"type": "integer", "minimum": 4},
            "named": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}},
        },
    }
    arguments = example_arguments(inputs)
    assert arguments.keys() == {"it"}
    jsonschema_rs.validate(inputs, arguments)


def test_broken_and_circular_references_end():
    circle = {"type": "object", "properties": {"t": {"$ref": "#/$defs/t"}}, "required": ["t"], "$defs": {"t": TREE}}
    assert example_arguments({**circle, "$defs": {"t": {"$ref": "#/$defs/t"}}}) == {"t": "text"}
    assert example_arguments({"properties": {"a": {"$ref": "https://h/x"}}, "required": ["a"]}) == {"a": "text"}
    assert example_arguments(circle) == {"t": {}}


def test_parts_that_refer_to_one_another_end_in_bounded_time():
    """Each part refers to all later ones: followed one by one, they would be more than can be counted."""
    names = [f"P{number}" for number in range(60)]
    parts = {
        name: {"required": [name], "allOf": [{"$ref": f"#/$defs/{other}"} for other in names[at + 1 :]]}
        for at, name in enumerate(names)
    }
    inputs = {"properties": {"it": {"$ref": "#/$defs/P0"}}, "required": ["it"], "$defs": parts}
    parts["P0"]["type"] = "object"
    assert example_arguments(inputs)["it"].keys() == set(names)


def test_optional_arguments_get_no_example():
    assert example_arguments({"type": "object", "properties": {"a": {}}}) == {}


# The step `call`.


@pytest.fixture
async def client():
    def tool(name, content, **fields):
        return {"name": name, "tool_call_template": {"call_template_type": "text", "content": content}, **fields}

    tools = [tool("notice", "Mind the step."), tool("data", {"a": 1}), tool("list", [1, 2], inputs=NEEDED)]
    content = {"utcp_version": "1.0.1", "tools": tools}
    entries = [{"name": "house", "call_template_type": "text", "content": content}]
    async with await UtcpClient.create({"manual_call_templates": entries}) as opened:
        yield opened


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("tool", "arguments", "kind"),
    [
        ("house.notice", {}, "a text of 14 characters"),
        ("house_data", {}, "an object with 1 member"),
        ("house.list", {"id": 1}, "a list of 2 items"),
    ],
)
async def test_a_result_is_reported_by_kind_and_never_by_content(client, tool, arguments, kind):
    found = await try_call(client, Catalogue(client), TrialCall(tool, arguments))
    assert found.message == f"{tool.replace('_', '.')} returned {kind}."


@pytest.mark.anyio
async def test_invalid_arguments_are_reported_with_the_expected_ones(client):
    with pytest.raises(InvalidArguments, match=r"Its arguments are: id \(integer, required\)"):
        await try_call(client, Catalogue(client), TrialCall("house.list"))


@pytest.mark.anyio
async def test_a_tool_that_no_manual_has_is_unknown(client):
    with pytest.raises(UnknownTool, match=r"'house.door'"):
        await try_call(client, Catalogue(client), TrialCall("house.door"))


@pytest.mark.anyio
async def test_a_call_belongs_to_its_tools_manual_or_the_one_its_name_starts_with(client):
    catalogue, manuals = Catalogue(client), ["house", "house_b"]
    assert manual_of(TrialCall("house_notice"), catalogue, manuals) == "house"
    assert manual_of(TrialCall("house_b.gone"), catalogue, manuals) == "house_b"
    assert manual_of(TrialCall("street.gone"), catalogue, manuals) is None
