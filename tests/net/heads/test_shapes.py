"""A shape reads of a head what the regular expression finds in it that split the first head of this form."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.net.heads import known_replies
from utcp_bridge.net.heads.shapes import HeadShape

KINDS = {
    "reply": (
        known_replies._split,
        (known_replies._VARYING, known_replies._DATE_TEXT, known_replies._MAX_LENGTH_DIGITS),
        b"Date",
        [b"Mon, 30 Nov 2026 05:00:00 GMT", b"x"],
    ),
}
LENGTHS = st.sampled_from([b"0", b"12", b"99999", b"123456789", b"1234567890", b"", b"1a", b"+1", b"1 ", b"\xb2"])
OTHERS = st.lists(
    st.sampled_from([b"X: 1", b"X:1", b"content-length: 1", b"Date: x", b"mcp-name: y", b"\nZ"]), max_size=2
)


def head(name, length, text, order, others, space=b" "):
    """Return a head, and where it ends."""
    lines = [b"Content-Length:" + space + length]
    if text is not None:
        lines.insert(order, name + b":" + space + text)
    data = b"\r\n".join([b"POST / HTTP/1.1", *others[:1], *lines, *others[1:], b"", b""])
    return data + b"{}", data.find(b"\r\n\r\n")


def spaces(length, text, _order, _others, space):
    """Return whether spaces come before the values. For a shape they belong to the form, for the expression not."""
    return [(space + value).startswith(b" ") for value in (length, text or b"")]


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_a_shape_reads_what_the_expression_splits(kind, data):
    split, options, name, texts = KINDS[kind]
    text = st.sampled_from([None, *texts, b"", b" z", b"z ", b"a\nb", b"a\x00", b"\xe9", b"t" * 201])
    parts = st.tuples(LENGTHS, text, st.integers(0, 1), OTHERS, st.sampled_from([b" ", b""]))
    drawn = data.draw(parts)
    first, end = head(name, *drawn)
    key, *values = split(first, end)
    if values[0] is None:
        return
    shape = HeadShape(first, end, *options)
    assert shape.read(first, end) == tuple(values)
    for _ in range(3):
        its_parts = data.draw(parts)
        other, its_end = head(name, *its_parts)
        its_key, *its_values = split(other, its_end)
        expected = tuple(its_values) if its_key == key and its_values[0] is not None else None
        read = shape.read(other, its_end)
        assert read == expected or (read is None and spaces(*its_parts) != spaces(*drawn))
