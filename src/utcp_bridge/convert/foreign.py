"""Documents of other formats as manuals.

The description of each is an OpenAPI description (`dialects.formats.described`), which is read as any other.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import anyio

from utcp_bridge.configuration.places import Placed, is_url, read_place
from utcp_bridge.convert.outcome import Converted, Wishes
from utcp_bridge.convert.sources import openapi_manual
from utcp_bridge.dialects.formats.described import DescriptionOptions, described
from utcp_bridge.dialects.formats.swagger1 import declarations_of, is_swagger1
from utcp_bridge.model import JsonObject

__all__ = ["foreign_manual"]

_MAX_DECLARATIONS = 500


async def foreign_manual(placed: Placed, name: str, wishes: Wishes) -> Converted:
    """Return the manual of a description in a format of others (`Shape.FOREIGN`).

    :raises ManualError: the document cannot become a manual.
    """
    options = DescriptionOptions(placed.url, wishes.base_url, wishes.server_variables)
    made = described(placed.document, placed.shown, options, await _declarations(placed))
    wishes = replace(wishes, base_url=made.base_url)
    converted = await openapi_manual(made.openapi, url=made.url, name=name, wishes=wishes)
    document = {**converted.document, "tools": [made.placed(tool) for tool in converted.tools]}
    return replace(converted, document=document, notes=[*made.faults, *converted.notes])


async def _declarations(placed: Placed) -> dict[str, Any]:
    """Return the API declarations that a resource listing of Swagger 1 names, and None for those that are not there."""
    if not is_swagger1(placed.document):
        return {}
    places = declarations_of(placed.document)[:_MAX_DECLARATIONS]
    return {place: await _declaration(place, placed.document, placed) for place in places}


async def _declaration(place: str, listing: JsonObject, placed: Placed) -> Any:
    for candidate in _candidates(place, listing, placed):
        if is_url(candidate) or await anyio.Path(candidate).is_file():
            return (await read_place(candidate)).document
    return None


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
