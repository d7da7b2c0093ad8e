import graphql
import jsonschema_rs
import pytest
from tests.upstreams.graphql_service import SDL

from utcp_bridge.model import JsonObject
from utcp_bridge.transports.graphql.schema import SelectionBounds, root_tools, type_schema

SCHEMA = graphql.build_schema(SDL)


def tools(**bounds: int) -> dict[str, JsonObject]:
    made, faults = root_tools(SCHEMA, operation_type=None, field=None, bounds=SelectionBounds(**bounds))
    assert faults == []
    return {tool["name"]: tool for tool in made}


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_every_generated_document_is_valid(depth: int) -> None:
    for tool in tools(depth=depth).values():
        assert graphql.validate(SCHEMA, graphql.parse(tool["overlay"]["query"])) == []
        jsonschema_rs.validator_for(tool["inputs"])


def test_inputs_are_the_arguments_of_the_field() -> None:
    made = tools()
    assert made["echo"]["description"] == "Says it again."
    assert made["echo"]["inputs"]["properties"]["unit"] == {
        "type": "string",
        "enum": ["METRIC", "IMPERIAL"],
        "default": "METRIC",
    }
    assert "default" not in made["echo"]["inputs"]["properties"]["text"]
    assert "required" not in made["echo"]["inputs"]
    assert made["city"]["inputs"]["required"] == ["name"]
    definition = made["search"]["inputs"]["$defs"]["Filter"]
    assert definition["properties"]["ids"] == {"type": "array", "items": {"type": "string"}}
    assert definition["properties"]["nested"] == {"$ref": "#/$defs/Filter"}
    assert definition["required"] == ["ids"]
    assert made["add"]["deprecated"] is True


def test_selections_omit_required_arguments_and_repeated_types() -> None:
    query = tools(depth=5)["city"]["overlay"]["query"]
    assert "size" not in query
    assert query.endswith("{ city(name: $name) { name mayor { name } rank } }")
    assert "... on Person" in tools()["search"]["overlay"]["query"]


def test_the_number_of_leaves_is_limited() -> None:
    assert tools(fields=1)["city"]["overlay"]["query"].endswith("{ city(name: $name) { name } }")


def test_an_unknown_scalar_accepts_any_value() -> None:
    assert type_schema(graphql.GraphQLScalarType("Date"), {}) == {}


def test_fragments_with_one_name_of_two_types_are_omitted() -> None:
    schema = graphql.build_schema("""
        interface Animal { name: String! }
        type Cat implements Animal { name: String!, lives: Int! }
        type Tree implements Animal { name: String!, lives: String! }
        union Thing = Cat | Tree
        type Query { animal: Animal, thing: Thing, cat: Cat }
    """)
    made, _ = root_tools(schema, operation_type=None, field=None, bounds=SelectionBounds())
    queries = {tool["name"]: tool["overlay"]["query"] for tool in made}
    assert queries == {
        "animal": "query { animal { __typename name } }",
        "thing": "query { thing { __typename } }",
        "cat": "query { cat { name lives } }",
    }


def test_an_interface_selects_the_fields_of_its_types() -> None:
    schema = graphql.build_schema("""
        interface Animal { name: String! }
        type Cat implements Animal { name: String!, lives: Int! }
        type Dog implements Animal { name: String!, barks: Boolean }
        type Query { animal: Animal }
    """)
    [tool], _ = root_tools(schema, operation_type=None, field=None, bounds=SelectionBounds())
    assert tool["overlay"]["query"].endswith("{ __typename name ... on Cat { lives } ... on Dog { barks } } }")
