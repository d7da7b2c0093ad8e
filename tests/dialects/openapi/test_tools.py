import pytest

from utcp_bridge.dialects.openapi.tools import MAX_NAME, hints_of, safe_name, unique_names
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


def test_a_tool_contains_everything_a_call_needs(tool):
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


def test_parameters_of_one_name_get_their_location_as_suffix(tool):
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


def test_a_parameter_called_body_is_renamed_if_there_is_a_body(tool):
    operation = {
        "parameters": [parameter("body")],
        "requestBody": {"content": {"application/json": {"schema": {"type": "array"}}}},
    }
    assert list(tool(operation, method="post")["inputs"]["properties"]) == ["body__query", "body"]


def test_every_placeholder_gets_a_parameter_and_others_are_dropped(conversion):
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
    assert made.decided["openWorldHint"] is False
    assert "required" not in made.inputs
    assert made.inputs["properties"]["q"]["default"] == "all"
    assert made.defaults == {"q": "all"}
    build = compile_plan(read_plan(made.template["request_plan"]), made.template["url"], "GET")
    assert build({"q": "x"}).url == "https://api.example.com/things?q=x"


def test_unusual_characters_in_the_path_are_sent_unchanged(tool):
    template = tool({}, path="/a b/$count?kind=x")["tool_call_template"]
    assert template["url"] == "https://api.example.com/a%20b/%24count?kind=x"
    build = compile_plan(read_plan(template["request_plan"]), template["url"], "GET")
    assert build({}).url == "https://api.example.com/a%20b/$count?kind=x"


@pytest.mark.parametrize("tags", [None, "pets", [5]])
def test_only_tags_that_are_text_are_kept(tool, tags):
    assert tool({"tags": tags})["tags"] == []


def test_credentials_and_unsendable_parameters_are_not_arguments(tool):
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


@pytest.mark.parametrize(
    ("name", "safe"),
    [("repos/list", "repos_list"), ("a.b c", "a_b_c"), ("_x-", "x"), ("größe", "gr_e"), ("///", "")],
)
def test_a_name_keeps_only_characters_that_every_host_accepts(name, safe):
    assert safe_name(name) == safe


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("GET", "/users/{id}", "get_users_by_id"),
        ("POST", "/", "post_root"),
        ("GET", "/a.b/{x-y}/$count?z=1", "get_a_b_by_x-y_count"),
        ("DELETE", "/compare/{base}...{head}", "delete_compare_by_base_by_head"),
    ],
)
def test_an_operation_without_an_id_is_named_by_method_and_path(method, path, name):
    assert unique_names([("", method, path)]) == [name]


def test_colliding_names_end_in_a_hash_that_does_not_depend_on_order():
    wanted = [("a.b", "GET", "/1"), ("a/b", "GET", "/2"), ("c", "GET", "/3")]
    names = unique_names(wanted)
    assert len(set(names)) == 3
    assert names[2] == "c"
    assert all(name.startswith("a_b_") for name in names[:2])
    assert unique_names(wanted[::-1]) == names[::-1]


def test_a_long_name_is_cut_to_a_hash():
    one, other = unique_names([("x" * 90 + "1", "GET", "/1"), ("x" * 90 + "2", "GET", "/2")])
    assert one != other
    assert len(one) == len(other) == MAX_NAME


def test_a_hashed_name_that_is_taken_is_hashed_again():
    hashed = unique_names([("a.b", "GET", "/1"), ("a/b", "GET", "/2")])
    names = unique_names([(hashed[0], "GET", "/0"), ("a.b", "GET", "/1"), ("a/b", "GET", "/2")])
    assert len(set(names)) == 3


def test_two_identical_operations_still_get_two_names():
    assert len(set(unique_names([("x", "GET", "/a"), ("x", "GET", "/a")]))) == 2


@pytest.mark.parametrize(
    ("operation", "title", "description"),
    [
        ({"summary": "List  pets\n", "description": "All of them."}, "List pets", "List  pets\n\nAll of them."),
        ({"summary": "List pets.", "description": "List pets of a user."}, "List pets.", "List pets of a user."),
        ({}, None, "GET /things"),
        ({"summary": "Old", "deprecated": True}, "Old", "Old (deprecated)"),
        ({"summary": 5, "description": ["x"]}, None, "GET /things"),
    ],
)
def test_title_and_description_come_from_summary_and_description(tool, operation, title, description):
    made = tool(operation)
    assert (made.get("title"), made["description"]) == (title, description)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("GET", {"readOnlyHint": True, "idempotentHint": True}),
        ("QUERY", {"readOnlyHint": True, "idempotentHint": True}),
        ("DELETE", {"readOnlyHint": False, "destructiveHint": True, "idempotentHint": True}),
        ("POST", {"readOnlyHint": False}),
        ("PATCH", {"readOnlyHint": False}),
    ],
)
def test_hints_follow_from_the_method(method, expected):
    assert hints_of(method) == {"openWorldHint": True, **expected}
