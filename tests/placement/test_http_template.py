"""Fields of an HTTP call template, and where arguments go in a plain UTCP request."""

from __future__ import annotations

import base64
import json
import logging
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from utcp_bridge.errors import ConfigError, InvalidArguments
from utcp_bridge.placement.http_template import (
    METHODS,
    HttpFamilyTemplate,
    PlacementSpec,
    compile_placement,
    verb_annotations,
)
from utcp_bridge.placement.request import RequestParts
from utcp_bridge.settings import explain

URL = "https://api.example.com/items"


def build(arguments: dict[str, Any], *, url: str = URL, **fields: Any) -> RequestParts:
    return compile_placement(PlacementSpec(url=url, **fields)).build(arguments)


def query_of(parts: RequestParts) -> list[tuple[str, str]]:
    return parse_qsl(urlsplit(parts.url).query, keep_blank_values=True, strict_parsing=bool(urlsplit(parts.url).query))


def header(parts: RequestParts, name: str) -> str | None:
    return next((value for key, value in parts.headers if key.lower() == name.lower()), None)


def test_a_request_without_arguments_has_only_the_template() -> None:
    parts = build({})
    assert (parts.method, parts.url, parts.body) == ("GET", URL, None)
    assert parts.headers == [("Accept", "application/json, */*;q=0.8")]


def test_arguments_without_another_place_are_the_query_in_order() -> None:
    parts = build({"b": 1, "a": "x y", "c": None})
    assert parts.url == f"{URL}?b=1&a=x%20y"


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        (True, "true"),
        (False, "false"),
        (0, "0"),
        (1.5, "1.5"),
        ("", ""),
        ("&=?#", "&=?#"),
        ({"a": [1, None]}, '{"a":[1,null]}'),
        (9007199254740993, "9007199254740993"),
        ("\U0001f600\u00e9", "\U0001f600\u00e9"),
    ],
)
def test_each_json_type_has_one_form_in_the_query(value: Any, sent: str) -> None:
    assert query_of(build({"q": value})) == [("q", sent)]


def test_lists_repeat_their_name() -> None:
    assert query_of(build({"tag": ["a", 1, True, None]})) == [("tag", "a"), ("tag", "1"), ("tag", "true")]


def test_the_query_of_the_url_comes_first() -> None:
    assert build({"q": 1}, url=f"{URL}?v=2").url == f"{URL}?v=2&q=1"


def test_arguments_of_headers_body_and_path_are_not_in_the_query() -> None:
    parts = build(
        {"id": 7, "X-Trace": "t", "item": {"n": 1}, "rest": "r"},
        url=URL + "/{id}",
        method="POST",
        header_fields=("X-Trace",),
        body_field="item",
    )
    assert parts.url == f"{URL}/7?rest=r"
    assert header(parts, "X-Trace") == "t"
    assert (parts.body, header(parts, "Content-Type")) == (b'{"n":1}', "application/json")


@pytest.mark.parametrize("arguments", [{}, {"body": None}])
def test_without_a_value_for_the_body_there_is_no_body_and_no_type(arguments: dict[str, Any]) -> None:
    parts = build(arguments, method="POST", body_field="body", headers={"Content-Type": "application/json"})
    assert parts.body is None
    assert header(parts, "Content-Type") is None


@pytest.mark.parametrize("value", [0, False, "", [], {}])
def test_falsy_values_are_bodies(value: Any) -> None:
    parts = build({"body": value}, method="POST", body_field="body")
    assert parts.body is not None
    assert json.loads(parts.body) == value


def test_the_type_of_a_body_stays_out_of_requests_without_one() -> None:
    placement = compile_placement(PlacementSpec(url=URL, method="POST", body_field="body", headers={"X-One": "1"}))
    for arguments in ({}, {"body": {"n": 1}}, {}):
        parts = placement.build(dict(arguments))
        assert header(parts, "X-One") == "1"
        assert (parts.body is None) == (header(parts, "Content-Type") is None) == (not arguments)


def test_a_star_sends_the_other_arguments_as_the_body() -> None:
    parts = build({"id": 1, "a": 1, "b": None}, url=URL + "/{id}", method="POST", body_field="*")
    assert parts.url == f"{URL}/1"
    assert parts.body == b'{"a":1,"b":null}'
    assert build({"id": 1}, url=URL + "/{id}", method="POST", body_field="*").body is None


@pytest.mark.parametrize(
    ("content_type", "value", "body"),
    [
        ("application/json; charset=utf-8", {"a": "\u00e9"}, '{"a":"\u00e9"}'.encode()),
        ("application/vnd.api+json", [1], b"[1]"),
        ("application/x-www-form-urlencoded", {"a": [1, 2], "b": "x y&"}, b"a=1&a=2&b=x%20y%26"),
        ("text/plain", "gr\u00fc\u00df", "gr\u00fc\u00df".encode()),
        ("text/csv", 5, b"5"),
        ("application/xml", "<a/>", b"<a/>"),
        ("application/soap+xml", "<a/>", b"<a/>"),
        ("application/octet-stream", base64.b64encode(b"\x00\xff").decode(), b"\x00\xff"),
        ("image/png", base64.b64encode(b"\x89PNG").decode(), b"\x89PNG"),
    ],
)
def test_a_body_is_written_in_its_content_type(content_type: str, value: Any, body: bytes) -> None:
    parts = build({"body": value}, method="POST", body_field="body", content_type=content_type)
    assert parts.body == body
    assert header(parts, "Content-Type") == content_type


def test_a_multipart_body_has_a_part_for_each_member() -> None:
    parts = build({"body": {"a": 1, "b": ["x", "y"]}}, body_field="body", content_type="multipart/form-data")
    assert parts.body is not None
    assert parts.body.count(b"Content-Disposition: form-data; name=") == 3
    boundary = (header(parts, "Content-Type") or "").partition("boundary=")[2]
    assert boundary.encode() in parts.body


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "multipart/form-data"])
def test_a_form_must_be_an_object(content_type: str) -> None:
    with pytest.raises(InvalidArguments, match="'item'"):
        build({"item": [1]}, method="POST", body_field="item", content_type=content_type)


def test_a_content_type_header_overrides_the_field() -> None:
    parts = build({"body": {"a": 1}}, body_field="body", headers={"content-type": "application/x-www-form-urlencoded"})
    assert parts.body == b"a=1"
    assert [name for name, _ in parts.headers if name.lower() == "content-type"] == ["Content-Type"]


def test_query_params_are_the_whole_query_without_absent_arguments() -> None:
    fields = {"q": "{{text}}", "limit": "{{n|default:10}}", "fixed": "yes", "flag": True, "missing": "{{other}}"}
    parts = build({"text": "a b", "stray": 1}, query_params=fields)
    assert query_of(parts) == [("q", "a b"), ("limit", "10"), ("fixed", "yes"), ("flag", "true")]


def test_query_params_repeat_lists(caplog: pytest.LogCaptureFixture) -> None:
    assert query_of(build({"ids": [1, 2]}, query_params={"id": "{{ids}}"})) == [("id", "1"), ("id", "2")]


def test_a_body_template_keeps_types_and_drops_other_arguments(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="utcp_bridge")  # another test may have set the level of this logger
    template = {"filter": {"name": "{{name}}", "max": "{{max}}"}, "note": "for {{name}}"}
    parts = build({"name": "n", "stray": "canary"}, method="POST", body_template=template)
    assert json.loads(parts.body or b"") == {"filter": {"name": "n"}, "note": "for n"}
    assert parts.url == URL
    assert "dropped" in caplog.text
    assert "canary" not in caplog.text


def test_other_arguments_are_the_query_of_a_get_with_a_body_template() -> None:
    parts = build({"name": "n", "page": 2}, body_template={"name": "{{name}}"})
    assert query_of(parts) == [("page", "2")]


def test_a_body_template_of_one_absent_argument_sends_no_body() -> None:
    assert build({}, method="POST", body_template="{{whole}}").body is None
    assert build({"whole": [1]}, method="POST", body_template="{{whole}}").body == b"[1]"


def test_a_body_template_is_form_encoded_for_form_types() -> None:
    parts = build(
        {"n": 1}, method="POST", body_template={"n": "{{n}}"}, content_type="application/x-www-form-urlencoded"
    )
    assert parts.body == b"n=1"


def test_a_dollar_form_in_a_template_is_an_argument() -> None:
    parts = build(
        {"city": "Bonn", "key": "k"}, url=URL + "/${city}", headers={"X-Key": "${key}"}, body_template="${city}"
    )
    assert parts.url == f"{URL}/Bonn"
    assert header(parts, "X-Key") == "k"
    assert parts.body == b'"Bonn"'


@pytest.mark.parametrize("value", ["${SECRET}", "{{other}}", "{id}", "UTCP_ARG_x_UTCP_ARG"])
def test_a_value_that_looks_like_a_placeholder_is_plain_text(value: str) -> None:
    parts = build({"q": value, "other": "leak"}, query_params={"q": "{{q}}"}, headers={"X-Q": "{{q}}"})
    assert query_of(parts) == [("q", value)]
    assert header(parts, "X-Q") == value


def test_an_argument_in_a_header_never_shows_in_the_query() -> None:
    parts = build({"token": "t", "q": 1}, headers={"Authorization": "Bearer {{token}}"})
    assert header(parts, "Authorization") == "Bearer t"
    assert query_of(parts) == [("q", "1")]


def test_a_spec_with_body_field_and_body_template_is_refused() -> None:
    with pytest.raises(ConfigError, match="body_template"):
        compile_placement(PlacementSpec(url=URL, body_field="body", body_template={}))


@pytest.mark.parametrize("fields", [{"query_params": {"q": "{{x|shout}}"}}, {"body_template": "{{x|shout}}"}])
def test_an_unknown_filter_is_reported_at_compile_time(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="shout"):
        compile_placement(PlacementSpec(url=URL, **fields))


def test_the_repr_of_a_placement_shows_no_secret() -> None:
    spec = PlacementSpec(
        url=URL, headers={"X": "canary"}, query_params={"k": "canary"}, body_template="canary", cookies={"c": "canary"}
    )
    assert "canary" not in repr(spec)
    assert "canary" not in repr(compile_placement(spec))


@pytest.mark.parametrize("value", ["\ud800", float("nan"), float("inf"), {"deep": float("nan")}])
@pytest.mark.parametrize("fields", [{}, {"body_field": "x"}, {"header_fields": ("x",)}, {"url": URL + "/{x}"}])
def test_values_that_json_cannot_represent_are_not_sent(value: Any, fields: dict[str, Any]) -> None:
    assert not any(word in _outcome(value, fields) for word in ("NaN", "Infinity", "nan", "inf", "\ud800"))


def _outcome(value: Any, fields: dict[str, Any]) -> str:
    try:
        parts = build({"x": value}, **fields)
    except InvalidArguments:
        return "refused"
    return f"{parts.url}{parts.headers}{parts.body!r}"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.text(min_size=1, max_size=12), JSON, max_size=4))
def test_no_arguments_change_the_origin_and_path_of_a_request(arguments: dict[str, Any]) -> None:
    try:
        parts = build(arguments, url=URL + "/{id}/x", body_field="body", header_fields=("h",))
    except InvalidArguments:
        return
    split = urlsplit(parts.url)
    assert (split.scheme, split.netloc, split.fragment) == ("https", "api.example.com", "")
    assert split.path.startswith("/items/")
    assert split.path.count("/") == 3
    assert parts.url.isascii()
    assert not any("\n" in value or "\r" in value for _, value in parts.headers)


def template(**fields: Any) -> HttpFamilyTemplate:
    return HttpFamilyTemplate.model_validate({"call_template_type": "http", "url": URL, **fields})


@pytest.mark.parametrize("key", ["http_method", "method"])
def test_the_method_has_two_names_and_any_case(key: str) -> None:
    assert template(**{key: "post"}).http_method == "POST"


@pytest.mark.parametrize("method", ["FETCH", "CONNECT", "", "GET / HTTP/1.1\r\nX: y"])
def test_other_methods_are_refused(method: str) -> None:
    with pytest.raises(ValidationError) as caught:
        template(http_method=method)
    assert explain(caught.value).startswith("http_method: must be one of DELETE, GET")


@pytest.mark.parametrize(
    "fields", [{"headers": None, "header_fields": None, "cookies": None, "query_params": None}, {}]
)
def test_null_fields_are_ignored(fields: dict[str, Any]) -> None:
    made = template(**fields)
    assert (made.headers, made.header_fields, made.cookies, made.query_params) == ({}, (), {}, None)


def test_a_body_field_with_a_body_template_is_refused() -> None:
    with pytest.raises(ValidationError) as caught:
        template(body_field="item", body_template={"a": 1})
    assert "body_field" in explain(caught.value)


def test_a_body_template_replaces_a_default_body_field() -> None:
    class WithDefault(HttpFamilyTemplate):
        body_field: str | None = "body"

    made = WithDefault.model_validate({"call_template_type": "http", "url": URL, "body": {"a": "{{a}}"}})
    assert made.build_request({"a": 1}).body == b'{"a":1}'


def test_the_fields_reach_the_request() -> None:
    made = template(
        url=URL + "/{id}",
        http_method="PUT",
        content_type="text/plain",
        headers={"X-A": "1"},
        header_fields=["X-B"],
        body_field="text",
        cookies={"c": "d"},
    )
    parts = made.build_request({"id": 1, "X-B": 2, "text": "t", "q": 3})
    assert (parts.method, parts.url, parts.body) == ("PUT", f"{URL}/1?q=3", b"t")
    assert dict(parts.headers) == {
        "X-A": "1",
        "Accept": "application/json, */*;q=0.8",
        "X-B": "2",
        "Cookie": "c=d",
        "Content-Type": "text/plain",
    }


def test_the_request_is_compiled_once() -> None:
    made = template()
    assert made.build_request is made.build_request


def test_a_request_plan_replaces_the_plain_placement() -> None:
    parameter = {"argument": "ids", "name": "ids", "in": "query", "style": "form", "explode": False}
    made = template(request_plan={"parameters": [parameter]})
    assert made.build_request({"ids": [1, 2]}).url == f"{URL}?ids=1,2"
    with pytest.raises(InvalidArguments):
        made.build_request({"stranger": 1})


def test_discovery_sends_the_method_the_headers_and_the_fixed_query() -> None:
    made = template(url=URL + "?v=1", method="POST", headers={"X-A": "1"}, query_params={"w": "2", "x": "{{absent}}"})
    parts = made.discovery_request()
    assert (parts.method, parts.url, parts.body) == ("POST", f"{URL}?v=1&w=2", None)
    assert dict(parts.headers)["Accept"].startswith("application/json, application/yaml")


def test_discovery_refuses_a_url_with_a_placeholder() -> None:
    with pytest.raises(ConfigError, match="placeholder") as caught:
        template(url=URL + "/{version}?key=canary").discovery_request()
    assert "canary" not in str(caught.value)


def test_the_repr_shows_no_field_that_may_contain_a_secret() -> None:
    made = template(
        url=URL + "?k=canary", headers={"X": "canary"}, cookies={"c": "canary"}, auth_tools={"api_key": "canary"}
    )
    assert "canary" not in repr(made)
    assert "canary" not in str(made)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_only_repeatable_methods_have_the_idempotent_hint(method: str) -> None:
    repeatable = method not in {"POST", "PATCH"}
    assert verb_annotations(method).get("idempotentHint", False) is repeatable
    assert verb_annotations(method)["openWorldHint"] is True
