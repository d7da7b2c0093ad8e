"""A placeholder in a URL template is encoded for the part of the URL that it is in."""

from __future__ import annotations

from typing import Any

import pytest

from utcp_bridge.errors import ConfigError, InvalidArguments
from utcp_bridge.placement.url import compile_url


@pytest.mark.parametrize(
    ("url", "built"),
    [
        ("https://a.example/", "https://a.example/"),
        ("HTTPS://a.example", "https://a.example"),
        ("https://a.example/a b/\u00e9?q=\u00fc|x#part", "https://a.example/a%20b/%C3%A9?q=%C3%BC%7Cx"),
        ("https://a.example/%41%zz", "https://a.example/%41%25zz"),
        ("https://a.example?x=1/2?3", "https://a.example?x=1/2?3"),
        ("https://a.example#x/y?z", "https://a.example"),
        ("https://b\u00fccher.example:8080/x", "https://xn--bcher-kva.example:8080/x"),
        ("http://[::1]:80/x", "http://[::1]:80/x"),
        ("https://a.example/v1:run/@me/$batch", "https://a.example/v1:run/@me/$batch"),
    ],
)
def test_a_fixed_url_is_encoded_once_and_not_changed_otherwise(url: str, built: str) -> None:
    assert compile_url(url).build({}) == built


@pytest.mark.parametrize(
    "url", ["", "/relative", "a.example/x", "https://", "https:///path", "https://?q", "https://#f"]
)
def test_a_url_that_is_not_absolute_is_a_config_error(url: str) -> None:
    with pytest.raises(ConfigError, match="url"):
        compile_url(url)


def test_an_invalid_host_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="host"):
        compile_url("https://\u00e9" + "x" * 70 + ".example/")


def test_a_placeholder_may_occur_more_than_once() -> None:
    plan = compile_url("https://a.example/{id}/copies/{id}")
    assert plan.build({"id": 5}) == "https://a.example/5/copies/5"
    assert plan.used == {"id"}


@pytest.mark.parametrize(
    ("template", "value", "built"),
    [
        ("https://a.example/{x}/y", "a/b?c#d", "https://a.example/a%2Fb%3Fc%23d/y"),
        ("https://a.example/{x}", [1, "b"], "https://a.example/1%2Cb"),
        ("https://a.example/{x}", True, "https://a.example/true"),
        ("https://a.example/s?q={x}&r=1", "a/b&c", "https://a.example/s?q=a%2Fb%26c&r=1"),
        ("https://a.example/s?q={x}", "", "https://a.example/s?q="),
        ("https://a.example/s?q=/{x}", "..", "https://a.example/s?q=/.."),
        ("https://{x}.a.example/", "tenant-1", "https://tenant-1.a.example/"),
        ("https://a.example/{{x}}", "a/b", "https://a.example/a%2Fb"),
        ("https://a.example/{{ x | default:{} }}", "v", "https://a.example/v"),
        ("https://a.example/${x}", "v w", "https://a.example/v%20w"),
        ("https://a.example/x#{x}", "gone", "https://a.example/x"),
        ("https://a.example/items({x})", "1", "https://a.example/items(1)"),
        ("https://{x}", "tenant", "https://tenant"),
        ("https://a.example/{x}{x}", "v", "https://a.example/vv"),
    ],
)
def test_a_value_is_encoded_for_its_place(template: str, value: Any, built: str) -> None:
    assert compile_url(template).build({"x": value}) == built


def test_an_expression_may_reach_into_an_argument_and_have_a_default() -> None:
    plan = compile_url("https://a.example/{{user.id}}/{{page|default:1}}?l={{lang|default:a/b?c#d}}")
    assert plan.build({"user": {"id": 7}}) == "https://a.example/7/1?l=a%2Fb%3Fc%23d"
    assert plan.used == {"user", "page", "lang"}


@pytest.mark.parametrize("template", ["https://a.example/{x}", "https://a.example/?q={x}", "https://{x}.example/"])
@pytest.mark.parametrize("arguments", [{}, {"x": None}])
def test_the_error_names_a_missing_argument(template: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidArguments, match="'x'"):
        compile_url(template).build(arguments)


def test_the_error_names_a_missing_argument_of_an_expression() -> None:
    with pytest.raises(InvalidArguments, match="x"):
        compile_url("https://a.example/{{x}}").build({})


@pytest.mark.parametrize("value", ["..", ".", "../x", "%2e%2e", "%252e%252e/x", "a/../b", "a\\..\\b", "", "..;a"])
def test_no_value_can_leave_its_path_segment(value: str) -> None:
    with pytest.raises(InvalidArguments, match="'x'"):
        compile_url("https://a.example/guarded/{x}/y").build({"x": value})


@pytest.mark.parametrize(
    "value",
    ["evil.example/", "evil.example#", "evil.example?", "u@evil.example", "evil.example:80", "a\\b", "-", "", "\u00e9"],
)
def test_no_value_can_move_the_end_of_the_host(value: str) -> None:
    with pytest.raises(InvalidArguments, match="'x'"):
        compile_url("https://{x}.a.example/").build({"x": value})


def test_a_query_is_appended_with_a_question_mark_or_an_ampersand() -> None:
    assert compile_url("https://a.example/x").build({}, "q=1") == "https://a.example/x?q=1"
    assert compile_url("https://a.example/x?p=0").build({}, "q=1") == "https://a.example/x?p=0&q=1"


def test_the_repr_shows_no_part_of_the_url() -> None:
    assert "canary" not in repr(compile_url("https://a.example/?key=canary"))
