"""What a provided manual says."""

from utcp_bridge.dialects import Shape, detect
from utcp_bridge.providing.manuals import ManualForm, ProvidedTool, manual_of, provided_tool

INPUTS = {"type": "object", "properties": {"n": {"type": "integer"}}}
OFFICIAL = {"name", "description", "inputs", "outputs", "tags", "average_response_size", "tool_call_template"}


def test_a_tool_is_called_below_the_manuals_own_address():
    tool = provided_tool(ProvidedTool("up/down", "Count.", INPUTS), ManualForm("http://127.0.0.1:8000/utcp/"))
    assert tool["tool_call_template"] == {
        "call_template_type": "http",
        "http_method": "POST",
        "url": "http://127.0.0.1:8000/utcp/tools/up%2Fdown",
        "content_type": "application/json",
        "body_field": "*",
    }
    assert "outputs" not in tool


def test_a_stream_is_asked_for_as_lines_where_the_client_can_take_it():
    counting = ProvidedTool("count", "", INPUTS, streams=True)
    assert provided_tool(counting, ManualForm("http://h/utcp"))["tool_call_template"]["call_template_type"] == "http"
    template = provided_tool(counting, ManualForm("http://h/utcp", streaming=True))["tool_call_template"]
    assert template["call_template_type"] == "streamable_http"
    assert template["headers"] == {"Accept": "application/x-ndjson"}


def test_only_keys_that_every_client_knows_are_written():
    auth = {"auth_type": "api_key", "api_key": "${KEY}", "var_name": "X-Api-Key"}
    whole = ProvidedTool("count", "Count.", INPUTS, {"type": "integer"}, ("math",), False, 12)
    tool = provided_tool(whole, ManualForm("http://h/utcp"), auth=auth)
    assert tool.keys() == OFFICIAL
    assert tool["tool_call_template"]["auth"] == auth
    manual = manual_of([tool], version="2.1.0")
    assert manual.keys() == {"utcp_version", "manual_version", "tools"}
    assert detect(manual) is Shape.MANUAL


def test_arguments_may_be_the_body_of_the_request():
    place = {"$ref": "#/$defs/place"}
    inputs = {"type": "object", "properties": {"at": place}, "required": ["at"], "$defs": {"place": {"type": "string"}}}
    tool = provided_tool(ProvidedTool("go", "", inputs), ManualForm("http://h/utcp", in_body=True))
    body = {"type": "object", "properties": {"at": place}, "required": ["at"]}
    assert tool["inputs"] == {
        "type": "object",
        "properties": {"body": body},
        "required": ["body"],
        "$defs": inputs["$defs"],
    }
    assert tool["tool_call_template"]["body_field"] == "body"
    optional = provided_tool(ProvidedTool("go", "", INPUTS), ManualForm("http://h/utcp", in_body=True))
    assert "required" not in optional["inputs"]
