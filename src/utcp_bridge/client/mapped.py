"""Mapped resources and prompts, served as what an MCP server offers: each manual with maps is one `Upstream`.

A resource is a tool's result, a file, or text of the map. A prompt is filled in here. Tools are called through their
whole pipeline.
"""

from __future__ import annotations

import mimetypes
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import orjson

from utcp_bridge.errors import InvalidArguments, MalformedReply, PolicyError, UnknownTool
from utcp_bridge.foreign import visible
from utcp_bridge.manuals.registration import ManualState, Registration
from utcp_bridge.maps.patterns import filled
from utcp_bridge.maps.reading import MappedPrompt, MappedResource, Maps, PromptMessage
from utcp_bridge.model import Binary, ContentBlocks, Emit, JsonObject, Result, discard, is_list, is_object, read_at_once
from utcp_bridge.net.files.local_file import FileRoots, FileWatcher, read_local_file, resolve_within
from utcp_bridge.transport import Services
from utcp_bridge.transports.file import read_content
from utcp_bridge.upstream import Offers, ProtocolError, Upstream

__all__ = ["MappedOffers", "MappedUpstream", "contents_of", "filled_in", "message_of_file"]

_VERSION: Final = "2025-11-25"
_INVALID_PARAMS: Final = -32602
_METHOD_NOT_FOUND: Final = -32601
_NOT_FOUND: Final = -32002
_MAX_VALUES: Final = 100
"""Most values of one completion (MCP)."""
_LIST_CHANGED: Final = ("notifications/resources/list_changed", "notifications/prompts/list_changed")

CallTool = Callable[[str, JsonObject], Awaitable[Result]]


@dataclass(frozen=True, slots=True)
class _MapServices:
    services: Services
    call: CallTool
    watcher: FileWatcher


class MappedOffers:
    """The manuals that have maps, each as one `Upstream` for as long as it is registered."""

    def __init__(self, services: Services, registration: Registration, call: CallTool) -> None:
        self._services = services
        self._registration = registration
        registration.remapped = self.changed
        self._context = _MapServices(services, call, FileWatcher(self._file_changed, services.spawn))
        self._known: dict[str, MappedUpstream] = {}

    def upstreams(self) -> list[Upstream]:
        """Return the manuals that have resources or prompts."""
        mapped = {state.name: state for state in self._registration.states() if state.maps}
        self._known = {
            name: known if (known := self._known.get(name)) is not None and known.state is state else self._new(state)
            for name, state in mapped.items()
        }
        return list(self._known.values())

    def changed(self, manual: str) -> None:
        """Announce that a manual has other resources or prompts than before."""
        known = self._known.get(manual)
        self.upstreams()
        if known is not None and known is not self._known.get(manual):
            known.end()
        for method in _LIST_CHANGED:
            if (upstream := self._known.get(manual) or known) is not None:
                self._services.heard(upstream, method, {})

    def _new(self, state: ManualState) -> MappedUpstream:
        return MappedUpstream(state, self._context)

    def _file_changed(self, key: str) -> None:
        manual, _, uri = key.partition(" ")
        if (upstream := self._known.get(manual)) is not None:
            self._services.heard(upstream, "notifications/resources/updated", {"uri": uri})


class MappedUpstream(Upstream):
    """What one manual maps."""

    def __init__(self, state: ManualState, context: _MapServices) -> None:
        self.manual = self.name = state.name
        self.state = state
        self._context = context
        self._watched: set[str] = set()
        self._offered = (state.maps, _offers(state.maps))
        self._methods: dict[str, Callable[[JsonObject], Awaitable[JsonObject]]] = {
            "resources/list": self._list_resources,
            "resources/templates/list": self._list_templates,
            "resources/read": self._read,
            "resources/subscribe": self._subscribe,
            "resources/unsubscribe": self._unsubscribe,
            "prompts/list": self._list_prompts,
            "prompts/get": self._get_prompt,
            "completion/complete": self._complete,
        }

    @property
    def offers(self) -> Offers:
        """What the maps offer now: the same object until they change."""
        if self._offered[0] is not self.state.maps:
            self._offered = (self.state.maps, _offers(self.state.maps))
        return self._offered[1]

    async def request(self, method: str, params: JsonObject, emit: Emit = discard) -> JsonObject:  # noqa: ARG002 - a map reports no progress
        """Answer a request of the protocol.

        :raises ProtocolError: the method, the resource or the prompt does not exist, or an argument is missing.
        :raises UtcpError: the tool failed, or the file cannot be read.
        """
        handler = self._methods.get(method)
        if handler is None:
            raise ProtocolError(_METHOD_NOT_FOUND, f"Manual {self.manual!r} does not offer {method}.")
        return await handler(params)

    def end(self) -> None:
        """Watch no file any more."""
        for uri in self._watched:
            self._context.watcher.forget(f"{self.manual} {uri}")
        self._watched.clear()

    # --- resources ---

    async def _list_resources(self, _params: JsonObject) -> JsonObject:
        return {"resources": list(self.offers.resources)}

    async def _list_templates(self, _params: JsonObject) -> JsonObject:
        return {"resourceTemplates": list(self.offers.resource_templates)}

    async def _read(self, params: JsonObject) -> JsonObject:
        uri = _text(params, "uri")
        resource, values = self._resource(uri)
        if resource.tool is not None:
            result = await self._called(resource, resource.tool, values)
            cut: JsonObject = {"_meta": {"utcp/truncated": result.truncated}} if result.truncated else {}
            return {"contents": contents_of(uri, result.value, resource.media_type), **cut}
        return {"contents": contents_of(uri, await self._value(resource, values, uri), resource.media_type)}

    async def _value(self, resource: MappedResource, values: dict[str, str], uri: str) -> str | Binary:
        if resource.text is not None:
            return filled(resource.text, values)
        if resource.blob is not None:
            return Binary(b64decode(resource.blob))
        return await self._file(resource, values, uri)

    async def _called(self, resource: MappedResource, tool: str, values: dict[str, str]) -> Result:
        arguments = values if resource.arguments is None else _arguments(resource, values)
        name = tool if tool.startswith(f"{self.manual}.") else f"{self.manual}.{tool}"
        try:
            with read_at_once():
                result = await self._context.call(name, arguments)
        except UnknownTool as error:
            raise ProtocolError(
                _NOT_FOUND, f"The tool {tool!r} of this resource is not available: {error.message}"
            ) from None
        if result.failure is not None:
            raise result.failure
        return result

    async def _file(self, resource: MappedResource, values: dict[str, str], uri: str) -> str | Binary:
        path, services = str(resource.file), self._context.services
        limit = services.settings.max_reply_bytes
        if resource.pattern is None or "{" not in path:
            found, data = await read_local_file(path, services.root, limit=limit, confined=resource.is_confined)
            return _value_of_file(found.name, data)
        folder, _, pattern = path[: path.index("{")].rpartition("/")
        pattern += path[path.index("{") :]
        base = resolve_within(
            folder or ("/" if path.startswith("/") else "."), services.root, confined=resource.is_confined
        )
        roots = FileRoots([str(base)], base=services.root, max_bytes=limit)
        try:
            read = await roots.read(f"./{filled(pattern, values)}")
        except (InvalidArguments, PolicyError):
            read = None
        if read is None:
            raise _unknown(uri)
        return _value_of_file(*read)

    async def _subscribe(self, params: JsonObject) -> JsonObject:
        """Acknowledge; the file of a resource is watched, other resources have no notifications."""
        uri = _text(params, "uri")
        resource, _ = self._resource(uri)
        if resource.file is not None and (resource.pattern is None or "{" not in resource.file):
            path = resolve_within(resource.file, self._context.services.root, confined=resource.is_confined)
            self._context.watcher.watch(f"{self.manual} {uri}", path)
            self._watched.add(uri)
        return {}

    async def _unsubscribe(self, params: JsonObject) -> JsonObject:
        uri = _text(params, "uri")
        if uri in self._watched:
            self._watched.remove(uri)
            self._context.watcher.forget(f"{self.manual} {uri}")
        return {}

    def _resource(self, uri: str) -> tuple[MappedResource, dict[str, str]]:
        resources = self.state.maps.resources
        found = resources.get(uri)
        if found is not None and found.pattern is None:
            return found, {}
        for one in resources.values():
            if one.pattern is not None and (values := one.pattern.values(uri)) is not None:
                return one, values
        raise _unknown(uri)

    # --- prompts ---

    async def _list_prompts(self, _params: JsonObject) -> JsonObject:
        return {"prompts": list(self.offers.prompts)}

    async def _get_prompt(self, params: JsonObject) -> JsonObject:
        prompt = self._prompt(_text(params, "name"))
        given = params.get("arguments")
        stated = {name: str(value) for name, value in given.items()} if is_object(given) else {}
        missing = [name for name in prompt.required if name not in stated]
        if missing:
            names = ", ".join(map(repr, missing))
            raise ProtocolError(_INVALID_PARAMS, f"Prompt {prompt.name!r} needs these arguments: {names}.")
        values = {one["name"]: stated.get(one["name"], "") for one in prompt.described.get("arguments", ())}
        messages = [
            {"role": message.role, "content": await self._content(message, values)} for message in prompt.messages
        ]
        description = prompt.described.get("description")
        return {"messages": messages} if description is None else {"description": description, "messages": messages}

    async def _content(self, message: PromptMessage, values: dict[str, str]) -> JsonObject:
        if message.content is not None:
            return filled_content(message.content, values)
        services = self._context.services
        limit = services.settings.max_reply_bytes
        path, data = await read_local_file(str(message.file), services.root, limit=limit, confined=message.is_confined)
        value = _value_of_file(path.name, data)
        return message_of_file(path.name, filled(value, values) if isinstance(value, str) else value)

    def _prompt(self, name: str) -> MappedPrompt:
        found = self.state.maps.prompts.get(name)
        if found is None:
            raise ProtocolError(_INVALID_PARAMS, f"The manual does not have a prompt {name!r}.")
        return found

    # --- completions ---

    async def _complete(self, params: JsonObject) -> JsonObject:
        """Return the values of a variable or an argument that start with what was typed, then those that contain it."""
        argument, ref = params.get("argument"), params.get("ref")
        if not is_object(argument) or not is_object(ref):
            raise ProtocolError(_INVALID_PARAMS, "A completion needs `ref` and `argument`.")
        values = self._values(ref).get(str(argument.get("name")), [])
        typed = str(argument.get("value") or "").casefold()
        starting = [one for one in values if one.casefold().startswith(typed)]
        found = starting + [one for one in values if typed in one.casefold() and one not in starting]
        shown = found[:_MAX_VALUES]
        return {"completion": {"values": shown, "total": len(found), "hasMore": len(found) > len(shown)}}

    def _values(self, ref: JsonObject) -> JsonObject:
        if ref.get("type") == "ref/prompt":
            return self._prompt(str(ref.get("name"))).values
        uri = str(ref.get("uri"))
        found = self.state.maps.resources.get(uri)
        if found is None:
            raise _unknown(uri)
        return found.values


def _offers(maps: Maps) -> Offers:
    capabilities: JsonObject = {"completions": {}}
    if maps.resources:
        capabilities["resources"] = {"subscribe": True, "listChanged": True}
    if maps.prompts:
        capabilities["prompts"] = {"listChanged": True}
    resources = maps.resources.values()
    return Offers(
        version=_VERSION,
        capabilities=capabilities,
        resources=tuple(one.described for one in resources if one.pattern is None),
        resource_templates=tuple(one.described for one in resources if one.pattern is not None),
        prompts=tuple(one.described for one in maps.prompts.values()),
    )


def _arguments(resource: MappedResource, values: dict[str, str]) -> JsonObject:
    """Return the arguments of the tool. One that is a variable which the URI leaves out is left out, too."""
    names = () if resource.pattern is None else resource.pattern.variables
    absent = {f"{{{name}}}" for name in names if name not in values}
    stated = {
        key: value
        for key, value in (resource.arguments or {}).items()
        if not isinstance(value, str) or value not in absent
    }
    found: JsonObject = filled_in(stated, {**dict.fromkeys(names, ""), **values})
    return found


def _value_of_file(name: str, data: bytes) -> str | Binary:
    return read_content(data, kind=mimetypes.guess_type(name)[0] or "application/octet-stream")


def _text(params: JsonObject, key: str) -> str:
    value = params.get(key)
    if not isinstance(value, str):
        raise ProtocolError(_INVALID_PARAMS, f"`{key}` must be text.")
    return value


def _unknown(uri: str) -> ProtocolError:
    return ProtocolError(_NOT_FOUND, "Resource not found", {"uri": uri})


# --- values of tools and files as contents, wire-shaped ---


def contents_of(uri: str, value: Any, media_type: str | None) -> list[JsonObject]:
    """Return the contents of a resource from a tool's value; `media_type` is what the map states.

    :raises MalformedReply: the value has an error, or cannot be written as JSON.
    """
    if isinstance(value, ContentBlocks):
        return _of_blocks(uri, value, media_type)
    if is_list(value) and any(isinstance(one, Binary) for one in value):
        return [part for one in value for part in contents_of(uri, one, media_type)]
    if isinstance(value, Binary):
        return [{"uri": uri, "mimeType": media_type or value.media_type, "blob": _base64(value.data)}]
    if isinstance(value, str):
        return [{"uri": uri, "mimeType": media_type or "text/plain", "text": value}]
    return [{"uri": uri, "mimeType": media_type or "application/json", "text": _json(value)}]


def message_of_file(name: str, value: str | Binary) -> JsonObject:
    """Return a file as a content block of a prompt: text, image, audio, or an embedded resource."""
    if isinstance(value, str):
        return {"type": "text", "text": value}
    sort = value.media_type.partition("/")[0]
    data = _base64(value.data)
    if sort in {"image", "audio"}:
        return {"type": sort, "data": data, "mimeType": value.media_type}
    return {"type": "resource", "resource": {"uri": f"file:///{name}", "mimeType": value.media_type, "blob": data}}


def filled_content(content: JsonObject, values: dict[str, str]) -> JsonObject:
    """Return a content block with the arguments of its prompt."""
    found: JsonObject = filled_in(content, values)
    return found


def filled_in(value: Any, values: dict[str, str]) -> Any:
    """Return a JSON value with the variables in its texts replaced."""
    if isinstance(value, str):
        return filled(value, values)
    if is_object(value):
        return {key: filled_in(one, values) for key, one in value.items()}
    return [filled_in(one, values) for one in value] if is_list(value) else value


def _of_blocks(uri: str, value: ContentBlocks, media_type: str | None) -> list[JsonObject]:
    if value.is_error:
        texts = [str(block.get("text")) for block in value.content if is_object(block) and block.get("text")]
        raise MalformedReply(f"The tool of the resource reported an error: {visible(' '.join(texts))[:1_000]}")
    return [part for block in value.content if (part := _of_block(uri, block, media_type)) is not None]


def _of_block(uri: str, block: JsonObject, media_type: str | None) -> JsonObject | None:
    if isinstance(block.get("text"), str):
        return {"uri": uri, "mimeType": media_type or "text/plain", "text": block["text"]}
    if isinstance(block.get("data"), str):
        return {"uri": uri, "mimeType": media_type or block.get("mimeType"), "blob": block["data"]}
    resource = block.get("resource")
    return resource if is_object(resource) else None


def _json(value: Any) -> str:
    try:
        return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:
        raise MalformedReply("The value of the resource's tool cannot be written as JSON.") from None


def _base64(data: bytes) -> str:
    return b64encode(data).decode()
