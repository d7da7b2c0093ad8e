"""Headers and cookies: fixed, from arguments, and from expressions."""

from __future__ import annotations

from typing import Any

import pytest

from utcp_bridge.errors import ConfigError, InvalidArguments
from utcp_bridge.placement.headers import compile_headers


def test_fixed_headers_are_sent_and_null_headers_are_omitted() -> None:
    plan = compile_headers({"X-A": "1", "X-N": 2, "X-B": True, "X-None": None})
    assert plan.build({}) == [("X-A", "1"), ("X-N", "2"), ("X-B", "true")]
    assert plan.used == frozenset()


def test_accept_is_added_unless_the_template_has_its_own() -> None:
    assert compile_headers({}, accept="text/plain").build({}) == [("Accept", "text/plain")]
    assert compile_headers({"accept": "a/b"}, accept="text/plain").build({}) == [("accept", "a/b")]
    assert compile_headers({}, ["Accept"], accept="text/plain").build({"Accept": "a/b"}) == [("Accept", "a/b")]


def test_the_content_type_goes_with_the_body() -> None:
    plan = compile_headers({"content-TYPE": "text/xml", "X-A": "1"})
    assert plan.content_type == "text/xml"
    assert plan.build({}) == [("X-A", "1")]


def test_header_fields_are_arguments_and_override_fixed_headers() -> None:
    plan = compile_headers({"x-trace": "fixed", "X-A": "1"}, ["X-Trace", "X-Other"])
    assert plan.build({"X-Trace": "call"}) == [("X-A", "1"), ("X-Trace", "call")]
    assert plan.build({"X-Trace": None}) == [("x-trace", "fixed"), ("X-A", "1")]
    assert plan.used == {"X-Trace", "X-Other"}


def test_a_header_with_an_expression_is_omitted_without_its_argument() -> None:
    plan = compile_headers({"Authorization": "Bearer {{token}}", "X-Id": "${id}", "X-Lang": "{{lang|default:en}}"})
    assert plan.build({"token": "t", "id": 5}) == [("Authorization", "Bearer t"), ("X-Id", "5"), ("X-Lang", "en")]
    assert plan.build({}) == [("X-Lang", "en")]
    assert plan.used == {"token", "id", "lang"}


@pytest.mark.parametrize(
    ("value", "sent"), [([1, "b"], "1,b"), ({"a": 1}, '{"a":1}'), (" x ", "x"), (False, "false"), ("\u00e9", "\u00e9")]
)
def test_each_json_type_has_one_form_in_a_header(value: Any, sent: str) -> None:
    assert compile_headers({}, ["X-V"]).build({"X-V": value}) == [("X-V", sent)]


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\0b", "\ud800"])
@pytest.mark.parametrize("where", ["field", "expression", "cookie"])
def test_no_value_can_add_a_header_line(value: str, where: str) -> None:
    plan = {
        "field": compile_headers({}, ["x"]),
        "expression": compile_headers({"X-V": "a {{x}}"}),
        "cookie": compile_headers({}, cookies={"c": "{{x}}"}),
    }[where]
    with pytest.raises(InvalidArguments):
        plan.build({"x": value})


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\0"])
def test_the_error_of_a_fixed_value_with_a_line_break_hides_the_value(value: str) -> None:
    with pytest.raises(ConfigError, match="'X-Key'") as caught:
        compile_headers({"X-Key": value})
    assert "Evil" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a\nb", "\u00e9"])
def test_invalid_header_names_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="header name"):
        compile_headers({name: "x"})
    with pytest.raises(ConfigError, match="header name"):
        compile_headers({}, [name])
    with pytest.raises(ConfigError, match="cookie name"):
        compile_headers({}, cookies={name: "x"})


@pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding", "Connection", "Upgrade"])
def test_an_argument_cannot_set_a_header_that_frames_the_request(name: str) -> None:
    assert compile_headers({name: "x"}).build({}) == []
    with pytest.raises(ConfigError, match="must not come from an argument"):
        compile_headers({}, [name])
    with pytest.raises(ConfigError, match="must not come from an argument"):
        compile_headers({name: "{{x}}"})


def test_an_argument_cannot_set_the_content_type() -> None:
    with pytest.raises(ConfigError, match="Content-Type"):
        compile_headers({}, ["Content-Type"])


def test_cookies_are_joined_with_a_cookie_header() -> None:
    plan = compile_headers({"Cookie": "a=1"}, cookies={"b": "{{x}}", "c": "{{absent}}", "d": 5})
    assert plan.build({"x": "1; evil=2, \u00e9"}) == [("Cookie", "a=1; b=1%3B%20evil=2%2C%20%C3%A9; d=5")]
    assert plan.used == {"x", "absent"}


def test_absent_cookies_add_no_header() -> None:
    assert compile_headers({}, cookies={"b": "{{x}}"}).build({}) == []
