import pytest
from tests.openapi_oracle.samples import OWN
from tests.upstreams.registry_service import Answers, served

from utcp_bridge.configuration.places import read_place
from utcp_bridge.validate.findings import Findings
from utcp_bridge.validate.manuals import check_manual, check_openapi, check_schema, check_template

TEMPLATE = {"call_template_type": "http", "url": "https://api.example.com"}
GOOD = {"name": "good", "description": "Does.", "tool_call_template": TEMPLATE}


def checked_manual(document):
    findings = Findings()
    tools = check_manual(document, (), findings)
    return tools, [(one.severity, one.pointer, one.what, one.tool) for one in findings.faults]


@pytest.mark.parametrize(
    "document",
    [
        {"utcp_version": "1.0.1", "manual_version": "1", "info": {}, "tools": [GOOD], "$schema": "x"},
        {"version": "1", "tools": [{**GOOD, "name": "b", "parameters": {"type": "object"}}]},
        {"tools": [{"name": "m", "description": "d", "inputSchema": {"type": "object"}, "outputSchema": {}}]},
        [GOOD],
        GOOD,
    ],
)
def test_valid_manuals_of_every_shape_have_no_faults(document):
    tools, reported = checked_manual(document)
    assert len(tools) == 1
    assert reported == []


@pytest.mark.parametrize(
    ("tool", "pointer", "words"),
    [
        (3, "/tools/1", "must be an object, not a number"),
        ({**GOOD, "name": ""}, "/tools/1/name", "no name"),
        ({"description": "d"}, "/tools/1", "no name"),
        (GOOD, "/tools/1/name", "the same name"),
        ({**GOOD, "name": "b", "inputs": 3}, "/tools/1/inputs", "a number, not an object"),
        ({**GOOD, "name": "b", "inputs": {"type": "array"}}, "/tools/1/inputs", "has type 'array'"),
        ({**GOOD, "name": "b", "parameters": {"type": "objct", "a": 1}}, "/tools/1/parameters", "has type 'objct'"),
        ({**GOOD, "name": "b", "outputs": {"type": "x"}}, "/tools/1/outputs/type", "`type` must be one of"),
        ({"name": "b", "description": "d", "tool_provider": {}}, "/tools/1/tool_provider", "has no"),
    ],
)
def test_a_fault_in_one_tool_leaves_the_other_tools_valid(tool, pointer, words):
    tools, reported = checked_manual({"tools": [GOOD, tool, {**GOOD, "name": "late"}]})
    assert [one["name"] for one in tools][0 :: len(tools) - 1] == ["good", "late"]
    [(severity, place, what, _)] = reported
    assert (severity, place) == ("error", pointer)
    assert words in what


def inputs(*names):
    return {"type": "object", "properties": {name: {"type": "string"} for name in names}}


@pytest.mark.parametrize("method", ["POST", "put", "PATCH"])
@pytest.mark.parametrize("kind", [{"call_template_type": "http"}, {"call_template_type": "sse"}])
def test_a_request_with_an_empty_body_is_a_warning(kind, method):
    template = {**kind, "url": "https://api.example.com/{id}", "http_method": method, "header_fields": ["X-A"]}
    tool = {**GOOD, "tool_call_template": template, "inputs": inputs("id", "X-A", "title", "year")}
    _, [(severity, pointer, what, name)] = checked_manual({"tools": [tool]})
    assert (severity, pointer, name) == ("warning", "/tools/0", "good")
    assert what == f"the body of this {method.upper()} is empty: title, year are in the query."


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"http_method": "POST"}, ("body", "page")),
        ({"http_method": "POST", "body_field": "*"}, ("title",)),
        ({"http_method": "POST", "body_template": {"t": "{{title}}"}}, ("title",)),
        ({"http_method": "POST", "query_params": {"t": "{{title}}"}}, ("title",)),
        ({"http_method": "POST"}, ()),
        ({"http_method": "POST", "header_fields": ["title"]}, ("title",)),
        ({"http_method": "DELETE"}, ("title",)),
        ({}, ("title",)),
    ],
)
def test_other_requests_cause_no_warning(fields, names):
    tool = {**GOOD, "tool_call_template": {**TEMPLATE, **fields}, "inputs": inputs(*names)}
    assert checked_manual({"tools": [tool]})[1] == []


def test_warnings_name_their_tool():
    tool = {"name": "b", "descriptoin": "x", "response_schema": 3, "inputs": {"a": {"type": "string"}}}
    _, reported = checked_manual(
        {"tools": [tool], "inof": {}, "variables": 3, "allowed_communication_protocols": "http"}
    )
    assert [(severity, place, tool) for severity, place, _, tool in reported] == [
        ("warning", "/inof", ""),
        ("warning", "/allowed_communication_protocols", ""),
        ("warning", "/variables", ""),
        ("warning", "/tools/0/descriptoin", "b"),
        ("warning", "/tools/0", "b"),
        ("warning", "/tools/0/inputs", "b"),
        ("warning", "/tools/0/response_schema", "b"),
        ("warning", "/tools/0", "b"),
    ]


def test_the_fields_of_the_manual_itself_are_checked():
    assert checked_manual({"tools": {}})[1] == [("error", "/tools", "`tools` must be a list, not an object.", "")]
    [(severity, place, what, _)] = checked_manual({"tools": [GOOD], "auth": {"x": 1}})[1]
    assert (severity, place) == ("error", "/auth")
    assert "no `auth_type`" in what


HTTP = {"call_template_type": "http", "url": "https://api.example.com/{id}"}


def checked_template(raw, **options):
    findings = Findings()
    template = check_template(raw, ("t",), findings, **options)
    return template, [(one.severity, one.pointer, one.what) for one in findings.faults]


@pytest.mark.parametrize(
    "raw",
    [
        HTTP,
        {"provider_type": "http_stream", "url": "https://api.example.com", "timeout": 500},
        {"call_template_type": "tcp", "host": "h", "port": "${PORT}"},
        {**HTTP, "url": "${BASE}/x"},
        {**HTTP, "auth": {"auth_type": "api_key", "api_key": "Bearer ${K}"}, "x-note": 1, "_meta": 2},
        {"call_template_type": "mcp", "config": {"mcpServers": {"s": {"command": "x"}}}, "tool_name": "t"},
        {"call_template_type": "cli", "command": "git", "args": ["log", "{{n}}"]},
    ],
)
def test_a_valid_template_has_no_faults(raw):
    template, reported = checked_template(raw)
    assert template is not None
    assert reported == []


@pytest.mark.parametrize(
    ("raw", "pointer", "words"),
    [
        (3, "/t", "a number, not an object"),
        ({"url": "https://x.example"}, "/t", "has no `call_template_type`"),
        ({"call_template_type": "htp"}, "/t/call_template_type", "no transport of type 'htp'"),
        ({"provider_type": "htp"}, "/t/provider_type", "no transport"),
        ({**HTTP, "url": "no address"}, "/t/url", "has no scheme or no host"),
        ({**HTTP, "url": "https://[::1/x"}, "/t/url", "cannot be read"),
        ({**HTTP, "url": 3}, "/t/url", "valid string"),
        ({"call_template_type": "http"}, "/t", "`url` is missing"),
        ({**HTTP, "http_method": "FETCH"}, "/t/http_method", "must be one of DELETE"),
        ({**HTTP, "headers": {"X": "{{a|nope}}"}}, "/t", "nope"),
        ({**HTTP, "url": "${BASE}/x", "headers": {"X": "{{a|nope}}"}}, "/t", "nope"),
        ({**HTTP, "request_plan": {"parameters": 3}}, "/t", "request_plan"),
        ({**HTTP, "auth": {"auth_type": "api_key"}}, "/t/auth", "no `api_key`"),
        ({**HTTP, "auth": "x"}, "/t/auth", "is text, not an object"),
        ({"call_template_type": "tcp", "host": "h", "port": "x"}, "/t/port", "valid integer"),
        (
            {"call_template_type": "mcp", "config": {"mcpServers": {"s": {}}}},
            "/t/config/mcpServers/s",
            "`command` or `url`",
        ),
        (
            {"call_template_type": "mcp", "config": {"mcpServers": {"s": {"url": "localhost:9/mcp"}}}},
            "/t/config/mcpServers/s",
            "its `url` has no scheme",
        ),
    ],
)
def test_a_fault_in_a_template_is_an_error_at_its_place(raw, pointer, words):
    _, reported = checked_template(raw)
    assert [(severity, place) for severity, place, _ in reported] == [("error", pointer)]
    assert words in reported[0][2]


def test_unknown_keys_of_a_template_are_warnings():
    assert checked_template({**HTTP, "htpp_method": "GET"})[1] == [
        ("warning", "/t/htpp_method", "nothing reads the key 'htpp_method'.")
    ]
    [reported] = checked_template({**HTTP, "trusted": True})[1]
    assert reported[:2] == ("warning", "/t/trusted")
    assert "has no effect in a manual" in reported[2]
    assert checked_template({**HTTP, "trusted": True}, configured=True)[1] == []


def test_secrets_in_a_manual_are_warnings_and_are_not_shown():
    inner = {"auth_type": "basic", "username": "u", "password": "s3cret"}
    auth = {"auth_type": "any", "options": [{"auth_type": "api_key", "api_key": "s3cret"}, inner]}
    _, reported = checked_template({**HTTP, "auth": auth})
    assert [place for _, place, _ in reported] == ["/t/auth/options/0/api_key", "/t/auth/options/1/password"]
    assert "s3cret" not in str(reported)
    assert checked_template({**HTTP, "auth": inner}, configured=True)[1] == []


def test_auth_next_to_a_template_belongs_to_it():
    template, reported = checked_template(
        HTTP, beside={"auth": {"auth_type": "basic", "username": "${U}", "password": "${P}"}}
    )
    assert reported == []
    assert template["auth"]["username"] == "${U}"


@pytest.mark.parametrize(
    ("schema", "pointer", "words"),
    [
        ({"type": "objct"}, "/i/type", "`type` must be one of array"),
        ({"properties": {"a": {"type": ["string", "nul"]}}}, "/i/properties/a/type", "`type` must be one of"),
        ({"required": "a"}, "/i/required", 'not of type "array"'),
        ({"properties": {"b": 3}}, "/i/properties/b", "not of types"),
        ({"properties": {"a": {"pattern": "("}}}, "/i/properties/a/pattern", "regex"),
        ({"properties": {"a": {"$ref": "#/$defs/x"}}}, "/i", "/$defs/x"),
        ({"properties": {"a": {"$ref": "https://example.com/x"}}}, "/i", "https://example.com/x"),
        ({"$schema": "https://example.com/own"}, "/i", "https://example.com/own"),
    ],
)
def test_the_first_fault_in_a_schema_is_reported_at_its_place(schema, pointer, words):
    findings = Findings()
    check_schema(schema, ("i",), findings)
    [finding] = findings.faults
    assert (finding.severity, finding.pointer) == ("error", pointer)
    assert words in finding.what


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object", "properties": {"a": True}, "x-own": 1},
        {"$defs": {"n": {"properties": {"n": {"$ref": "#/$defs/n"}}}}, "$ref": "#/$defs/n"},
        {"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {}},
    ],
)
def test_a_valid_schema_has_no_faults(schema):
    findings = Findings()
    check_schema(schema, (), findings)
    assert findings.faults == []


def test_a_schema_that_takes_too_long_to_check_is_a_warning_and_not_compiled():
    bomb = {"$defs": {f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(60)}}
    bomb["$defs"]["d60"] = {"pattern": "(a{1,1000}){1,1000}"}
    for schema in (
        {"$ref": "#/$defs/d0", **bomb},
        {"properties": {"a": {"$ref": "#/$defs/d3"}}, **bomb},
        {"type": "string", "pattern": "((a{1,1000}){1,1000}){1,1000}"},
    ):
        findings = Findings()
        check_schema(schema, ("i",), findings)
        [finding] = findings.faults
        assert (finding.severity, finding.pointer) == ("warning", "/i")
        assert finding.what.startswith("the schema takes too long to check, by ")


def test_values_of_the_schema_are_not_shown():
    findings = Findings()
    check_schema({"minLength": "s3cret"}, (), findings)
    assert "s3cret" not in findings.faults[0].what


pytestmark = pytest.mark.anyio


async def checked_openapi(document, url=None):
    findings = Findings()
    tools = await check_openapi(document, url, findings)
    return tools, [(one.severity, one.pointer, one.what) for one in findings.faults]


async def test_a_valid_openapi_description_has_no_faults():
    placed = await read_place(str(OWN / "oai-v3.0-pass-petstore-expanded.yaml"))
    tools, reported = await checked_openapi(placed.document, placed.url)
    assert len(tools) == 4
    assert reported == []


async def test_an_operation_that_is_left_out_is_reported_at_its_place():
    paths = {"/a/{b}": {"get": {"responses": {}}}, "/c": {"$ref": "#/nowhere"}}
    tools, reported = await checked_openapi(
        {"openapi": "3.0.3", "servers": [{"url": "https://x.example"}], "paths": paths}
    )
    assert len(tools) == 1
    assert ("error", "/paths/~1c", "the path cannot be read.") in reported


async def test_a_missing_server_is_only_a_warning():
    _, reported = await checked_openapi(
        {"openapi": "3.0.3", "paths": {"/a": {"get": {"responses": {}}}}}, "/srv/api.yaml"
    )
    assert [(severity, pointer) for severity, pointer, _ in reported] == [("warning", "/servers")]


async def test_an_openapi_document_of_unknown_version_is_an_error():
    assert (await checked_openapi({"openapi": "1.0", "paths": {}}))[1][0][0] == "error"


async def test_referenced_local_files_are_read_and_urls_are_not(tmp_path):
    placed = await read_place(str(OWN / "oai-petstore-separate" / "spec" / "swagger.json"))
    assert (await checked_openapi(placed.document, placed.url))[1] == []
    canary = Answers({"/x.json": {}})
    with served(canary.app) as base:
        document = {"openapi": "3.0.3", "servers": [{"url": base}], "paths": {"/a": {"$ref": "x.json#/a"}}}
        _, reported = await checked_openapi(document, f"{base}/api.json")
    assert any("local files only" in what for _, _, what in reported)
    assert canary.seen == []


async def test_a_fault_in_a_referenced_file_has_no_place_in_this_one(tmp_path):
    (tmp_path / "x.yaml").write_text("a: {get: {operationId: a, parameters: [{name: p}], responses: {}}}")
    document = {"openapi": "3.0.3", "servers": [{"url": "https://x.example"}], "paths": {"/a": {"$ref": "x.yaml#/a"}}}
    _, reported = await checked_openapi(document, str(tmp_path / "api.yaml"))
    what = "in a referenced file, at x.yaml#/a/get/parameters/0: the parameter has no `name` or no `in`."
    assert reported == [("warning", "", what)]
