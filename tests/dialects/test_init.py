"""The dialects as a whole: any document gives faults, never an exception."""

from hypothesis import given, settings
from hypothesis import strategies as st

from utcp_bridge.dialects import Shape, detect, read_config, read_manual, to_v1
from utcp_bridge.errors import ManualError
from utcp_bridge.model import Fault

KEYS = st.sampled_from([
    "allowed_communication_protocols", "annotations", "api_key", "args", "auth", "auth_type", "body_members", "bridge",
    "call_template_type", "client_id_var", "command", "config", "content", "file_path", "info", "inputSchema", "inputs",
    "key_name", "load_variables_from", "location", "manual_call_templates", "manuals", "mcpServers", "name", "openapi",
    "outputs", "parameters", "paths", "properties", "provider", "provider_type", "providers", "response_schema",
    "scopes", "tags", "timeout", "token", "tool_call_template", "tool_provider", "tools", "type", "url",
    "utcp_version", "var_name", "variables", "version",
]) | st.text(max_size=6)  # fmt: skip
WORDS = st.sampled_from([
    "http", "http_stream", "tcp", "text", "mcp", "object", "api_key", "token", "oauth2", "object", "NAME",
    "./a.json", "mcp+stdio:x", "https://[", "ftp://x",
]) | st.text(max_size=8)  # fmt: skip
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | WORDS
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.integers(), inner, max_size=4),
    max_leaves=15,
)
"""Small: drawing the documents takes most of the time of these tests."""
TEMPLATES = st.dictionaries(KEYS, ANYTHING, max_size=4).map(lambda raw: {"call_template_type": "http", **raw})
TOOLS = st.dictionaries(KEYS, ANYTHING | TEMPLATES, max_size=4).map(lambda raw: {"name": "a", **raw})
DOCUMENTS = (
    ANYTHING
    | st.lists(TEMPLATES, max_size=3)
    | st.builds(
        lambda tools, rest: {**rest, "tools": tools},
        st.lists(TOOLS, max_size=2),
        st.dictionaries(KEYS, ANYTHING, max_size=4),
    )
)


@given(document=DOCUMENTS)
@settings(max_examples=300, deadline=None)
def test_any_document_is_read_to_entries_and_faults(document):
    assert isinstance(detect(document), Shape)
    reading = read_config(document, where="x", known_fields={"http": frozenset({"url"})}.get)

    assert all(isinstance(fault, Fault) for fault in reading.faults)
    names = [entry.name for entry in reading.entries]
    assert len(set(names)) == len(names)
    assert all(isinstance(entry.template["call_template_type"], str) for entry in reading.entries)


@given(document=DOCUMENTS)
@settings(max_examples=300, deadline=None)
def test_any_document_is_read_to_tools_and_faults(document):
    reading = read_manual(document, default_template={"call_template_type": "http", "url": "u"}, where="x")

    assert all(isinstance(fault, Fault) for fault in reading.faults)
    for tool in reading.tools:
        assert isinstance(tool.name, str)
        assert isinstance(tool.inputs, dict)
        assert isinstance(tool.template["call_template_type"], str)


@given(document=DOCUMENTS)
@settings(max_examples=300, deadline=None)
def test_any_document_is_rewritten_or_refused(document):
    try:
        rewritten = to_v1(document)
    except ManualError:
        return
    assert detect(rewritten) in {Shape.CONFIG, Shape.MANUAL, Shape.OPENAPI, Shape.MCP_TOOLS}
