"""One HTTP request as it goes out, before credentials and connection (plain data, no I/O)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field
from typing import Any

from utcp_bridge.late.records import dataclass

__all__ = ["FixedHeaders", "RequestParts"]


class FixedHeaders(list[tuple[str, str]]):
    """Headers that all requests of a template share, so nothing changes them.

    `written` is a note of who writes them out, so that it finds their text again without a look at each of them.
    `traced` is such a note for those behind which a trace comes.
    """

    __slots__ = ("traced", "written")

    def __init__(self, headers: Iterable[tuple[str, str]]) -> None:
        super().__init__(headers)
        self.written: Any = None
        self.traced: Any = None


@dataclass(slots=True)  # not frozen: each call makes one, which would take three times as long
class RequestParts:
    """The HTTP request of a call. Nothing changes it.

    `url` is absolute and fully percent-encoded, with its query: send it unchanged. `headers` include Content-Type and
    Cookie. Names may repeat. Values have no control characters; non-ASCII text is written as UTF-8 (`raw_headers`).
    `body` None means no body and no Content-Type; `b""` is an empty body.
    """

    method: str
    url: str = field(repr=False)
    headers: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]], repr=False)
    body: bytes | None = field(default=None, repr=False)

    @property
    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        """The headers as bytes: names in ASCII, values in UTF-8."""
        return [(name.encode("ascii"), value.encode("utf-8")) for name, value in self.headers]
