import pytest

from utcp_bridge.placement.openapi_plan import compile_plan, read_plan


def parameter(name, place="query", **more):
    return {"name": name, "in": place, "schema": {"type": "string"}, **more}


UPDATE_TEMPLATE = {
    "call_template_type": "http",
    "url": "https://api.example.com/pets/{id}",
    "http_method": "PUT",
    "content_type": "application/json",
    "body_field": "body",
    "header_fields": ["X-Trace"],
    "request_plan": {
        "parameters": [
            {
                "argument": "id",
                "name": "id",
                "in": "path",
                "style": "simple",
                "explode": False,
                "required": True,
            },
            {"argument": "X-Trace", "name": "X-Trace", "in": "header", "style": "simple", "explode": False},
        ],
        "body": {"media_type": "application/json", "required": False, "members": ["name"]},
    },
}


def test_a_tool_has_everything_a_call_needs(tool):
    operation = {
        "operationId": "pets/update",
        "summary": "Update",
        "tags": ["pets", 5],
        "deprecated": True,
        "parameters": [parameter("id", "path"), parameter("X-Trace", "header")],
        "requestBody": {"content": {"application/json": {"schema": {"properties": {"name": {"type": "string"}}}}}},
    }
    made = tool(operation, method="put", path="/pets/{id}")
    assert made == {
        "name": "pets_update",
        "title": "Update",
        "description": "Update (deprecated)",
        "inputs": {
            "type": "object",
            "properties": {"id": {"type": "string"}, "X-Trace": {"type": "string"}, "name": {"type": "string"}},
            "additionalProperties": False,
            "required": ["id"],
        },
        "tags": ["pets"],
        "annotations": {
            "openWorldHint": True,
            "readOnlyHint": False,
            "destructiveHint": True,
            "idempotentHint": True,
        },
        "deprecated": True,
        "body_members": ["name"],
        "tool_call_template": UPDATE_TEMPLATE,
    }


def test_clashing_names_are_told_apart_by_their_place(tool):
    schema = {"properties": {"id": {"type": "string"}, "name__query": {"type": "string"}, "name": {"type": "string"}}}
    operation = {
        "parameters": [
            parameter("id", "path"),
            parameter("id"),
            parameter("name"),
            parameter("body"),
            parameter("plain"),
        ],
        "requestBody": {"content": {"application/json": {"schema": schema}}},
    }
    made = tool(operation, method="post", path="/things/{id}")
    assert list(made["inputs"]["properties"]) == [
        "id__path", "id__query", "name__query_", "body", "plain", "id", "name__query", "name",
    ]  # fmt: skip
    template = made["tool_call_template"]
    assert template["url"].endswith("/things/{id__path}")
    build = compile_plan(read_plan(template["request_plan"]), template["url"], "POST")
    parts = build({"id__path": "1", "id__query": "2", "name__query_": "3", "id": "4"})
    assert (parts.url, parts.body) == ("https://api.example.com/things/1?id=2&name=3", b'{"id":"4"}')


def test_a_parameter_called_body_gives_way_to_a_whole_body(tool):
    operation = {
        "parameters": [parameter("body")],
        "requestBody": {"content": {"application/json": {"schema": {"type": "array"}}}},
    }
    assert list(tool(operation, method="post")["inputs"]["properties"]) == ["body__query", "body"]


def test_placeholders_and_path_parameters_are_brought_together(conversion):
    operation = {"parameters": [parameter("gone", "path"), parameter("a", "path")]}
    made = conversion(operation, path="/x/{a}/{b}/{b}")
    assert list(made.tools[0].inputs["properties"]) == ["a", "b"]
    assert [fault.severity for fault in made.faults] == ["warning", "warning"]


def test_the_operators_overrides_are_applied(conversion):
    operation = {"operationId": "find", "parameters": [parameter("q", required=True), parameter("n")]}
    wishes = {
        "name": "search",
        "description": "Mine.",
        "annotations": {"openWorldHint": False},
        "defaults": {"q": "all"},
    }
    [made] = conversion(operation, options={"overrides": {"find": wishes}}).tools
    assert (made.name, made.description) == ("search", "Mine.")
    assert made.annotations["openWorldHint"] is False
    assert "required" not in made.inputs
    assert made.inputs["properties"]["q"]["default"] == "all"
    assert made.defaults == {"q": "all"}
    build = compile_plan(read_plan(made.template["request_plan"]), made.template["url"], "GET")
    assert build({"q": "x"}).url == "https://api.example.com/things?q=x"


def test_odd_characters_in_the_path_are_sent_as_they_are(tool):
    template = tool({}, path="/a b/$count?kind=x")["tool_call_template"]
    assert template["url"] == "https://api.example.com/a%20b/%24count?kind=x"
    build = compile_plan(read_plan(template["request_plan"]), template["url"], "GET")
    assert build({}).url == "https://api.example.com/a%20b/$count?kind=x"


@pytest.mark.parametrize("tags", [None, "pets", [5]])
def test_tags_are_texts(tool, tags):
    assert tool({"tags": tags})["tags"] == []


def test_what_carries_the_key_or_cannot_be_sent_is_no_argument(tool):
    components = {"securitySchemes": {"key": {"type": "apiKey", "in": "query", "name": "key"}}}
    operation = {
        "parameters": [parameter("key"), parameter("no token", "header"), parameter("q")],
        "security": [{"key": []}],
        "responses": {"200": {"content": {"text/csv": {}, "application/json": {}}}},
    }
    made = tool(operation, components=components)
    assert list(made["inputs"]["properties"]) == ["q"]
    assert made["tool_call_template"]["auth"]["var_name"] == "key"
    assert made["tool_call_template"]["request_plan"]["headers"] == {"Accept": "application/json, */*;q=0.1"}
