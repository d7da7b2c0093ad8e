import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utcp_bridge.dialects.documents import parse_document
from utcp_bridge.dialects.writing import form_of, write_document

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
def test_what_is_written_reads_back_as_the_same(form, value):
    assert parse_document(write_document({"k": value}, form), hint=form) == {"k": value}


@pytest.mark.parametrize("text", ODD)
def test_a_text_stays_a_text(text):
    assert parse_document(write_document([text, {text: text}], "yaml"), hint="yaml") == [text, {text: text}]


def test_keys_keep_their_order_and_parts_that_are_shared_are_repeated():
    shared = {"b": [1]}
    assert write_document({"z": shared, "a": shared}, "yaml") == "z:\n  b:\n  - 1\na:\n  b:\n  - 1\n"
    assert write_document({"z": 1, "a": []}) == '{\n  "z": 1,\n  "a": []\n}\n'


@pytest.mark.parametrize(("name", "form"), [("a.yaml", "yaml"), ("A.YML", "yaml"), ("a.json", "json"), ("", "json")])
def test_a_files_name_tells_its_form(name, form):
    assert form_of(name) == form
