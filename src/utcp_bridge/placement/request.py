"""One HTTP request as the wire wants it, before credentials and connection: plain data, no I/O."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["RequestParts"]


@dataclass(frozen=True, slots=True)
class RequestParts:
    """What a call's arguments became.

    `url` is absolute and completely percent-encoded, query included: send it as it is.
    `headers` hold Content-Type and Cookie where there are any; names may repeat, values hold no control
    character. A value may hold non-ASCII text, which is written as UTF-8: `raw_headers` does it.
    `body` None means no body at all (no Content-Type either); `b""` an empty one.
    """

    method: str
    url: str
    headers: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]], repr=False)
    body: bytes | None = field(default=None, repr=False)

    @property
    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        """The headers as bytes: names in ASCII, values in UTF-8."""
        return [(name.encode("ascii"), value.encode("utf-8")) for name, value in self.headers]
