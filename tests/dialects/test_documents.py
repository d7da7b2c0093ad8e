import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utcp_bridge.dialects.documents import (
    MAX_DEPTH,
    count_values,
    form_of,
    parse_document,
    parse_yaml,
    write_document,
)
from utcp_bridge.dialects.yaml_text import YamlProblem
from utcp_bridge.errors import ManualError

JSON_VALUES = st.recursive(
    st.none() | st.integers(0, 9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("data", "hint", "value"),
    [
        (b'{"a": 1}', "application/json", {"a": 1}),
        (b'\xef\xbb\xbf{"a": 1}', "", {"a": 1}),
        ("\ufeff[1]", "x.json", [1]),
        ('{"a": 1}'.encode("utf-16"), "", {"a": 1}),
        (b'{"a": 1,}', "manual.yaml", {"a": 1}),
        (b"a: no\n", "text/yaml", {"a": "no"}),
        (b"- 1\n- x\n", "", [1, "x"]),
        ('{"é": "é"}'.encode(), "application/vnd.api+json; charset=utf-8", {"é": "é"}),
    ],
)
def test_json_and_yaml_are_read_under_any_name(data, hint, value):
    assert parse_document(data, hint=hint) == value


def test_jsonc_accepts_comments_and_trailing_commas_and_keeps_strings():
    text = '{// c\n"a": [1, /* x\n */ 2, ], "u": "http://x//y", "q": "\\"/*",\n}'
    assert parse_document(text, jsonc=True) == {"a": [1, 2], "u": "http://x//y", "q": '"/*'}


def test_comments_are_refused_without_jsonc():
    with pytest.raises(ManualError):
        parse_document("{// c\n}", hint="a.json")


@pytest.mark.parametrize(
    ("data", "options", "line", "column"),
    [
        ('{"a": 1,\n  b}', {"hint": "application/json"}, 2, 3),
        ('{\n/* c */ "a" 1}', {"jsonc": True}, 2, 13),
        ("a: 1\nb: 2\na: 3\n", {}, 3, 1),
        ("{\n", {}, 2, 1),
        (b"a: 1\nb: \xff\n", {}, 2, None),
    ],
)
def test_an_error_has_its_line_and_column(data, options, line, column):
    with pytest.raises(ManualError) as caught:
        parse_document(data, where="The manual", **options)
    assert (caught.value.line, caught.value.column) == (line, column)
    assert caught.value.message.startswith("The manual ")


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        ("", ""),
        ("  \n", "x.json"),
        ('{"a": NaN}', "x.json"),
        ('{"a": 1e999}', "x.json"),
        ("a: .nan", ""),
        ("a: 1e999", ""),
        ('"\\ud800"', "x.json"),
        ("[" * 300 + "]" * 300, "x.json"),
        ("[" * 100_000, ""),
        ("- " * 100_000, ""),
        ("{a: " * 50_000, ""),
        ('{"a": "\ud800"}', ""),
        ("a: \ud800", ""),
        ("\x00", ""),
    ],
)
def test_broken_text_and_text_beyond_a_limit_are_refused(data, hint):
    with pytest.raises(ManualError):
        parse_document(data, hint=hint)


def test_the_deepest_allowed_document_is_read():
    assert parse_document("[" * MAX_DEPTH + "]" * MAX_DEPTH, hint="x.json")
    assert parse_document("[" * MAX_DEPTH + "a" + "]" * MAX_DEPTH)
    assert parse_document("5", hint="x.json") == 5


ODD = [
    "", "no", "on", "Yes", "~", "null", "True", "0o7", "012", "0x1F", "1e5", "1E400", "1_000", ".5", "1.", "+1", ".inf",
    "-", "- a", "? x", "<<", "=", "12:30", "2024-01-01", "a: b", "#x", "'", "\x85", "\u2028", "\ufeff", "a\t b",
    " lead", "trail ", "two\nlines\n", "\x00", "!tag", "&a", "*a", "%", "@", "`", "{", "]", ",", "\U0001f600",
]  # fmt: skip
TEXT = (
    st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=40)
    | st.sampled_from(ODD)
    | st.from_regex(r"[-+.0-9eExXoO_]{1,9}", fullmatch=True)
)
SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
JSON = st.recursive(
    SCALARS | TEXT, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4)
)


@settings(max_examples=150, deadline=None)
@given(JSON)
@pytest.mark.parametrize("form", ["json", "yaml"])
def test_written_data_reads_back_as_the_same_data(form, value):
    assert parse_document(write_document({"k": value}, form), hint=form) == {"k": value}


@pytest.mark.parametrize("text", ODD)
def test_text_that_looks_like_a_number_stays_text(text):
    assert parse_document(write_document([text, {text: text}], "yaml"), hint="yaml") == [text, {text: text}]


def test_keys_keep_their_order_and_shared_parts_are_written_twice():
    shared = {"b": [1]}
    assert write_document({"z": shared, "a": shared}, "yaml") == "z:\n  b:\n  - 1\na:\n  b:\n  - 1\n"
    assert write_document({"z": 1, "a": []}) == '{\n  "z": 1,\n  "a": []\n}\n'


@pytest.mark.parametrize(("name", "form"), [("a.yaml", "yaml"), ("A.YML", "yaml"), ("a.json", "json"), ("", "json")])
def test_the_name_of_a_file_decides_its_form(name, form):
    assert form_of(name) == form


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: [yes, no, on, off, y, NO]", {"a": ["yes", "no", "on", "off", "y", "NO"]}),
        ("[true, False, TRUE, null, ~, Null]", [True, False, True, None, None, None]),
        ("[2024-01-01, 12:30:00, 1_000]", ["2024-01-01", "12:30:00", "1_000"]),
        ("[1, -2, +3, 0o17, 0x1F, 1.5, .5, 1e3, 1., 0123]", [1, -2, 3, 15, 31, 1.5, 0.5, 1000.0, 1.0, 123]),
        ("['1', \"true\", '~']", ["1", "true", "~"]),
        ("a: |\n  1\n  2\n", {"a": "1\n2\n"}),
        ("200: ok\n1.5: x\ntrue: y\n~: z\non: w", {"200": "ok", "1.5": "x", "true": "y", "~": "z", "on": "w"}),
        ("a:\nb: ''", {"a": None, "b": ""}),
        (
            "[!!str 5, !!int '5', !!float 5, !!bool 'true', !Ref x, !!timestamp 2024-01-01]",
            ["5", 5, 5, True, "x", "2024-01-01"],
        ),
        ("-", [None]),
        ("# nothing", None),
        ("- .\n- -x\n- '='\n- 1.2.3", [".", "-x", "=", "1.2.3"]),
        ("x: &k a\ny: *k", {"x": "a", "y": "a"}),
        ("k: &k id\n*k : 5", {"k": "id", "id": 5}),
    ],
)
def test_the_core_schema_of_yaml_1_2_gives_plain_data(text, value):
    assert parse_yaml(text) == value


def test_aliases_and_merge_keys_are_resolved():
    text = "base: &b {p: 1, q: 2}\none: {<<: *b, q: 3}\nmany:\n  <<: [*b, {r: 4}]\nquoted: {'<<': 1}"
    assert parse_yaml(text) == {
        "base": {"p": 1, "q": 2},
        "one": {"q": 3, "p": 1},
        "many": {"p": 1, "q": 2, "r": 4},
        "quoted": {"<<": 1},
    }


@pytest.mark.parametrize(
    ("text", "what", "line"),
    [
        ("a: 1\na: 2", "appears twice", 2),
        ("'1': x\n1: y", "appears twice", 2),
        ("a: &a [*a]", "inside its own anchor", 1),
        ("a: *nowhere", "anchor", 1),
        ("? [x]\n: 1", "not plain text", 1),
        ("a: &l [1]\n*l : 1", "not plain text", 2),
        ("<<: 5", "must have a mapping", 1),
        ("a: 1\n---\nb: 2", "more than one document", 2),
        ("a: .inf", "not finite", 1),
        ("a: -.INF", "not finite", 1),
        ("a: 1e9999", "not finite", 1),
        ("a: b: c", "mapping values are not allowed", 1),
    ],
)
def test_yaml_that_json_cannot_express_is_refused_with_its_line(text, what, line):
    with pytest.raises(YamlProblem, match=what) as caught:
        parse_yaml(text)
    assert caught.value.line == line


def test_an_alias_bomb_is_refused():
    levels = ["l0: &l0 [1,1,1,1,1,1,1,1,1]"]
    levels += [f"l{i}: &l{i} [{','.join([f'*l{i - 1}'] * 9)}]" for i in range(1, 9)]
    with pytest.raises(YamlProblem, match="too many nodes") as caught:
        parse_yaml("\n".join(levels))
    assert caught.value.is_limit


def test_forbidden_characters_are_a_problem_without_a_line():
    with pytest.raises(YamlProblem) as caught:
        parse_yaml("a: \x07")
    assert caught.value.line is None


@pytest.mark.parametrize(
    "text",
    [
        "[" + "[]," * 5_000 + "0]",
        '{"a": {' + ",".join(f'"{n}": 0' for n in range(9_000)) + "}}",
        "a:\n" + "- b\n" * 9_000,
    ],
)
def test_a_document_of_too_many_values_is_refused_with_the_limit_and_the_setting(text):
    with pytest.raises(ManualError, match=r"The manual .*more than 8,000 values.*`max_manual_bytes`"):
        parse_document(text, where="The manual", most=8_000)
    assert parse_document(text, most=20_000)


def test_aliases_may_not_stand_for_much_text():
    bomb = "a: &x " + "b" * 1_000_000 + "\nc: [" + "*x, " * 100 + "1]"
    with pytest.raises(ManualError, match="aliases stand for too"):
        parse_document(bomb)


@pytest.mark.parametrize("piece", ["/*a", '"\\"', ",  ", '"', "//"])
def test_comments_and_strings_without_an_end_are_read_once(piece):
    text = '{"a": ' + piece * 100_000
    with pytest.raises(ManualError):
        parse_document(text, jsonc=True)


@given(JSON_VALUES)
def test_values_are_counted_by_their_members(value):
    def members(one):
        inner = list(one.values()) if isinstance(one, dict) else one if isinstance(one, list) else []
        return len(inner) + sum(map(members, inner))

    assert count_values(value) == members(value)


def test_toml_is_plain_data_and_its_faults_are_ours() -> None:
    text = "a = 1\r\nb = [true, 1.5]\nc = 2024-01-01\nd = inf\n[e.f]\ng = 'x'\n"
    assert parse_document(text, hint=".toml") == {
        "a": 1,
        "b": [True, 1.5],
        "c": "2024-01-01",
        "d": None,
        "e": {"f": {"g": "x"}},
    }
    for bad in ("a = ", "a = 1\na = 2", "[a", f"a = {'[' * 5000}", f"a = {10**40}"):
        with pytest.raises(ManualError, match="The file is not valid TOML"):
            parse_document(bad, hint=".toml", where="The file")
