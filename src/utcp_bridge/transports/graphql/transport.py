"""graphql: queries, mutations and subscriptions; the manual is the server's schema, from introspection.

    v1  {"call_template_type": "graphql", "url": "https://api.example.com/graphql",
         "query": "query ($id: ID!) { user(id: $id) { name } }"}
    v0  {"provider_type": "graphql", "url": "https://api.example.com/graphql", "operation_type": "query"}

As a manual's call template, it gives a tool for each root field, with an input schema and a generated selection.
`schema_file` (SDL, or the JSON of an introspection) replaces introspection if the server does not allow it.
Subscriptions run over a WebSocket, or over server-sent events if the server offers no WebSocket.
Limits: `max_reply_bytes`; for subscriptions also `max_stream_events`, `idle_timeout` and `stream_timeout`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import anyio
import orjson
from pydantic import BeforeValidator, Field

from utcp_bridge.auth.credentials import Additions
from utcp_bridge.errors import (
    ConfigError,
    ConnectionLost,
    MalformedReply,
    ManualError,
    Rejected,
    ReplyTooLarge,
    UtcpError,
)
from utcp_bridge.foreign import decode, is_heavy, load_json
from utcp_bridge.model import (
    Call,
    Deferred,
    Document,
    Emit,
    JsonObject,
    Result,
    Tool,
    Trust,
    defers,
    in_seconds,
    is_list,
    is_object,
)
from utcp_bridge.net.document import fetch_manual, manual_advice
from utcp_bridge.net.files.local_file import read_local_file
from utcp_bridge.net.http_options import SocketOptions
from utcp_bridge.net.preview import NativeRequest, socket_request
from utcp_bridge.net.reply import Reply, parse_json
from utcp_bridge.net.stream import Batch, Collector, read_later
from utcp_bridge.net.stream_decoders import EventSplitter
from utcp_bridge.placement.compiling import CallTemplate, compiled_property
from utcp_bridge.placement.headers import HeaderPlan, compile_headers
from utcp_bridge.placement.own_arguments import with_own_arguments
from utcp_bridge.placement.request import RequestParts
from utcp_bridge.placement.url import UrlPlan, compile_url
from utcp_bridge.tasks import heavy_turn, in_slices
from utcp_bridge.transport import Target, Transport
from utcp_bridge.transports.graphql.operation import (
    SUBPROTOCOLS,
    GraphQlOperation,
    OperationType,
    Received,
    Subprotocol,
    Subscription,
    field_operation,
    read_operation,
    response_value,
)
from utcp_bridge.transports.graphql.schema import SelectionBounds, root_tools
from utcp_bridge.urls import bare_url

if TYPE_CHECKING:
    from utcp_bridge.net.http_session import StreamReply

__all__ = ["TRANSPORT", "GraphQlTemplate", "GraphQlTransport"]

_RESPONSE = "application/graphql-response+json, application/json"
_MANUAL = "application/json"
_STREAM = f"text/event-stream, {_RESPONSE};q=0.9"
_SOCKET_NOTES = (
    "The second message is sent when the server has acknowledged the first.",
    "If the server has no WebSockets, the bridge asks with a POST for server-sent events.",
)
_CLOSED = "The server may not allow introspection. Set `schema_file`, or write the tools into a manual."
_REFUSALS = frozenset({401, 403, 407, 429})
"""Statuses of a handshake that are final; any other status means that the URL has no WebSocket."""
Protocol = Literal["auto", "graphql-transport-ws", "graphql-ws", "sse"]


class GraphQlTemplate(CallTemplate):
    """Fields of UTCP's graphql templates and of the bridge; discovery sets `field` for the tools it makes."""

    url: str = Field(min_length=1, repr=False)
    operation_type: OperationType | None = None
    operation_name: str | None = None
    query: str | None = None
    variable_types: Mapping[str, str] = Field(default_factory=dict[str, str])
    headers: Annotated[Mapping[str, Any], BeforeValidator(lambda value: value or {})] = Field(
        default_factory=dict[str, Any], repr=False
    )
    header_fields: Annotated[tuple[str, ...], BeforeValidator(lambda value: value or ())] = ()
    schema_file: str | None = None
    selection_depth: int = Field(default=2, ge=1, le=8)
    selections: Mapping[str, str] = Field(default_factory=dict[str, str])
    subscription_url: str | None = Field(default=None, repr=False)
    subscription_protocol: Protocol = "auto"
    connection_params: JsonObject | None = Field(default=None, repr=False)
    field: str | None = None

    @compiled_property
    def build_url(self) -> UrlPlan:
        """Return the compiled URL.

        :raises ConfigError: it cannot be compiled.
        """
        return compile_url(self.url)

    @compiled_property
    def build_headers(self) -> HeaderPlan:
        """Return the compiled headers.

        :raises ConfigError: it cannot be compiled.
        """
        return compile_headers(self.headers, self.header_fields)

    @compiled_property
    def build_socket_url(self) -> UrlPlan:
        """Return the compiled URL of subscriptions over a WebSocket.

        :raises ConfigError: it cannot be compiled.
        """
        url = self.subscription_url or self.url
        scheme, mark, rest = url.partition("://")
        return compile_url({"http": "ws", "https": "wss"}.get(scheme.lower(), scheme) + mark + rest)

    @compiled_property
    def operation(self) -> GraphQlOperation | None:
        """Return the operation of `query`; None if the tool's name is the field.

        :raises ConfigError: `query` cannot be read.
        """
        return None if self.query is None else read_operation(self.query, self.operation_name)


class GraphQlTransport(Transport[GraphQlTemplate]):
    """Calls over HTTP POST; subscriptions over a connection of their own."""

    kinds: ClassVar[tuple[str, ...]] = ("graphql",)
    template = GraphQlTemplate
    file_fields: ClassVar[frozenset[str]] = frozenset({"schema_file"})
    braced_only: ClassVar[frozenset[str]] = frozenset({"query", "selections"})

    @classmethod
    def endpoint(cls, template: GraphQlTemplate) -> str | None:
        """Return the template's URL, with its placeholders."""
        return template.url

    @classmethod
    def annotations(cls, template: GraphQlTemplate) -> Mapping[str, Any]:
        """Return that queries and subscriptions only read; mutations get no such hint."""
        kind = _type_of(template.operation_type, template.query)
        if kind == "mutation":
            return {"openWorldHint": True}
        hints = {"readOnlyHint": True, "openWorldHint": True}
        return {**hints, "idempotentHint": True} if kind == "query" else hints

    @classmethod
    def is_streaming(cls, tool: Tool) -> bool:
        """Return whether the tool is a subscription."""
        fields = {**tool.template, **(tool.overlay or {})}
        return _type_of(fields.get("operation_type"), fields.get("query")) == "subscription"

    async def discover(self, target: Target[GraphQlTemplate]) -> Document:
        """Introspect, or read `schema_file`, and make a tool of each field; else fetch the manual at the URL."""
        import graphql

        template = target.template
        try:
            schema: Any = await self._schema(target)
        except (Rejected, MalformedReply, ManualError) as error:
            if template.schema_file:
                raise
            return await self._manual(target, error)
        except ConfigError:
            raise
        except (graphql.GraphQLError, TypeError, KeyError, AttributeError, ValueError, RecursionError) as error:
            place = template.schema_file or bare_url(template.url)
            raise ManualError(f"{place}: the GraphQL schema cannot be used ({type(error).__name__}).") from None
        bounds = SelectionBounds(depth=template.selection_depth, written=template.selections)
        kept = {"operation_type": template.operation_type, "field": template.operation_name}
        tools, faults = await anyio.to_thread.run_sync(
            lambda: root_tools(schema, bounds=bounds, **kept), abandon_on_cancel=True
        )
        named = (template.build_headers.used | template.build_url.used).difference(template.header_fields)
        tools = with_own_arguments(tools, header_fields=template.header_fields, named=named)
        return Document({"tools": tools, "faults": faults, "dialect": "graphql"}, generated=True)

    async def call(self, target: Target[GraphQlTemplate], call: Call, emit: Emit) -> Result:
        """Send the tool's operation; the value contains errors that came with data."""
        template = target.template
        kind, body = _operation(template, call)
        field = template.field if template.field is not None or template.query else call.tool.name
        if kind == "subscription":
            return await self._subscribe(target, call, body, field, emit)
        reply = await self._send(target, body, call.arguments, self.services.settings.max_reply_bytes)
        where = bare_url(template.url)
        if defers(reply.body):
            reply.raise_for_status()
            given: JsonObject = {"charset": reply.charset, "where": where, "field": field}
            return Result(Deferred(reply.body, ((read_response, given),)))
        return Result(response_value(_answer_of(reply, where), field, where))

    async def explain(self, target: Target[GraphQlTemplate], call: Call) -> NativeRequest:
        """Return the request, or the messages over the WebSocket of a subscription."""
        template = target.template
        kind, body = _operation(template, call)
        if kind != "subscription" or template.subscription_protocol == "sse":
            parts = self._request(template, body, call.arguments, _STREAM if kind == "subscription" else _RESPONSE)
            return await self.services.http.session(target.source).preview(parts, credentials=target.credentials)
        offered = _offered(template)
        parameters = _parameters(template, None if target.credentials is None else target.credentials.preview())
        subscription = Subscription(offered[0], body, bare_url(template.url), parameters)
        messages = subscription.opening(), *subscription.receive('{"type":"connection_ack"}').reply
        headers = [*_headers(template, call.arguments), ("Sec-WebSocket-Protocol", ",".join(offered))]
        url = template.build_socket_url.build(dict(call.arguments))
        return socket_request(url, headers, target.credentials, messages, _SOCKET_NOTES)

    async def _manual(self, target: Target[GraphQlTemplate], met: UtcpError) -> Document:
        """Return the manual at the URL, where UTCP 0.1 has it.

        `met` is the error of the introspection. It is raised unless the error of the GET says more, for example that
        the URL returns a web page.
        """
        template = target.template
        try:
            document = await fetch_manual(
                self.services.http.session(target.source),
                RequestParts("GET", template.build_url.build({}), [*_headers(template, {}), ("Accept", _MANUAL)]),
                max_bytes=self.services.settings.max_manual_bytes,
                credentials=target.credentials,
                entry="manual",
            )
        except ManualError as error:
            raise (met if isinstance(met, ManualError) or _is_refusal(met) else error) from None
        except UtcpError:
            raise met from None
        if isinstance(met, MalformedReply) or _lists_tools(document.content):
            return document
        raise met

    async def _schema(self, target: Target[GraphQlTemplate]) -> Any:
        import graphql

        template, limit = target.template, self.services.settings.max_manual_bytes
        if template.schema_file is None:
            introspection = await self._introspect(target)
            return await anyio.to_thread.run_sync(graphql.build_client_schema, introspection, abandon_on_cancel=True)
        confined = target.source.trust is not Trust.OPERATOR
        _, data = await read_local_file(template.schema_file, self.services.root, limit=limit, confined=confined)
        if data.lstrip()[:1] != b"{":
            return graphql.build_schema(decode(data))
        introspected = parse_json(data, template.schema_file)
        return graphql.build_client_schema(introspected.get("data", introspected))

    async def _introspect(self, target: Target[GraphQlTemplate]) -> Any:
        import graphql

        body = {"query": graphql.get_introspection_query(descriptions=True)}
        limit = self.services.settings.max_manual_bytes
        with manual_advice(limit, target.credentials, "manual"):
            answer = _answer_of(await self._send(target, body, {}, limit), bare_url(target.template.url))
        if not is_object(answer.get("data")):
            raise ManualError(f"{bare_url(target.template.url)} returned no schema.", remedy=_CLOSED)
        return answer["data"]

    @staticmethod
    def _request(template: GraphQlTemplate, body: JsonObject, arguments: JsonObject, accept: str) -> RequestParts:
        own = [pair for pair in _headers(template, arguments) if pair[0].lower() not in {"content-type", "accept"}]
        headers = [*own, ("Content-Type", "application/json"), ("Accept", accept)]
        return RequestParts("POST", template.build_url.build(arguments), headers, orjson.dumps(body))

    async def _send(
        self, target: Target[GraphQlTemplate], body: JsonObject, arguments: JsonObject, limit: int
    ) -> Reply:
        session = self.services.http.session(target.source)
        parts = self._request(target.template, body, arguments, _RESPONSE)
        return await session.request(parts, credentials=target.credentials, max_bytes=limit)

    async def _subscribe(
        self, target: Target[GraphQlTemplate], call: Call, body: JsonObject, field: str | None, emit: Emit
    ) -> Result:
        """Report results as they arrive, over a WebSocket, or over server-sent events without one."""
        collector = Collector(self.services.settings, emit, target.source.name)
        protocol = target.template.subscription_protocol
        with collector.keeping():
            if protocol == "sse":
                await self._over_events(target, call, body, field, collector)
                return collector.result()
            try:
                await self._over_socket(target, call, body, field, collector)
            except Rejected as error:
                if protocol != "auto" or collector.values or not _has_no_websocket(error):
                    raise
                await self._over_events(target, call, body, field, collector)
        return collector.result()

    async def _over_socket(
        self, target: Target[GraphQlTemplate], call: Call, body: JsonObject, field: str | None, collector: Collector
    ) -> None:
        template, where = target.template, bare_url(target.template.subscription_url or target.template.url)
        offered = _offered(template)
        async with self.services.http.session(target.source).websocket(
            template.build_socket_url.build(dict(call.arguments)),
            headers=_headers(template, call.arguments),
            credentials=target.credentials,
            options=SocketOptions(offered, self.services.settings.max_reply_bytes, decode_text=False),
        ) as socket:
            chosen = offered[offered.index(socket.protocol)] if socket.protocol in offered else offered[0]
            added = None if target.credentials is None else await target.credentials.additions()
            subscription = Subscription(chosen, body, where, _parameters(template, added))
            await socket.send_str(subscription.opening())
            await self._acknowledged(socket, subscription)
            try:
                await collector.gather(_messages(socket, subscription, field))
            finally:
                with anyio.CancelScope(shield=True), anyio.move_on_after(0.1):
                    if not socket.closed:
                        await socket.send_str(subscription.stop())

    async def _acknowledged(self, socket: Any, subscription: Subscription) -> None:
        """Receive until the server has accepted the connection, and send the operation.

        :raises ConnectionLost: it did not accept it in time.
        """
        seconds = self.services.settings.idle_timeout
        with anyio.move_on_after(seconds):
            while not subscription.is_acknowledged:
                await _received(socket, subscription)
            return
        raise ConnectionLost(f"{subscription.where} did not acknowledge the connection within {in_seconds(seconds)}.")

    async def _over_events(
        self, target: Target[GraphQlTemplate], call: Call, body: JsonObject, field: str | None, collector: Collector
    ) -> None:
        """Use the "distinct connections" mode of GraphQL over SSE; a plain response counts as one result."""
        template, where = target.template, bare_url(target.template.url)
        limit = self.services.settings.max_reply_bytes
        parts = self._request(template, body, call.arguments, _STREAM)
        session = self.services.http.session(target.source)
        async with session.stream(parts, credentials=target.credentials) as stream:
            media_type = stream.headers.get("Content-Type", "").partition(";")[0].strip().lower()
            if stream.status < 400 and media_type == "text/event-stream":
                await collector.gather(_events(stream, field, limit, where))
                return
            reply = await stream.read(limit)
        reply.raise_for_status()
        answer = parse_json(reply.body, where, reply.charset)
        if not is_object(answer):
            raise MalformedReply(f"{where} returned JSON that is not a GraphQL response.")
        await collector.gather(_once(response_value(answer, field, where), len(reply.body)))


TRANSPORT = GraphQlTransport


def read_response(data: bytes, *, charset: str | None, where: str, field: str | None) -> Any:
    """Return the value of a large response without an error status, as `response_value` does."""
    return response_value(_checked(parse_json(data, where, charset), where), field, where)


def _answer_of(reply: Reply, where: str) -> JsonObject:
    """Return a GraphQL response; an error status with a GraphQL body is read like any other response."""
    try:
        return _checked(parse_json(reply.body, where, reply.charset), where)
    except MalformedReply:
        reply.raise_for_status()
        raise


def _checked(answer: Any, where: str) -> JsonObject:
    if is_object(answer) and ("data" in answer or is_list(answer.get("errors"))):
        return answer
    raise MalformedReply(f"{where} returned JSON that is not a GraphQL response.")


def _operation(template: GraphQlTemplate, call: Call) -> tuple[str, JsonObject]:
    """Return the type of a call's operation, and the request for it."""
    arguments = {name: value for name, value in call.arguments.items() if name not in template.header_fields}
    kind = template.operation_type or "query"
    operation = template.operation or field_operation(kind, call.tool.name, template.variable_types, arguments)
    named = template.operation_name if template.query and not template.field else None
    return operation.type, operation.body(arguments, named)


def _offered(template: GraphQlTemplate) -> tuple[Subprotocol, ...]:
    return tuple(one for one in SUBPROTOCOLS if template.subscription_protocol in {"auto", one})


def _parameters(template: GraphQlTemplate, added: Additions | None) -> JsonObject | None:
    """Return the payload of `connection_init`: `connection_params`, else the headers of the credentials."""
    if template.connection_params is not None or added is None:
        return template.connection_params
    return dict(added.headers) or None


async def _received(socket: Any, subscription: Subscription) -> tuple[Received, int]:
    """Receive one message and send what the protocol replies. Return it with its size."""
    from aiohttp import WSMsgType

    message = await socket.receive()
    if message.type not in {WSMsgType.TEXT, WSMsgType.BINARY}:
        raise _closed(subscription.where, socket.close_code, message.extra)
    if is_heavy(message.data):
        await heavy_turn(keep=False)
    received = subscription.receive(message.data)
    for reply in received.reply:
        await socket.send_str(reply)
    return received, len(message.data)


async def _messages(socket: Any, subscription: Subscription, field: str | None) -> AsyncGenerator[Batch]:
    ended, alone = False, True
    while not ended:
        received, size = await _received(socket, subscription)
        ended = received.ended
        results = [response_value(one, field, subscription.where, alone=alone) for one in received.results]
        alone = alone and not results
        yield results, size


async def _events(stream: StreamReply, field: str | None, limit: int, where: str) -> AsyncGenerator[Batch]:
    results = EventSplitter(limit, where, event_type="next")
    ends = EventSplitter(limit, where, event_type="complete")
    alone = True
    async for chunk in stream:
        events, last, found = list[Any](), list[Any](), list[Any]()
        await in_slices(results.steps(chunk, events))
        for event in events:
            for one in await read_later(event):
                if is_object(one):
                    found.append(response_value(one, field, where, alone=alone))
                    alone = False
        yield found, len(chunk)
        await in_slices(ends.steps(chunk, last))
        if last:
            return


async def _once(value: Any, size: int) -> AsyncGenerator[Batch]:
    yield [value], size


def _headers(template: GraphQlTemplate, arguments: Mapping[str, Any]) -> list[tuple[str, str]]:
    return template.build_headers.build(dict(arguments))


def _type_of(kind: Any, query: Any) -> str:
    """Return the type of operation, without parsing the document."""
    if isinstance(query, str):
        word = query.lstrip().partition("{")[0].partition("(")[0].split(" ", 1)[0].strip()
        return word if word in {"mutation", "subscription"} else str(kind or "query")
    return str(kind or "query")


def _is_refusal(error: UtcpError) -> bool:
    return isinstance(error, Rejected) and error.status in {401, 403}


def _lists_tools(content: bytes) -> bool:
    try:
        manual = load_json(content)
    except orjson.JSONDecodeError:
        return False
    return is_object(manual) and is_list(manual.get("tools"))


def _has_no_websocket(error: Rejected) -> bool:
    """Return whether a handshake failed because the URL has no WebSocket."""
    return isinstance(error.status, int) and error.status < 600 and error.status not in _REFUSALS


def _closed(where: str, code: int | None, reason: Any) -> Exception:
    if code == 1009:
        return ReplyTooLarge(f"{where} sent a message above the limit.")
    said = f" ({str(reason)[:100]})" if reason else ""
    if code in {4401, 4403}:
        return Rejected(f"{where} refused the subscription{said}.", status=code)
    return ConnectionLost(f"{where} closed the connection with code {code}{said} before the subscription was complete.")
