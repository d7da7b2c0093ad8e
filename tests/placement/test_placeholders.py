"""Placeholders: paths and filters in `{{ }}`, the forms, absent arguments, and the encoding of each context."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utcp_bridge.errors import ConfigError, InvalidArguments
from utcp_bridge.placement.placeholders import OMITTED, Context, Run, Syntax, compile_template, parse_expression


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
def test_a_path_selects_a_value_of_the_arguments_or_nothing(text, expected):
    assert evaluate(text, {"a": {"b": [{"c": 1}, 2]}, "x-id": "dashed"}) == expected


def test_a_declared_input_with_a_dot_in_its_name_is_not_read_as_a_path():
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
def test_urlencode_has_no_effect_in_a_context_that_encodes(context):
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
def test_an_expression_that_does_not_start_with_a_path_is_refused(text):
    with pytest.raises(ConfigError, match="does not name an argument"):
        parse_expression(text, None)


def test_the_error_of_an_unknown_filter_lists_the_filters():
    with pytest.raises(ConfigError, match=r"'upper' is unknown\. Use one of: default, join, json, required, urlencode"):
        parse_expression("a|upper", None)


def test_default_without_a_value_is_an_error():
    with pytest.raises(ConfigError, match="'default' has no value"):
        parse_expression("a|default", None)


def test_the_sentinel_has_a_readable_repr():
    assert repr(OMITTED) == "OMITTED"


@given(text=st.text(alphabet='ab.[]0|:"\\ {}$defaultjson'), value=st.none() | st.integers() | st.text())
@settings(max_examples=300)
def test_any_text_parses_or_raises_a_config_error(text, value):
    try:
        expression = parse_expression(text, None)
    except ConfigError:
        return
    expression.evaluate(Run({}, Context.JSON))
    expression.evaluate(Run({"a": value, "b": [value]}, Context.JSON))


ALL = Syntax.MUSTACHE | Syntax.DOLLAR | Syntax.BRACES | Syntax.UTCP_ARG | Syntax.UTCP_END


def render(value, arguments=None, *, context=Context.JSON, syntaxes=Syntax.MUSTACHE, inputs=None):
    return compile_template(value, syntaxes=syntaxes, inputs=inputs).render(arguments or {}, context=context)


# --- placeholder forms --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "syntax"),
    [
        ("<{{ x }}>", Syntax.MUSTACHE),
        ("<${x}>", Syntax.DOLLAR),
        ("<{x}>", Syntax.BRACES),
        ("<UTCP_ARG_x_UTCP_ARG>", Syntax.UTCP_ARG),
        ("<UTCP_ARG_x_UTCP_END>", Syntax.UTCP_END),
    ],
)
def test_each_form_is_a_placeholder_only_if_its_syntax_is_enabled(text, syntax):
    assert render(text, {"x": "v"}, syntaxes=syntax) == "<v>"
    assert render(text, {"x": "v"}, syntaxes=ALL) == "<v>"
    assert compile_template(text, syntaxes=syntax).names == {"x"}
    assert render(text, {"x": "v"}, syntaxes=Syntax(0)) == text


def test_names_lists_the_arguments_without_built_in_names():
    template = compile_template(
        {"a": "{{x}} {{ y.z | default:1 }}", "b": ["{{uuid}}", "UTCP_ARG_long_name_UTCP_ARG"], "c": 5}, syntaxes=ALL
    )

    assert template.names == {"x", "y", "long_name"}


def test_a_dollar_form_without_a_declared_input_is_plain_text():
    assert render("${x} ${y}", {"x": 1, "y": 2}, syntaxes=Syntax.DOLLAR, inputs=frozenset({"x"})) == "1 ${y}"


def test_a_value_that_looks_like_a_placeholder_is_plain_text():
    arguments = {"x": "{{y}} ${y} {y} UTCP_ARG_y_UTCP_ARG", "y": "no"}

    assert render("a {{x}} {{x}}", arguments, syntaxes=ALL) == f"a {arguments['x']} {arguments['x']}"


@pytest.mark.parametrize("text", ["{{", "{{ x", "a {{ b { c", "{{x}", "}}"])
def test_an_unclosed_expression_is_plain_text(text):
    assert render(text, {"x": 1}) == text


def test_braces_within_a_default_are_paired():
    assert render("{{ o | default:{} }}") == {}
    assert render('{{o|default:{"a":{"b":1}}}}') == {"a": {"b": 1}}
    assert render('{"n":{{n}}}', {"n": 5}, context=Context.TEXT) == '{"n":5}'


def test_many_opening_braces_are_read_in_linear_time():
    assert render("{{" * 200_000) == "{{" * 200_000
    assert render("UTCP_ARG_" * 20_000, syntaxes=Syntax.UTCP_END) == "UTCP_ARG_" * 20_000


def test_an_unknown_filter_is_reported_at_compile_time():
    with pytest.raises(ConfigError, match="'shout' is unknown"):
        compile_template({"a": ["{{x|shout}}"]}, syntaxes=Syntax.MUSTACHE)


def test_a_template_above_the_depth_limit_is_refused():
    nested = "x"
    for _ in range(300):
        nested = [nested]

    with pytest.raises(ConfigError, match="nested more than 200 levels"):
        compile_template(nested, syntaxes=ALL)


# --- values and absence -------------------------------------------------------------------------


@pytest.mark.parametrize("value", [1, 1.5, True, None, "s", [1, {"a": None}], {"k": "v"}])
@pytest.mark.parametrize("context", [Context.JSON, Context.QUERY])
def test_a_text_that_is_one_placeholder_keeps_the_values_type(value, context):
    rendered = render({"a": "{{x}}", "b": ["${x}"]}, {"x": value}, context=context, syntaxes=ALL)

    assert rendered == {"a": value, "b": [value]}


def test_values_in_a_longer_text_are_written_as_text():
    arguments = {"o": {"a": [1]}, "t": True, "n": None, "f": 1.5}

    assert render("{{o}} {{t}} {{n}} {{f}}", arguments) == '{"a":[1]} true null 1.5'


def test_the_utcp_arg_form_is_always_text():
    template = {"n": "UTCP_ARG_n_UTCP_ARG", "o": "UTCP_ARG_o_UTCP_ARG", "s": "UTCP_ARG_s_UTCP_ARG"}

    assert render(template, {"n": 1, "o": {"a": 1}, "s": "x"}, syntaxes=ALL) == {"n": "1", "o": '{"a":1}', "s": "x"}


def test_an_absent_argument_omits_the_member_or_item_that_consists_of_it():
    template = {"a": "{{x}}", "b": {"c": "{{x}}", "d": 1}, "e": ["{{x}}", 2], "f": "{{x|default:3}}"}

    assert render(template) == {"b": {"d": 1}, "e": [2], "f": 3}
    assert render("{{x}}") is OMITTED


@pytest.mark.parametrize(
    ("template", "context"),
    [
        ({"a": "x={{x}}"}, Context.JSON),
        (["--x={{x}}"], Context.ARGV),
        ("{{x}}", Context.TEXT),
        ("/a/{{x}}", Context.URL_PATH),
        ("/a?x={{x}}", Context.URL_PATH),
        ("{x}", Context.URL_PATH),
        ({"a": "{{x|required}}"}, Context.QUERY),
        ({"A": "{{x|required}}"}, Context.HEADER),
    ],
)
def test_a_missing_argument_that_the_place_needs_is_an_error(template, context):
    with pytest.raises(InvalidArguments, match="Argument 'x' is missing"):
        render(template, {"y": 1}, context=context, syntaxes=ALL)


# --- contexts -----------------------------------------------------------------------------------


def test_values_in_a_url_are_percent_encoded():
    url = "https://h/{id}/x?q={{q}}&r=${q}"
    rendered = render(url, {"id": "a/b ü", "q": "a&b=../.. "}, context=Context.URL_PATH, syntaxes=ALL)

    assert rendered == "https://h/a%2Fb%20%C3%BC/x?q=a%26b%3D..%2F..%20&r=a%26b%3D..%2F..%20"


@pytest.mark.parametrize("value", ["..", ".", "%2e%2e", "", None])
def test_a_dot_segment_or_an_empty_segment_is_refused(value):
    with pytest.raises(InvalidArguments, match="'id'"):
        render("https://h/{id}/x", {"id": value}, context=Context.URL_PATH, syntaxes=ALL)


def test_headers_are_text_and_absent_headers_are_omitted():
    template = {"A": "Bearer {{t}}", "B": "{{b}}", "C": "{{n}}", "D": "x {{n}}", "E": 5, "F": "{{l}}", "G": None}

    assert render(template, {"t": "T", "n": None, "l": ["a", 1]}, context=Context.HEADER) == {
        "A": "Bearer T",
        "E": "5",
        "F": "a,1",
    }
    assert render({"A": "Bearer {{t}}"}, context=Context.HEADER) == {}


@pytest.mark.parametrize("template", ["{{x}}", "Bearer {{x}}"])
def test_a_line_break_in_a_header_is_refused(template):
    with pytest.raises(InvalidArguments, match="line break"):
        render(template, {"x": "a\r\nEvil: 1"}, context=Context.HEADER)


def test_an_item_of_a_command_line_is_one_word_and_a_list_is_several():
    template = ["-n", 5, True, None, "{{ files }}", "{{gone}}", "{{null}}", "--q={{q}}", "{{files|join:,}}"]

    assert render(template, {"files": ["a b", 1, None], "q": "; rm -rf $(x)", "null": None}, context=Context.ARGV) == [
        "-n", "5", "true", "a b", "1", "--q=; rm -rf $(x)", "a b,1,null",
    ]  # fmt: skip


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
TEXTS = st.text(alphabet="{}$ xUTCP_ARG|:?/", max_size=40) | st.sampled_from(["{{x}}", "a {x}", "${x}?{{x|json}}"])
TEMPLATES = st.recursive(TEXTS, lambda inner: st.lists(inner, max_size=3))


@given(template=TEMPLATES, value=JSON, context=st.sampled_from(Context))
@settings(max_examples=300)
def test_any_template_and_value_render_or_raise_a_typed_error(template, value, context):
    try:
        render(template, {"x": value}, context=context, syntaxes=ALL)
    except (ConfigError, InvalidArguments):
        return
