import pytest
from tests.upstreams.faulty import answer, faulty_server

from utcp_bridge.client.client import UtcpClient
from utcp_bridge.dialects.openapi import ConversionOptions, convert
from utcp_bridge.placement.openapi_plan import compile_plan, read_plan


@pytest.fixture
def plan(tool):
    return lambda *args, **kwargs: tool(*args, **kwargs)["tool_call_template"]["request_plan"]


def test_every_method_of_every_path_is_found(conversion):
    methods = ("get", "put", "post", "delete", "options", "head", "patch", "trace", "query")
    more = {"COPY": {}, "m-search": {}, "odd name": {}, "X": 5, "POST": {}, "CONNECT": {}}
    paths = {
        "/a": {**{method: {} for method in methods}, "additionalOperations": more},
        "x-internal": {"get": {}},
        "/b": None,
        "/c": {"get": "odd", "summary": "s"},
    }
    made = conversion({}, paths=paths)
    found = [tool.template["http_method"] for tool in made.tools]
    assert found == [*(method.upper() for method in methods), "COPY", "M-SEARCH"]
    assert [fault.what for fault in made.faults if "additionalOperations" in fault.what] == [
        "the key in `additionalOperations` is not a method that can be sent",
        "the method POST has a field of its own and cannot be in `additionalOperations`",
        "the key in `additionalOperations` is not a method that can be sent",
    ]


@pytest.mark.anyio
async def test_query_and_other_methods_reach_the_server():
    schema = {"type": "object", "properties": {"q": {"type": "string"}}}
    body = {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
    item = {
        "query": {"operationId": "find", **body},
        "additionalOperations": {"COPY": {"operationId": "copy", **body}, "Lock": {"operationId": "lock"}},
    }
    async with faulty_server() as server:
        server.answers["/a"] = answer(b'{"ok": 1}')
        document = {
            "openapi": "3.2.0",
            "info": {"title": "t", "version": "1"},
            "servers": [{"url": server.url}],
            "paths": {"/a": item},
        }
        entry = {"name": "a", "call_template_type": "text", "content": document}
        async with await UtcpClient.create({"manual_call_templates": [entry]}) as client:
            results = [await client.call_tool(f"a.{name}", {"q": "x"}) for name in ("find", "copy")]
            results.append(await client.call_tool("a.lock", {}))
    assert results == [{"ok": 1}] * 3
    assert [(seen.method, seen.body) for seen in server.requests] == [
        ("QUERY", b'{"q":"x"}'),
        ("COPY", b'{"q":"x"}'),
        ("LOCK", b""),
    ]


def test_an_operations_parameter_overrides_the_paths_parameter(plan):
    shared = [
        {"name": "a", "in": "query", "style": "pipeDelimited", "schema": {"type": "array"}},
        {"name": "b", "in": "query", "schema": {}},
    ]
    own = [{"name": "a", "in": "query", "schema": {"type": "array"}}, {"name": "a", "in": "header", "schema": {}}]
    made = plan({}, paths={"/things": {"parameters": shared, "get": {"parameters": own}}})
    assert [(one["name"], one["in"], one["style"]) for one in made["parameters"]] == [
        ("a", "query", "form"),
        ("b", "query", "form"),
        ("a", "header", "simple"),
    ]


def test_a_parameter_without_name_or_location_is_a_fault(conversion):
    parameters = [{"in": "query"}, {"name": "a"}, {"name": "b", "in": "nowhere"}, {"$ref": "#/gone"}, 5]
    parameters.append({"name": 7, "in": "query", "schema": {}})
    made = conversion({"parameters": parameters})
    assert list(made.tools[0].inputs["properties"]) == ["7"]
    assert len([fault for fault in made.faults if "/parameters/" in fault.where]) == 5


@pytest.mark.parametrize("name", ["Accept", "content-type", "AUTHORIZATION"])
def test_three_headers_are_ignored_in_3_x_and_kept_in_2_0(tool, name):
    parameters = [{"name": name, "in": "header", "type": "string"}]
    assert tool({"parameters": parameters})["inputs"]["properties"] == {}
    assert list(tool({"parameters": parameters}, version="2.0")["inputs"]["properties"]) == [name]


def test_a_content_type_parameter_is_dropped_if_there_is_a_body(tool):
    parameters = [
        {"name": "Content-Type", "in": "header", "type": "string"},
        {"name": "b", "in": "body", "schema": {"type": "object", "properties": {"x": {"type": "string"}}}},
    ]
    made = tool({"parameters": parameters}, method="post", version="2.0")
    assert list(made["inputs"]["properties"]) == ["x"]


def test_own_members_of_a_path_item_win_over_its_reference(conversion):
    paths = {"/a": {"$ref": "#/components/pathItems/P", "summary": "own", "post": {"operationId": "mine"}}}
    components = {"pathItems": {"P": {"get": {"operationId": "theirs"}, "post": {"operationId": "lost"}}}}
    made = conversion({}, paths=paths, components=components)
    assert [tool.name for tool in made.tools] == ["theirs", "mine"]


def test_a_path_item_that_cannot_be_read_is_an_error(conversion):
    made = conversion({}, paths={"/a": {"$ref": "gone.yaml#/a"}})
    assert made.tools == []
    assert any(fault.severity == "error" and fault.where == "#/paths/~1a" for fault in made.faults)


def test_a_path_item_in_another_file_is_read_with_its_own_references(conversion):
    files = {
        "https://docs.example.com/specs/paths/a.yaml": {
            "get": {"parameters": [{"$ref": "../parameters.yaml#/limit"}], "requestBody": {"$ref": "#/body"}},
            "body": {"content": {"application/json": {"schema": {"$ref": "#/schema"}}}},
            "schema": {"type": "object", "properties": {"x": {"type": "integer"}}},
        },
        "https://docs.example.com/specs/parameters.yaml": {
            "limit": {"name": "limit", "in": "query", "schema": {"$ref": "#/number"}},
            "number": {"type": "integer"},
        },
    }
    made = conversion({}, paths={"/a": {"$ref": "paths/a.yaml"}}, files=files)
    assert made.tools[0].inputs["properties"] == {"limit": {"type": "integer"}, "x": {"type": "integer"}}
    assert made.faults == []


def test_a_2_0_operation_inherits_consumes_and_produces(plan):
    body = {"name": "b", "in": "body", "schema": {"type": "object"}}
    responses = {"200": {"schema": {"type": "object"}}}
    operation = {"parameters": [body], "responses": responses}
    shared = {"consumes": ["application/vnd.a+json"], "produces": ["text/xml", "application/json"]}
    made = plan(operation, method="post", version="2.0", **shared)
    assert made["body"]["media_type"] == "application/vnd.a+json"
    assert made["headers"] == {"Accept": "application/json, */*;q=0.1"}
    own = {**operation, "consumes": "text/plain", "produces": []}
    assert plan(own, method="post", version="2.0", **shared)["body"]["media_type"] == "text/plain"
    empty = {**operation, "consumes": []}
    assert plan(empty, method="post", version="2.0", **shared)["body"]["media_type"] == "application/json"


@pytest.mark.parametrize("body", [None, "odd", {"$ref": "#/gone"}, {}, {"content": {}}, {"content": {"odd": {}}}])
def test_an_unreadable_request_body_is_left_out(plan, body):
    assert "body" not in plan({"requestBody": body}, method="post")


def test_extensions_among_the_responses_are_ignored(tool):
    operation = {"responses": {"x-note": {"content": {"application/json": {"schema": {"type": "object"}}}}}}
    assert "outputs" not in tool(operation)


@pytest.mark.parametrize("own", [{}, {"security": [{"key": []}]}, {"security": []}, {"security": "odd"}])
def test_an_operations_own_security_replaces_the_documents(tool, own):
    components = {
        "securitySchemes": {name: {"type": "apiKey", "in": "header", "name": name} for name in ("key", "root")}
    }
    auth = tool(own, components=components, security=[{"root": []}])["tool_call_template"].get("auth")
    expected = {"[]": None, "[{'key': []}]": "key"}.get(str(own.get("security")), "root")
    assert (auth and auth["var_name"]) == expected


PARAMETER = {"name": "q", "in": "query", "schema": {"type": "string"}}


def converted(paths, files=None, **root):
    document = {"openapi": "3.1.0", "servers": [{"url": "https://api.example.com"}], "paths": paths, **root}
    url = "https://docs.example.com/openapi.json"
    return convert(document, url=url, options=ConversionOptions(), files=files or {})


def test_an_operation_that_is_a_reference_is_followed():
    operation = {"operationId": "op", "parameters": [PARAMETER], "responses": {}}
    made = converted({"/s": {"get": {"$ref": "op.json"}}}, {"https://docs.example.com/op.json": operation})
    assert [tool.name for tool in made.tools] == ["op"]
    assert made.tools[0].inputs["properties"] == {"q": {"type": "string"}}
    assert made.faults == []


def test_an_operation_whose_reference_cannot_be_read_is_left_out_with_an_error():
    made = converted({"/s": {"get": {"$ref": "gone.json"}, "put": {"operationId": "there", "responses": {}}}})
    assert [tool.name for tool in made.tools] == ["there"]
    assert [fault.severity for fault in made.faults if "operation's reference" in fault.what] == ["error"]


@pytest.mark.parametrize("written", ["{proxy+}", "{+proxy}", "{proxy*}"])
def test_a_placeholder_of_a_gateway_belongs_to_the_parameter_of_its_name(written):
    parameter = {"name": "proxy", "in": "path", "required": True, "schema": {"type": "string"}}
    made = converted({f"/f/{written}": {"get": {"parameters": [parameter], "responses": {}}}})
    template = made.tools[0].template
    assert template["url"] == "https://api.example.com/f/{proxy}"
    written_request = compile_plan(read_plan(template["request_plan"]), template["url"], "GET")({"proxy": "a b"})
    assert written_request.url == "https://api.example.com/f/a%20b"
    assert made.faults == []


def test_a_parameter_that_has_the_name_of_a_gateways_placeholder_keeps_it():
    parameter = {"name": "proxy+", "in": "path", "required": True, "schema": {"type": "string"}}
    made = converted({"/f/{proxy+}": {"get": {"parameters": [parameter], "responses": {}}}})
    assert list(made.tools[0].inputs["properties"]) == ["proxy+"]


def test_the_identity_of_a_document_does_not_move_its_servers():
    made = converted(
        {"/s": {"get": {"responses": {}}}}, servers=[{"url": "v1"}], **{"$self": "https://id.example.org/x/y"}
    )
    assert made.tools[0].template["url"] == "https://docs.example.com/v1/s"


@pytest.mark.parametrize(
    ("accept", "expected"), [({}, []), ({"enum": ["a/b"]}, []), ({"enum": ["a/b", "c/d"]}, ["Accept"])]
)
def test_the_accept_header_of_2_0_comes_from_produces(conversion, accept, expected):
    parameter = {"name": "Accept", "in": "header", "type": "string", "required": True, **accept}
    operation = {"parameters": [parameter], "produces": ["application/vnd.x+json"], "responses": {"200": {}}}
    [tool] = conversion({}, version="2.0", paths={"/a": {"get": operation}}).tools
    assert list(tool.inputs["properties"]) == expected


@pytest.mark.parametrize("version", ["2.0", "3.0.3", "3.1.0"])
def test_headers_that_the_http_client_writes_are_not_arguments(tool, version):
    names = ["Content-Length", "HOST", "Transfer-Encoding", "Connection", "Accept-Encoding", "X-Length"]
    typed = {"type": "integer"} if version == "2.0" else {"schema": {"type": "integer"}}
    parameters = [{"name": name, "in": "header", "required": True, **typed} for name in names]
    made = tool({"parameters": parameters}, version=version)
    assert list(made["inputs"]["properties"]) == ["X-Length"]
    assert made["inputs"]["required"] == ["X-Length"]


def test_a_query_parameter_may_have_the_name_of_a_header_of_the_client(tool):
    made = tool({"parameters": [{"name": "host", "in": "query", "schema": {"type": "string"}}]})
    assert list(made["inputs"]["properties"]) == ["host"]


def test_parts_in_a_file_that_could_not_be_read_are_left_out_without_further_faults(conversion):
    operation = {
        "parameters": [{"$ref": "unread.yaml#/Limit"}, {"name": "q", "in": "query", "schema": {"$ref": "unread.yaml"}}],
        "requestBody": {"content": {"application/json": {"schema": {"$ref": "unread.yaml#/Body"}}}},
    }
    made = conversion(operation, method="post", files={"https://docs.example.com/specs/unread.yaml": None})
    inputs = made.tools[0].inputs
    assert made.faults == []
    assert inputs["properties"] == {"q": {}, "body": {}}
    assert "$defs" not in inputs


def test_a_parameter_with_a_broken_reference_is_one_fault(conversion):
    made = conversion({"parameters": [{"$ref": "#/components/parameters/Gone"}]})
    assert [fault.what for fault in made.faults] == ["reference '#/components/parameters/Gone' cannot be resolved"]
