"""gRPC servers that become another build, hang while they describe themselves, or damage their replies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

import grpc
from tests.upstreams.grpc_service import GrpcService, file_descriptor, item_class


def unchanged(file: Any) -> None:
    """Leave the file as it is."""
    del file


def renumbered(file: Any) -> None:
    """Give the field `text` another number, as an incompatible build does."""
    file.message_type[0].field[0].number = 77


def renamed(file: Any) -> None:
    """Give the method `Echo` another name."""
    file.service[0].method[0].name = "Repeat"


@dataclass
class ChangingService(GrpcService):
    """Echoes the text of a message. `edit` changes its .proto file; `serves` are its methods, if not those of the file.

    With `hangs` a question of reflection gets its reply after `go_on`.
    """

    edit: Callable[[Any], None] = unchanged
    serves: tuple[str, ...] | None = None
    hangs: bool = False
    reflections: int = 0
    hung: asyncio.Event = field(default_factory=asyncio.Event)
    hung_gone: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    def _file(self) -> Any:
        file = file_descriptor()
        self.edit(file)
        return file

    def _handlers(self) -> dict[str, Any]:
        file = self._file()
        item = item_class(file)

        async def echo(request: Any, _context: Any) -> Any:
            return item(text=request.text)

        made = grpc.unary_unary_rpc_method_handler(echo, item.FromString, item.SerializeToString)
        names = [file.service[0].method[0].name] if self.serves is None else self.serves
        return dict.fromkeys(names, made)

    async def _is_asked(self) -> None:
        self.reflections += 1
        if self.hangs:
            self.hung.set()
            try:
                await self.go_on.wait()
            finally:
                self.hung_gone.set()


@dataclass
class DamagedReflection(GrpcService):
    """Reflection says `files` instead of the right file, and `damage` changes the bytes of each of its replies."""

    files: list[bytes] | None = None
    damage: Callable[[bytes], bytes] | None = None

    def _files(self) -> list[bytes]:
        return super()._files() if self.files is None else self.files

    def _written(self, answer: Any) -> bytes:
        data = super()._written(answer)
        return data if self.damage is None else self.damage(data)


def _frame(kind: int, flags: int, stream: int, data: bytes = b"") -> bytes:
    return len(data).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + data


def _field(name: bytes, value: bytes) -> bytes:
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


_SETTINGS, _PING, _HEADERS, _DATA = 4, 6, 1, 0
_BODIES = {"nothing": b"", "cut": b"\0\0\0\0\x09abc", "damaged": b"\x07\0\0\0\x02zz"}


class BrokenReplies:
    """A server of HTTP/2, byte by byte: each call succeeds, and its message is missing, cut or damaged."""

    def __init__(self, form: str) -> None:
        self.port = 0
        self._body = _BODIES[form]

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readexactly(24)
            writer.write(_frame(_SETTINGS, 0, 0))
            while True:
                head = await reader.readexactly(9)
                data = await reader.readexactly(int.from_bytes(head[:3], "big"))
                kind, flags, stream = head[3], head[4], int.from_bytes(head[5:], "big")
                if kind in {_SETTINGS, _PING} and not flags & 1:
                    writer.write(_frame(kind, 1, 0, data if kind == _PING else b""))
                if kind == _DATA and flags & 1:
                    writer.write(_frame(_HEADERS, 4, stream, b"\x88" + _field(b"content-type", b"application/grpc")))
                    writer.write(_frame(_DATA, 0, stream, self._body))
                    writer.write(_frame(_HEADERS, 5, stream, _field(b"grpc-status", b"0")))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()
