"""Templates of strangers: bounded steps to compile and to render, and no argument doubles a fixed value."""

from __future__ import annotations

import string
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.work import calls_made_by

from utcp_bridge.errors import ConfigError, InvalidArguments
from utcp_bridge.placement.body import decode_base64
from utcp_bridge.placement.headers import MAX_HEADERS, compile_headers
from utcp_bridge.placement.http_template import PlacementSpec, compile_placement
from utcp_bridge.placement.openapi_plan import compile_plan, read_plan
from utcp_bridge.placement.placeholders import (
    MAX_EXPRESSION,
    MAX_FILTERS,
    MAX_GROWTH,
    MAX_PLACEHOLDERS,
    MAX_TEMPLATE,
    MAX_VALUES,
    OMITTED,
    Context,
    Syntax,
    compile_template,
)
from utcp_bridge.placement.url import MAX_URL_PLACEHOLDERS, MAX_URL_TEMPLATE, compile_url

_ALL = Syntax.MUSTACHE | Syntax.DOLLAR | Syntax.BRACES | Syntax.UTCP_ARG | Syntax.UTCP_END
_BASE = "https://a.example/x"


def compiled(value: Any):
    return compile_template(value, syntaxes=Syntax.MUSTACHE | Syntax.DOLLAR, where="`body_template`")


# --- limits -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "limit"),
    [
        ("x" * (MAX_TEMPLATE + 1), f"{MAX_TEMPLATE:,} characters"),
        ({"k" * MAX_TEMPLATE: "v", "l": "v"}, f"{MAX_TEMPLATE:,} characters"),
        (["v"] * MAX_VALUES, f"{MAX_VALUES:,} values"),
        ({str(number): {"a": number} for number in range(100_000)}, f"{MAX_VALUES:,} values"),
        ("{{a}}" * (MAX_PLACEHOLDERS + 1), f"{MAX_PLACEHOLDERS:,} placeholders"),
        (["${a}"] * (MAX_PLACEHOLDERS + 1), f"{MAX_PLACEHOLDERS:,} placeholders"),
        ("{{ a | default:" + "d" * MAX_EXPRESSION + "}}", f"{MAX_EXPRESSION:,} characters"),
        (["{{ a | default:" + "d" * 8_000 + "}}"] * 17, "characters in its expressions"),
        ("{{ a" + " | required" * (MAX_FILTERS + 1) + " }}", f"{MAX_FILTERS} filters"),
    ],
)
def test_a_limit_is_named_with_its_field(template: Any, limit: str) -> None:
    with pytest.raises(ConfigError, match=limit) as caught:
        compiled(template)
    assert "body_template" in caught.value.message or "{{" in caught.value.message


def test_a_template_at_its_limits_is_used() -> None:
    assert compiled(["{{a}}"] * MAX_PLACEHOLDERS).render({"a": 1}, context=Context.JSON) == [1] * MAX_PLACEHOLDERS
    assert compiled("{{ a" + " | required" * MAX_FILTERS + " }}").render({"a": 1}, context=Context.JSON) == 1


@pytest.mark.parametrize(
    ("template", "arguments"),
    [
        ("{{ a" + " | json" * MAX_FILTERS + " }}", {"a": '"' * 100_000}),
        ("{{ a" + " | urlencode" * MAX_FILTERS + " }}", {"a": "%" * 1_000_000}),
        ("{{ a | join:" + "-" * 1_000 + " }}", {"a": [1] * 100_000}),
        (["{{ a }}"] * 100, {"a": "x" * 1_000_000}),
        (["<{{ a }}>"] * 100, {"a": "x" * 1_000_000}),
        ({str(number): "{{ a.b }}" for number in range(500)}, {"a": {"b": [["xy"]] * 100_000}}),
        ("{{ a.x }}{{ a.y }}{{ a.x }}" * 300, {"a": {"x": "x" * 1_000_000, "y": ""}}),
    ],
)
def test_a_rendering_that_multiplies_its_arguments_is_refused(template: Any, arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidArguments, match=rf"`body_template` .*'a'.* {MAX_GROWTH:,} characters"):
        compiled(template).render(arguments, context=Context.JSON)


def test_a_large_argument_may_be_used_twice_and_encoded() -> None:
    large = "é" * 1_000_000
    rendered = compiled({"a": "{{a}}", "b": "<{{a}}>", "c": "{{ b | urlencode }}"}).render(
        {"a": large, "b": "%" * 1_000_000}, context=Context.JSON
    )
    assert rendered["a"] == large
    assert len(rendered["c"]) == 3_000_000


def test_a_template_of_the_deepest_level_is_rendered() -> None:
    nested: Any = "{{a}}"
    for _ in range(100):
        nested = [{"k": nested}]
    assert orjson.dumps(compiled(nested).render({"a": 1}, context=Context.JSON)).endswith(b"1" + b"}]" * 100)


# --- work -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "piece", ["{{", "}}", "{", "{{}}", "{{{", "{{a", "{a", "${", "${a", "{{a}}}", "UTCP_ARG_", "{{|"]
)
def test_reading_a_url_or_text_of_braces_takes_steps_in_proportion_to_its_length(piece: str) -> None:
    def read(number: int) -> int:
        def work() -> None:
            for compile_it in (compile_url, lambda text: compile_template(text, syntaxes=_ALL)):
                with suppress(ConfigError):
                    compile_it(_BASE + piece * number)

        return calls_made_by(work)

    short, long = read(200), read(2_000)
    assert long <= 12 * short + 200


def test_a_url_above_its_limits_names_the_limit() -> None:
    with pytest.raises(ConfigError, match=rf"`url` has more than {MAX_URL_TEMPLATE:,} characters"):
        compile_url(_BASE + "?" + "{{" * 30_000)
    with pytest.raises(ConfigError, match=rf"`url` has more than {MAX_URL_PLACEHOLDERS} placeholders"):
        compile_url(_BASE + "/{a}" * (MAX_URL_PLACEHOLDERS + 1))
    with pytest.raises(ConfigError, match="more than 200 entries"):
        compile_headers({f"X-{number}": "1" for number in range(MAX_HEADERS + 1)})
    plan = {"parameters": [{"argument": f"a{number}", "name": "n", "in": "query"} for number in range(2_001)]}
    with pytest.raises(ConfigError, match="2,000 parameters"):
        read_plan(plan)
    with pytest.raises(ConfigError, match="for more than 8 parameters"):
        read_plan({"parameters": [{"argument": "a", "name": f"n{number}", "in": "header"} for number in range(9)]})


@pytest.mark.parametrize(
    "spec",
    [
        PlacementSpec(_BASE + "/{a}" * 50),
        PlacementSpec(_BASE + "?" + "&".join(f"k{number}={{a}}" for number in range(50))),
        PlacementSpec(_BASE + "?" + "&".join(f"k{number}={{{{a}}}}" for number in range(50))),
        PlacementSpec(_BASE, headers={f"X-{number}": "<{{a}}>" for number in range(100)}),
        PlacementSpec(_BASE, cookies={f"c{number}": "{{a}}" for number in range(100)}),
        PlacementSpec(_BASE),
    ],
)
def test_a_request_line_or_head_that_no_server_takes_is_not_built(spec: PlacementSpec) -> None:
    with pytest.raises(InvalidArguments, match="262,144 characters"):
        compile_placement(spec).build({"a": "x" * 300_000})


def test_text_that_almost_is_a_data_url_is_read_in_few_steps() -> None:
    text = "data:" + "x;" * 500_000
    decode_base64("data:,aGk", argument="a")  # the first one compiles what it looks for
    assert calls_made_by(lambda: decode_base64(text, argument="a")) < 100
    assert decode_base64(text, argument="a") == text.encode()
    assert decode_base64("DATA:text/plain;charset=x;BASE64,aGk", argument="a") == b"hi"
    assert decode_base64("data:,aGk", argument="a") == b"data:,aGk"


# --- against a naive reading ------------------------------------------------------------------------

_names = st.sampled_from(["a", "b", "c"])
_filters = st.sampled_from(["json", "join", "urlencode", "default:z", "default:[1]", "required", 'join:"|"'])
_expression = st.tuples(_names, st.lists(_filters, max_size=3))
_pieces = st.lists(st.one_of(st.text(string.ascii_letters + ' :"', max_size=5), _expression), min_size=1, max_size=6)
_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(string.printable, max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("xy", max_size=2), inner, max_size=2),
    max_leaves=6,
)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _naive(value: Any, filters: list[str]) -> Any:
    for one in filters:
        name, _, operand = one.partition(":")
        if name == "default" and (value is OMITTED or value is None):
            value = "z" if operand == "z" else [1]
        elif name == "required" and (value is OMITTED or value is None):
            raise InvalidArguments("missing")
        elif name == "json" and value is not OMITTED:
            value = orjson.dumps(value).decode()
        elif name == "join" and isinstance(value, list):
            value = ("|" if operand else ",").join(map(_plain, value))
        elif name == "urlencode" and value is not OMITTED:
            value = quote(_plain(value), safe="")
    return value


def _expected(pieces: list[Any], arguments: dict[str, Any]) -> Any:
    found = [
        piece if isinstance(piece, str) else _naive(arguments.get(piece[0], OMITTED), piece[1]) for piece in pieces
    ]
    if len(pieces) == 1:
        return found[0]
    if OMITTED in found:
        raise InvalidArguments("missing")
    return "".join(map(_plain, found))


@given(pieces=_pieces, arguments=st.dictionaries(_names, _values))
@settings(max_examples=300)
def test_a_rendering_is_what_a_naive_reading_gives(pieces: list[Any], arguments: dict[str, Any]) -> None:
    pieces = [piece for piece in pieces if piece] or ["x"]
    text = "".join(
        piece if isinstance(piece, str) else "{{ " + " | ".join([piece[0], *piece[1]]) + " }}" for piece in pieces
    )
    template = compiled(text)
    try:
        expected = _expected(pieces, arguments)
    except InvalidArguments:
        with pytest.raises(InvalidArguments):
            template.render(arguments, context=Context.JSON)
        return
    assert template.render(arguments, context=Context.JSON) == expected


@given(
    template=st.recursive(
        st.text('{}$ab|:" .x', max_size=30),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("k", max_size=2), inner, max_size=3),
        max_leaves=20,
    ),
    value=_values,
)
@settings(max_examples=200)
def test_any_template_and_argument_take_steps_in_proportion_to_their_size(template: Any, value: Any) -> None:
    size = len(orjson.dumps([template, value]))

    def work() -> None:
        with suppress(ConfigError, InvalidArguments):
            compiled(template).render({"a": value, "b": value}, context=Context.JSON)

    assert calls_made_by(work) < 200 + 60 * size


# --- fixed values win -------------------------------------------------------------------------------

_TWINS = ["tenant", "Tenant", "TENANT", "tenant[]", "tenant[0]", "tenant ", "%74enant", "tenant\0x", "ten%61nt"]


def names_sent(url: str) -> list[str]:
    return [value for name, value in parse_qsl(urlsplit(url).query) if name.lower().startswith("tenant")]


@pytest.mark.parametrize("name", _TWINS)
@pytest.mark.parametrize("url", ["?tenant=acme", "?x=1&%74enant=acme", "?x=1;tenant=acme", "?q={q}&tenant=acme"])
def test_an_argument_never_adds_a_value_to_a_name_in_the_query_of_the_url(name: str, url: str) -> None:
    plan = compile_placement(PlacementSpec(_BASE + url))
    built = plan.build({name: "other", "q": "tenant=other&tenant=other", "p": "1"}).url
    assert "other" not in [value for _, value in parse_qsl(urlsplit(built.replace(";", "&")).query)]
    assert "p=1" in built


@pytest.mark.parametrize("name", ["tenant", "TENANT", "tenant[]"])
def test_an_argument_that_chooses_a_name_cannot_choose_a_fixed_one(name: str) -> None:
    plan = compile_url(_BASE + "?tenant=acme&{name}=x")
    assert plan.build({"name": "free"}).endswith("?tenant=acme&free=x")
    with pytest.raises(InvalidArguments, match="'tenant'"):
        plan.build({"name": name})


def test_a_constant_of_query_params_wins_over_an_argument_of_its_name() -> None:
    spec = PlacementSpec(_BASE + "?v=1", query_params={"tenant": "acme", "Tenant": "{{t}}", "V": "{{t}}", "q": "{{t}}"})
    assert compile_placement(spec).build({"t": "other"}).url == _BASE + "?v=1&tenant=acme&q=other"


def test_a_constant_field_of_a_form_wins_over_an_argument_of_its_name() -> None:
    form = PlacementSpec(
        _BASE,
        method="POST",
        content_type="application/x-www-form-urlencoded",
        body_template={"Tenant": "{{t}}", "tenant": "acme", "q": "{{t}}"},
    )
    assert compile_placement(form).build({"t": "other"}).body == b"tenant=acme&q=other"


def test_a_fixed_cookie_wins_over_an_argument() -> None:
    plan = compile_headers({"Cookie": "tenant=acme"}, cookies={"tenant": "{{t}}", "q": "{{t}}"})
    assert plan.build({"t": "other"}) == [("Cookie", "tenant=acme; q=other")]
    by_name = compile_headers({}, ["Cookie"], {"tenant": "acme"})
    assert by_name.build({"Cookie": "tenant=other; q=1"}) == [("Cookie", "q=1; tenant=acme")]
    mixed = compile_headers({"Cookie": "q={{q}}; tenant=acme"})
    assert mixed.build({"q": "1"}) == [("Cookie", "q=1; tenant=acme")]
    with pytest.raises(InvalidArguments, match="another cookie"):
        mixed.build({"q": "1; tenant=other"})


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ({"name": "f", "style": "form", "explode": True}, {"tenant": "other", "p": "1"}),
        ({"name": "f", "style": "form", "explode": True}, {"Tenant": "other", "p": "1"}),
        ({"name": "f", "in": "querystring", "content_type": "application/x-www-form-urlencoded"}, {"tenant": "other"}),
        ({"name": "tenant", "style": "form"}, "other"),
        ({"name": "tenant", "style": "deepObject", "explode": True}, {"x": "other"}),
    ],
)
def test_an_operation_of_openapi_keeps_the_fixed_query(parameter: dict[str, Any], value: Any) -> None:
    plan = read_plan({"parameters": [{"argument": "f", "in": "query", **parameter}]})
    built = compile_plan(plan, _BASE + "?tenant=acme", "GET")({"f": value}).url
    assert names_sent(built) == ["acme"]
