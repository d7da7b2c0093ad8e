"""The validation of the arguments of `search_tools`."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, Literal
from zlib import crc32

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from utcp_bridge.errors import InvalidArguments
from utcp_bridge.model import is_object
from utcp_bridge.search.input_schema import DEFAULT_LIMIT, DEFAULT_LIMIT_FULL, MAX_QUERIES, MAX_QUERY, MAX_RESULTS

__all__ = ["Detail", "SearchArguments", "decode_cursor", "encode_cursor", "read_arguments"]

Detail = Literal["names", "summary", "full"]


def _listed(value: Any) -> Any:
    """Return a list for a single string, because models write both."""
    return [value] if isinstance(value, str) else value


_Words = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=200)]], BeforeValidator(_listed), Field(max_length=50)
]
_Query = Annotated[str, Field(max_length=MAX_QUERY)]


class SearchArguments(BaseModel):
    """The validated arguments of one `search_tools` call. `input_schema.py` describes them to models."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    query: _Query = ""
    queries: Annotated[list[_Query], BeforeValidator(_listed)] = Field([], max_length=MAX_QUERIES)
    limit: Annotated[int, Field(ge=1, le=MAX_RESULTS)] = 0
    cursor: Annotated[str, Field(max_length=200)] = ""
    tags: _Words = []
    tags_mode: Literal["any", "all"] = "any"
    providers: _Words = []
    exclude_providers: _Words = []
    detail: Detail = "summary"
    mode: Literal["auto", "regex", "exact"] = "auto"

    @property
    def page_size(self) -> int:
        """`limit`, or its default for this level of detail."""
        return self.limit or (DEFAULT_LIMIT_FULL if self.detail == "full" else DEFAULT_LIMIT)

    @property
    def filters(self) -> bool:
        """Whether anything but the query narrows the search."""
        return bool(self.tags or self.providers or self.exclude_providers)


def read_arguments(arguments: Any) -> SearchArguments:
    """Return validated arguments; nulls count as absent.

    :raises InvalidArguments: an argument is unknown or invalid, or two of them exclude each other.
    """
    if not is_object(arguments):
        raise InvalidArguments("The arguments of a tool search must be an object.", remedy='Give {"query": "..."}.')
    try:
        read = SearchArguments.model_validate({key: value for key, value in arguments.items() if value is not None})
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in fault["loc"])[:100]
        known = ", ".join(SearchArguments.model_fields)
        remedy = f"Known arguments: {known}." if fault["type"] == "extra_forbidden" else f"Correct `{where}`."
        raise InvalidArguments(f"`{where}` of the tool search: {fault['msg']}.", remedy=remedy) from None
    if read.queries and read.cursor:
        raise InvalidArguments("A cursor pages one query, not `queries`.", remedy="Repeat that one need as `query`.")
    if read.queries and read.mode != "auto":
        raise InvalidArguments(f"`queries` cannot be used with mode {read.mode}.", remedy="Give one `query`.")
    return read


def encode_cursor(arguments: SearchArguments, offset: int) -> str:
    """Return an opaque cursor for the page of this search that starts at `offset`."""
    return base64.urlsafe_b64encode(f"{offset}:{_fingerprint(arguments)}".encode()).decode().rstrip("=")


def decode_cursor(arguments: SearchArguments) -> int:
    """Return the offset in the arguments' cursor, 0 without a cursor.

    :raises InvalidArguments: the cursor belongs to another search.
    """
    if not arguments.cursor:
        return 0
    try:
        text = base64.urlsafe_b64decode(arguments.cursor + "=" * (-len(arguments.cursor) % 4)).decode("ascii")
        offset, fingerprint = text.split(":")
        if offset.isdigit() and len(offset) < 8 and fingerprint == _fingerprint(arguments):
            return int(offset)
    except (ValueError, binascii.Error):
        pass
    raise InvalidArguments(
        "The cursor does not belong to this tool search.",
        remedy="Repeat the search with the arguments of its first page, or without a cursor.",
    )


def _fingerprint(arguments: SearchArguments) -> str:
    return format(
        crc32(repr(arguments.model_dump(exclude={"cursor", "limit", "detail"})).encode("utf-8", "replace")), "x"
    )
