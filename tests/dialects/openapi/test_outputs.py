import pytest

PET = {"type": "object", "properties": {"name": {"type": "string"}}}
JSON = {"content": {"application/json": {"schema": PET}}}


@pytest.fixture
def outputs(tool):
    return lambda responses, **parts: tool({"responses": responses}, **parts).get("outputs")


@pytest.mark.parametrize("status", ["200", "201", "2XX", "2xx"])
def test_the_first_json_success_describes_the_output(outputs, status):
    made = outputs({"404": {"content": {"application/json": {"schema": {"type": "string"}}}}, status: JSON})
    assert made == {"type": "object", "properties": {"name": {"type": ["string", "null"]}}}


@pytest.mark.parametrize(
    "responses",
    [
        {},
        {"default": JSON},
        {"200": JSON, "204": {"description": "none"}},
        {"200": {"content": {"text/plain": {"schema": {"type": "string"}}}}},
        {"200": {"content": {"application/json": {}}}},
        {"200": {"content": {"application/json": {"schema": {}}}}},
        {"200": {"content": {"application/json": {"schema": {"properties": {"p": {"description": "x" * 9_000}}}}}}},
        {"200": {"$ref": "#/components/responses/Gone"}},
        {"x-odd": JSON},
        "odd",
    ],
)
def test_an_output_schema_that_is_uncertain_or_large_is_left_out(outputs, responses):
    assert outputs(responses) is None


def test_references_in_outputs_are_resolved_and_arrays_are_allowed(outputs):
    schema = {"type": "array", "items": {"$ref": "#/components/schemas/Pet"}}
    responses = {"200": {"content": {"*/*": {"schema": schema}}}}
    assert outputs(responses, components={"schemas": {"Pet": PET}}) == {
        "type": ["array", "null"],
        "items": {"type": ["object", "null"], "properties": {"name": {"type": ["string", "null"]}}},
    }


def test_an_output_schema_that_is_large_with_its_references_is_left_out(outputs):
    big = {"type": "object", "properties": {f"p{n}": {"$ref": f"#/components/schemas/S{n}"} for n in range(40)}}
    schemas = {f"S{n}": {"type": "string", "description": "y" * 200} for n in range(40)}
    assert outputs({"200": {"content": {"application/json": {"schema": big}}}}, components={"schemas": schemas}) is None


@pytest.mark.parametrize(
    ("types", "accept"),
    [
        (["application/json"], None),
        (["application/xml", "application/json"], "application/json, */*;q=0.1"),
        (["application/vnd.api+json"], "application/vnd.api+json, */*;q=0.1"),
        (["text/plain"], None),
        (["application/*"], None),
        (["application/jsön+json", "text/plain"], None),
    ],
)
def test_json_is_requested_if_the_server_has_a_choice(tool, types, accept):
    made = tool({"responses": {"200": {"content": {kind: {} for kind in types}}}})
    assert made["tool_call_template"]["request_plan"].get("headers") == (accept and {"Accept": accept})


@pytest.mark.parametrize(
    ("contents", "bytes_only"),
    [
        ([["image/png"]], True),
        ([["application/pdf", "application/octet-stream"]], True),
        ([["image/png"], []], True),
        ([["image/png", "application/json"]], False),
        ([["image/png"], ["text/plain"]], False),
        ([["*/*"]], False),
        ([[]], False),
        ([], False),
    ],
)
def test_a_tool_returns_bytes_if_every_success_has_a_media_type_of_bytes(conversion, contents, bytes_only):
    responses = {str(200 + number): {"content": {kind: {} for kind in kinds}} for number, kinds in enumerate(contents)}
    operation = {"responses": {**responses, "404": {"content": {"application/json": {}}}}}
    assert conversion(operation).tools[0].returns_bytes is bytes_only


def test_a_swagger_operation_that_produces_a_file_returns_bytes(conversion):
    operation = {"produces": ["image/png"], "responses": {"200": {"schema": {"type": "file"}}}}
    assert conversion(operation, version="2.0").tools[0].returns_bytes
