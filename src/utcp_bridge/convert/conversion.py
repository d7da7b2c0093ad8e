"""From places to one document: read each input, convert it by its shape, merge, write in the wished generation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from utcp_bridge.configuration.places import STDIN, Placed, is_url, read_place
from utcp_bridge.convert.mcp import mcp_manual
from utcp_bridge.convert.merging import merge
from utcp_bridge.convert.openapi import openapi_manual
from utcp_bridge.convert.outcome import Converted, Wishes
from utcp_bridge.convert.portable import portable
from utcp_bridge.convert.v0 import to_v0
from utcp_bridge.dialects import Shape, detect, read_config, read_manual, to_v1
from utcp_bridge.dialects.fields import safe_name
from utcp_bridge.dialects.shorthand import expand_shorthand, suggest_name
from utcp_bridge.errors import ConfigError, ManualError
from utcp_bridge.model import JsonObject, is_object
from utcp_bridge.tasks import run_blocking
from utcp_bridge.urls import bare_url

__all__ = ["convert", "openapi_to_utcp"]

_MCP_ONLY = frozenset({"mcpServers", "$schema", "inputs"})
_READ_STDIN: TypeAlias = Callable[[], bytes]


async def convert(
    places: Sequence[str],
    wishes: Wishes | None = None,
    *,
    mcp_servers: Sequence[str] = (),
    read_stdin: _READ_STDIN | None = None,
    progress: Callable[[str], None] | None = None,
) -> Converted:
    """One document of every input.

    `places` are files, URLs and `-` for stdin: OpenAPI descriptions, UTCP documents of any generation, MCP hosts'
    files. `mcp_servers` are one-line forms: `mcp+stdio:COMMAND`, `mcp+https://…`. `progress` is told in words what is
    being done, without what URLs and command lines may hold in secrets.

    :raises ConfigError: nothing can be made of an input, or they do not go together.
    :raises UtcpError: an input cannot be fetched, or a server does not answer.
    """
    wishes = wishes or Wishes()
    parts: list[Converted] = []
    total = len(places) + len(mcp_servers)

    def tell(doing: str) -> None:
        if progress is not None:
            progress(f"{doing} ({len(parts) + 1} of {total}) …" if total > 1 else f"{doing} …")

    for place in places:
        shown = "stdin" if place == STDIN else bare_url(place) if is_url(place) else place
        tell(f"{'Fetching' if is_url(place) else 'Reading'} {shown}")
        placed = await read_place(place, read_stdin=read_stdin)
        tell(f"Converting {shown}")
        parts.append(await _converted(placed, _name_of(placed, parts), wishes))
    for line in mcp_servers:
        parts.append(await _server(line, parts, wishes, tell))
    whole = merge(parts, name=wishes.name)
    if wishes.target == "v0":
        return to_v0(whole)
    return portable(whole) if wishes.portable else whole


def openapi_to_utcp(
    source: str | Path | Mapping[str, Any],
    *,
    base_url: str | None = None,
    server_variables: Mapping[str, str] | None = None,
    include: Mapping[str, Any] | None = None,
    exclude: Mapping[str, Any] | None = None,
) -> JsonObject:
    """A UTCP v1 manual of an OpenAPI description (2.0, 3.x): a URL, a path, or the parsed document.

    `base_url` replaces its servers; `include` and `exclude` choose operations as in a manual's entry. The manual is
    plain JSON data: write it to a file, or use it as the `content` of a `text` call template.

    :raises ManualError: it is no OpenAPI description. :raises UtcpError: it cannot be read.
    """
    wishes = Wishes(
        base_url=base_url,
        server_variables=server_variables or {},
        include=dict(include) if include else None,
        exclude=dict(exclude) if exclude else None,
    )
    if isinstance(source, Mapping):
        return run_blocking(
            partial(openapi_manual, dict(source), url=None, name="the document", wishes=wishes)
        ).document
    return run_blocking(partial(_openapi_at, str(source), wishes)).document


async def _openapi_at(place: str, wishes: Wishes) -> Converted:
    placed = await read_place(place)
    if not is_object(placed.document):
        raise ManualError(f"{placed.shown} is no OpenAPI description.")
    return await openapi_manual(placed.document, url=placed.url, name=placed.shown, wishes=wishes)


def _name_of(placed: Placed, parts: Sequence[Converted]) -> str:
    if placed.url is None:
        return suggest_name({"call_template_type": STDIN.replace("-", "stdin")}, [part.name for part in parts])
    key = "url" if is_url(placed.url) else "file_path"
    return suggest_name({key: placed.url}, [part.name for part in parts])


async def _converted(placed: Placed, name: str, wishes: Wishes) -> Converted:
    """One input by its shape."""
    document, shape = placed.document, detect(placed.document)
    if shape is Shape.OPENAPI:
        return await openapi_manual(document, url=placed.url, name=name, wishes=wishes)
    if shape is Shape.CONFIG and "mcpServers" in document and document.keys() <= _MCP_ONLY:
        root = Path(placed.url).parent if placed.url and not is_url(placed.url) else Path.cwd()
        return await mcp_manual(document["mcpServers"], name=name, wishes=wishes, root=root)
    if shape in {Shape.CONFIG, Shape.CONFIG_ENTRIES, Shape.TEMPLATE}:
        notes = read_config(document, where=placed.shown).faults
        return Converted(to_v1(document), name, is_manual=False, notes=notes)
    if shape in {Shape.MANUAL, Shape.TOOLS}:
        return _manual(document, name, placed.shown, wishes)
    raise _unusable(placed, shape)


def _manual(document: Any, name: str, shown: str, wishes: Wishes) -> Converted:
    """Tools that cannot be read are kept as they are and noted: whoever wrote them can mend them."""
    reading = read_manual(document, default_template={"call_template_type": "file", "file_path": ""}, where=shown)
    manual = to_v1(document)
    if wishes.name:
        info = manual.get("info")
        manual["info"] = {**(info if is_object(info) else {}), "title": wishes.name}
    return Converted(manual, name, notes=reading.faults)


async def _server(line: str, parts: Sequence[Converted], wishes: Wishes, tell: Callable[[str], None]) -> Converted:
    try:
        entry = expand_shorthand(line)
    except ValueError as error:
        raise ConfigError(f"{line!r}: {error}") from None
    name = safe_name(wishes.name or "") or suggest_name(entry, [part.name for part in parts])
    [server] = entry["config"]["mcpServers"].values()
    tell(f"Asking the MCP server {name}")
    return await mcp_manual({name: server}, name=name, wishes=wishes, root=Path.cwd())


def _unusable(placed: Placed, shape: Shape) -> ConfigError:
    if shape is Shape.MCP_TOOLS:
        return ConfigError(
            f"{placed.shown} lists tools of an MCP server but does not name the server.",
            remedy="Convert the server itself, with --mcp-command or --mcp-url.",
        )
    if shape is Shape.REGISTRY:
        return ConfigError(f"{placed.shown} is a registry.", remedy="Convert the manuals that it names.")
    return ConfigError(
        f"{placed.shown} is neither an OpenAPI description, nor a UTCP document, nor an MCP host's file.",
        remedy="An OpenAPI description has `openapi` or `swagger`, a manual has `tools`.",
    )
