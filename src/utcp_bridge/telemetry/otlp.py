"""Parts of the messages of OTLP (protobuf), as they are on the wire.

Source: opentelemetry/proto/trace/v1/trace.proto.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

__all__ = ["attribute_bytes", "head_bytes", "number_bytes", "part"]

_NAME, _ATTRIBUTE = 5, 9
_KIND = 0x30
_BOOL, _INT = b"\x10", b"\x18"
_MAX_INT: Final = 2**63


def head_bytes(name: str, kind: int) -> bytes:
    """Return name and kind of a span. `kind` is the number of the protocol.

    :raises UnicodeEncodeError: the name has half of a surrogate pair.
    """
    return part(_NAME, name.encode()) + bytes((_KIND, kind))


@lru_cache(maxsize=1024, typed=True)
def attribute_bytes(name: str, value: Any) -> bytes:
    """Return an attribute.

    :raises TypeError: the value is neither text nor a whole number.
    :raises UnicodeEncodeError: a text has half of a surrogate pair.
    """
    if type(value) is str:
        inner = part(1, value.encode())
    elif type(value) is bool:
        inner = _BOOL + bytes((value,))
    elif type(value) is int and 0 <= value < _MAX_INT:
        inner = _INT + number_bytes(value)
    else:
        raise TypeError
    return part(_ATTRIBUTE, part(1, name.encode()) + part(2, inner))


def part(field: int, data: bytes) -> bytes:
    """Return what has a length, behind its tag. `field` is below 16."""
    return bytes((field << 3 | 2,)) + number_bytes(len(data)) + data


def number_bytes(value: int) -> bytes:
    if value < 0x80:
        return bytes((value,))
    if value < 0x4000:
        return bytes((value & 0x7F | 0x80, value >> 7))
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
