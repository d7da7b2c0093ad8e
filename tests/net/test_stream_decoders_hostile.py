"""Streams that arrive in tiny pieces: the work is linear in the bytes, and the pending bytes are kept once."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.work import calls_made_by

from utcp_bridge.errors import MalformedReply
from utcp_bridge.net.stream_decoders import ChunkSplitter, EventSplitter, JsonSplitter, Nesting, Splitter, TextSplitter

_LIMIT = 20 << 20
_MAKERS: dict[str, Callable[[], Splitter]] = {
    "events": lambda: EventSplitter(_LIMIT, "here"),
    "latin events": lambda: EventSplitter(_LIMIT, "here", event_type="other"),
    "json": lambda: JsonSplitter(_LIMIT, "here"),
    "json in utf-16": lambda: JsonSplitter(_LIMIT, "here", "utf-16-le"),
    "chunks": lambda: ChunkSplitter(1 << 20),
    "text": TextSplitter,
}


def copied_by(splitter: Splitter, start: bytes, pieces: list[bytes]) -> int:
    """Return the most bytes that one piece allocates, after `start` was fed."""
    splitter.feed(start)
    most = 0
    for piece in pieces:
        tracemalloc.start()
        splitter.feed(piece)
        most = max(most, tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    return most


@pytest.mark.parametrize(
    ("maker", "start", "piece"),
    [
        ("events", b"data: " + b"x" * (4 << 20), b"y"),
        ("events", b"data: x\n" * 400_000, b"data: y\n"),
        ("events", b": " + b"x" * (4 << 20), b"\r"),
        ("latin events", b"event: " + b"x" * (4 << 20), b"\xc3"),
        ("json", b'"' + b"x" * (4 << 20), b"y"),
        ("json", b"[\n" + b"1,\n" * 1_000_000, b"1,\n"),
        ("json", b"[\n" + b"[],\n" * 1_000_000, b"]1,[\n"),
        ("json", b"[\n" + b"[],\n" * 1_000_000, b'"]",\n'),
        ("json", b"[\n" + b"{},\n" * 1_000_000, b"{\n"),
        ("json", b"[" * 1_000 + b"1," * (2 << 20), b"1,"),
        ("json in utf-16", b'"\0' + b"x\0" * (2 << 20), b"y\0"),
        ("chunks", b"x" * ((1 << 20) - 100), b"y"),
        ("text", b"x" * (4 << 20), b"\xc3"),
    ],
)
def test_a_piece_costs_what_it_holds_and_not_what_is_pending(maker: str, start: bytes, piece: bytes) -> None:
    splitter = _MAKERS[maker]()
    splitter.feed(start[:2])
    pieces = [piece] * 50
    copied = sorted(copied_by(splitter, start[2:] if number == 0 else b"", [one]) for number, one in enumerate(pieces))
    assert copied[len(copied) // 2] < 100_000  # a buffer that grows by doubling is copied now and then


@pytest.mark.parametrize(
    ("maker", "piece"),
    [
        ("events", b"\n"),
        ("events", b"\r\n"),
        ("events", b":\n"),
        ("events", b"id:1\n"),
        ("events", b"data\n"),
        ("events", b"data:1\n\n"),
        ("json", b"\n"),
        ("json", b"[\n"),
        ("json", b"1 "),
        ("json", b'{"a":'),
        ("json", b"1\x1e"),
    ],
)
def test_many_small_lines_take_steps_in_proportion(maker: str, piece: bytes) -> None:
    def read(number: int) -> int:
        def work() -> None:
            splitter = _MAKERS[maker]()
            try:
                for _ in range(number // 10):
                    splitter.feed(piece * 10)
                splitter.finish()
            except MalformedReply:
                pass

        return calls_made_by(work)

    short, long = read(1_000), read(10_000)
    assert long <= 12 * short + 500


def test_many_values_without_a_newline_are_read_up_to_the_limit() -> None:
    splitter = JsonSplitter(_LIMIT, "here", most=100)
    splitter.feed(b"1 " * 500_000)
    assert calls_made_by(splitter.finish) < 5_000


def test_an_event_of_many_lines_is_kept_as_one_text() -> None:
    splitter = EventSplitter(_LIMIT, "here")
    tracemalloc.start()
    for _ in range(1_000):
        splitter.feed(b"data: ab\n" * 200)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert held < 3_000_000
    assert splitter.feed(b"\n") == ["\n".join(["ab"] * 200_000)]


_json = st.recursive(
    st.none() | st.integers(-9, 9) | st.text('{}[]"\\a', max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('{"\\', max_size=3), inner, max_size=3),
    max_leaves=8,
)


def _depth(text: str) -> int:
    """Count one character after the other."""
    depth, in_text, escaped = 0, False, False
    for character in text:
        if escaped:
            escaped = False
        elif in_text:
            escaped, in_text = character == "\\", character != '"'
        elif character == '"':
            in_text = True
        else:
            depth += (character in "{[") - (character in "}]")
    return depth


@given(value=_json, size=st.integers(1, 7), cut=st.integers(0, 200))
def test_brackets_are_counted_however_the_bytes_are_split(value: Any, size: int, cut: int) -> None:
    text = json.dumps(value)[: cut or None]
    nesting = Nesting()
    for start in range(0, len(text), size):
        nesting.add(text[start : start + size].encode())
    assert nesting.depth == _depth(text)


@given(st.lists(st.tuples(_json, st.sampled_from([None, 1])), max_size=6), st.integers(1, 9))
def test_values_of_any_form_in_a_row_are_read(values: list[tuple[Any, int | None]], size: int) -> None:
    data = "\n".join(json.dumps(value, indent=indent) for value, indent in values).encode()
    splitter = JsonSplitter(_LIMIT, "here")
    found = [one for start in range(0, len(data), size) for one in splitter.feed(data[start : start + size])]
    assert found + splitter.finish() == [value for value, _ in values]


@pytest.mark.parametrize(
    ("splitter", "line"),
    [
        (EventSplitter(_LIMIT, "here"), b"data: x\n"),
        (EventSplitter(_LIMIT, "here"), b":\n"),
        (EventSplitter(_LIMIT, "here"), b"data:1\n\n"),
        (JsonSplitter(_LIMIT, "here", most=1 << 20), b"1\n"),
        (JsonSplitter(_LIMIT, "here", most=1 << 20), b"\n"),
        (JsonSplitter(_LIMIT, "here", most=1 << 20), b"[\n"),
    ],
)
def test_many_lines_in_one_piece_take_many_small_steps(splitter: EventSplitter | JsonSplitter, line: bytes) -> None:
    values: list[Any] = []
    most = 0
    steps = splitter.steps(line * 20_000, values)
    while True:
        made = calls_made_by(lambda: next(steps, None))
        most = max(most, made)
        if steps.gi_frame is None:
            break
    assert most < 5_000
