import pytest


@pytest.fixture
def inputs(tool):
    """The input schema of a tool whose parameters have these schemas."""

    def run(*schemas, **definitions):
        parameters = [{"name": f"p{number}", "in": "query", "schema": schema} for number, schema in enumerate(schemas)]
        return tool({"parameters": parameters}, components={"schemas": definitions})["inputs"]

    return run


def ref(name):
    return {"$ref": f"#/components/schemas/{name}"}


def test_a_small_definition_that_is_named_once_is_written_in_place(inputs):
    made = inputs(ref("A"), A={"properties": {"b": ref("B")}}, B={"type": "string"})
    assert made["properties"]["p0"] == {"type": "object", "properties": {"b": {"type": "string"}}}
    assert "$defs" not in made


def test_a_shared_definition_stays_a_definition_and_others_are_left_out(inputs):
    made = inputs(ref("A"), ref("A"), A={"type": "string"}, Unused={"type": "integer"})
    assert made["properties"] == {"p0": {"$ref": "#/$defs/A"}, "p1": {"$ref": "#/$defs/A"}}
    assert made["$defs"] == {"A": {"type": "string"}}


def test_a_large_definition_stays_a_definition(inputs):
    made = inputs(ref("Big"), Big={"type": "string", "description": "x" * 2_000})
    assert made["properties"]["p0"] == {"$ref": "#/$defs/Big"}


def test_recursion_remains_a_reference(inputs):
    tree = {"type": "object", "properties": {"children": {"type": "array", "items": ref("Tree")}, "leaf": ref("Leaf")}}
    made = inputs(ref("Tree"), Tree=tree, Leaf={"type": "string"})
    assert made["$defs"]["Tree"]["properties"] == {
        "children": {"type": "array", "items": {"$ref": "#/$defs/Tree"}},
        "leaf": {"type": "string"},
    }


@pytest.mark.parametrize(
    "definitions",
    [
        {"A": {"allOf": [ref("A"), {"type": "object"}]}},
        {"A": ref("B"), "B": ref("A")},
        {"A": {"anyOf": [ref("B")]}, "B": {"not": ref("C")}, "C": {"if": ref("A")}},
        {"A": {"properties": {"x": ref("B")}}, "B": {"allOf": [ref("C")]}, "C": {"allOf": [ref("B"), ref("A")]}},
    ],
)
def test_a_definition_that_contains_itself_endlessly_is_cut(conversion, definitions):
    operation = {"parameters": [{"name": f"p{n}", "in": "query", "schema": ref("A")} for n in range(2)]}
    made = conversion(operation, components={"schemas": definitions})
    assert any("endlessly" in fault.what for fault in made.faults)
    assert reaches_itself(made.tools[0].inputs["$defs"]) == []


def reaches_itself(definitions):
    """The definitions that lead back to themselves without a step into the instance."""

    def in_place(schema):
        if "$ref" in schema:
            yield schema["$ref"].removeprefix("#/$defs/")
        for key in ("allOf", "anyOf"):
            for part in schema.get(key, []):
                yield from in_place(part)
        for key in ("not", "if", "then", "else"):
            if key in schema:
                yield from in_place(schema[key])

    def reached(name, seen):
        for other in in_place(definitions[name]):
            if other not in seen:
                seen.add(other)
                reached(other, seen)
        return seen

    return [name for name in definitions if name in reached(name, set())]


def test_definitions_of_one_name_get_two(inputs):
    parameters = {"deep": {"A": {"type": "integer"}}}
    made = inputs(
        ref("A"), ref("A"), ref("x/A"), ref("x/A"), A={"type": "string"}, x={"A": {"type": "integer"}}, **parameters
    )
    assert len(made["$defs"]) == 2
    assert made["$defs"]["A"] == {"type": "string"}
    assert all(name.startswith("A") for name in made["$defs"])


def test_names_of_definitions_are_safe_and_short(inputs):
    made = inputs(
        ref("com.example.Größe~1x"), ref("com.example.Größe~1x"), **{"com.example.Größe/x": {"type": "string"}}
    )
    assert list(made["$defs"]) == ["com_example_Gr_e_1x"]


def test_keywords_next_to_an_inlined_reference_are_kept(inputs):
    made = inputs(
        {**ref("A"), "minLength": 2, "allOf": [{"maxLength": 5}]},
        {**ref("B"), "title": "t"},
        {**ref("Any"), "minimum": 1},
        A={"type": "string"},
        B={"type": "integer"},
        Any=False,
    )
    assert made["properties"] == {
        "p0": {"minLength": 2, "allOf": [{"maxLength": 5}, {"type": "string"}]},
        "p1": {"type": "integer", "title": "t"},
        "p2": {"minimum": 1, "allOf": [{"not": {}}]},
    }
