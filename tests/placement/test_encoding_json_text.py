"""JSON that a template gives as text: whatever the arguments are, the result is the template's own structure."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from tests.support.tools import make_tool

from utcp_bridge.errors import ConfigError, InvalidArguments
from utcp_bridge.model import Call, JsonObject
from utcp_bridge.placement.encoding import JsonPlace, format_scalar, places_in_json
from utcp_bridge.placement.http_template import HttpFamilyTemplate
from utcp_bridge.placement.message import SocketTemplate, encode_request
from utcp_bridge.placement.placeholders import Context, Syntax, compile_template
from utcp_bridge.transports.cli.transport import CliTemplate
from utcp_bridge.transports.cli.words import ArgvTemplate
from utcp_bridge.transports.websocket.transport import WebSocketTemplate

SYNTAXES = Syntax.MUSTACHE | Syntax.DOLLAR | Syntax.UTCP_ARG
HOSTILE = (
    'q"},{"z":1',
    '"',
    "\\",
    '\\"',
    "a\nb\r\t\0",
    "\u2028é🙂",
    "{{ other }}",
    "",
    "null",
    '", "admin": true, "x": "',
)
TEXTS = st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(exclude_categories=("Cs",)), max_size=20))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)
NUMBERS = st.one_of(
    st.integers(min_value=0), st.floats(min_value=0, max_value=1e15).filter(lambda one: "e" not in repr(one))
)
TEMPLATE = (
    '{"quoted": "a {{ q }}-${q}-UTCP_ARG_q_UTCP_ARG b", "bare": {{ b }}, "arg": UTCP_ARG_b_UTCP_ARG, "in": [1, ${b}],'
    ' "number": -{{ n }}, "{{ q }}": 1, "json": {{ b | json }}, "text": "{{ b | json }}"}'
)


def expected(q: Any, b: Any, n: Any) -> JsonObject:
    text = format_scalar(q)
    written = json.dumps(b, ensure_ascii=False, separators=(",", ":"))
    return {
        "quoted": f"a {text}-{text}-{text} b",
        "bare": b,
        "arg": b,
        "in": [1, b],
        "number": -n,
        "json": b,
        "text": written,
        text: 1,
    }


def same(found: Any, wished: JsonObject) -> bool:
    """Compare values, with numbers as they arrive, and texts that are JSON by their values."""
    found, wished = dict(found), dict(wished)
    if "text" in found and found["text"] != 1:
        found["text"], wished["text"] = json.loads(found["text"]), json.loads(wished["text"])
    return bool(found == wished)


@given(
    q=VALUES, b=VALUES, n=NUMBERS, context=st.sampled_from([Context.TEXT, Context.JSON, Context.QUERY, Context.ARGV])
)
@example(q='q"},{"z":1', b='q"},{"z":1', n=5, context=Context.TEXT)
def test_no_argument_leaves_its_place(q: Any, b: Any, n: Any, context: Context) -> None:
    template = compile_template(TEMPLATE, syntaxes=SYNTAXES)
    assert template.is_json_text
    assert same(json.loads(template.render({"q": q, "b": b, "n": n}, context=context)), expected(q, b, n))


def call(arguments: JsonObject) -> Call:
    return Call(make_tool("t"), arguments)


def over_http(text: str, arguments: JsonObject) -> Any:
    template = HttpFamilyTemplate(
        call_template_type="http", url="https://a.example/x", http_method="POST", body_template=text
    )
    return template.build_request(arguments).body


def over_websocket(text: str, arguments: JsonObject) -> Any:
    template = WebSocketTemplate(call_template_type="websocket", url="wss://a.example", message_template=text)
    assert template.build_message is not None
    return template.build_message.render(arguments, context=Context.JSON)


def over_sockets(text: str, arguments: JsonObject) -> Any:
    template = SocketTemplate(
        call_template_type="tcp", host="h", port=9, request_data_format="text", request_data_template=text
    )
    return encode_request(template, call(arguments))


def over_stdin(text: str, arguments: JsonObject) -> Any:
    template = CliTemplate(call_template_type="cli", command="x", stdin_template=text)
    assert template.stdin is not None
    return template.stdin.render(arguments, context=Context.JSON)


def over_words(text: str, arguments: JsonObject) -> Any:
    return ArgvTemplate(["-d", text], command="curl").render(arguments)[1]


def over_query(text: str, arguments: JsonObject) -> Any:
    from urllib.parse import parse_qs, urlsplit

    template = HttpFamilyTemplate(call_template_type="http", url="https://a.example/x", query_params={"filter": text})
    [value] = parse_qs(urlsplit(template.build_request(arguments).url).query, strict_parsing=True)["filter"]
    return value


def over_header(text: str, arguments: JsonObject) -> Any:
    template = HttpFamilyTemplate(call_template_type="http", url="https://a.example/x", headers={"X-Filter": text})
    return dict(template.build_request(arguments).headers)["X-Filter"]


def within_an_object(text: str, arguments: JsonObject) -> Any:
    template = HttpFamilyTemplate(
        call_template_type="http", url="https://a.example/x", http_method="POST", body_template={"payload": text}
    )
    return json.loads(template.build_request(arguments).body or b"")["payload"]


WAYS: list[Callable[[str, JsonObject], Any]] = [
    over_http, over_websocket, over_sockets, over_stdin, over_words, over_query, over_header, within_an_object,
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
@given(q=TEXTS, b=VALUES)
@example(q='q"},{"z":1', b='q"},{"z":1')
def test_every_template_of_every_transport_keeps_its_structure(
    way: Callable[[str, JsonObject], Any], q: str, b: Any
) -> None:
    text = '{"a": "<{{ q }}>", "b": {{ b }}, "c": [{"d": "{{ q }}!"}]}'
    assume(way is not over_header or "\x7f" not in q + json.dumps(b, ensure_ascii=False))  # no header can carry it
    written = way(text, {"q": q, "b": b})
    assert json.loads(written) == {"a": f"<{q}>", "b": b, "c": [{"d": f"{q}!"}]}


@pytest.mark.parametrize(
    ("parts", "places"),
    [
        (['{"a": "', None, '"}'], [JsonPlace.QUOTED]),
        (['{"a": ', None, ', "b": ', None, "}"], [JsonPlace.BARE, JsonPlace.BARE]),
        (['{"a": 1', None, "}"], [JsonPlace.NUMBER]),
        (['{"a": ', None, ".5}"], [JsonPlace.NUMBER]),
        (['{"a": ', None, None, "}"], [JsonPlace.NUMBER, JsonPlace.NUMBER]),
        (['{"a": "\\"', None, '\\\\"}'], [JsonPlace.QUOTED]),
        (["[", None, "]\n[", None, "]\n"], [JsonPlace.BARE, JsonPlace.BARE]),
        (["say: ", None], None),
        (["[INFO] ", None, " came"], None),
        (["{", None, "}"], None),
        ([None, ": {}"], None),
        (["{'a': '", None, "'}"], None),
        ([], None),
    ],
)
def test_places_follow_from_the_quotation_marks(parts: list[str | None], places: list[JsonPlace] | None) -> None:
    found = places_in_json(parts)
    assert (found if found is None else [place for place in found if place is not None]) == places


@pytest.mark.parametrize("text", ['{"a": "\\{{ x }}n"}', '{"a": "\\u00{{ x }}41"}'])
def test_a_placeholder_within_an_escape_sequence_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="escape sequence"):
        compile_template(text, syntaxes=SYNTAXES)


@pytest.mark.parametrize("value", ["5", '1, "admin": true', True, None, [1], {}])
def test_a_part_of_a_number_is_a_number(value: Any) -> None:
    template = compile_template('{"a": -{{ n }}}', syntaxes=SYNTAXES)
    with pytest.raises(InvalidArguments, match="'n' must be a number"):
        template.render({"n": value}, context=Context.TEXT)


def test_an_absent_argument_is_named_and_a_default_is_typed() -> None:
    template = compile_template('{"a": {{ a | default:{"b": 1} }}, "c": "{{ c }}"}', syntaxes=SYNTAXES)
    assert json.loads(template.render({"c": 5}, context=Context.TEXT)) == {"a": {"b": 1}, "c": "5"}
    with pytest.raises(InvalidArguments, match="Argument 'c' is missing"):
        template.render({}, context=Context.TEXT)


def test_a_json_body_given_as_text_is_sent_as_it_is_written() -> None:
    assert over_http('{"a" :  1}', {}) == b'{"a" :  1}'
    assert over_http("plain {{ x }}", {"x": "y"}) == b'"plain y"'
    assert over_sockets('{"type": "get", "id": UTCP_ARG_x_UTCP_ARG}\n', {"x": 5}) == b'{"type": "get", "id": 5}\n'


def test_a_json_text_nested_beyond_measure_is_refused() -> None:
    with pytest.raises(ConfigError, match="nested too deeply"):
        compile_template("[" * 200_000 + "{{ x }}" + "]" * 200_000, syntaxes=SYNTAXES)
