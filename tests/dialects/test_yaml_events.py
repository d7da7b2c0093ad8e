import pytest

from utcp_bridge.dialects.yaml_events import YamlProblem, parse_yaml


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


def test_aliases_share_and_merge_keys_fill_in():
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
        ("<<: 5", "takes mappings", 1),
        ("a: 1\n---\nb: 2", "more than one document", 2),
        ("a: .inf", "not finite", 1),
        ("a: -.INF", "not finite", 1),
        ("a: 1e9999", "not finite", 1),
        ("a: b: c", "mapping values are not allowed", 1),
    ],
)
def test_what_cannot_be_data_is_named_with_its_line(text, what, line):
    with pytest.raises(YamlProblem, match=what) as caught:
        parse_yaml(text)
    assert caught.value.line == line


def test_an_alias_bomb_goes_off_harmlessly():
    levels = ["l0: &l0 [1,1,1,1,1,1,1,1,1]"]
    levels += [f"l{i}: &l{i} [{','.join([f'*l{i - 1}'] * 9)}]" for i in range(1, 9)]
    with pytest.raises(YamlProblem, match="too many nodes") as caught:
        parse_yaml("\n".join(levels))
    assert caught.value.is_limit


def test_characters_that_yaml_forbids_are_a_problem_without_a_place():
    with pytest.raises(YamlProblem) as caught:
        parse_yaml("a: \x07")
    assert caught.value.line is None
