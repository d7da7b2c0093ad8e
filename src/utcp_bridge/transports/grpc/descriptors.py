"""Descriptors of gRPC services: from server reflection, from .proto files, and as one strict descriptor pool.

Some reflection servers return one synthetic file per package, without dependencies, with type names relative to
their scope, and with renamed fields in google.protobuf's own messages. So `build_pool` looks names up in all files,
derives the dependencies from the types in use, and always takes the well-known types from the protobuf package.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from utcp_bridge.errors import ConfigError, MalformedReply, ManualError, MissingExtra
from utcp_bridge.foreign import decode
from utcp_bridge.tasks import seconds_left
from utcp_bridge.transports.grpc.protos import foreign_messages, protobuf, reflection_messages

__all__ = [
    "HIDDEN_SERVICES",
    "MAX_SECONDS",
    "Described",
    "build_pool",
    "comments_of",
    "compile_protos",
    "is_known",
    "reflect",
    "well_known_files",
]

_WELL_KNOWN = (
    "any", "api", "duration", "empty", "field_mask", "source_context", "struct", "timestamp", "type", "wrappers",
)  # fmt: skip
_MEMBERS: Mapping[str, Mapping[int, str]] = {
    "FileDescriptorProto": {4: "message_type", 5: "enum_type", 6: "service"},
    "DescriptorProto": {2: "field", 3: "nested_type", 4: "enum_type"},
    "ServiceDescriptorProto": {2: "method"},
    "EnumDescriptorProto": {2: "value"},
}
"""Field numbers of descriptor.proto in the path of a source location."""
_VERSIONS = ("v1", "v1alpha")
_MAX_FILES = 2000
_MAX_BYTES = 64 * 1024 * 1024
"""Bytes of all replies of reflection. Some servers repeat every imported file in each reply."""
_MAX_COMMENTS = 200_000
"""Places in source files that are looked at for comments."""
_DESCRIPTORS = "The server's descriptors"
MAX_SECONDS = 20.0
"""For one question about tools. The server reads this deadline, and can stop in time."""
HIDDEN_SERVICES = ("grpc.reflection.", "grpc.health.", "grpc.channelz.", "grpcpb.UTCPService")
"""Prefixes of services that are not tools."""


@dataclass(frozen=True, slots=True)
class Described:
    """Descriptors of a server: a pool, the names of the services to offer, and comments by full name.

    `digest` is the same for the same services and files.
    """

    pool: Any
    services: list[str]
    comments: Mapping[str, str]
    digest: bytes = b""


def is_known(pool: Any, service: str) -> bool:
    """Return whether the pool has this service."""
    try:
        pool.FindServiceByName(service)
    except KeyError:
        return False
    return True


def well_known_files() -> dict[str, Any]:
    """Return google.protobuf's own files by name, each a FileDescriptorProto."""
    found: dict[str, Any] = {}
    for name in (*(f"{word}_pb2" for word in _WELL_KNOWN), "descriptor_pb2"):
        proto = protobuf("descriptor_pb2").FileDescriptorProto()
        protobuf(name).DESCRIPTOR.CopyToProto(proto)
        found[proto.name] = proto
    return found


def build_pool(files: Iterable[Any]) -> Any:
    """Build a descriptor pool from FileDescriptorProto messages, which may be in any order.

    :raises MalformedReply: no file defines a type that one of them uses, the files contradict one another, or are
        damaged.
    """
    with foreign_messages(_DESCRIPTORS):
        return _built(files)


def _built(files: Iterable[Any]) -> Any:
    own = well_known_files()
    own_types = {name for file in own.values() for name in _defined(file)}
    given: dict[str, Any] = {}
    for file in files:
        kept = _without(file, own_types)
        if file.name not in own and (kept.message_type or kept.enum_type or kept.service or kept.extension):
            given.setdefault(file.name, kept)
    everything = {**own, **given}
    homes = {name: file.name for file in everything.values() for name in _defined(file)}
    for file in given.values():
        _resolve(file, homes)
    pool = protobuf("descriptor_pool").DescriptorPool()
    added: set[str] = set()
    for name in everything:
        _add(pool, name, everything, added, ())
    return pool


def _add(pool: Any, name: str, files: dict[str, Any], added: set[str], path: tuple[str, ...]) -> None:
    if name in added or name in path:
        return
    file = files[name]
    for dependency in file.dependency:
        _add(pool, dependency, files, added, (*path, name))
    pool.Add(file)
    added.add(name)


def _without(file: Any, own_types: set[str]) -> Any:
    """Return a copy without the definitions that belong to google.protobuf."""
    copy = type(file)()
    copy.CopyFrom(file)
    for members in (copy.message_type, copy.enum_type):
        prefix = f"{copy.package}." if copy.package else ""
        kept = [member for member in members if prefix + member.name not in own_types]
        del members[:]
        members.extend(kept)
    return copy


def _resolve(file: Any, homes: dict[str, str]) -> None:
    """Make type names absolute and list the files of the types in use as dependencies."""
    used: set[str] = set()
    for scope, field in _references(file):
        for attribute in ("type_name", "extendee", "input_type", "output_type"):
            name = getattr(field, attribute, "")
            if not name:
                continue
            full = _look_up(name, scope, homes)
            if full is None:
                raise MalformedReply(f"{_DESCRIPTORS} use the type {name!r} and do not define it.")
            setattr(field, attribute, f".{full}")
            used.add(homes[full])
    used.discard(file.name)
    del file.dependency[:]
    del file.public_dependency[:]
    del file.weak_dependency[:]
    file.dependency.extend(sorted(used))


def _look_up(name: str, scope: str, homes: dict[str, str]) -> str | None:
    """Return the full name of a type by protobuf's scoping rule: the innermost scope first."""
    if name.startswith("."):
        return name[1:] if name[1:] in homes else None
    parts = scope.split(".") if scope else []
    for end in range(len(parts), -1, -1):
        candidate = ".".join([*parts[:end], name])
        if candidate in homes:
            return candidate
    return None


def _references(file: Any) -> Iterator[tuple[str, Any]]:
    """Yield everything that names a type, with its scope."""
    yield from ((file.package, field) for field in file.extension)
    for message in file.message_type:
        yield from _fields(message, _join(file.package, message.name))
    for service in file.service:
        yield from ((file.package, method) for method in service.method)


def _fields(message: Any, scope: str) -> Iterator[tuple[str, Any]]:
    for field in (*message.field, *message.extension):
        yield scope, field
    for nested in message.nested_type:
        yield from _fields(nested, _join(scope, nested.name))


def _defined(file: Any) -> Iterator[str]:
    for enum in file.enum_type:
        yield _join(file.package, enum.name)
    for message in file.message_type:
        yield from _defined_in(message, file.package)


def _defined_in(message: Any, scope: str) -> Iterator[str]:
    full = _join(scope, message.name)
    yield full
    for enum in message.enum_type:
        yield _join(full, enum.name)
    for nested in message.nested_type:
        yield from _defined_in(nested, full)


def _join(scope: str, name: str) -> str:
    return f"{scope}.{name}" if scope else name


def comments_of(files: Iterable[Any]) -> dict[str, str]:
    """Return the comments in FileDescriptorProto messages by full name. Without source information there are none."""
    found: dict[str, str] = {}
    left = _MAX_COMMENTS
    for file in files:
        for location in file.source_code_info.location[:left]:
            left -= 1
            text = _as_text(location.leading_comments or location.trailing_comments).strip()
            name = _full_name(file, list(location.path)) if text else None
            if name is not None:
                found[name] = " ".join(text.split())
    return found


def _as_text(text: str | bytes) -> str:
    """Return a text of a descriptor, which protobuf gives as bytes if it is not UTF-8."""
    return text if isinstance(text, str) else decode(text)


def _full_name(file: Any, path: list[int]) -> str | None:
    """Return the full name of the element at a path; None for elements without a name, such as options."""
    here, names = file, [file.package] if file.package else list[str]()
    while path:
        members = _MEMBERS.get(type(here).__name__, {}).get(path[0])
        if members is None or len(path) < 2 or path[1] >= len(getattr(here, members)):
            return None
        here = getattr(here, members)[path[1]]
        names.append(str(here.name))
        path = path[2:]
    return ".".join(names) if here is not file else None


async def compile_protos(files: Sequence[str], import_paths: Sequence[str], root: Path) -> bytes:
    """Compile .proto files to a serialised FileDescriptorSet with imports and comments.

    Paths start at `root`. Without `import_paths` the compiler searches each file's own folder and `root`. The compiler
    of grpcio-tools runs in a process of its own, because some errors end its process.

    :raises ConfigError: a file is missing or does not compile; the message has the compiler's first error.
    :raises MissingExtra: grpcio-tools is not installed.
    """
    if find_spec("grpc_tools") is None:
        raise MissingExtra("grpc", "proto")
    paths = [root / file for file in files]
    if missing := next((file for file, path in zip(files, paths, strict=True) if not path.is_file()), None):
        raise ConfigError(f"There is no file {missing!r}.", remedy=f"Check `proto_files`. Paths start at {root}.")
    folders = [root / path for path in import_paths] or [*(path.parent for path in paths), root]
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch) / "set"
        searched = [f"--proto_path={folder.resolve()}" for folder in dict.fromkeys(folders)]
        options = ["--include_imports", "--include_source_info", f"--descriptor_set_out={output}"]
        command = [sys.executable, "-m", "grpc_tools.protoc", *searched, *options, *(str(p.resolve()) for p in paths)]
        done = await anyio.run_process(command, check=False)
        if done.returncode != 0 or not output.exists():
            raise ConfigError(f"The .proto files do not compile: {_first_error(done.stderr)}.")
        return await anyio.Path(output).read_bytes()


def _first_error(stderr: bytes) -> str:
    """Return the compiler's first line that is not a warning, without the folder of the file."""
    lines = [line for line in stderr.decode("utf-8", "replace").splitlines() if line and "warning" not in line.lower()]
    if not lines:
        return "the compiler printed no reason"
    place, mark, rest = lines[0].partition(":")
    return f"{Path(place).name}{mark}{rest}".rstrip(".")


async def reflect(
    channel: Any, wanted: Callable[[str], bool], is_unimplemented: Callable[[Exception], bool]
) -> Described:
    """Ask server reflection (grpc.reflection v1, then v1alpha) for the services that `wanted` accepts.

    Services that reflection lists but cannot describe are left out. Errors of the channel are not caught.

    :raises ManualError: the server has no reflection, or none for these services.
    :raises MalformedReply: its descriptors cannot be used.
    """
    for version in _VERSIONS:
        try:
            return await _gather(_questions(channel, version), wanted)
        except Exception as error:
            if not is_unimplemented(error):
                raise
    raise ManualError(
        "The server does not support reflection.",
        remedy="Add `proto_files` or a `descriptor_set` (protoc --include_imports --descriptor_set_out) to the call "
        "template, or write the tools into a manual.",
    )


async def _gather(ask: Callable[..., Any], wanted: Callable[[str], bool]) -> Described:
    listed = await ask(list_services="*")
    services = [
        service.name
        for service in listed.list_services_response.service
        if not service.name.startswith(HIDDEN_SERVICES) and wanted(service.name)
    ]
    if not services:
        raise ManualError("The server has no matching service.", remedy="Check `service_name`.")
    learning = _Learning(ask)
    for service in services[:_MAX_FILES]:
        await learning.learn(file_containing_symbol=service)
    own = well_known_files()
    while learning.waiting and len(learning.files) < _MAX_FILES:
        name = learning.waiting.pop()
        if name not in learning.files and name not in own:
            await learning.learn(file_by_filename=name)
    files = list(learning.files.values())
    pool, comments = await anyio.to_thread.run_sync(_pool_and_comments, files, abandon_on_cancel=True)
    with foreign_messages(_DESCRIPTORS):
        known = [name for name in dict.fromkeys(services) if is_known(pool, name)]
    if not known:
        raise ManualError("The server's reflection describes none of its services.", remedy="Set `proto_files`.")
    return Described(pool, known, comments, learning.digest(known))


def _pool_and_comments(files: list[Any]) -> tuple[Any, dict[str, str]]:
    with foreign_messages(_DESCRIPTORS):
        return build_pool(files), comments_of(files)


class _Learning:
    """The files that reflection has described so far, and the names of the files that they depend on."""

    def __init__(self, ask: Callable[..., Any]) -> None:
        self.files: dict[str, Any] = {}
        self.waiting: list[str] = []
        self._ask = ask
        self._bytes = 0
        self._digests: dict[str, bytes] = {}

    def digest(self, services: Iterable[str]) -> bytes:
        """Return the hash of all files and of the services."""
        parts = [(name.encode(), digest) for name, digest in sorted(self._digests.items())]
        return sha256(repr((parts, sorted(services))).encode()).digest()

    async def learn(self, **question: str) -> None:
        """Add the files of one reply.

        :raises ManualError: all replies together are too large.
        :raises MalformedReply: one is not a description.
        """
        answer = await self._ask(**question)
        for data in answer.file_descriptor_response.file_descriptor_proto:
            self._bytes += len(data)
            if self._bytes > _MAX_BYTES:
                raise ManualError(
                    f"The server's descriptors have more than {_MAX_BYTES} bytes.", remedy="Set `descriptor_set`."
                )
            with foreign_messages(_DESCRIPTORS):
                self._add(data)

    def _add(self, data: bytes) -> None:
        file = protobuf("descriptor_pb2").FileDescriptorProto()
        file.ParseFromString(data)
        name, needed = file.name, list(file.dependency)
        if not all(isinstance(one, str) for one in (name, *needed)):  # bytes, if they are not UTF-8
            raise MalformedReply(f"{_DESCRIPTORS} have a file name that is not UTF-8.")
        if name not in self.files:
            self.files[name] = file
            self._digests[name] = sha256(data).digest()
            self.waiting += needed


def _questions(channel: Any, version: str) -> Callable[..., Any]:
    """Return a coroutine function that asks server reflection one question and returns the reply.

    Each question is a call of its own: gRPC sends its head, message and end together. In one stream for all questions,
    a server without reflection may end the stream before the first message is written. gRPC then reports an internal
    error of the client in place of the server's status.
    """
    messages = reflection_messages(version)
    request, response = messages["ServerReflectionRequest"], messages["ServerReflectionResponse"]
    method = channel.unary_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=request.SerializeToString,
    )

    async def ask(**question: str) -> Any:
        left = seconds_left()
        call = method(request(**question), timeout=min(MAX_SECONDS, left or MAX_SECONDS))
        try:
            answer = await call.read()
        finally:
            call.cancel()
        if not isinstance(answer, bytes):
            raise MalformedReply("The server closed the reflection stream before it replied.")
        with foreign_messages("The reply of the server's reflection"):  # grpcio would log a traceback of its own
            return response.FromString(answer)

    return ask
