"""A bar chart as a PNG image, from nothing but zlib."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Final

__all__ = ["bar_chart"]

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_BACKGROUND, _BAR, _AXIS = 0, 1, 2
_PALETTE: Final = bytes([255, 255, 255, 37, 99, 235, 55, 65, 81])
_HEIGHT: Final = 160
_MARGIN: Final = 10
_BAR_WIDTH: Final = 24
_GAP: Final = 8
MOST_BARS: Final = 50


def bar_chart(values: Sequence[float]) -> bytes:
    """One bar for each value, negative ones downwards, as a PNG file.

    :raises ValueError: there are none, or more than 50.
    """
    if not 0 < len(values) <= MOST_BARS:
        raise ValueError(f"A chart takes 1 to {MOST_BARS} values.")
    width = 2 * _MARGIN + len(values) * (_BAR_WIDTH + _GAP) - _GAP
    top, bottom = max([*values, 0.0]), min([*values, 0.0])
    scale = (_HEIGHT - 2 * _MARGIN) / ((top - bottom) or 1.0)
    axis = _MARGIN + round(top * scale)
    rows = [_row(y, values, axis, scale, width) for y in range(_HEIGHT)]
    return _png(width, _HEIGHT, rows)


def _row(y: int, values: Sequence[float], axis: int, scale: float, width: int) -> bytes:
    if y == axis:
        return bytes([_AXIS]) * width
    row = bytearray(width)
    for number, value in enumerate(values):
        end = axis - round(value * scale)
        if min(axis, end) <= y < max(axis, end):
            left = _MARGIN + number * (_BAR_WIDTH + _GAP)
            row[left : left + _BAR_WIDTH] = bytes([_BAR]) * _BAR_WIDTH
    return bytes(row)


def _png(width: int, height: int, rows: Sequence[bytes]) -> bytes:
    """An indexed-colour image of 8 bits per pixel (PNG, third edition, section 11)."""
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = ((b"IHDR", header), (b"PLTE", _PALETTE), (b"IDAT", pixels), (b"IEND", b""))
    return _SIGNATURE + b"".join(_part(kind, data) for kind, data in parts)


def _part(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
