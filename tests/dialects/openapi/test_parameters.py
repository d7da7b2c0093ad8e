import pytest


@pytest.fixture
def read(conversion):
    """(schema, plan, faults) of one parameter."""

    def run(version="3.0.3", path="/things/{p}", **node):
        parameter = {"name": "p", "in": "query", **node}
        made = conversion(
            {"parameters": [parameter]}, path=path if node.get("in") == "path" else "/things", version=version
        )
        plans = made.tools[0].template["request_plan"]["parameters"]
        return (
            made.tools[0].inputs["properties"].get(node.get("name", "p")),
            plans[0] if plans else None,
            made.faults,
        )

    return run


@pytest.mark.parametrize(
    ("node", "style", "explode"),
    [
        ({}, "form", True),
        ({"style": "form", "explode": False}, "form", False),
        ({"style": "deepObject"}, "deepObject", False),
        ({"style": "spaceDelimited"}, "spaceDelimited", False),
        ({"in": "path"}, "simple", False),
        ({"in": "path", "style": "matrix", "explode": True}, "matrix", True),
        ({"in": "header"}, "simple", False),
        ({"in": "cookie"}, "form", True),
        ({"in": "cookie", "style": "cookie"}, "cookie", True),
        ({"in": "querystring"}, "form", True),
        ({"style": 5, "explode": "yes"}, "form", True),
    ],
)
def test_a_style_has_its_places_defaults(read, node, style, explode):
    _, plan, faults = read(schema={}, **node)
    assert (plan["style"], plan["explode"], faults) == (style, explode, [])


def test_an_impossible_style_becomes_the_default_with_a_fault(read):
    _, plan, faults = read(schema={}, style="matrix")
    assert plan["style"] == "form"
    assert "matrix" in faults[0].what


def test_content_is_written_in_its_media_type(read):
    schema, plan, _ = read(content={"application/json": {"schema": {"type": "object"}}})
    assert schema == {"type": "object"}
    assert plan == {"argument": "p", "name": "p", "in": "query", "content_type": "application/json"}


def test_reserved_characters_required_and_deprecation_are_kept(read):
    schema, plan, _ = read(
        schema={"type": "string", "description": "s"},
        description=" d ",
        deprecated=True,
        required=True,
        allowReserved=True,
    )
    assert schema == {"type": "string", "description": "d", "deprecated": True}
    assert (plan["required"], plan["allow_reserved"]) == (True, True)


def test_a_path_parameter_is_required_whatever_it_says(read):
    _, plan, _ = read(**{"in": "path"}, required=False, schema={})
    assert plan["required"] is True


@pytest.mark.parametrize(
    ("place", "name"), [("header", "X Y"), ("header", "X:\r\n"), ("cookie", "a;b"), ("cookie", "")]
)
def test_a_name_that_cannot_be_sent_is_left_out(read, place, name):
    schema, plan, faults = read(**{"in": place}, name=name, schema={})
    assert (schema, plan, len(faults)) == (None, None, 1)


def test_the_old_way_of_writing_is_understood_in_a_new_document(read):
    schema, _, _ = read(type="integer", minimum=1)
    assert schema == {"type": "integer", "minimum": 1}
    assert read()[0] == {}
    assert read(schema=False, description="d")[0] == {"not": {}, "description": "d"}
