"""Every written tool says the request of the original: by the interpreter of official fields, for any operation."""

import json
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import example, given, settings
from tests.openapi_oracle.samples import OWN, load, sample_files
from tests.support.openapi_bodies import BODIES, LEFT_OUT

from utcp_bridge.convert.official import FIELDS, TOOL_KEYS, Unwritable
from utcp_bridge.convert.outcome import LEFT_OUT as NOT_WRITTEN
from utcp_bridge.convert.outcome import PROVEN, Converted, Wishes
from utcp_bridge.convert.proof import difference, prove_http, request_builder, sample_arguments
from utcp_bridge.convert.replay import CLIENTS, PYTHON_0, Unsendable, replay
from utcp_bridge.convert.sources import without_files
from utcp_bridge.convert.targets import portable, to_v0
from utcp_bridge.convert.writing import WrittenTool, written_http
from utcp_bridge.dialects import to_v1
from utcp_bridge.errors import ConfigError, InvalidArguments
from utcp_bridge.placement.request import RequestParts

BASE = "https://api.example.com/v1"


def converted(document: Any) -> Converted:
    return without_files(document, url="https://x.example/o.json", name="m", wishes=Wishes(base_url=BASE))


def test_every_kind_of_argument_and_body_is_proven_or_left_out_with_a_reason():
    made = portable(converted(BODIES))
    assert made.proof is not None
    states = {row.tool: row for row in made.proof}
    assert {name for name, row in states.items() if row.state == NOT_WRITTEN} == LEFT_OUT
    assert all(states[name].why for name in LEFT_OUT)
    assert all(row.requests > 0 for row in made.proof if row.state == PROVEN)
    assert {tool["name"] for tool in made.tools} == states.keys() - LEFT_OUT
    limits = " ".join(states["get_book"].why)
    for words in ("one value instead of a list for 'fields'", "no argument 'deep'", "no argument 'session'"):
        assert words in limits


def test_a_flattened_body_is_one_argument_with_its_schema():
    tools = {tool["name"]: tool for tool in portable(converted(BODIES)).tools}
    book = tools["add_book"]
    assert list(book["inputs"]["properties"]) == ["body"]
    assert book["inputs"]["required"] == ["body"]
    assert book["inputs"]["properties"]["body"]["required"] == ["title"]
    assert book["tool_call_template"]["body_field"] == "body"
    assert set(tools["comment"]["inputs"]["properties"]) == {"body", "body_content"}


def test_a_portable_manual_has_official_keys_only():
    for path in sample_files(OWN):
        document, url, files = load(path)
        made = portable(without_files(document, url=url, name="m", wishes=Wishes(base_url=BASE), files=files))
        assert made.document.keys() <= {"utcp_version", "manual_version", "tools"}
        for tool in made.tools:
            template = tool["tool_call_template"]
            assert tool.keys() <= set(TOOL_KEYS)
            assert template.keys() - {"call_template_type"} <= FIELDS[template["call_template_type"]]


TEXT = {"type": "string"}
SCALARS = st.sampled_from([TEXT, {"type": "integer"}, {"type": "number"}, {"type": "boolean"}, {"enum": ["a b", "&"]}])
SIMPLE = SCALARS | SCALARS.map(lambda items: {"type": "array", "items": items})
NAMES = st.sampled_from(["a", "b", "body", "ids[]", "x-y", "$top", "A", "path"])


def nested(inner: Any) -> Any:
    members = st.dictionaries(NAMES, inner, max_size=3)
    return st.builds(
        lambda found, closed: {
            "type": "object",
            "properties": found,
            "required": sorted(found)[:1],
            **({"additionalProperties": False} if closed else {}),
        },
        members,
        st.booleans(),
    ) | inner.map(lambda items: {"type": "array", "items": items})


SCHEMAS = st.recursive(SIMPLE | st.just({}) | st.just({"type": ["string", "null"]}), nested, max_leaves=6)
MEDIA = st.sampled_from([
    "application/json", "application/json; charset=utf-8", "application/vnd.a+json", "text/plain", "application/xml",
    "application/x-www-form-urlencoded", "multipart/form-data", "application/octet-stream", "application/x-ndjson",
])  # fmt: skip
STYLES = {
    "path": ["simple", "label", "matrix"],
    "query": ["form", "spaceDelimited", "pipeDelimited", "deepObject"],
    "header": ["simple"],
    "cookie": ["form"],
}


@st.composite
def parameters(draw: Any) -> dict[str, Any]:
    place = draw(st.sampled_from(["query", "query", "header", "cookie"]))
    name = draw(
        st.sampled_from(["a", "b", "body", "ids[]", "$top", "X-Y"] if place != "header" else ["X-Y", "X-Z", "a"])
    )
    style = draw(st.sampled_from(STYLES[place]))
    return {
        "name": name,
        "in": place,
        "style": style,
        "explode": draw(st.booleans()),
        "required": draw(st.booleans()),
        "allowReserved": place == "query" and draw(st.booleans()),
        "schema": draw(SCHEMAS),
    }


@st.composite
def documents(draw: Any) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": "t",
        "responses": {},
        "parameters": draw(st.lists(parameters(), max_size=4, unique_by=lambda one: (one["name"], one["in"]))),
    }
    path = "/things"
    for name in draw(st.lists(st.sampled_from(["a", "id", "$it"]), max_size=2, unique=True)):
        path += f"/{{{name}}}"
        style = draw(st.sampled_from(STYLES["path"]))
        operation["parameters"].append(
            {"name": name, "in": "path", "required": True, "style": style, "schema": draw(SIMPLE)}
        )
    if draw(st.booleans()):
        content = {draw(MEDIA): {"schema": draw(SCHEMAS)}}
        operation["requestBody"] = {"required": draw(st.booleans()), "content": content}
    method = draw(st.sampled_from(["get", "post", "put", "patch", "delete", "head"]))
    return {"openapi": "3.1.0", "info": {"title": "T", "version": "1"}, "paths": {path: {method: operation}}}


def is_unproven(row: Any) -> bool:
    """Return whether a tool was written, and only its proof failed: the writer should have known."""
    return any(words in why for why in row.why for words in ("sends another", "does not send", "no request"))


def named_body(place: str) -> dict[str, Any]:
    """Return a document of an operation that has a parameter `body` besides a JSON body."""
    operation = {
        "operationId": "t",
        "responses": {},
        "parameters": [{"name": "body", "in": place, "schema": {}}],
        "requestBody": {"content": {"application/json": {"schema": {"type": "object", "properties": {"a": {}}}}}},
    }
    return {"openapi": "3.1.0", "info": {"title": "T", "version": "1"}, "paths": {"/things": {"get": operation}}}


@given(documents())
@example(named_body("query"))
@example(named_body("cookie"))
@settings(max_examples=300, deadline=None)
def test_what_is_written_of_any_operation_is_the_same_request(document):
    original = converted(document)
    made = portable(original)
    assert made.proof is not None
    assert not [row.why for row in made.proof if is_unproven(row)]
    for tool in made.tools:
        again = written_http(next(one for one in original.tools if one["name"] == tool["name"]))
        assert again.tool == tool
        compare(original.tools[0], again, tool["tool_call_template"])


def compare(original: Any, written: WrittenTool, template: Any) -> None:
    build = request_builder(original["tool_call_template"])
    for arguments in sample_arguments(written.tool["inputs"], headers=template.get("header_fields", ())):
        try:
            ours = build(written.back(arguments))
        except InvalidArguments:
            continue
        for client in CLIENTS["http"]:
            assert difference(ours, replay(template, arguments, client)) is None


@given(documents())
@settings(max_examples=150, deadline=None)
def test_what_is_written_in_v0_is_the_same_request(document):
    original = converted(document)
    try:
        made = to_v0(original)
    except ConfigError:
        return
    for tool in to_v1(made.document)["tools"]:
        written = written_http(original.tools[0], repeats=True)
        assert tool["inputs"]["properties"] == written.tool["inputs"]["properties"]
        build = request_builder(original.tools[0]["tool_call_template"])
        for arguments in sample_arguments(tool["inputs"], headers=tool["tool_call_template"].get("header_fields", ())):
            try:
                ours = build(written.back(arguments))
            except InvalidArguments:
                continue
            assert difference(ours, replay(tool["tool_call_template"], arguments, PYTHON_0)) is None


PLAIN_TEMPLATES: list[dict[str, Any]] = [
    {"url": f"{BASE}/{{a}}", "http_method": "GET"},
    {"url": BASE, "http_method": "POST", "body_field": "b", "header_fields": ["c"]},
    {"url": BASE, "http_method": "POST", "body_field": "*"},
    {"url": f"{BASE}?fixed=1", "query_params": {"q": "{{a}}", "kind": "all"}},
    {"url": BASE, "http_method": "POST", "body_template": {"one": "{{a}}", "two": "{{b}}"}},
    {"url": BASE, "headers": {"X-A": "{{a}}", "X-Fixed": "1", "X-Key": "${KEY}"}},
    {"url": "${HOME_PAGE}/x/{a}", "content_type": "application/json"},
]


@given(st.sampled_from(PLAIN_TEMPLATES), st.dictionaries(st.sampled_from(["a", "b", "c"]), SCHEMAS, min_size=3))
@settings(max_examples=200, deadline=None)
def test_what_is_written_of_any_template_is_the_same_request(template, properties):
    tool = {
        "name": "t",
        "inputs": {"type": "object", "properties": properties, "required": ["a"]},
        "tool_call_template": {"call_template_type": "http", **template},
    }
    made = portable(Converted({"utcp_version": "1.0.1", "tools": [tool]}, "m"))
    assert made.proof is not None
    assert not [row.why for row in made.proof if is_unproven(row)]


def test_a_wrong_form_is_not_proven():
    """The proof itself can fail: a template that others read in another way is refused."""
    original = converted(BODIES).tools[0]
    made = written_http(original)
    assert prove_http(original, made) == 10
    for change in (
        {"http_method": "PUT"},
        {"url": f"{BASE}/book"},
        {"body_field": "other"},
        {"content_type": "text/plain"},
    ):
        template = {**made.tool["tool_call_template"], **change}
        with pytest.raises(Unwritable, match=r"sends another|does not send"):
            prove_http(original, WrittenTool({**made.tool, "tool_call_template": template}, (), made.back))
    with pytest.raises(Unwritable, match="request_plan"):
        prove_http(
            original, WrittenTool({**made.tool, "tool_call_template": original["tool_call_template"]}, (), made.back)
        )


@pytest.mark.parametrize(
    ("other", "where"),
    [
        (RequestParts("GET", "https://h/a?x=1.0&y=%7B%22b%22%3A%201%7D"), None),
        (RequestParts("POST", "https://h/a?x=1&y={}"), "method"),
        (RequestParts("GET", "https://h/a%2Fb?x=1"), "URL"),
        (RequestParts("GET", "https://h/a?x=2&y={}"), "query"),
        (RequestParts("GET", 'https://h/a?x=1&y={"b":1}', [("X-A", "1")]), "header x-a"),
        (RequestParts("GET", 'https://h/a?x=1&y={"b":1}', [], b"1"), "body"),
    ],
)
def test_requests_are_compared_by_value(other, where):
    ours = RequestParts("GET", 'https://h/a?y={"b":1}&x=1', [("Accept", "*/*")])
    assert difference(ours, other) == where


def test_bodies_are_compared_by_their_media_type():
    def post(media_type: str, content: bytes) -> RequestParts:
        return RequestParts("POST", "https://h/", [("Content-Type", media_type)], content)

    assert (
        difference(post("application/json", b'{"a":1.0,"b":2}'), post("application/json", b'{"b": 2, "a": 1}')) is None
    )
    assert difference(post("application/json", b"1"), post("application/json", b"true")) == "body"
    form = "application/x-www-form-urlencoded"
    assert difference(post(form, b"a=x+y&b=1"), post(form, b"b=1&a=x%20y")) is None
    assert difference(post("text/plain", b"1.0"), post("text/plain", b"1")) == "body"
    assert difference(post("text/plain", b"1"), post("text/html", b"1")) == "header content-type"


def test_values_that_a_client_refuses_are_named():
    template = {"call_template_type": "http", "url": BASE}
    for value, words in ((True, "boolean"), ({"a": 1}, "object"), (None, "null")):
        with pytest.raises(Unsendable, match=words):
            replay(template, {"a": value}, PYTHON_0)
    assert json.loads(
        str(replay({**template, "http_method": "POST"}, {"body": [1]}, PYTHON_0).body or b"", "utf-8")
    ) == [1]
