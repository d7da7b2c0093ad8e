"""The template that http, sse and streamable_http share."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from utcp_bridge.errors import ConfigError, InvalidArguments
from utcp_bridge.placement.http_template import METHODS, HttpFamilyTemplate, verb_annotations
from utcp_bridge.settings import explain

URL = "https://api.example.com/items"


def template(**fields: Any) -> HttpFamilyTemplate:
    return HttpFamilyTemplate.model_validate({"call_template_type": "http", "url": URL, **fields})


@pytest.mark.parametrize("key", ["http_method", "method"])
def test_the_method_has_two_names_and_any_case(key: str) -> None:
    assert template(**{key: "post"}).http_method == "POST"


@pytest.mark.parametrize("method", ["FETCH", "CONNECT", "", "GET / HTTP/1.1\r\nX: y"])
def test_other_methods_are_refused(method: str) -> None:
    with pytest.raises(ValidationError) as caught:
        template(http_method=method)
    assert explain(caught.value).startswith("http_method: Value error, must be one of DELETE, GET")


@pytest.mark.parametrize(
    "fields", [{"headers": None, "header_fields": None, "cookies": None, "query_params": None}, {}]
)
def test_null_is_the_same_as_nothing(fields: dict[str, Any]) -> None:
    made = template(**fields)
    assert (made.headers, made.header_fields, made.cookies, made.query_params) == ({}, (), {}, None)


def test_a_body_field_and_a_body_template_exclude_each_other() -> None:
    with pytest.raises(ValidationError) as caught:
        template(body_field="item", body_template={"a": 1})
    assert "body_field" in explain(caught.value)


def test_a_default_body_field_gives_way_to_a_body_template() -> None:
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


def test_discovery_sends_method_headers_and_fixed_query_and_asks_for_documents() -> None:
    made = template(url=URL + "?v=1", method="POST", headers={"X-A": "1"}, query_params={"w": "2", "x": "{{absent}}"})
    parts = made.discovery_request()
    assert (parts.method, parts.url, parts.body) == ("POST", f"{URL}?v=1&w=2", None)
    assert dict(parts.headers)["Accept"].startswith("application/json, application/yaml")


def test_discovery_at_an_address_with_a_placeholder_is_refused_without_its_query() -> None:
    with pytest.raises(ConfigError, match="placeholder") as caught:
        template(url=URL + "/{version}?key=canary").discovery_request()
    assert "canary" not in str(caught.value)


def test_the_repr_shows_no_field_that_may_hold_a_secret() -> None:
    made = template(
        url=URL + "?k=canary", headers={"X": "canary"}, cookies={"c": "canary"}, auth_tools={"api_key": "canary"}
    )
    assert "canary" not in repr(made)
    assert "canary" not in str(made)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_only_methods_that_may_be_repeated_say_so(method: str) -> None:
    repeatable = method not in {"POST", "PATCH"}
    assert verb_annotations(method).get("idempotentHint", False) is repeatable
    assert verb_annotations(method)["openWorldHint"] is True
