"""An OpenAPI description as a UTCP manual of its own."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import anyio.to_thread

from utcp_bridge.configuration.places import fetch_url, is_url
from utcp_bridge.convert.outcome import Converted, Wishes, new_manual
from utcp_bridge.dialects.openapi import ConversionOptions
from utcp_bridge.dialects.openapi import convert as convert_openapi
from utcp_bridge.dialects.v1 import says_nothing
from utcp_bridge.errors import ConfigError
from utcp_bridge.manuals.reading import gather_references, read_local_reference
from utcp_bridge.model import Fault, JsonObject

__all__ = ["openapi_manual", "without_files"]

_NO_FILES: Mapping[str, Any] = {}


async def openapi_manual(document: JsonObject, *, url: str | None, name: str, wishes: Wishes) -> Converted:
    """The manual of a description that was found at `url` (a URL or an absolute path), with the files it refers to.

    :raises ManualError: it is no OpenAPI description. :raises ConfigError: nothing says where its calls go.
    """
    files, faults = await gather_references(document, url, _fetch, where=name)
    work = partial(without_files, document, url=url, name=name, wishes=wishes, files=files)
    converted = await anyio.to_thread.run_sync(work)
    converted.notes[:0] = faults
    return converted


def without_files(
    document: JsonObject, *, url: str | None, name: str, wishes: Wishes, files: Mapping[str, Any] = _NO_FILES
) -> Converted:
    """`openapi_manual` for a description whose further files are given, or that has none. Raises the same."""
    options = ConversionOptions(
        base_url=wishes.base_url,
        server_variables=wishes.server_variables,
        include=wishes.include,
        exclude=wishes.exclude,
    )
    conversion = convert_openapi(document, url=url, options=options, files=files)
    tools = [_with_telling_outputs(tool.as_json()) for tool in conversion.tools]
    _insist_on_addresses(tools, name)
    info = {**conversion.info, **({"title": wishes.name} if wishes.name else {})}
    notes = [_note(name, fault) for fault in conversion.faults]
    return Converted(new_manual(tools, info), name, notes=notes)


def _note(name: str, fault: Fault) -> Fault:
    what = fault.what if fault.what.endswith(".") else f"{fault.what}."
    return Fault(f"{name}, {fault.where}", what, fault.remedy, fault.severity)


def _insist_on_addresses(tools: list[JsonObject], name: str) -> None:
    """A description without a server, or with a path for one, gives tools that no client could call."""
    if tools and not any(is_url(str(tool["tool_call_template"]["url"])) for tool in tools):
        raise ConfigError(
            f"{name} does not say on which host its calls go.",
            remedy="Give it, as in --base-url https://api.example.com.",
        )


def _with_telling_outputs(tool: JsonObject) -> JsonObject:
    """In a manual `{"type": "object"}` is how the reference library writes that nothing is promised."""
    if "outputs" not in tool or not says_nothing(tool["outputs"]):
        return tool
    return {**tool, "outputs": {**tool["outputs"], "additionalProperties": True}}


async def _fetch(place: str) -> bytes:
    return bytes((await fetch_url(place)).content) if is_url(place) else await read_local_reference(place)
