"""AsyncAPI 2 and 3 descriptions of a server as OpenAPI descriptions, and how each operation is called (pure).

The source is the AsyncAPI specification (2.6.0 and 3.0.0) with its bindings for WebSockets (0.1.0) and HTTP (0.3.0). An
operation becomes a path. Its references stay as they are, because the description keeps every part of the document. So
the reader of OpenAPI reads parameters, schemas and credentials. `on_transport` then gives a tool the call template of
its transport. In version 3, `receive` is what the server receives; in version 2, `publish` is what clients publish.
Operations of brokers (Kafka, MQTT, AMQP and others) are left out: the bridge has no transport for them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from utcp_bridge.dialects.openapi.tools import numbered_name, safe_name
from utcp_bridge.errors import ManualError
from utcp_bridge.model import Fault, JsonObject, is_list, is_object
from utcp_bridge.urls import at_pointer

__all__ = ["AsyncDescription", "AsyncWay", "is_asyncapi", "on_transport", "openapi_of_asyncapi"]

_PROTOCOLS: Final = {"ws": "http", "wss": "https", "http": "http", "https": "https", "sse": "https", "mercure": "https"}
"""The protocols that the bridge has a transport for, and the scheme of their addresses."""
_STREAMS: Final = frozenset({"sse", "mercure"})
_EVENT_STREAM: Final = "text/event-stream"
_MAX_REFERENCES: Final = 32
_MAX_NAME: Final = 56
_METHODS: Final = frozenset({"get", "put", "post", "delete", "options", "head", "patch", "trace"})
_BODILESS: Final = frozenset({"get", "head", "options", "trace"})
_PLACEHOLDER: Final = re.compile(r"\{([^{}]+)\}")
_KEPT: Final = frozenset({"type", "scheme", "bearerFormat", "description", "openIdConnectUrl"})


@dataclass(frozen=True, slots=True)
class AsyncWay:
    """How an operation is called. `expected` is the number of replies; `query` names the arguments of the address."""

    kind: Literal["websocket", "sse", "http"]
    sends: bool = True
    expected: int = 1
    message_filter: JsonObject = field(default_factory=dict[str, Any])
    query: tuple[str, ...] = field(default=(), repr=False)


@dataclass(slots=True)
class AsyncDescription:
    """What a document says. `ways` has the way of each operation, by its id."""

    openapi: JsonObject
    ways: dict[str, AsyncWay] = field(default_factory=dict[str, AsyncWay])
    faults: list[Fault] = field(default_factory=list[Fault])


@dataclass(frozen=True, slots=True)
class _Operation:
    """An operation of either version. `sends`: the client sends `messages`; else it receives them."""

    identity: str
    sends: bool
    node: Mapping[str, Any]
    channel: Mapping[str, Any]
    address: Any
    servers: list[Mapping[str, Any]]
    messages: list[Any]
    replies: list[Any]
    has_reply: bool


def is_asyncapi(document: Any) -> bool:
    """Return whether a parsed document is an AsyncAPI description of version 2 or 3."""
    return is_object(document) and str(document.get("asyncapi", "")).startswith(("2.", "3."))


def openapi_of_asyncapi(document: JsonObject, name: str, base_url: str | None = None) -> AsyncDescription:
    """Return the OpenAPI description of a document, with the way of each operation.

    `base_url` is the server of a document that names none; its scheme says which protocol it speaks.

    :raises ManualError: the document is not an AsyncAPI description, or the bridge can call none of its operations.
    """
    if not is_asyncapi(document):
        raise ManualError(f"{name} is not an AsyncAPI description of version 2 or 3.")
    return _AsyncApi(document, name, base_url).described()


def on_transport(tool: JsonObject, way: AsyncWay) -> JsonObject:
    """Return a tool of the OpenAPI description with the call template of its transport."""
    template: JsonObject = tool["tool_call_template"]
    if way.kind == "http":
        return tool
    if way.kind == "sse":
        return {**tool, "tool_call_template": {**template, "call_template_type": "sse"}, "outputs": {}}
    url: str = template["url"].replace("http", "ws", 1) if template["url"].startswith("http") else template["url"]
    inputs = _object(tool.get("inputs"))
    properties, required = _object(inputs.get("properties")), _list(inputs.get("required"))
    queries = [
        f"{key}={{{{{key}}}}}" if key in required else f"{key}={{{{{key}|default:{_default(properties[key])}}}}}"
        for key in way.query
        if key in properties
    ]
    if queries:
        url += "?" + "&".join(queries)  # an address has its whole query, so an absent value is its default, or empty
    made: JsonObject = {"call_template_type": "websocket", "url": url, "expected_responses": way.expected}
    made |= {key: template[key] for key in ("header_fields", "auth", "auth_tools") if key in template}
    body = _object(_object(template.get("request_plan")).get("body"))
    if not way.sends:
        made["message"] = ""
    elif body and not body.get("members"):
        made["message"] = "{{body}}"
    if way.message_filter:
        made["message_filter"] = way.message_filter
    if way.expected == 1:
        del made["expected_responses"]  # the default, which other clients have too
    return {**tool, "tool_call_template": made}


def _default(schema: Any) -> str:
    value = _object(schema).get("default")
    return str(value) if isinstance(value, str | int) and re.fullmatch(r"[\w.-]{1,100}", str(value)) else ""


class _AsyncApi:
    def __init__(self, document: JsonObject, name: str, base_url: str | None) -> None:
        self._document = document
        self._name = name
        scheme, _, rest = (base_url or "").partition("://")
        self._given: Mapping[str, Any] = {"protocol": scheme.lower(), "host": rest, "url": base_url} if rest else {}
        self._is_old = str(document["asyncapi"]).startswith("2.")
        self._made = AsyncDescription({})
        self._schemes: dict[str, JsonObject] = {}
        self._taken: set[str] = set()

    def described(self) -> AsyncDescription:
        document = self._document
        paths: dict[str, JsonObject] = {}
        for operation in self._old_operations() if self._is_old else self._operations():
            self._add(paths, operation)
        if not paths:
            reason = next((fault.what for fault in self._made.faults), "it has no operations.")
            raise ManualError(f"{self._name} has no operation that the bridge can call: {reason}")
        info = _object(document.get("info"))
        components = {**_object(document.get("components")), "securitySchemes": self._schemes}
        self._made.openapi = {
            **{key: one for key, one in document.items() if key not in {"asyncapi", "servers", "security", "tags"}},
            "openapi": "3.1.0",
            "info": {"title": str(info.get("title") or ""), "version": str(info.get("version") or "1.0.0"),
                     "description": str(info.get("description") or "")},
            "servers": next(one["servers"] for item in paths.values() for one in item.values()),
            "paths": paths,
            "components": components,
        }  # fmt: skip
        return self._made

    def _fault(self, where: str, what: str, severity: Any = "error") -> None:
        self._made.faults.append(Fault(f"{self._name}, {where}", what, severity=severity))

    def _follow(self, node: Any) -> Any:
        """Return what a local reference is about. One to another file stays."""
        for _ in range(_MAX_REFERENCES):
            if not is_object(node) or not isinstance(node.get("$ref"), str) or not node["$ref"].startswith("#"):
                return node
            node = at_pointer(self._document, node["$ref"])
        return None

    def _merged(self, node: Any) -> JsonObject:
        """Return an operation or a message with its traits, which it overrides."""
        found = _object(self._follow(node))
        made: JsonObject = {}
        for trait in _list(found.get("traits")):
            made |= _object(self._follow(trait))
        return {**made, **found}

    # --- the operations of both versions

    def _operations(self) -> Iterator[_Operation]:
        for identity, raw in _object(self._document.get("operations")).items():
            node = self._merged(raw)
            channel = _object(self._follow(node.get("channel")))
            reply = self._follow(node.get("reply"))
            answering = _object(reply)
            reply_channel = _object(self._follow(answering.get("channel")))
            listed = _list(node.get("messages")) or list(_object(channel.get("messages")).values())
            replies = _list(answering.get("messages")) or list(_object(reply_channel.get("messages")).values())
            servers = [_object(self._follow(one)) for one in _list(channel.get("servers"))]
            all_servers = [_object(self._follow(one)) for one in _object(self._document.get("servers")).values()]
            sends = node.get("action") == "receive"
            yield _Operation(
                str(identity), sends, node, channel, channel.get("address"), servers or all_servers, listed, replies,
                is_object(reply),
            )  # fmt: skip

    def _old_operations(self) -> Iterator[_Operation]:
        servers = {str(key): _object(self._follow(one)) for key, one in _object(self._document.get("servers")).items()}
        for address, raw in _object(self._document.get("channels")).items():
            channel = _object(self._follow(raw))
            named = [servers[one] for one in _list(channel.get("servers")) if one in servers]
            for verb in ("publish", "subscribe"):
                if verb not in channel:
                    continue
                node = self._merged(channel[verb])
                message = _object(self._follow(node.get("message")))
                messages = _list(message.get("oneOf")) or ([node["message"]] if message else [])
                identity = str(node.get("operationId") or f"{verb}_{address}")
                yield _Operation(
                    identity, verb == "publish", node, channel, address, named or list(servers.values()), messages, [],
                    verb == "publish" and "subscribe" in channel,
                )  # fmt: skip

    # --- one operation

    def _add(self, paths: dict[str, JsonObject], operation: _Operation) -> None:
        where = f"operation {operation.identity!r}"
        if not isinstance(operation.address, str):
            self._fault(where, "its channel has no address, so this operation is left out.")
            return
        servers = operation.servers or ([self._given] if self._given else [])
        server = next((one for one in servers if str(one.get("protocol")).lower() in _PROTOCOLS), None)
        if server is None:
            said = ", ".join(sorted({str(one.get("protocol")) for one in servers}))
            what = f"the bridge has no transport for {said}" if said else "the document names no server for it"
            self._fault(where, f"{what}, so this operation is left out.")
            return
        protocol = str(server["protocol"]).lower()
        identity = self._identity(operation.identity)
        path = operation.address if operation.address.startswith("/") else f"/{operation.address}"
        address, own = self._server(server, protocol), _path_of(server)
        if own and path.strip("/") in {"", own} and "{" not in own:  # the address has it already
            address, path = {**address, "url": address["url"].removesuffix(f"/{own}")}, f"/{own}"
        is_socket = protocol in {"ws", "wss"}
        method, made = self._http(operation) if not is_socket else ("post", self._socket(operation))
        made |= {
            "operationId": identity,
            "summary": str(operation.node.get("summary") or operation.node.get("title") or ""),
            "description": self._about(operation),
            "tags": [
                one["name"] for one in _list(operation.node.get("tags")) if isinstance(_object(one).get("name"), str)
            ],
            "servers": [address],
            "security": self._security(operation.node.get("security", server.get("security")), where),
        }
        made["parameters"] = [*self._path_parameters(operation, path), *made["parameters"]]
        while method in paths.setdefault(path, {}):
            path += "#"  # several operations of one channel; what follows the mark is not sent
        paths[path][method] = made
        self._made.ways[identity] = self._way(operation, protocol, made)

    def _identity(self, stated: str) -> str:
        return numbered_name(safe_name(stated)[:_MAX_NAME].strip("_-") or "operation", self._taken)

    def _about(self, operation: _Operation) -> str:
        """Return the operation's description, or that of its messages."""
        node = operation.node
        if node.get("description") or node.get("summary"):
            return str(node.get("description") or "")
        messages = [self._merged(one) for one in operation.messages]
        said = [str(one.get("description") or one.get("summary") or "") for one in messages]
        return "\n\n".join(dict.fromkeys(one for one in said if one)) or str(operation.channel.get("description") or "")

    def _server(self, server: Mapping[str, Any], protocol: str) -> JsonObject:
        stated = server.get("url") if self._is_old else f"{server.get('host') or ''}{server.get('pathname') or ''}"
        address = str(stated or "")
        scheme = _PROTOCOLS[protocol]
        rest = address.partition("://")[2] or address
        if protocol in _STREAMS and address.startswith("http://"):
            scheme = "http"
        variables = {key: _object(self._follow(one)) for key, one in _object(server.get("variables")).items()}
        return {"url": f"{scheme}://{rest}".rstrip("/"), "variables": variables}

    def _path_parameters(self, operation: _Operation, path: str) -> list[JsonObject]:
        stated = _object(operation.channel.get("parameters"))
        made: list[JsonObject] = []
        for key in dict.fromkeys(_PLACEHOLDER.findall(path)):
            known = _object(self._follow(stated.get(key)))
            schema = known.get("schema")
            if schema is None:
                schema = {
                    "type": "string",
                    **{one: known[one] for one in ("enum", "default", "examples") if one in known},
                }
            about = str(known.get("description") or "")
            made.append({"name": key, "in": "path", "required": True, "description": about, "schema": schema})
        return made

    def _socket(self, operation: _Operation) -> JsonObject:
        binding = _object(_object(self._follow(operation.channel.get("bindings"))).get("ws"))
        made: JsonObject = {"parameters": [*self._members(binding.get("query"), "query"),
                                           *self._members(binding.get("headers"), "header")]}  # fmt: skip
        replies = operation.replies if operation.sends else operation.messages
        made["responses"] = self._responses(replies)
        if operation.sends and (schema := self._payloads(operation.messages)) is not None:
            made["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
        return made

    def _http(self, operation: _Operation) -> tuple[str, JsonObject]:
        """Return the method and the operation of a request. A `send` with a reply is a request of the API's client."""
        bindings = _object(self._follow(operation.node.get("bindings")))
        binding = _object(bindings.get("http"))
        is_request = operation.sends or (operation.has_reply and not self._is_old)
        method = str(binding.get("method") or ("POST" if is_request else "GET")).lower()
        method = method if method in _METHODS else "post"
        made: JsonObject = {"parameters": self._members(binding.get("query"), "query")}
        made["responses"] = self._responses(operation.replies if is_request else operation.messages)
        if is_request:
            for message in map(self._merged, operation.messages):
                headers = message.get("headers") or _object(_object(message.get("bindings")).get("http")).get("headers")
                made["parameters"] += self._members(headers, "header")
            schema = None if method in _BODILESS else self._payloads(operation.messages)
            if schema is not None:
                media_type = self._media_type(operation.messages)
                made["requestBody"] = {"required": True, "content": {media_type: {"schema": schema}}}
        return method, made

    def _members(self, schema: Any, place: str) -> list[JsonObject]:
        """Return a parameter for each property of a binding's schema."""
        found = _object(self._follow(schema))
        required = _list(found.get("required"))
        return [
            {"name": str(key), "in": place, "required": key in required, "schema": one,
             "description": str(_object(one).get("description") or "")}
            for key, one in _object(found.get("properties")).items()
        ]  # fmt: skip

    def _payloads(self, messages: list[Any]) -> Any:
        """Return the schema of a message: of one of them, if there are several. None: it has no payload."""
        found = [one for message in messages if (one := self._payload(message)) is not None]
        return None if not found else found[0] if len(found) == 1 else {"oneOf": found}

    def _payload(self, message: Any) -> Any:
        node = self._merged(message)
        if isinstance(reference := node.get("$ref"), str):
            return {"$ref": f"{reference}/payload" if "#" in reference else f"{reference}#/payload"}
        payload = node.get("payload")
        if is_object(payload) and "schemaFormat" in payload:
            payload = payload.get("schema")
        return payload if is_object(payload) or isinstance(payload, bool) else None

    def _media_type(self, messages: list[Any]) -> str:
        default = self._document.get("defaultContentType")
        stated = [one.get("contentType") for one in map(self._merged, messages)]
        return next((one for one in (*stated, default) if isinstance(one, str) and "/" in one), "application/json")

    def _responses(self, messages: list[Any]) -> JsonObject:
        schema = self._payloads(messages)
        if schema is None:
            return {"200": {"description": "OK"}}
        return {"200": {"description": "OK", "content": {self._media_type(messages): {"schema": schema}}}}

    def _way(self, operation: _Operation, protocol: str, made: JsonObject) -> AsyncWay:
        if protocol in {"ws", "wss"}:
            expected = 1 if not operation.sends or operation.has_reply else 0
            waited = operation.replies if operation.sends else operation.messages
            query = tuple(one["name"] for one in made["parameters"] if one["in"] == "query")
            return AsyncWay("websocket", operation.sends, expected, self._filter(waited), query)
        streams = not operation.sends and self._media_type(operation.messages) == _EVENT_STREAM
        streams |= self._media_type(operation.replies) == _EVENT_STREAM
        return AsyncWay("sse" if streams or protocol in _STREAMS else "http")

    def _filter(self, messages: list[Any]) -> JsonObject:
        """Return the constant members of the one message that is waited for: servers send others in between."""
        if len(messages) != 1:
            return {}
        properties = _object(_object(self._follow(self._payload(messages[0]))).get("properties"))
        found: JsonObject = {}
        for key, one in properties.items():
            node = _object(self._follow(one))
            values = [node["const"]] if "const" in node else _list(node.get("enum"))
            if len(values) == 1 and isinstance(values[0], str | int | bool):
                found[str(key)] = values[0]
        return found

    # --- credentials

    def _security(self, stated: Any, where: str) -> list[JsonObject]:
        """Return the alternatives of a server or an operation. One that cannot be sent is left out and noted."""
        made: list[JsonObject] = []
        for one in _list(stated):
            node = _object(one)
            if self._is_old:
                schemes = _object(_object(self._document.get("components")).get("securitySchemes"))
                named = {str(key): self._put(str(key), schemes.get(key), where) for key in node}
            else:
                reference = node.get("$ref")
                name = str(reference).rsplit("/", 1)[-1] if reference else str(node.get("type") or "key")
                named = {name: self._put(name, node, where)}
            if all(named.values()):
                made.append({one: list[str]() for one in named})
        return made

    def _put(self, name: str, raw: Any, where: str) -> bool:
        """Keep a scheme in the form of OpenAPI. Return whether there is one."""
        scheme = _object(self._follow(raw))
        kind = scheme.get("type")
        made: JsonObject = {key: value for key, value in scheme.items() if key in _KEPT}
        if kind == "httpApiKey":
            made |= {"type": "apiKey", "in": scheme.get("in"), "name": scheme.get("name")}
        elif kind in {"userPassword", "plain"}:
            made |= {"type": "http", "scheme": "basic"}
        elif kind == "oauth2":
            flows = {str(key): _object(one) for key, one in _object(scheme.get("flows")).items()}
            made["flows"] = {
                key: {**one, "scopes": one.get("scopes") or one.get("availableScopes") or {}}
                for key, one in flows.items()
            }
        elif kind not in {"http", "openIdConnect"}:
            self._fault(where, f"credentials of the type {kind!r} are not sent.", "warning")
            return False
        self._schemes[name] = made
        return True


def _path_of(server: Mapping[str, Any]) -> str:
    """Return the path in the address of a server, without slashes around it."""
    url = str(server.get("url") or "")
    whole = url.partition("://")[2] or url
    return str(server.get("pathname") or "").strip("/") or whole.partition("/")[2].strip("/")


def _object(value: Any) -> Mapping[str, Any]:
    return value if is_object(value) else {}


def _list(value: Any) -> list[Any]:
    return value if is_list(value) else []
