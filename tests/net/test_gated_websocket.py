"""The sizes of WebSocket messages from the heads of their frames, however the bytes are cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.net.gated_websocket import FrameSizes


def frame(size: int, *, opcode: int = 1, is_last: bool = True, is_masked: bool = False) -> bytes:
    """Return a frame of zeros (RFC 6455 section 5.2)."""
    mask = 0x80 if is_masked else 0
    if size < 126:
        length = bytes([mask | size])
    elif size < 1 << 16:
        length = bytes([mask | 126]) + size.to_bytes(2, "big")
    else:
        length = bytes([mask | 127]) + size.to_bytes(8, "big")
    return bytes([opcode | (0x80 if is_last else 0)]) + length + bytes(4 if is_masked else 0) + bytes(size)


SIZES = st.sampled_from([0, 1, 125, 126, 127, 300, 65_535, 65_536, 70_000])
CONTROL = st.builds(frame, st.integers(0, 125), opcode=st.sampled_from([8, 9, 10]))


@st.composite
def messages(draw: st.DrawFn) -> tuple[bytes, int]:
    """A message in frames, with control frames in between, and its size."""
    parts = draw(st.lists(SIZES, min_size=1, max_size=4))
    is_masked = draw(st.booleans())
    written = b""
    for number, size in enumerate(parts):
        is_last = number == len(parts) - 1
        written += frame(size, opcode=0 if number else 1, is_last=is_last, is_masked=is_masked)
        if not is_last and draw(st.booleans()):
            written += draw(CONTROL)
    return written, sum(parts)


@given(whole=st.lists(messages(), max_size=5), last=messages(), cuts=st.lists(st.integers(1, 70_000), min_size=1))
def test_the_size_is_known_however_the_bytes_are_cut(
    whole: list[tuple[bytes, int]], last: tuple[bytes, int], cuts: list[int]
) -> None:
    sizes = FrameSizes()
    data = b"".join(written for written, _ in whole) + last[0]
    position = number = 0
    while position < len(data) - 1:
        step = min(cuts[number % len(cuts)], len(data) - 1 - position)
        sizes.feed(data[position : position + step])
        position, number = position + step, number + 1
    if last[0][-1:] == b"\0" and last[1]:  # all but one byte of the last message has arrived
        assert (sizes.number, sizes.message) == (len(whole), last[1])
    sizes.feed(data[-1:])
    assert (sizes.number, sizes.message) == (len(whole) + 1, 0)


def test_the_size_is_known_from_the_head() -> None:
    sizes = FrameSizes()
    sizes.feed(frame(70_000)[:10])
    assert sizes.message == 70_000
