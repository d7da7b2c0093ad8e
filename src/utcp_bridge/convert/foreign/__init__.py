"""Documents of other formats as manuals: one pure module for each format, and `foreign_manual`, which chooses it.

The description of each is an OpenAPI description, which is read as any other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import urljoin

import anyio

from utcp_bridge.configuration.places import Placed, is_url, read_place
from utcp_bridge.convert.discovery import is_discovery, openapi_of_discovery
from utcp_bridge.convert.foreign.asyncapi import is_asyncapi, on_transport, openapi_of_asyncapi
from utcp_bridge.convert.foreign.postman import is_postman, openapi_of_postman
from utcp_bridge.convert.foreign.swagger1 import declarations_of, is_swagger1, openapi_of_swagger1
from utcp_bridge.convert.outcome import Converted, Wishes
from utcp_bridge.convert.sources import openapi_manual
from utcp_bridge.errors import ConfigError, ManualError
from utcp_bridge.model import JsonObject, is_object

__all__ = ["foreign_manual"]

_Way: TypeAlias = Callable[[JsonObject, Placed, str, Wishes], Awaitable[Converted]]
_MAX_DECLARATIONS: Final = 500


async def foreign_manual(placed: Placed, name: str, wishes: Wishes) -> Converted | None:
    """Return the manual of a document in a format that has a converter. None: it is of another format.

    :raises ManualError: the document cannot become a manual.
    """
    for fits, way in _WAYS:
        if fits(placed.document):
            return await way(placed.document, placed, name, wishes)
    return None


async def _discovery(document: JsonObject, placed: Placed, name: str, wishes: Wishes) -> Converted:
    description, notes = openapi_of_discovery(document, placed.shown)
    converted = await openapi_manual(description, url=placed.url, name=name, wishes=wishes)
    return replace(converted, notes=[*notes, *converted.notes])


async def _postman(document: JsonObject, placed: Placed, name: str, wishes: Wishes) -> Converted:
    """Fixed headers go into the call templates: a description has no place for them."""
    made = openapi_of_postman(document, placed.shown, wishes.server_variables, wishes.base_url)
    converted = await openapi_manual(made.openapi, url=None, name=name, wishes=wishes)
    for tool in converted.tools:
        if headers := made.headers.get(str(tool.get("name"))):
            tool["tool_call_template"]["headers"] = headers
    return replace(converted, notes=[*made.faults, *converted.notes])


async def _asyncapi(document: JsonObject, placed: Placed, name: str, wishes: Wishes) -> Converted:
    base = wishes.base_url
    made = openapi_of_asyncapi(document, placed.shown, base)
    as_http = base.replace("ws", "http", 1) if base and base.lower().startswith(("ws://", "wss://")) else base
    wishes = replace(wishes, base_url=as_http)  # the description has addresses of HTTP until its tools are placed
    converted = await openapi_manual(made.openapi, url=placed.url, name=name, wishes=wishes)
    tools = [on_transport(tool, made.ways[str(tool["name"])]) for tool in converted.tools]
    notes = [*made.faults, *converted.notes]
    return replace(converted, document={**converted.document, "tools": tools}, notes=notes)


async def _swagger1(document: JsonObject, placed: Placed, name: str, wishes: Wishes) -> Converted:
    """Read the declarations that a resource listing names. A declaration by itself needs no listing."""
    places = declarations_of(document)
    if len(places) > _MAX_DECLARATIONS:
        raise ManualError(f"{placed.shown} names more than {_MAX_DECLARATIONS} API declarations.")
    found: list[tuple[str, JsonObject]] = [] if places else [(placed.shown, document)]
    found += [(place, await _declaration(place, document, placed)) for place in places]
    description, notes = openapi_of_swagger1(document, found, placed.url if placed.url and is_url(placed.url) else None)
    converted = await openapi_manual(description, url=placed.url, name=name, wishes=wishes)
    return replace(converted, notes=[*notes, *converted.notes])


async def _declaration(place: str, listing: JsonObject, placed: Placed) -> JsonObject:
    """Return the API declaration that a listing names: below the listing's address, or beside its file."""
    for candidate in _candidates(place, listing, placed):
        if not is_url(candidate) and not await anyio.Path(candidate).is_file():
            continue
        found = (await read_place(candidate)).document
        if not is_object(found) or not is_swagger1(found):
            raise ManualError(f"{candidate} is not an API declaration of Swagger 1, although {placed.shown} names it.")
        return found
    raise ConfigError(
        f"{placed.shown} names the API declaration {place!r}, which is not there.",
        remedy=f"Save it beside that file, as {place.strip('/').replace('/', '_')}.json.",
    )


def _candidates(place: str, listing: JsonObject, placed: Placed) -> list[str]:
    if is_url(place):
        return [place]
    if placed.url and is_url(placed.url):
        base = listing.get("basePath")
        start = urljoin(placed.url, str(base)) if base else placed.url.partition("?")[0]
        return [f"{start.rstrip('/')}/{place.lstrip('/')}"]
    if not placed.url:
        return []
    file, plain = Path(placed.url), place.strip("/")
    if ".." in Path(plain).parts:
        return []
    flat = plain.replace("/", "_")
    folders = (file.parent, file.parent / file.stem)
    return [str(folder / f"{one}{end}") for folder in folders for one in (plain, flat) for end in ("", ".json")]


_WAYS: Final[tuple[tuple[Callable[[Any], bool], _Way], ...]] = (
    (is_discovery, _discovery),
    (is_postman, _postman),
    (is_asyncapi, _asyncapi),
    (is_swagger1, _swagger1),
)
