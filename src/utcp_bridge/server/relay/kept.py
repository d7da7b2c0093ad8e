"""Kept results as resources: `resources/list` has those of the caller, and `resources/read` returns them."""

from __future__ import annotations

from typing import Final

import mcp_types as types
from mcp.shared.exceptions import MCPError

from utcp_bridge.catalogue.fitting import RESULT_SCHEME
from utcp_bridge.errors import UtcpError
from utcp_bridge.model import JsonObject
from utcp_bridge.server.kept_results import handle_and_offset
from utcp_bridge.server.meta_tools import Caller, MetaTools, ResultBudgets
from utcp_bridge.server.reply_workers import ReplyWorkers

__all__ = ["KeptResources"]

_MAX_RESOURCE_BYTES: Final = 16 * 1024 * 1024


class KeptResources:
    """The results that were cut, as resources of their callers."""

    def __init__(self, budgets: ResultBudgets, meta_tools: MetaTools, workers: ReplyWorkers) -> None:
        self._budgets = budgets
        self._meta_tools = meta_tools
        self._workers = workers
        self.is_on: Final = bool(budgets.kept.max_bytes)
        """Whether results are kept at all."""

    @staticmethod
    def has(uri: str) -> bool:
        """Return whether a URI is one of a kept result."""
        return uri.lower().startswith(RESULT_SCHEME)

    def entries(self, caller: Caller) -> list[JsonObject]:
        """Return the caller's kept results as entries of `resources/list`.

        Requests over HTTP without a session get none: other programs with the same token, or without one, could read
        each other's. They have the link of the result.
        """
        kept = [] if caller.is_shared else self._budgets.kept.handles(caller.owner)
        return [
            {
                "uri": f"{RESULT_SCHEME}{handle}",
                "name": f"result-{handle[:8]}",
                "description": "The whole of a result that was cut.",
                "mimeType": one.media_type,
                "size": one.size,
            }
            for handle, one in kept
        ]

    async def read(self, uri: str, caller: Caller) -> JsonObject:
        """Return a kept result, whole or from an offset on, as a result of `resources/read`.

        :raises MCPError: the URI is not one of the caller's kept results.
        """
        try:
            handle, offset = handle_and_offset(uri)
            kept = await self._meta_tools.kept_result(handle, caller)
            limit = caller.max_event_bytes or _MAX_RESOURCE_BYTES
            contents = await self._workers.contents(kept, handle, offset, limit)
        except UtcpError as error:
            raise MCPError(types.INVALID_PARAMS, str(error)) from None
        return {"contents": contents, "resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
