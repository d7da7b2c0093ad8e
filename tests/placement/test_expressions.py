"""What stands within `{{ }}`: paths, filters, built-in names."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utcp_bridge.errors import ConfigError, InvalidArguments
from utcp_bridge.placement.expressions import OMITTED, Context, Run, parse_expression


def evaluate(text, arguments=None, *, context=Context.JSON, inputs=None):
    return parse_expression(text, inputs).evaluate(Run(arguments or {}, context))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", {"b": [{"c": 1}, 2]}),
        (" a.b ", [{"c": 1}, 2]),
        ("a.b[0].c", 1),
        ("a.b[1]", 2),
        ("a.b[7]", OMITTED),
        ("a.b.c", OMITTED),
        ("a[0]", OMITTED),
        ("x-id", "dashed"),
        ("nothing", OMITTED),
    ],
)
def test_a_path_leads_into_the_arguments_or_to_nothing(text, expected):
    assert evaluate(text, {"a": {"b": [{"c": 1}, 2]}, "x-id": "dashed"}) == expected


def test_a_declared_input_with_a_dot_in_its_name_is_no_path():
    expression = parse_expression("user.name", frozenset({"user.name"}))

    assert expression.name == "user.name"
    assert expression.evaluate(Run({"user.name": "Ada", "user": {"name": "no"}}, Context.JSON)) == "Ada"


@pytest.mark.parametrize(
    ("text", "arguments", "expected"),
    [
        ("u|default:metric", {}, "metric"),
        ("u|default:metric", {"u": None}, "metric"),
        ("u|default:metric", {"u": ""}, ""),
        ("n | default:5", {}, 5),
        ("n | default: [1, 2] ", {}, [1, 2]),
        ("n | default:NaN", {}, "NaN"),
        ("n|default:", {}, ""),
        ('n|default:"a|b"', {}, "a|b"),
        (r'n|default:"a\"|b"', {}, 'a"|b'),
        ("o|json", {"o": {"k": [1, None]}}, '{"k":[1,null]}'),
        ("o|json", {}, OMITTED),
        ("l|join", {"l": [1, True, "x"]}, "1,true,x"),
        ("l|join:;", {"l": ["a", "b"]}, "a;b"),
        ('l | join:", "', {"l": ["a", "b"]}, "a, b"),
        ("l|join:0", {"l": ["a", "b"]}, "a0b"),
        ("l|join", {"l": "one"}, "one"),
        ("s|urlencode", {"s": "a b/ü"}, "a%20b%2F%C3%BC"),
        ("s|urlencode", {}, OMITTED),
        ("l | join:, | urlencode", {"l": ["a", "b"]}, "a%2Cb"),
        ("s|required", {"s": 0}, 0),
        ("s|default:1|required", {}, 1),
    ],
)
def test_filters_apply_from_left_to_right(text, arguments, expected):
    assert evaluate(text, arguments) == expected


@pytest.mark.parametrize("arguments", [{}, {"s": None}])
def test_required_names_the_absent_argument(arguments):
    with pytest.raises(InvalidArguments, match="'s' is missing"):
        evaluate("s|required", arguments)


@pytest.mark.parametrize("context", [Context.URL_PATH, Context.QUERY])
def test_urlencode_leaves_encoding_to_a_context_that_encodes(context):
    assert evaluate("s|urlencode", {"s": "a b"}, context=context) == "a b"


def test_a_default_is_not_shared_between_renderings():
    expression = parse_expression("n|default:[]", None)
    expression.evaluate(Run({}, Context.JSON)).append("mine")

    assert expression.evaluate(Run({}, Context.JSON)) == []


def test_uuid_and_now_are_built_in_and_the_same_within_one_rendering():
    run = Run({}, Context.JSON)
    uuid, now = parse_expression("uuid", None), parse_expression("now", None)

    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", uuid.evaluate(run))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", now.evaluate(run))
    assert uuid.evaluate(run) == uuid.evaluate(run) != uuid.evaluate(Run({}, Context.JSON))


def test_a_declared_input_hides_the_built_in_name():
    assert evaluate("uuid", {"uuid": "mine"}, inputs=frozenset({"uuid"})) == "mine"


@pytest.mark.parametrize("text", ["", " ", "a b", "a..b", "a[x]", "a + 1", "|json", "a.b[0"])
def test_what_is_no_path_is_an_error_of_the_configuration(text):
    with pytest.raises(ConfigError, match="names no argument"):
        parse_expression(text, None)


def test_an_unknown_filter_is_an_error_that_lists_the_known():
    with pytest.raises(ConfigError, match=r"'upper' is unknown\. Filters: default, join, json, required, urlencode"):
        parse_expression("a|upper", None)


def test_default_without_a_value_is_an_error():
    with pytest.raises(ConfigError, match="'default' has no value"):
        parse_expression("a|default", None)


def test_the_sentinel_is_recognisable_in_a_debugger():
    assert repr(OMITTED) == "OMITTED"


@given(text=st.text(alphabet='ab.[]0|:"\\ {}$defaultjson'), value=st.none() | st.integers() | st.text())
@settings(max_examples=300)
def test_any_text_parses_or_is_an_error_of_the_configuration(text, value):
    try:
        expression = parse_expression(text, None)
    except ConfigError:
        return
    expression.evaluate(Run({}, Context.JSON))
    expression.evaluate(Run({"a": value, "b": [value]}, Context.JSON))
