"""Descriptions in formats of others that the bridge reads: each becomes an OpenAPI description and its tools (pure).

The reader of OpenAPI makes the tools. `ForeignDescription.placed` then gives a tool what OpenAPI has no place for:
another transport, or fixed headers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

from utcp_bridge.dialects.formats.asyncapi import is_asyncapi, on_transport, openapi_of_asyncapi
from utcp_bridge.dialects.formats.discovery import is_discovery, openapi_of_discovery
from utcp_bridge.dialects.formats.postman import is_postman, openapi_of_postman
from utcp_bridge.dialects.formats.swagger1 import declarations_of, is_swagger1, openapi_of_swagger1
from utcp_bridge.errors import ManualError
from utcp_bridge.model import Fault, JsonObject, is_object

__all__ = [
    "DescriptionOptions",
    "ForeignDescription",
    "declarations_in",
    "described",
    "file_of_declaration",
    "is_described",
    "kind_of",
    "referred_places",
]

_NO_VALUES: Final[Mapping[str, str]] = {}
_NO_FILES: Final[Mapping[str, Any]] = {}
_MAX_DECLARATIONS: Final = 500
_WEB: Final = frozenset({"http", "https"})


@dataclass(frozen=True, slots=True)
class DescriptionOptions:
    """Where a description was found, and what the operator says of it.

    `url` is an absolute path or a URL. `variables` are values of the server's variables and of a collection's.
    """

    url: str | None = field(default=None, repr=False)
    base_url: str | None = field(default=None, repr=False)
    variables: Mapping[str, str] = field(default_factory=lambda: _NO_VALUES, repr=False)


@dataclass(frozen=True, slots=True)
class ForeignDescription:
    """The OpenAPI description of a document, and how it is read: from where, and with which base address."""

    openapi: JsonObject = field(repr=False)
    faults: list[Fault]
    url: str | None = field(default=None, repr=False)
    base_url: str | None = field(default=None, repr=False)
    placed: Callable[[JsonObject], JsonObject] = field(default=lambda tool: tool, repr=False)
    """Returns a tool (an object of a v1 manual) with its final call template."""


_KINDS: Final[tuple[tuple[Callable[[Any], bool], str], ...]] = (
    (is_discovery, "Google API Discovery document"),
    (is_postman, "Postman collection"),
    (is_asyncapi, "AsyncAPI description"),
    (is_swagger1, "Swagger 1 description"),
)


def kind_of(document: Any) -> str:
    """Return what a description in one of these formats is called; an empty text for any other document."""
    return next((name for fits, name in _KINDS if fits(document)), "")


def is_described(document: Any) -> bool:
    """Return whether a parsed document is a description in one of these formats."""
    return kind_of(document) != ""


def referred_places(document: JsonObject, url: str | None) -> list[str]:
    """Return the absolute paths or URLs of the documents that belong to this one; none if `url` is None."""
    if url is None or not is_swagger1(document):
        return []
    return [_place(named, document, url) for named in declarations_of(document)[:_MAX_DECLARATIONS]]


def declarations_in(files: Mapping[str, Any], document: JsonObject, url: str | None) -> dict[str, Any]:
    """Return, of the files at the places of `referred_places`, the API declarations by the name that a listing has."""
    if url is None or not is_swagger1(document):
        return {}
    return {named: files.get(_place(named, document, url)) for named in declarations_of(document)}


def _place(named: str, listing: JsonObject, url: str) -> str:
    """Return where an API declaration of Swagger 1 is: below the listing's address, or beside its file."""
    if "://" in named:
        return named
    if urlsplit(url).scheme in _WEB:
        base = listing.get("basePath")
        start = urljoin(url, str(base)) if base else url.partition("?")[0]
        return f"{start.rstrip('/')}/{named.lstrip('/')}"
    return str(Path(url).parent / file_of_declaration(named))


def file_of_declaration(named: str) -> str:
    """Return the name of the file beside a listing that has an API declaration."""
    flat = named.strip("/").replace("/", "_")
    return flat if flat.endswith(".json") else f"{flat}.json"


def described(
    document: JsonObject, name: str, options: DescriptionOptions, declarations: Mapping[str, Any] = _NO_FILES
) -> ForeignDescription:
    """Return the OpenAPI description of a document; `name` names it in messages.

    `declarations` has the documents that a listing of Swagger 1 names, by that name; None for one that is not there.

    :raises ManualError: the document cannot become one.
    """
    if is_discovery(document):
        return ForeignDescription(*openapi_of_discovery(document, name), options.url, options.base_url)
    if is_postman(document):
        return _of_postman(document, name, options)
    if is_asyncapi(document):
        return _of_asyncapi(document, name, options)
    return _of_swagger1(document, name, options, declarations)


def _of_postman(document: JsonObject, name: str, options: DescriptionOptions) -> ForeignDescription:
    """Fixed headers go into the call templates: a description has no place for them."""
    made = openapi_of_postman(document, name, options.variables, options.base_url)

    def placed(tool: JsonObject) -> JsonObject:
        headers = made.headers.get(str(tool.get("name")))
        if not headers:
            return tool
        return {**tool, "tool_call_template": {**tool["tool_call_template"], "headers": headers}}

    return ForeignDescription(made.openapi, made.faults, None, options.base_url, placed)


def _of_asyncapi(document: JsonObject, name: str, options: DescriptionOptions) -> ForeignDescription:
    """Until its tools are placed, the description has addresses of HTTP."""
    base = options.base_url
    made = openapi_of_asyncapi(document, name, base)
    as_http = base.replace("ws", "http", 1) if base and base.lower().startswith(("ws://", "wss://")) else base

    def placed(tool: JsonObject) -> JsonObject:
        return on_transport(tool, made.ways[str(tool["name"])])

    return ForeignDescription(made.openapi, made.faults, options.url, as_http, placed)


def _of_swagger1(
    document: JsonObject, name: str, options: DescriptionOptions, declarations: Mapping[str, Any]
) -> ForeignDescription:
    """A declaration by itself needs no listing."""
    url, places = options.url, declarations_of(document)
    if len(places) > _MAX_DECLARATIONS:
        raise ManualError(f"{name} names more than {_MAX_DECLARATIONS} API declarations.")
    found: list[tuple[str, JsonObject]] = [] if places else [(name, document)]
    found += [(place, _declaration(place, name, declarations)) for place in places]
    is_fetched = url is not None and urlsplit(url).scheme in _WEB
    openapi, faults = openapi_of_swagger1(document, found, url if is_fetched else None)
    return ForeignDescription(openapi, faults, url, options.base_url)


def _declaration(place: str, name: str, declarations: Mapping[str, Any]) -> JsonObject:
    found = declarations.get(place)
    if found is None:
        raise ManualError(
            f"{name} names the API declaration {place!r}, which is not there.",
            remedy=f"Save it beside that file, as {file_of_declaration(place)}.",
        )
    if not is_object(found) or not is_swagger1(found):
        file = file_of_declaration(place)
        raise ManualError(f"{file} is not an API declaration of Swagger 1, although {name} names it.")
    return found
