import pytest

from utcp_bridge.dialects.documents import MAX_DEPTH, DocumentError, parse_document
from utcp_bridge.errors import ManualError


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
def test_json_and_yaml_are_read_whatever_they_are_called(data, hint, value):
    assert parse_document(data, hint=hint) == value


def test_jsonc_takes_comments_and_trailing_commas_and_keeps_strings():
    text = '{// c\n"a": [1, /* x\n */ 2, ], "u": "http://x//y", "q": "\\"/*",\n}'
    assert parse_document(text, jsonc=True) == {"a": [1, 2], "u": "http://x//y", "q": '"/*'}


def test_comments_are_refused_without_jsonc():
    with pytest.raises(DocumentError):
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
def test_an_error_says_where(data, options, line, column):
    with pytest.raises(DocumentError) as caught:
        parse_document(data, where="The manual", **options)
    assert (caught.value.line, caught.value.column) == (line, column)
    assert caught.value.message.startswith("The manual ")
    assert isinstance(caught.value, ManualError)


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
def test_what_is_broken_or_beyond_a_limit_is_refused(data, hint):
    with pytest.raises(DocumentError):
        parse_document(data, hint=hint)


def test_the_deepest_allowed_document_is_read():
    assert parse_document("[" * MAX_DEPTH + "]" * MAX_DEPTH, hint="x.json")
    assert parse_document("[" * MAX_DEPTH + "a" + "]" * MAX_DEPTH)
    assert parse_document("5", hint="x.json") == 5
