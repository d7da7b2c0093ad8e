"""`prompts/list`, `prompts/get`, and `completion/complete` for the arguments of prompts and of templates."""

from __future__ import annotations

from functools import partial
from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server

from utcp_bridge.catalogue.text import clean
from utcp_bridge.model import Emit, JsonObject
from utcp_bridge.server.relay.desk import Desk
from utcp_bridge.server.relay.directory import Directory, Owner, refuse_link
from utcp_bridge.server.relay.requests import is_modern, not_found, speaking_protocol
from utcp_bridge.server.relay.resources import listed
from utcp_bridge.server.relay.results import completion_result, prompt_result

__all__ = ["Completions", "Prompts"]


class Prompts:
    """The handlers of prompts."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def register(self, server: Server[Any]) -> None:
        """Add the handlers to a server."""
        server.add_request_handler("prompts/list", types.PaginatedRequestParams, self._list)
        server.add_request_handler("prompts/get", types.GetPromptRequestParams, self._get)

    async def _list(self, ctx: ServerRequestContext[Any, Any], params: types.PaginatedRequestParams) -> JsonObject:
        with speaking_protocol(self._desk.client, ctx):
            directory = await self._desk.settled()
            self._desk.changes.given(ctx, "prompts", directory)
            return await self._desk.shown(listed("prompts", directory.prompts, params.cursor))

    async def _get(self, ctx: ServerRequestContext[Any, Any], params: types.GetPromptRequestParams) -> JsonObject:
        with speaking_protocol(self._desk.client, ctx):
            directory = await self._desk.settled()
            owner = directory.prompt(params.name)
            if owner is None:
                message = f"No prompt is named {clean(params.name, 128)!r}. Call prompts/list for the names."
                raise not_found(message, {"name": params.name}, modern=is_modern(ctx))
            given: JsonObject = {}
            if params.arguments is not None:
                given["arguments"] = directory.own_arguments(owner, params.arguments)

            async def get(emit: Emit) -> JsonObject:
                result = await self._desk.ask(ctx, owner, "prompts/get", {"name": owner[1], **given}, emit)
                return prompt_result(result, partial(refuse_link, owner[0]), partial(directory.shown_link, owner[0]))

            return await self._desk.interact(ctx, get)


class Completions:
    """The handler of completions: the owner of the prompt or of the template answers."""

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
            asked = _asked(directory, found, params)

            async def complete(emit: Emit) -> JsonObject:
                return completion_result(await self._desk.ask(ctx, found, "completion/complete", asked, emit))

            return await self._desk.interact(ctx, complete)


def _asked(directory: Directory, owner: Owner, params: types.CompleteRequestParams) -> JsonObject:
    """Return the parameters of a completion in the words of its owner."""
    is_prompt = isinstance(params.ref, types.PromptReference)
    name, given = params.argument.name, (params.context.arguments or {}) if params.context is not None else {}
    if is_prompt:
        [name], given = directory.own_arguments(owner, {name: ""}), directory.own_arguments(owner, given)
    asked: JsonObject = {
        "ref": {"type": params.ref.type, "name" if is_prompt else "uri": owner[1]},
        "argument": {"name": name, "value": params.argument.value},
    }
    return {**asked, "context": {"arguments": given}} if given else asked


def _owner(directory: Directory, ref: types.PromptReference | types.ResourceTemplateReference) -> Owner | None:
    if isinstance(ref, types.PromptReference):
        return directory.prompt(ref.name)
    return next(iter(directory.owners(str(ref.uri))), None)
