import pytest

from utcp_bridge.dialects.openapi.references import References, external_references
from utcp_bridge.dialects.openapi.shapes import Faults, Located

URL = "https://docs.example.com/specs/openapi.json"
PETS = "https://docs.example.com/specs/common/pets.json"
DOCUMENT = {
    "components": {
        "schemas": {
            "A": {"$ref": "#/components/schemas/B"},
            "B": {"type": "string"},
            "a/b~c d": {"type": "integer"},
            "Loop": {"$ref": "#/components/schemas/Pool"},
            "Pool": {"$ref": "#/components/schemas/Loop"},
            "Named": {"$anchor": "here", "items": [{"$dynamicAnchor": "there"}], "default": {"$anchor": "not"}},
        }
    },
    "definitions": {"Old": {"type": "object"}},
    "list": [{"x": None}, {"y": 1}],
}


@pytest.fixture
def faults():
    return Faults()


@pytest.fixture
def references(faults):
    files = {PETS: {"Pet": {"$ref": "../openapi.json#/components/schemas/B"}, "Near": {"$ref": "#/Pet"}}}
    return References(DOCUMENT, URL, files, faults)


@pytest.mark.parametrize(
    ("reference", "value"),
    [
        ("#/components/schemas/B", {"type": "string"}),
        ("#/components/schemas/a~1b~0c%20d", {"type": "integer"}),
        ("#/list/1/y", 1),
        ("openapi.json#/definitions/Old", {"type": "object"}),
        ("common/pets.json#/Pet", {"$ref": "../openapi.json#/components/schemas/B"}),
        ("B", {"type": "string"}),
        ("Old", {"type": "object"}),
        ("#here", DOCUMENT["components"]["schemas"]["Named"]),
        ("#there", {"$dynamicAnchor": "there"}),
    ],
)
def test_a_reference_is_resolved(references, reference, value):
    assert references.resolve(reference, URL, "#/x").value == value


@pytest.mark.parametrize(
    "reference",
    [
        "#/nowhere",
        "#/list/7",
        "#/list/0/x",
        "other.json#/A",
        "#not",
        "#/components/schemas/B/type/x",
        "http://[",
        "Zebra",
    ],
)
def test_an_unresolvable_reference_is_none_and_a_fault(references, faults, reference):
    assert references.resolve(reference, URL, "#/x") is None
    assert [fault.where for fault in faults.faults] == ["#/x"]


@pytest.mark.parametrize("reference", ["unread.json", "unread.json#/A/b", "unread.json#anchor"])
def test_a_reference_into_a_file_that_could_not_be_read_is_not_a_fault_again(faults, reference):
    references = References(DOCUMENT, URL, {"https://docs.example.com/specs/unread.json": None}, faults)
    assert references.resolve(reference, URL, "#/x").value is None
    assert faults.faults == []


def test_a_chain_of_references_is_followed_across_files(references):
    end = references.follow(Located({"$ref": "#/Near"}, PETS, "#/here"))
    assert (end.value, end.base, end.pointer) == ({"type": "string"}, URL, "#/components/schemas/B")


def test_circular_and_broken_chains_of_references_are_none(references, faults):
    assert references.follow(Located({"$ref": "#/components/schemas/Loop"}, URL, "#/x")).value is None
    assert references.follow(Located({"$ref": "#/nowhere"}, URL, "#/y")).value is None
    assert "circular" in str(faults.faults[0])


def test_self_gives_the_documents_own_address(faults):
    references = References({"$self": "https://api.example.com/o.json", "x": 1}, URL, {}, faults)
    assert references.base == "https://api.example.com/o.json"
    assert references.root().at("x").value == 1


@pytest.mark.parametrize(
    "parts", [{"definitions": {"Pet": {"type": "object"}}}, {"components": {"schemas": {"Pet": {}}}}]
)
def test_the_bare_name_of_a_schema_is_not_the_address_of_a_file(parts):
    assert external_references({"a": {"$ref": "Pet"}, "b": {"$ref": "Dog"}, **parts}, "/specs/a.yaml") == ["/specs/Dog"]


def test_external_references_are_absolute_unique_and_not_taken_from_data():
    document = {
        "paths": {"/a": {"$ref": "common/pets.json#/paths/a"}, "/b": [{"$ref": "common/pets.json"}]},
        "own": {"$ref": "#/paths"},
        "self": {"$ref": "openapi.json#/paths"},
        "example": {"$ref": "data.json"},
        "broken": {"$ref": "http://["},
        "odd": {"$ref": 5},
        "far": {"$ref": "https://other.example.com/x.yaml#/A"},
    }
    assert external_references(document, URL) == [PETS, "https://other.example.com/x.yaml"]
    assert external_references({"a": {"$ref": "../b.yaml"}}, "/specs/v1/a.yaml") == ["/specs/b.yaml"]


@pytest.mark.parametrize("key", ["example", "examples", "x-examples", "x-ms-examples"])
def test_references_in_examples_are_not_read(key):
    assert external_references({"post": {key: {"a": {"$ref": "./examples/a.json"}}}}, "/docs/openapi.json") == []


def test_references_in_extensions_are_not_read_but_names_and_the_root_may_start_so():
    own = {"$ref": "own.json"}
    document = {
        "x-parts": {"a": {"$ref": "root.json"}},
        "paths": {"/a": {"get": {"x-code": {"node": {"$ref": "./a.ts"}}, "responses": {"200": own}}}},
        "components": {"schemas": {"x-a": {"properties": {"x-id": {"$ref": "id.json"}}, "x-old": {"$ref": "no.json"}}}},
    }
    assert sorted(external_references(document, "/d/openapi.json")) == ["/d/id.json", "/d/own.json", "/d/root.json"]


def test_definitions_in_files_of_their_own_have_the_names_of_the_files(conversion):
    files = {
        "https://docs.example.com/specs/schemas/Pet.yaml": {
            "type": "object",
            "properties": {"kind": {"$ref": "Kind.yaml"}, "next": {"$ref": "Pet.yaml"}, "old": {"$ref": "Kind.yaml"}},
        },
        "https://docs.example.com/specs/schemas/Kind.yaml": {
            "type": "object",
            "properties": {"name": {"type": "string", "pattern": "(?<x>a)(?P=y)", "enum": [1]}},
            "description": "k" * 400,
        },
    }
    content = {"application/json": {"schema": {"type": "array", "items": {"$ref": "schemas/Pet.yaml"}}}}
    made = conversion({"requestBody": {"content": content}}, method="post", files=files)
    assert sorted(made.tools[0].inputs["$defs"]) == ["Kind", "Pet"]
    assert {fault.where for fault in made.faults} == {"Kind.yaml#/properties/name"}


IDENTIFIED = {
    "components": {
        "schemas": {
            "Page": {"$id": "https://schemas.example.com/page", "$defs": {"Inner": {"$id": "inner", "type": "null"}}},
            "Near": {"$id": "near", "properties": {"a/b": {"type": "integer"}}, "items": {"$anchor": "here"}},
        }
    }
}


@pytest.mark.parametrize(
    ("reference", "pointer"),
    [
        ("https://schemas.example.com/page", "Page"),
        ("https://schemas.example.com/inner", "Page/$defs/Inner"),
        ("near", "Near"),
        ("near#/properties/a~1b", "Near/properties/a~1b"),
        ("near#here", "Near/items"),
    ],
)
def test_a_schema_is_found_by_its_id(faults, reference, pointer):
    found = References(IDENTIFIED, URL, {}, faults).resolve(reference, URL, "#/x")
    assert found.pointer == f"#/components/schemas/{pointer}"
    assert found.base == URL


def test_a_part_that_a_schema_with_an_id_does_not_have_is_a_fault(faults):
    assert References(IDENTIFIED, URL, {}, faults).resolve("near#/properties/c", URL, "#/x") is None
    assert [fault.where for fault in faults.faults] == ["#/x"]
