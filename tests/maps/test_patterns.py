"""URI templates: what they stand for, and what cannot be used."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.maps.patterns import UriPattern, filled

NAMES = st.lists(st.from_regex(r"[a-z][a-z0-9_]{0,6}", fullmatch=True), min_size=1, max_size=5, unique=True)
SEGMENT = st.text(min_size=1, max_size=12).filter(lambda text: text.isprintable())


@given(NAMES, st.data())
def test_values_of_a_path_are_read_from_the_uri_that_they_make(names, data):
    values = {name: data.draw(SEGMENT) for name in names}
    pattern = UriPattern.parse("docs://" + "/".join(f"{{{name}}}" for name in names) + "/end")
    uri = "docs://" + "/".join(quote(value, safe="") for value in values.values()) + "/end"

    assert pattern.values(uri) == values
    assert pattern.values(uri + "/more") is None
    assert pattern.variables == tuple(names)


@pytest.mark.parametrize(
    ("template", "uri", "values"),
    [
        ("files://{+path}.md", "files://a/b.md", {"path": "a/b"}),
        ("find://all{?q,page}", "find://all?page=2&q=a%20b&other=1", {"q": "a b", "page": "2"}),
        ("find://all{?q}", "find://all", {}),
        ("find://{kind}?x=1{&q}", "find://dogs?x=1&q=rex", {"kind": "dogs", "q": "rex"}),
        ("day://{year}-{rest}/x", "day://2026-11-29/x", {"year": "2026", "rest": "11-29"}),
        ("a.c://{x}", "abc://1", None),
        ("docs://{name}", "docs://a/b", None),
        ("docs://{name}", "docs://", None),
    ],
)
def test_a_template_stands_for_some_uris(template, uri, values):
    assert UriPattern.parse(template).values(uri) == values


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("a://{x", "not closed"),
        ("a://x}", "not closed, or not opened"),
        ("a://{x}{y}", "between them"),
        ("a://{x*}", "is not understood"),
        ("a://{?q}/x", "is not understood"),
        ("a://{+x}/{+y}", "with a plus"),
        ("a://{x}/{x}", "each variable once"),
        ("a://x", "variables"),
        ("a://" + "x" * 3000 + "{y}", "characters"),
    ],
)
def test_a_template_that_cannot_be_used_says_why(template, words):
    with pytest.raises(ValueError, match=words):
        UriPattern.parse(template)


def test_braces_of_other_things_stay_and_values_are_not_filled_in_again():
    values = {"name": "{city}", "city": "Oslo"}
    assert filled('{name} {{ city }} {"name": 1} {other}', values) == '{city} Oslo {"name": 1} {other}'
