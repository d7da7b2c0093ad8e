"""`completion/complete`: by the owner of the prompt or of the template; an empty completion otherwise."""

from __future__ import annotations

from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server

from utcp_bridge.model import JsonObject
from utcp_bridge.server.relay.desk import Desk
from utcp_bridge.server.relay.directory import Directory, Owner
from utcp_bridge.server.relay.requests import speaking_protocol
from utcp_bridge.server.relay.results import completion_result

__all__ = ["Completions"]


class Completions:
    """The handler of completions."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def register(self, server: Server[Any]) -> None:
        """Add the handler to a server."""
        server.add_request_handler("completion/complete", types.CompleteRequestParams, self._complete)

    async def _complete(self, ctx: ServerRequestContext[Any, Any], params: types.CompleteRequestParams) -> JsonObject:
        with speaking_protocol(self._desk.client, ctx):
            directory = await self._desk.settled()
            found = _owner(directory, params.ref)
            if found is None or found[0] not in directory.offering("completions"):
                return completion_result(None)
            key = "name" if isinstance(params.ref, types.PromptReference) else "uri"
            asked: JsonObject = {
                "ref": {"type": params.ref.type, key: found[1]},
                "argument": {"name": params.argument.name, "value": params.argument.value},
            }
            if params.context is not None:
                asked["context"] = params.context.model_dump(by_alias=True, mode="json", exclude_none=True)
            return completion_result(await self._desk.ask(ctx, found, "completion/complete", asked))


def _owner(directory: Directory, ref: types.PromptReference | types.ResourceTemplateReference) -> Owner | None:
    if isinstance(ref, types.PromptReference):
        return directory.prompt(ref.name)
    return next(iter(directory.owners(str(ref.uri))), None)
