from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.errors import ConfigError, InvalidArguments, MalformedReply, ReplyTooLarge
from utcp_bridge.net.framing import Framing, unescape

FRAMINGS = [
    Framing("length_prefix", prefix_bytes=1),
    Framing("length_prefix", prefix_bytes=2, endian="little"),
    Framing("length_prefix", prefix_bytes=8),
    Framing("delimiter", delimiter=b"\r\n"),
    Framing("delimiter", delimiter=b"aab"),
    Framing("fixed_length", fixed_length=7),
]


@pytest.mark.parametrize("framing", FRAMINGS)
@given(
    messages=st.lists(st.binary(max_size=40), min_size=1, max_size=4),
    places=st.lists(st.integers(0, 300), max_size=8),
)
def test_messages_come_out_as_they_went_in_however_the_bytes_are_cut(
    framing: Framing, messages: list[bytes], places: list[int]
) -> None:
    if framing.fixed_length:
        messages = [message[:7].ljust(7, b".") for message in messages]
    if framing.strategy == "delimiter":
        messages = [message.replace(framing.delimiter, b"").rstrip(b"\ra") for message in messages]
        messages = [message for message in messages if framing.delimiter not in message + framing.delimiter[:-1]]
    wire = b"".join(framing.frame(message) for message in messages)
    edges = [0, *sorted(place % (len(wire) + 1) for place in places), len(wire)]
    deframer = framing.deframer()
    got: list[bytes] = []
    for start, end in pairwise(edges):
        message = deframer.feed(wire[start:end])
        while message is not None:
            got.append(message)
            message = deframer.feed(b"") if len(got) < len(messages) else None
    assert got == messages


def test_the_bytes_on_the_wire_are_exactly_those_of_the_framing() -> None:
    assert Framing("length_prefix", prefix_bytes=2).frame(b"abc") == b"\x00\x03abc"
    assert Framing("length_prefix", prefix_bytes=4, endian="little").frame(b"a") == b"\x01\0\0\0a"
    assert Framing("delimiter", delimiter=b"\n").frame(b"abc") == b"abc\n"
    assert Framing("fixed_length", fixed_length=9).frame(b"abc") == b"abc"
    assert Framing("stream").frame(b"abc") == b"abc"


def test_a_delimiter_that_the_operator_wrote_is_no_argument() -> None:
    lines = Framing("delimiter", delimiter=b"\r\n")
    assert lines.frame(b"set k 5\r\nhello", written=b"set X Y\r\nZ") == b"set k 5\r\nhello\r\n"
    with pytest.raises(InvalidArguments, match="delimiter"):
        lines.frame(b"set k 5\r\nhel\r\nlo", written=b"set X Y\r\nZ")


@pytest.mark.parametrize(
    ("framing", "message", "words"),
    [
        (Framing("length_prefix", prefix_bytes=1), b"x" * 256, "1-byte length prefix"),
        (Framing("delimiter", delimiter=b"\n"), b"a\nb", "delimiter"),
        (Framing("fixed_length", fixed_length=2), b"abc", "more than the 2"),
    ],
)
def test_a_message_that_does_not_fit_is_refused(framing: Framing, message: bytes, words: str) -> None:
    with pytest.raises(InvalidArguments, match=words):
        framing.frame(message)


@pytest.mark.parametrize(
    ("framing", "data"),
    [
        (Framing("length_prefix", prefix_bytes=4, limit=10), b"\0\0\0\x0b"),
        (Framing("delimiter", delimiter=b"\n", limit=10), b"x" * 11),
        (Framing("delimiter", delimiter=b"\n", limit=10), b"x" * 11 + b"\n"),
        (Framing("fixed_length", fixed_length=11, limit=10), b"x"),
        (Framing("stream", limit=10), b"x" * 11),
    ],
)
def test_a_reply_above_the_limit_is_refused_before_it_is_whole(framing: Framing, data: bytes) -> None:
    with pytest.raises(ReplyTooLarge, match="10 bytes"):
        framing.deframer().feed(data)


def test_a_stream_is_whole_at_its_end_and_anything_else_is_cut_off() -> None:
    stream = Framing("stream").deframer()
    assert stream.feed(b"ab") is None
    assert stream.pending == b"ab"
    assert stream.finish() == b"ab"
    cut = Framing("delimiter", delimiter=b"\n").deframer()
    cut.feed(b"ab")
    with pytest.raises(MalformedReply, match="after 2 bytes"):
        cut.finish()


@pytest.mark.parametrize("fields", [{"strategy": "fixed_length"}, {"strategy": "delimiter", "delimiter": b""}])
def test_a_framing_that_cannot_work_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        Framing(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        (r"\r\n", "\r\n"),
        (r"\x00", "\0"),
        (r"\0", "\0"),
        (r"\u00e9", "\u00e9"),
        (r"\\n", r"\n"),
        (r"\q", r"\q"),
        ("|", "|"),
    ],
)
def test_escapes_mean_what_they_mean_in_python(text: str, meant: str) -> None:
    assert unescape(text) == meant
