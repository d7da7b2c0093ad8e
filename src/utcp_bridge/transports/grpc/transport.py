"""grpc: unary and streaming calls, with descriptors from the server or from the operator (extra `[grpc]`).

    v1  {"call_template_type": "grpc", "host": "grpc.example.com", "port": 443, "use_ssl": true,
         "service_name": "shop.Orders", "method_name": "Get"}
    v0  the same with "provider_type": "grpc"

The tools of a manual come from `proto_files` or a `descriptor_set`, else from the fixed service `grpcpb.UTCPService` of
the Go, Rust and Elixir libraries, else from server reflection (v1, then v1alpha): one tool per method, named
`Service_Method`. Arguments and results are proto3 JSON. Client streams take a `messages` array. Limits:
`max_reply_bytes` for a message and for a stream, `max_stream_events`, `idle_timeout` between the messages of a stream.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar, Literal, TypeAlias

import anyio
import anyio.to_thread
import orjson
from pydantic import Field

from utcp_bridge.auth.credentials import Additions
from utcp_bridge.errors import (
    ConfigError,
    ConnectionLost,
    InvalidArguments,
    MalformedReply,
    ManualError,
    Rejected,
    UnknownTool,
    Unreachable,
    UtcpError,
)
from utcp_bridge.foreign import is_heavy
from utcp_bridge.model import Call, Deferred, Document, Emit, JsonObject, Result, TlsOptions, defers
from utcp_bridge.net.collecting import LARGE, Collecting, arrived
from utcp_bridge.net.preview import NativeRequest
from utcp_bridge.net.stream import Batch, Collector
from utcp_bridge.net.stream_decoders import Later
from utcp_bridge.placement.compiling import CallTemplate
from utcp_bridge.placement.encoding import header_value
from utcp_bridge.placement.own_arguments import with_own_arguments
from utcp_bridge.tasks import Flights, heavy_turn, seconds_left
from utcp_bridge.telemetry import trace_context
from utcp_bridge.transport import Endpoint, Services, Target, Transport
from utcp_bridge.transports.grpc.channel import ChannelOptions, open_during, translate
from utcp_bridge.transports.grpc.connections import Channels, Key, Line, ReplySizes
from utcp_bridge.transports.grpc.descriptors import (
    HIDDEN_SERVICES,
    MAX_SECONDS,
    Described,
    build_pool,
    comments_of,
    compile_protos,
    reflect,
)
from utcp_bridge.transports.grpc.protos import foreign_messages, grpc_module, protobuf, utcp_messages
from utcp_bridge.transports.grpc.tools import (
    build_requests,
    each,
    native_tools,
    parse_message,
    portable_files,
    read_native_reply,
    read_utcp_reply,
    reply_reader,
    utcp_tool,
)

__all__ = ["TRANSPORT", "GrpcTemplate", "GrpcTransport"]

_UTCP = "/grpcpb.UTCPService"
_MAX_KNOWN = 256
"""Descriptor pools that are kept; those used least recently are dropped."""
_RENEW_SECONDS = 5.0
"""For reflection that only looks for changes. Then the call goes on with the descriptors that it has."""
_RENEW_PAUSE = 10.0
"""Seconds between two looks that errors of calls cause, or after a look that failed."""
_NO_SUCH_SERVICE = frozenset({"UNIMPLEMENTED", "INTERNAL"})


class GrpcTemplate(CallTemplate):
    """Fields of UTCP's grpc template and of this bridge. Discovery sets `wire`."""

    host: str = "127.0.0.1"
    port: int = Field(default=9339, ge=1, le=65_535)
    service_name: str | None = None
    method_name: str | None = None
    use_ssl: bool = False
    target: str | None = None
    metadata: Mapping[str, str] = Field(default_factory=dict, repr=False)
    header_fields: tuple[str, ...] = ()
    descriptor_set: str | None = None
    proto_files: tuple[str, ...] = ()
    import_paths: tuple[str, ...] = ()
    preserve_field_names: bool = False
    ca_cert: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    server_name: str | None = None
    wire: Literal["auto", "utcp", "native"] = "auto"
    tool_name: str | None = None
    stream: bool = False

    @property
    def is_utcp(self) -> bool:
        """Whether calls go to the fixed service."""
        return self.wire == "utcp" or not (self.service_name and self.method_name)

    @property
    def has_descriptors(self) -> bool:
        """Whether the operator supplies descriptors, so that reflection is not used."""
        return self.descriptor_set is not None or bool(self.proto_files)


_Known: TypeAlias = tuple[Key, str | None, str | None, tuple[str, ...]]
"""What descriptors are of: a channel, the only service or None for all, and the operator's files."""


@dataclass(slots=True, eq=False)
class _Descriptors:
    """Descriptors, the build of the server that described itself, and when they were last renewed, or were not."""

    described: Described
    service: str | None
    build: int = 0
    at: float = float("-inf")
    failed_at: float = float("-inf")


class GrpcTransport(Transport[GrpcTemplate]):
    """Calls over gRPC; one channel per manual and address, one descriptor pool per manual.

    Descriptors from reflection are read again when the server connected anew, and when a method is unknown.
    """

    kinds: ClassVar[tuple[str, ...]] = ("grpc",)
    template = GrpcTemplate
    file_fields: ClassVar[frozenset[str]] = frozenset({
        "ca_cert", "client_cert", "client_key", "descriptor_set", "proto_files", "import_paths",
    })  # fmt: skip

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        self._channels = Channels(services.guard, services.spawn)
        self._known: OrderedDict[_Known, _Descriptors] = OrderedDict()
        self._reading: Flights[_Descriptors] = Flights()

    @classmethod
    def endpoint(cls, template: GrpcTemplate) -> str:
        """`grpc://host:port`."""
        return f"grpc://{f'[{template.host}]' if ':' in template.host else template.host}:{template.port}"

    def needs(self, target: Target[GrpcTemplate]) -> Sequence[Endpoint]:
        """The server; the scheme is `grpcs` with TLS."""
        template, root = target.template, self.services.root
        endpoint = self.endpoint(template)
        if not template.use_ssl:
            return (Endpoint(endpoint),)

        def absolute(path: str | None) -> str | None:
            return path and str(root / path)

        tls = TlsOptions(
            ca_cert=absolute(template.ca_cert),
            client_cert=absolute(template.client_cert),
            client_key=absolute(template.client_key),
            server_name=template.server_name,
        )
        return (Endpoint(endpoint.replace("grpc:", "grpcs:", 1), tls, alpn=("h2",)),)

    async def discover(self, target: Target[GrpcTemplate]) -> Document:
        """Return the tools of the fixed service, or else one tool for each method in the descriptors."""
        async with open_during(self._where(target)):
            return await self._discover(target)

    async def _discover(self, target: Target[GrpcTemplate]) -> Document:
        template = target.template
        if not template.has_descriptors and template.wire != "native":
            manual = await self._utcp_manual(target)
            if manual is not None:
                manual = with_own_arguments(manual, header_fields=template.header_fields, as_what="metadata")
                return Document({"tools": manual, "dialect": "grpc utcp"}, generated=True)
        if template.wire == "utcp":
            raise ManualError(f"{self._where(target)} has no grpcpb.UTCPService.", remedy="Remove `wire`.")
        self._drop(target.source.name)
        known = (await self._read(target, template.service_name)).described
        made = partial(native_tools, known, template.method_name, proto_names=template.preserve_field_names)
        tools = await anyio.to_thread.run_sync(made, abandon_on_cancel=True)
        if not tools:
            raise ManualError("The server has no matching method.", remedy="Check `service_name` and `method_name`.")
        tools = with_own_arguments(tools, header_fields=template.header_fields, as_what="metadata")
        return Document({"tools": tools, "dialect": "grpc"}, generated=True)

    async def call(self, target: Target[GrpcTemplate], call: Call, emit: Emit) -> Any:
        """Run one call, in the form that the template names; once more if the service or its method has moved."""
        arguments = dict(call.arguments)
        metadata = await self._current_metadata(target, arguments)
        emitted = False

        async def noted(value: Any) -> None:
            nonlocal emitted
            emitted = True
            await emit(value)

        try:
            return await self._once(target, call, arguments, metadata, noted)
        except UtcpError as error:
            if not await self._has_moved(target, error) or emitted:
                raise
        return await self._once(target, call, arguments, metadata, noted)

    async def _once(
        self, target: Target[GrpcTemplate], call: Call, arguments: JsonObject, metadata: Any, emit: Emit
    ) -> Any:
        template = target.template
        async with self._channels.lend(self._key(target), target.source) as line, open_during(self._where(target)):
            try:
                if template.is_utcp:
                    return await self._call_utcp(line, target, call, arguments, metadata, emit)
                method, build = await self._method(target, line.build), line.build
                value = await self._call_native(line, target, method, arguments, metadata, emit)
                if line.build != build:
                    await self._check_build(target)
                return value
            except grpc_module("grpc.aio").AioRpcError as error:
                raise self._translated(error, target, line) from None

    async def _check_build(self, target: Target[GrpcTemplate]) -> None:
        """Check that the server which replied has the descriptors of the one that the call was made for.

        :raises ConnectionLost: it has others, so what it did and what it replied are not certain.
        """
        known = self._kept(target)
        if known is not None and await self._renewed(target, known):
            raise ConnectionLost(f"{self._where(target)} was replaced by another build during the call.")

    def _translated(self, error: Any, target: Target[GrpcTemplate], line: Line) -> UtcpError:
        """Return our error. After one of the connection, the channel and the name are looked at again."""
        known = self._kept(target)
        found = translate(error, self._where(target), known and known.described.pool)
        if isinstance(found, Unreachable | ConnectionLost):
            line.failed()
        return found

    async def _has_moved(self, target: Target[GrpcTemplate], error: UtcpError) -> bool:
        """Return whether the call was not processed, and the server is elsewhere or describes its methods anew."""
        template, line = target.template, self._channels.current(self._key(target))
        if isinstance(error, Unreachable):
            failed = line.addresses if line is not None and line.broken else None
            return failed is not None and bool(
                await self.services.guard.resolve_again(template.host, template.port, target.source, failed)
            )
        # A caller's arguments match the schema that the descriptors were made into. Other descriptors may refuse them.
        unknown = isinstance(error, UnknownTool | InvalidArguments) or (
            isinstance(error, Rejected) and error.status == "UNIMPLEMENTED"
        )
        if template.is_utcp or not (unknown or isinstance(error, MalformedReply)):
            return False
        known = self._kept(target)
        if known is None or anyio.current_time() < known.at + _RENEW_PAUSE:
            return False
        return await self._renewed(target, known) and unknown

    async def explain(self, target: Target[GrpcTemplate], call: Call) -> NativeRequest:
        """Return method, metadata and messages (as proto3 JSON). May ask the server for its descriptors."""
        template, arguments = target.template, dict(call.arguments)
        added = None if target.credentials is None else target.credentials.preview()
        metadata = self._metadata(target, arguments, added)
        if template.is_utcp:
            path, requests = _utcp_path(template), [_utcp_request(template, call, arguments)]
        else:
            method = await self._method(target, None)
            path, requests = _path(method), build_requests(method, arguments)
        to_json = protobuf("json_format").MessageToJson
        sent = tuple(str(to_json(request, preserving_proto_field_name=True)).encode() for request in requests)
        sizes = ", ".join(str(len(_serialized(request))) for request in requests)
        scheme = "grpcs" if template.use_ssl else "grpc"
        return NativeRequest(
            f"{scheme}://{self._where(target)}{path}", metadata, sent, (f"{sizes} bytes on the wire.",)
        )

    async def forget(self, manual: str) -> None:
        """Close the manual's channels."""
        self._drop(manual)
        await self._channels.close(manual)

    async def renew(self, manual: str) -> None:
        """Close the manual's channels when no call uses them, and read its descriptors again."""
        self._drop(manual)
        await self._channels.renew(manual)

    async def aclose(self) -> None:
        """Close every channel."""
        self._known.clear()
        await self._channels.close()

    async def _utcp_manual(self, target: Target[GrpcTemplate]) -> list[JsonObject] | None:
        messages = utcp_messages()
        metadata = await self._current_metadata(target, {})
        async with self._channels.lend(self._key(target), target.source) as line:
            try:
                invoke = line.channel.unary_unary(f"{_UTCP}/GetManual", _serialized)
                seconds = min(MAX_SECONDS, seconds_left() or MAX_SECONDS)
                data = await invoke(messages["Empty"](), metadata=metadata, timeout=seconds)
            except grpc_module("grpc.aio").AioRpcError as error:
                if error.code().name == "UNIMPLEMENTED":
                    return None
                raise self._translated(error, target, line) from None
        return [utcp_tool(tool) for tool in parse_message(messages["Manual"], data).tools]

    async def _call_utcp(
        self, line: Line, target: Target[GrpcTemplate], call: Call, arguments: JsonObject, metadata: Any, emit: Emit
    ) -> Any:
        template = target.template
        request = _utcp_request(template, call, arguments)
        if template.stream:
            replies = line.channel.unary_stream(_utcp_path(template), _serialized)(
                request, metadata=metadata, timeout=seconds_left()
            )
            return await self._drain(target, line, replies, _UTCP_REPLY, emit)
        calling = _Calling(target.source.name, line, _utcp_path(template), metadata)
        return await _UTCP_REPLY.received(target, await calling.only(request))

    async def _call_native(
        self, line: Line, target: Target[GrpcTemplate], method: Any, arguments: JsonObject, metadata: Any, emit: Emit
    ) -> Any:
        streams_in, streams_out = method.client_streaming, method.server_streaming
        requests = build_requests(method, arguments)
        calling = _Calling(target.source.name, line, _path(method), metadata, streams_in=streams_in)
        sent = each(requests) if streams_in else requests[0]
        reading = _native_reply(method.output_type, proto_names=target.template.preserve_field_names)
        if streams_out:
            return await self._drain(target, line, calling.start("stream", sent), reading, emit)
        return await reading.received(target, await calling.only(sent))

    async def _drain(
        self, target: Target[GrpcTemplate], line: Line, replies: Any, reading: _Reading, emit: Emit
    ) -> Result:
        """Collect the messages of a stream up to a limit or an error. Leaving early cancels the call."""
        collector = Collector(self.services.settings, emit, target.source.name)

        async def batches() -> AsyncGenerator[Batch]:
            line.streams.add(replies)
            try:
                async for reply in replies:
                    yield [reading.value_of(reply)], len(reply)
            except grpc_module("grpc.aio").AioRpcError as error:
                raise self._translated(error, target, line) from None
            finally:
                line.streams.discard(replies)
                replies.cancel()

        with collector.keeping():
            async with open_during(self._where(target)):
                await collector.gather(batches())
        return collector.listed()

    async def _method(self, target: Target[GrpcTemplate], build: int | None) -> Any:
        """Return the descriptor of the template's method. The descriptors are renewed if `build` is another one."""
        template = target.template
        known = self._kept(target) or await self._read(target, template.service_name)
        is_checked = build is None or known.build == build or template.has_descriptors
        if not is_checked and anyio.current_time() >= known.failed_at + _RENEW_PAUSE:
            await self._renewed(target, known)
            known = self._kept(target) or known
        service = next((name for name in known.described.services if _fits(name, template.service_name)), None)
        method: Any = None
        if service is not None:
            with foreign_messages("The server's descriptors"):
                method = known.described.pool.FindServiceByName(service).methods_by_name.get(template.method_name)
        if method is None:
            raise UnknownTool(
                f"{self._where(target)} has no method {template.service_name}/{template.method_name}.",
                remedy="Check `service_name` and `method_name`.",
            )
        return method

    def _kept(self, target: Target[GrpcTemplate]) -> _Descriptors | None:
        """Return the descriptors of the manual, or else those of the template's service alone."""
        name, whole = target.template.service_name, self._known.get(self._scope(target, None))
        if whole is not None and any(_fits(one, name) for one in whole.described.services):
            return whole
        return self._known.get(self._scope(target, name))

    async def _read(self, target: Target[GrpcTemplate], service: str | None) -> _Descriptors:
        """Read descriptors from the operator's files or by reflection, once for all that wait, and keep them."""
        scope = self._scope(target, service)
        return await self._reading.join(scope, lambda: self._read_now(target, scope))

    async def _read_now(self, target: Target[GrpcTemplate], scope: _Known) -> _Descriptors:
        if target.template.has_descriptors:
            found = _Descriptors(await self._from_files(target.template), scope[1])
        else:
            found = await self._by_reflection(target, scope[1])
        old = self._known.get(scope)
        if old is not None and old.described.digest == found.described.digest:
            found.described = old.described  # its message classes are made
        elif old is not None:
            self.services.changed(target.source.name)
        self._known[scope] = found
        self._known.move_to_end(scope)
        while len(self._known) > _MAX_KNOWN:
            self._known.popitem(last=False)
        return found

    async def _renewed(self, target: Target[GrpcTemplate], known: _Descriptors) -> bool:
        """Read the descriptors again, if that takes few seconds, and return whether they changed."""
        if target.template.has_descriptors:
            return False
        known.at = anyio.current_time()
        fresh = known
        with suppress(UtcpError), anyio.move_on_after(_RENEW_SECONDS):
            fresh = await self._read(target, known.service)
            fresh.at = known.at
        if fresh is known:
            known.failed_at = anyio.current_time()
        return fresh.described.digest != known.described.digest

    def _scope(self, target: Target[GrpcTemplate], service: str | None) -> _Known:
        template = target.template
        return self._key(target), service, template.descriptor_set, template.proto_files

    def _drop(self, manual: str) -> None:
        for scope in [scope for scope in self._known if scope[0][0] == manual]:
            del self._known[scope]

    async def _by_reflection(self, target: Target[GrpcTemplate], service: str | None) -> _Descriptors:
        error_class = grpc_module("grpc.aio").AioRpcError
        async with self._channels.lend(self._key(target), target.source) as line, open_during(self._where(target)):
            try:
                described = await reflect(
                    line.channel,
                    lambda name: _fits(name, service),
                    _has_no_reflection,
                )
            except error_class as error:
                raise self._translated(error, target, line) from None
            return _Descriptors(described, service, line.build)

    async def _from_files(self, template: GrpcTemplate) -> Described:
        data = await self._descriptors(template)
        try:
            with foreign_messages("Its descriptors"):
                return _described(data, template.service_name)
        except MalformedReply as error:
            raise ConfigError(
                f"The file {template.descriptor_set!r} is not a descriptor set of services. {error.message}",
                remedy="Create one with protoc --include_imports --descriptor_set_out.",
            ) from None

    async def _descriptors(self, template: GrpcTemplate) -> bytes:
        if template.proto_files:
            return await compile_protos(template.proto_files, template.import_paths, self.services.root)
        try:
            return await anyio.Path(self.services.root / str(template.descriptor_set)).read_bytes()
        except OSError as error:
            raise ConfigError(f"The file {template.descriptor_set!r} cannot be read: {error.strerror}.") from None

    def _key(self, target: Target[GrpcTemplate]) -> Key:
        auth = None if target.credentials is None else target.credentials.auth
        users = auth, target.source.allow_networks
        return target.source.name, replace(self._options(target.template), users=users)

    def _options(self, template: GrpcTemplate) -> ChannelOptions:
        return ChannelOptions(
            host=template.host,
            port=template.port,
            use_ssl=template.use_ssl,
            root=self.services.root,
            max_bytes=self.services.settings.max_reply_bytes,
            ca_cert=template.ca_cert,
            client_cert=template.client_cert,
            client_key=template.client_key,
            server_name=template.server_name,
        )

    async def _current_metadata(self, target: Target[GrpcTemplate], arguments: JsonObject) -> Any:
        added = None if target.credentials is None else await target.credentials.additions()
        return self._metadata(target, arguments, added)

    def _metadata(
        self, target: Target[GrpcTemplate], arguments: JsonObject, added: Additions | None
    ) -> tuple[tuple[str, str], ...]:
        """Return fixed metadata, `header_fields` (removed from the arguments), `target` and credentials."""
        template = target.template
        pairs = [(name.lower(), header_value(value, argument=name)) for name, value in template.metadata.items()]
        taken = [name for name in template.header_fields if name in arguments]
        pairs += [(name.lower(), header_value(arguments.pop(name), argument=name)) for name in taken]
        if template.target is not None:
            pairs.append(("target", template.target))
        if target.credentials is not None and added is not None:
            target.credentials.check(self.endpoint(template) or "")
            pairs += [(name.lower(), value) for name, value in added.headers]
        if trace_context.is_on():
            pairs += trace_context.passed_on(pairs)
        return tuple(pairs)

    def _where(self, target: Target[GrpcTemplate]) -> str:
        return self._options(target.template).address


TRANSPORT = GrpcTransport


@dataclass(frozen=True, slots=True)
class _Calling:
    """Calls of one method over a channel, for a manual."""

    manual: str
    line: Line
    path: str
    metadata: Any = field(repr=False)
    streams_in: bool = False

    def start(self, replies: Literal["unary", "stream"], sent: Any) -> Any:
        """Start a call whose reply is received as one message or as a stream."""
        kind = f"{'stream' if self.streams_in else 'unary'}_{replies}"
        invoke = getattr(self.line.channel, kind)(self.path, _serialized)
        return invoke(sent, metadata=self.metadata, timeout=seconds_left())

    async def only(self, sent: Any) -> bytes | None:
        """Return the only message of a reply; None after a success without a message.

        gRPC reads a message as a whole as soon as it is asked for one. A reply that may be large is received as a
        stream, which has the same form on the wire: a stream is asked when there is a place for its message. Other
        replies are not, because a damaged message of a stream looks like an empty one.
        """
        known = self.line.replies.setdefault(self.path, ReplySizes())
        async with known.expected() as size:
            data: bytes | None = (
                await self.start("unary", sent)
                if size <= LARGE
                else await self._in_turn(self.start("stream", sent), size)
            )
            known.note(len(data or b""))
        return data

    async def _in_turn(self, call: Any, size: int) -> bytes | None:
        """Receive a message of about this size when there is a place for it."""
        self.line.streams.add(call)
        try:
            await call.initial_metadata()
            with Collecting(self.manual) as place:
                await place.grow(size)
                found: bytes | None = None
                async for message in call:
                    if found is not None:
                        raise MalformedReply("The server sent several messages where the method has one.")
                    found = message
                if len(found or b"") <= LARGE:
                    place.release()
            return found
        finally:
            self.line.streams.discard(call)
            call.cancel()


@dataclass(frozen=True, slots=True)
class _Reading:
    """How replies of one method are read: here, and elsewhere by `work` with `arguments`, if it can be done there."""

    here: Callable[[Any], Any]
    work: Callable[..., Any]
    arguments: Callable[[], JsonObject | None] = field(repr=False)

    async def received(self, target: Target[GrpcTemplate], data: bytes | None) -> Any:
        """Return the value of the only reply when its turn has come, or what reads it later."""
        if data:  # it is None after a success without a message
            await arrived(target.source.name, len(data))
            if defers(data) and (given := self.arguments()) is not None:
                return Deferred(data, ((self.work, given),))
            if is_heavy(data):
                await heavy_turn()
        return self.here(data)

    def value_of(self, data: bytes) -> Any:
        """Return the value of one reply of several, or what reads it later."""
        if is_heavy(data) and (given := self.arguments()) is not None:
            return Later(data, self.work, given)
        return self.here(data)


_UTCP_REPLY = _Reading(read_utcp_reply, read_utcp_reply, dict)


def _native_reply(message: Any, *, proto_names: bool) -> _Reading:
    def arguments() -> JsonObject | None:
        files = portable_files(message)
        return None if files is None else {"files": files, "name": message.full_name, "proto_names": proto_names}

    return _Reading(reply_reader(message, proto_names=proto_names), read_native_reply, arguments)


def _described(data: bytes, service: str | None) -> Described:
    """Return the services of a serialised FileDescriptorSet that fit."""
    files = protobuf("descriptor_pb2").FileDescriptorSet.FromString(data)
    services = [f"{file.package}.{service.name}".lstrip(".") for file in files.file for service in file.service]
    wanted = [name for name in services if not name.startswith(HIDDEN_SERVICES)]
    return Described(build_pool(files.file), [name for name in wanted if _fits(name, service)], comments_of(files.file))


def _fits(service: str, wanted: str | None) -> bool:
    """Return whether `wanted` is the service's full name or its last part. None matches every service."""
    return wanted is None or service == wanted or service.rpartition(".")[2] == wanted


def _has_no_reflection(error: Any) -> bool:
    """Return whether the status means that there is no reflection: UNIMPLEMENTED, or INTERNAL from etcd."""
    return isinstance(error, grpc_module("grpc.aio").AioRpcError) and error.code().name in _NO_SUCH_SERVICE


def _path(method: Any) -> str:
    return f"/{method.containing_service.full_name}/{method.name}"


def _utcp_path(template: GrpcTemplate) -> str:
    return f"{_UTCP}/{'CallToolStream' if template.stream else 'CallTool'}"


def _utcp_request(template: GrpcTemplate, call: Call, arguments: JsonObject) -> Any:
    return utcp_messages()["ToolCallRequest"](
        tool=template.tool_name or call.tool.name, args_json=orjson.dumps(arguments).decode()
    )


def _serialized(message: Any) -> bytes:
    data: bytes = message.SerializeToString()
    return data
