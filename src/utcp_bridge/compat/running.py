"""Discovery and calls for one template, over a client of this package; errors with the bases of the reference library.

A transport of the reference library has no configuration and no event loop of its own. So each use of one here opens a
client, and closes it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import aiohttp
import orjson

from utcp_bridge.client.client import UtcpClient
from utcp_bridge.errors import (
    ConnectionLost,
    DeadlineExceeded,
    InvalidArguments,
    MalformedReply,
    ManualError,
    PolicyError,
    Rejected,
    Unreachable,
    UtcpError,
    VariableNotFound,
)
from utcp_bridge.manuals.registration import ManualState
from utcp_bridge.model import Binary, JsonObject, Tool, is_list

__all__ = [
    "Discovered",
    "as_reference_error",
    "call_with_template",
    "discover",
    "plain_bytes",
    "stream_with_template",
    "translated",
    "with_detail",
]

T = TypeVar("T")
_NAME: Final = "compat"
_MAX_SAID: Final = 1_000
_IN_V1: Final = {"http_stream": ["streamable_http"], "text": ["text", "file"]}
"""Kinds of 0.x under their names of 1.x: `text` with a path is `file`."""
_OWN_TOOLS: Final = frozenset({"mcp", "graphql"})
"""Kinds whose calls need what their discovery finds: the servers' tools, the types of the schema."""
_BASES: Final[tuple[tuple[type[UtcpError], type[Exception]], ...]] = (
    (Rejected, aiohttp.ClientResponseError),
    (Unreachable, aiohttp.ClientConnectionError),
    (ConnectionLost, aiohttp.ClientConnectionError),
    (DeadlineExceeded, TimeoutError),
    (PolicyError, ValueError),
    (InvalidArguments, ValueError),
    (ManualError, ValueError),
    (MalformedReply, ValueError),
)


@dataclass(slots=True)
class Discovered:
    """What the discovery of one template found. `error` is set if it failed."""

    tools: list[Tool]
    error: UtcpError | None = None
    errors: list[str] = field(default_factory=list[str])


_KINDS: Final[dict[tuple[str, str], type[UtcpError]]] = {}


def _kind(own: type[UtcpError], base: type[Exception]) -> type[UtcpError]:
    names = (own.__name__, base.__name__)
    if names not in _KINDS:
        _KINDS[names] = type(own.__name__, (own, base), {"__module__": own.__module__, "__doc__": own.__doc__})
    return _KINDS[names]


def as_reference_error(error: UtcpError) -> UtcpError:
    """Return an error as one that the handlers of a ported program catch as well: with another base."""
    is_missing = isinstance(error.__cause__, FileNotFoundError)
    base = FileNotFoundError if is_missing else next((base for own, base in _BASES if isinstance(error, own)), None)
    has_status = isinstance(error, Rejected) and isinstance(error.status, int)
    if base is None or isinstance(error, base) or (isinstance(error, Rejected) and not has_status):
        return error
    kind = _kind(type(error), base)
    made = kind.__new__(kind)
    made.args = error.args
    made.__dict__.update(error.__dict__)
    if isinstance(error, Rejected) and base is aiohttp.ClientResponseError:
        made.message = with_detail(error)
        made.__dict__.update(request_info=None, history=(), headers=None)
    return made


def with_detail(error: UtcpError) -> str:
    """Return the message of an error, with what the other side said, as in messages of the reference library."""
    detail = error.detail if isinstance(error, Rejected) else None
    if not detail:
        return error.message
    said = detail if isinstance(detail, str) else orjson.dumps(detail, default=str).decode()
    return f"{error.message} {' '.join(said.split())[:_MAX_SAID]}"


def plain_bytes(value: Any) -> Any:
    """Return a result with bytes as they are, without their media type."""
    if isinstance(value, Binary):
        return value.data
    return [plain_bytes(one) for one in value] if is_list(value) else value


async def translated(work: Awaitable[T]) -> T:
    """Return what the work returns.

    :raises UtcpError: the work failed; the error has the base that the reference library's error has.
    """
    try:
        return await work
    except UtcpError as error:
        raise as_reference_error(error) from error


@asynccontextmanager
async def _opened(root: Path | None) -> AsyncGenerator[UtcpClient]:
    client = await UtcpClient.create(root=root)
    try:
        yield client
    finally:
        await client.aclose()


async def discover(template: JsonObject, *, root: Path | None = None) -> Discovered:
    """Load one manual and return its tools."""
    entry = {**template, "name": _NAME}
    async with _opened(root) as client:
        state = await client.register_manual(entry)
        if isinstance(state.error, VariableNotFound):
            raise state.error
        return Discovered(list(client.tools()), state.error, _said(state))


def _said(state: ManualState) -> list[str]:
    """Return the reasons against a manual; the first one has what the other side said."""
    first = [] if state.error is None else [with_detail(state.error)]
    return [*first, *state.errors[len(first) :]]


async def call_with_template(template: JsonObject, name: str, arguments: Mapping[str, Any], root: Path | None) -> Any:
    """Call a tool whose template is given, without a manual.

    :raises UtcpError: the call failed.
    """

    async def call(client: UtcpClient, tool: str) -> Any:
        return plain_bytes(await client.call_tool(tool, dict(arguments)))

    return await translated(_with_tool(template, (name, arguments), root, call))


async def stream_with_template(
    template: JsonObject, name: str, arguments: Mapping[str, Any], root: Path | None
) -> AsyncGenerator[Any]:
    """Yield the partial results of a call of `call_with_template`.

    :raises UtcpError: the call failed.
    """
    client = await UtcpClient.create(root=root)
    try:
        tool = await translated(_registered(client, template, name, arguments))
        async for part in client.call_tool_streaming(tool, dict(arguments)):
            yield plain_bytes(part)
    except UtcpError as error:
        raise as_reference_error(error) from error
    finally:
        await client.aclose()


async def _with_tool(
    template: JsonObject,
    called: tuple[str, Mapping[str, Any]],
    root: Path | None,
    use: Callable[[UtcpClient, str], Awaitable[T]],
) -> T:
    async with _opened(root) as client:
        return await use(client, await _registered(client, template, *called))


async def _registered(client: UtcpClient, template: JsonObject, name: str, arguments: Mapping[str, Any]) -> str:
    """Register a template as a manual, or as the only tool of one. Return the tool's UTCP name.

    The tool declares the arguments of the call: a command gets no others as flags.

    :raises UtcpError: it cannot be registered.
    """
    kind = str(template.get("call_template_type", template.get("provider_type", "")))
    if kind in _OWN_TOOLS:
        tools = await client.register_tool_provider({**template, "name": _NAME})
        last = name.rpartition(".")[2]
        fitting = [one for one in tools if f".{name}".endswith(f".{one.name}")]
        best = max(fitting, key=lambda one: len(one.name), default=None)
        return f"{_NAME}.{last}" if best is None else best.qualified_name
    own = name.partition(".")[2] or name
    place = "tool_call_template" if "call_template_type" in template else "tool_provider"
    version = {"utcp_version": "1.0.1"} if place == "tool_call_template" else {"version": "0.2.3"}
    properties: JsonObject = dict.fromkeys(arguments, True)
    inputs: JsonObject = {"type": "object", "properties": properties}
    tool: JsonObject = {"name": own, "description": "", "inputs": inputs, place: template}
    entry: JsonObject = {
        "name": _NAME,
        "call_template_type": "text",
        "content": {**version, "tools": [tool]},
        "validation": "off",
        "trusted": True,
        "allowed_communication_protocols": _IN_V1.get(kind, [kind]),
    }
    [found] = await client.register_tool_provider(entry)
    return found.qualified_name
