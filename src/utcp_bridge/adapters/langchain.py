"""`UTCPToolkit`: UTCP tools as LangChain tools. Needs langchain-core only.

Names, descriptions, schemas and the text of results are those that the bridge shows to MCP hosts, because models read
both. The client receives the arguments as the model wrote them, and validates them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol, Self

from utcp_bridge.catalogue.budget import allowance_for
from utcp_bridge.catalogue.catalogue import Catalogue, Entry
from utcp_bridge.catalogue.fitting import Budget
from utcp_bridge.catalogue.render import Rendering, compact, render_error, render_result
from utcp_bridge.client.client import UtcpClient
from utcp_bridge.client.extensions import Extensions
from utcp_bridge.client.sync import UTCPClient
from utcp_bridge.configuration.loading import ConfigLike
from utcp_bridge.errors import MissingExtra, UnknownTool
from utcp_bridge.model import JsonObject, Result, Tool, is_object, matches_glob

try:
    from langchain_core.tools import BaseTool, BaseToolkit, ToolException
except ImportError:
    raise ImportError(
        f"The LangChain adapter needs langchain-core. Install it with: {MissingExtra.install_line('langchain')}"
    ) from None

__all__ = ["UTCPTool", "UTCPToolkit"]

ErrorHandling = bool | str | Callable[[ToolException], Any] | None
"""What a LangChain tool does with a `ToolException`; see `BaseTool.handle_tool_error`."""


class _Caller(Protocol):
    """Where a toolkit's calls run."""

    client: UtcpClient

    def call(self, tool: Tool, arguments: JsonObject, /) -> Result: ...
    async def acall(self, tool: Tool, arguments: JsonObject, /) -> Result: ...


class _OwnLoop:
    """Run calls in the event loop of a `UTCPClient`, for callers in any thread and on any loop."""

    def __init__(self, owner: UTCPClient) -> None:
        self.owner = owner
        self.client = owner.client

    def call(self, tool: Tool, arguments: JsonObject) -> Result:
        return self.owner.start_call(tool, arguments).result()

    async def acall(self, tool: Tool, arguments: JsonObject) -> Result:
        return await asyncio.wrap_future(self.owner.start_call(tool, arguments))


class _CallersLoop:
    """Run calls in the caller's event loop, which is the client's."""

    def __init__(self, client: UtcpClient) -> None:
        self.client = client

    def call(self, tool: Tool, _arguments: JsonObject) -> Result:
        raise NotImplementedError(
            f"{tool.qualified_name} belongs to an asynchronous client. Use `await tool.ainvoke(...)`, or make the"
            " toolkit with `UTCPToolkit.from_config` or `from_manual`, whose tools also work with `invoke`."
        )

    async def acall(self, tool: Tool, arguments: JsonObject) -> Result:
        return await self.client.call(tool, arguments)


class UTCPTool(BaseTool):
    """One UTCP tool. The content of its result is text, or a list of blocks if it contains images, audio or files.

    The artifact is the value of the result that `UtcpClient.call` returns. A failed call raises `ToolException` with
    one sentence and the remedy; `handle_tool_error` receives it.
    """

    response_format: Literal["content", "content_and_artifact"] = "content_and_artifact"
    _entry: Entry
    _caller: _Caller

    def __init__(self, entry: Entry, caller: _Caller, *, handle_tool_error: ErrorHandling = False) -> None:
        tool, listed = entry.tool, entry.listed
        super().__init__(
            name=entry.name,
            description=listed["description"],
            args_schema=listed["inputSchema"],
            metadata={"utcp_name": tool.qualified_name, **listed.get("annotations", {})},
            handle_tool_error=handle_tool_error,
        )
        self._entry = entry
        self._caller = caller

    @property
    def args(self) -> dict[str, Any]:
        """The JSON Schema of each argument, by name."""
        return dict(self._entry.listed["inputSchema"].get("properties", {}))

    # An argument may have any name, also `self` or `config`, so these methods have no named parameters.

    def _run(self, /, *_args: Any, **arguments: Any) -> tuple[Any, Any]:
        try:
            result = self._caller.call(self._live_tool(), self._entry.own_arguments(arguments))
        except NotImplementedError:
            raise
        except Exception as error:  # noqa: BLE001 - the caller receives a sentence, the log the cause
            raise _as_tool_exception(error) from None
        return self._rendered(result)

    async def _arun(self, /, *_args: Any, **arguments: Any) -> tuple[Any, Any]:
        try:
            result = await self._caller.acall(self._live_tool(), self._entry.own_arguments(arguments))
        except Exception as error:  # noqa: BLE001 - see `_run`
            raise _as_tool_exception(error) from None
        return self._rendered(result)

    def _live_tool(self) -> Tool:
        """Return the tool as its manual describes it now: the manual may have changed since.

        :raises UnknownTool: the manual no longer has the tool.
        """
        name = self._entry.tool.qualified_name
        tool = self._caller.client.find(name)
        if tool is None:
            raise UnknownTool(f"The manual no longer has the tool {name!r}.", remedy="Call `get_tools()` again.")
        return tool

    def _rendered(self, result: Result) -> tuple[Any, Any]:
        budget = Budget(allowance_for(self._caller.client.settings, None).max_bytes)
        rendered = render_result(result, Rendering(budget, uri=f"utcp:{self.name}"))
        content = _content(rendered["content"])
        if rendered["isError"]:
            raise ToolException(compact(content))
        return content, result.value


class UTCPToolkit(BaseToolkit):
    """UTCP tools for LangChain agents: `from_manual`, `from_config` or `from_client`, then `get_tools()`.

    `close()` or the end of the `with` block closes the client, unless the program opened it itself (`from_client`).
    In all three, `tools` selects tools by names or globs: UTCP names (`manual.tool`), the tool's own names, or the
    names that the model sees. The default is all tools. `handle_tool_error` is LangChain's: by default a failed call
    raises `ToolException`.
    """

    _caller: _Caller
    _catalogue: Catalogue
    _patterns: tuple[str, ...] | None
    _handle_tool_error: ErrorHandling

    def __init__(self, caller: _Caller, tools: Iterable[str] | str | None, handle_tool_error: ErrorHandling) -> None:
        super().__init__()
        self._caller = caller
        self._catalogue = Catalogue(caller.client)
        self._patterns = (tools,) if isinstance(tools, str) else None if tools is None else tuple(tools)
        self._handle_tool_error = handle_tool_error

    @classmethod
    def from_manual(
        cls,
        place: str | Path,
        *,
        name: str | None = None,
        tools: Iterable[str] | str | None = None,
        handle_tool_error: ErrorHandling = False,
    ) -> Self:
        """Return a toolkit for one manual or OpenAPI description.

        `place` is a file or a URL. `name` is the name of the manual, by default that of the place.

        :raises UtcpError: the manual could not be loaded.
        """
        owner = UTCPClient()
        try:
            owner.load_manual(place, name)
        except BaseException:
            owner.close()
            raise
        return cls(_OwnLoop(owner), tools, handle_tool_error)

    @classmethod
    def from_config(
        cls,
        config: ConfigLike,
        *,
        root: Path | None = None,
        extensions: Extensions | None = None,
        tools: Iterable[str] | str | None = None,
        handle_tool_error: ErrorHandling = False,
    ) -> Self:
        """Return a toolkit for a configuration, in any form that `UtcpClient.create` accepts.

        A manual that fails never raises: `toolkit.client.report()` lists the state of each.

        :raises ConfigError: the configuration cannot be read.
        """
        return cls(_OwnLoop(UTCPClient(config, root=root, extensions=extensions)), tools, handle_tool_error)

    @classmethod
    def from_client(
        cls,
        client: UtcpClient,
        *,
        tools: Iterable[str] | str | None = None,
        handle_tool_error: ErrorHandling = False,
    ) -> Self:
        """Return a toolkit for a client that the program opens and closes itself.

        Its tools work with `ainvoke`, on the client's event loop.
        """
        return cls(_CallersLoop(client), tools, handle_tool_error)

    @property
    def client(self) -> UtcpClient:
        """The client of the toolkit. Its coroutines must run on the event loop that created it."""
        return self._caller.client

    def get_tools(self) -> list[BaseTool]:
        """Return the current tools, in the order of their UTCP names.

        :raises UnknownTool: a name or glob of `tools` matches no tool.
        """
        entries = list(self._catalogue.entries.values())
        if self._patterns is not None:
            entries = _chosen(entries, self._patterns)
        return [UTCPTool(entry, self._caller, handle_tool_error=self._handle_tool_error) for entry in entries]

    def close(self) -> None:
        """End calls, connections and child processes. Does nothing the second time, or after `from_client`."""
        if isinstance(self._caller, _OwnLoop):
            self._caller.owner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _chosen(entries: Sequence[Entry], patterns: Iterable[str]) -> list[Entry]:
    chosen: set[str] = set()
    for pattern in patterns:
        fitting = {entry.name for entry in entries if _fits(entry, pattern)}
        if not fitting:
            some = ", ".join(entry.tool.qualified_name for entry in entries[:10])
            raise UnknownTool(f"No tool matches {pattern!r}.", remedy=f"The tools are: {some or 'none'}.")
        chosen |= fitting
    return [entry for entry in entries if entry.name in chosen]


def _fits(entry: Entry, pattern: str) -> bool:
    names = (entry.tool.qualified_name, entry.tool.name, entry.name)
    return any(matches_glob(pattern, name) for name in names)


def _as_tool_exception(error: Exception) -> ToolException:
    return ToolException(render_error(error)["content"][0]["text"])


def _content(blocks: Sequence[JsonObject]) -> str | list[JsonObject]:
    """Return MCP content as LangChain content: one text if all blocks are text, or else blocks."""
    converted = [_block(block) for block in blocks]
    if all(block["type"] == "text" for block in converted):
        return "\n".join(block["text"] for block in converted)
    return converted


def _block(block: JsonObject) -> JsonObject:
    """Return an MCP block as a block of a `ToolMessage`, which has no audio: audio becomes a file."""
    kind = block["type"]
    if kind == "text":
        return {"type": "text", "text": block["text"]}
    if kind in {"image", "audio"}:
        return _data_block("image" if kind == "image" else "file", block["data"], block["mimeType"])
    resource = block.get("resource")
    if is_object(resource) and "blob" in resource:
        return _data_block("file", resource["blob"], resource.get("mimeType", "application/octet-stream"))
    return {"type": "text", "text": resource["text"] if is_object(resource) else compact(block)}


def _data_block(kind: str, data: str, media_type: str) -> JsonObject:
    return {"type": kind, "base64": data, "mime_type": media_type}
