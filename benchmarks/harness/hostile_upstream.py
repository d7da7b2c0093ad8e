"""Hostile providers, each of which tries to stop, slow or bloat the program that reads it.

    python -m benchmarks.harness.hostile_upstream        prints its port, serves until stdin closes

`/<case>/…` belongs to the case of that name in `CASES`. Replies are made when they are first asked for, so that a run
of one case costs no more than that case.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

Json = dict[str, Any]
KILO, MEGA = 1 << 10, 1 << 20


@dataclass(frozen=True)
class Answer:
    """What a path returns. `pieces` replaces the length and the body: they are sent until the client goes away."""

    body: bytes = b""
    content_type: str = "application/json"
    encoding: str = ""
    pieces: Callable[[], AsyncIterator[bytes]] | None = None
    status: int = 200


@dataclass(frozen=True)
class Case:
    """One hostile provider. `paths` returns its answers, with its own address as the argument; `entry` is added to the
    entry of its manual, whose address is `path`. `calls` are arguments for the tool that they name.
    """

    paths: Callable[[str], dict[str, Callable[[], Answer]]]
    calls: dict[str, Json] = field(default_factory=dict)
    entry: Json = field(default_factory=dict)
    path: str = "utcp"


def as_json(value: Any) -> Answer:
    return Answer(json.dumps(value).encode())


def zipped(data: bytes, content_type: str = "application/json") -> Answer:
    return Answer(gzip.compress(data, 6), content_type, "gzip")


def manual(*tools: Json) -> Answer:
    return as_json({"utcp_version": "1.0.1", "manual_version": "1.0.0", "tools": list(tools)})


def tool(name: str, url: str, inputs: Json | None = None, kind: str = "http", **template: Any) -> Json:
    whole = {"call_template_type": kind, "url": url, "http_method": "GET", **template}
    schema = inputs or {"type": "object", "properties": {"a": {}}}
    return {"name": name, "description": f"The tool {name}.", "inputs": schema, "tool_call_template": whole}


# --- documents -------------------------------------------------------------------------------------------------------


def document(make: Callable[[], Answer]) -> Case:
    """A provider whose manual is the attack."""
    return Case(lambda _: {"utcp": make})


def _references(at: str) -> dict[str, Callable[[], Answer]]:
    count = 90
    one = {"type": "object", "properties": {"p": {"type": "string", "description": "x" * MEGA}}}
    paths = {
        f"/p{number}": {"get": {"operationId": f"o{number}", "responses": {"200": {"$ref": f"{at}/r{number}.json"}}}}
        for number in range(count)
    }
    whole = {"openapi": "3.1.0", "info": {"title": "t", "version": "1"}, "paths": paths}
    files: dict[str, Callable[[], Answer]] = {f"r{number}.json": lambda: as_json(one) for number in range(count)}
    return {"utcp": lambda: as_json(whole), **files}


def _fan_out() -> Answer:
    count = 300
    schemas = {
        f"A{number}": {
            "type": "object",
            "properties": {f"a{j}": {"$ref": f"#/components/schemas/A{(number * 7 + j) % count}"} for j in range(20)},
        }
        for number in range(count)
    }
    content = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/A0"}}}}
    paths = {
        f"/p{number}": {
            "post": {
                "operationId": f"op{number}",
                "requestBody": content,
                "responses": {"200": {"description": "Done.", **content}},
            }
        }
        for number in range(80)
    }
    info = {"title": "t", "version": "1"}
    return as_json({"openapi": "3.1.0", "info": info, "paths": paths, "components": {"schemas": schemas}})


def _introspection() -> Answer:
    count, fields = 300, 20

    def field_of(name: str, kind: str, target: str, arguments: list[Json]) -> Json:
        reference = {"kind": kind, "name": target, "ofType": None}
        return {"name": name, "description": None, "args": arguments, "type": reference, "isDeprecated": False}

    argument = {"name": "a", "type": {"kind": "INPUT_OBJECT", "name": "I0", "ofType": None}, "defaultValue": None}
    objects = [
        {
            "kind": "OBJECT",
            "name": f"T{number}",
            "interfaces": [],
            "fields": [
                field_of("id", "SCALAR", "String", []),
                *(field_of(f"f{j}", "OBJECT", f"T{(number * 7 + j * 13 + 1) % count}", []) for j in range(fields)),
            ],
        }
        for number in range(count)
    ]
    inputs = [
        {
            "kind": "INPUT_OBJECT",
            "name": f"I{number}",
            "inputFields": [
                {
                    "name": f"f{j}",
                    "type": {"kind": "INPUT_OBJECT", "name": f"I{(number * 7 + j * 13 + 1) % count}", "ofType": None},
                    "defaultValue": None,
                }
                for j in range(fields)
            ],
        }
        for number in range(count)
    ]
    query_fields = [field_of(f"q{number}", "OBJECT", f"T{number % count}", [argument]) for number in range(200)]
    query = {"kind": "OBJECT", "name": "Query", "interfaces": [], "fields": query_fields}
    scalars = [{"kind": "SCALAR", "name": name} for name in ("String", "Boolean")]
    types = [query, *objects, *inputs, *scalars]
    root = {"queryType": {"name": "Query"}, "mutationType": None, "subscriptionType": None}
    return as_json({"data": {"__schema": {**root, "types": types, "directives": []}}})


def _many_tools() -> Answer:
    at = "http://127.0.0.1:9/x"
    return manual(*(tool(f"t{number}", at, {"type": "object", "properties": {"q": {}}}) for number in range(20_000)))


# --- schemas and templates -------------------------------------------------------------------------------------------


def _doubling(count: int, link: Callable[[int], Json], head: Json, last: Json, **root: Any) -> Json:
    """A chain of definitions, each of which leads to the next one in two ways: 2^count ways to the last one."""
    definitions = {f"d{number}": link(number) for number in range(count)}
    return {"type": "object", "properties": {"a": head}, "$defs": {**definitions, f"d{count}": last}, **root}


def _anchors() -> Json:
    return _doubling(
        30,
        lambda n: {"$anchor": f"n{n}", "anyOf": [{"$ref": f"#n{n + 1}"}, {"allOf": [{"$ref": f"#n{n + 1}"}]}]},
        {"$ref": "#n0"},
        {"$anchor": "n30", "type": "integer"},
    )


def _own_id() -> Json:
    at = "https://example.test/s#/$defs/d"
    return _doubling(
        30,
        lambda n: {"anyOf": [{"$ref": f"{at}{n + 1}"}, {"allOf": [{"$ref": f"{at}{n + 1}"}]}]},
        {"$ref": f"{at}0"},
        {"type": "integer"},
        **{"$id": "https://example.test/s"},
    )


def _unevaluated() -> Json:
    return _doubling(
        30,
        lambda n: {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}], "unevaluatedProperties": False},
        {"$ref": "#/$defs/d0"},
        {"properties": {"x": {"type": "integer"}}},
    )


def _dependent() -> Json:
    return _doubling(
        30,
        lambda n: {"dependentSchemas": {key: {"$ref": f"#/$defs/d{n + 1}"} for key in "xy"}},
        {"$ref": "#/$defs/d0"},
        {"required": ["z"]},
    )


def _pattern() -> Json:
    return {"type": "object", "properties": {"a": {"type": "string", "pattern": "^(([a-z])+.)+[A-Z]([a-z])+$"}}}


def schema(inputs: Callable[[], Json], value: Any) -> Case:
    """A provider whose input schema is the attack, when `value` is checked against it."""

    def paths(at: str) -> dict[str, Callable[[], Answer]]:
        return {"utcp": lambda: manual(tool("t", f"{at}/ok", inputs())), "ok": lambda: as_json({})}

    return Case(paths, {"t": {"a": value}})


def template(arguments: Json, **fields: Any) -> Case:
    """A provider whose call template is the attack. `@` in its URL stands for the provider's address."""

    def paths(at: str) -> dict[str, Callable[[], Answer]]:
        inputs = {"type": "object", "properties": {"a": {"type": "string"}}}
        given = {"url": f"{at}/ok", **fields}
        return {
            "utcp": lambda: manual(tool("t", inputs=inputs, **{**given, "url": given["url"].replace("@", at)})),
            "ok": lambda: as_json({}),
        }

    return Case(paths, {"t": arguments})


# --- replies ---------------------------------------------------------------------------------------------------------


def reply(make: Callable[[], Answer], kind: str = "http", **fields: Any) -> Case:
    """A provider whose replies are the attack."""

    def paths(at: str) -> dict[str, Callable[[], Answer]]:
        return {"utcp": lambda: manual(tool("t", f"{at}/t", kind=kind, **fields)), "t": make}

    return Case(paths, {"t": {}}, {"allowed_communication_protocols": ["http", "sse", "streamable_http"]})


def dripping(content_type: str, first: bytes, piece: bytes) -> Callable[[], Answer]:
    async def pieces() -> AsyncIterator[bytes]:
        yield first
        while True:
            yield piece
            await asyncio.sleep(0.002)

    return lambda: Answer(b"", content_type, pieces=pieces)


async def _never() -> AsyncIterator[bytes]:
    await asyncio.sleep(3600)
    yield b""


def text_of(unit: str, size: int) -> Callable[[], Answer]:
    return lambda: zipped((unit * (size // len(unit.encode()))).encode(), "text/plain")


CASES: dict[str, Case] = {
    "comments": document(lambda: Answer(b"<!-- -->" * 40_000 + b"x", "text/html")),
    "tiny lists": document(lambda: zipped(b'{"tools": [' + b"[]," * ((15 * MEGA) // 3) + b"0]}")),
    "tiny numbers": document(lambda: zipped(b'{"tools": [' + b"1," * (7 * MEGA) + b"0]}")),
    "deep": document(lambda: zipped(b"[" * (15 * MEGA))),
    "yaml flow": document(lambda: zipped(b"tools: [" + b"[], " * MEGA + b"0]", "application/yaml")),
    "yaml aliases": document(
        lambda: Answer(
            b"a0: &a0 [x]\n" + b"".join(b"a%d: &a%d [*a%d, *a%d]\n" % (n, n, n - 1, n - 1) for n in range(1, 60))
        )
    ),
    "references": Case(_references),
    "fan out": document(_fan_out),
    "introspection": Case(lambda _: {"utcp": _introspection}, {}, {"call_template_type": "graphql"}),
    "many tools": document(_many_tools),
    "dripping manual": document(dripping("application/json", b'{"tools": [', b" ")),
    "anchors": schema(_anchors, {"x": 1}),
    "own id": schema(_own_id, "text"),
    "unevaluated": schema(_unevaluated, {"x": 1}),
    "dependent": schema(_dependent, {"x": 1, "y": 1}),
    "pattern": schema(_pattern, "a" * 60_000 + "!"),
    "filters": template({"a": '"'}, http_method="POST", body_template={"k": "{{ a " + "| json " * 26 + "}}"}),
    "braces": template({"a": "x"}, url="@/t?" + "{{" * 30_000),
    "amplified": template(
        {"a": "x" * 100_000}, http_method="POST", body_template={f"k{n}": "{{ a }}" * 10 for n in range(1_000)}
    ),
    "patient template": Case(
        lambda at: {
            "utcp": lambda: manual(tool("t", f"{at}/t", timeout=100_000)),
            "t": lambda: Answer(pieces=_never),
        },
        {"t": {}},
    ),
    "reply of tiny lists": reply(lambda: zipped(b"[" + b"[]," * (3 * MEGA) + b"0]")),
    "reply of tiny members": reply(
        lambda: zipped(b"{" + b",".join(b'"%x":0' % number for number in range(900_000)) + b"}")
    ),
    "deep reply": reply(lambda: zipped(b"[" * (9 * MEGA))),
    "rows": reply(
        lambda: zipped(json.dumps([{"id": n, "name": f"row {n}", "on": True} for n in range(190_000)]).encode())
    ),
    "escapes": reply(text_of("\x1b", 9 * MEGA)),
    "joiners": reply(text_of("a\u200d", 9 * MEGA)),
    "letters and backspaces": reply(text_of("a\b", 9 * MEGA)),
    "codec": reply(lambda: Answer(b"-" * (400 * KILO), "text/plain; charset=punycode")),
    "error page": reply(lambda: Answer(b"<p>" * (3 * MEGA), "text/html", status=500)),
    "parts": reply(lambda: zipped(b"--b\r\n\r\nx\r\n" * 900_000 + b"--b--", "multipart/mixed; boundary=b")),
    "event line": reply(dripping("text/event-stream", b"data: " + b"x" * (9 * MEGA), b"y"), "sse"),
    "event fields": reply(dripping("text/event-stream", b"data: x\n" * MEGA, b"data: y\n"), "sse"),
    "pings": reply(dripping("text/event-stream", b"", b":\n" * 1_000), "sse"),
    "json line": reply(dripping("application/x-ndjson", b'"' + b"x" * (9 * MEGA), b"y"), "streamable_http"),
    "nested stream": reply(
        dripping("application/x-ndjson", b"[" * 1_000 + b"1," * (4 * MEGA), b"1,"), "streamable_http"
    ),
    "tiny events": reply(dripping("application/x-ndjson", b"1\n" * MEGA, b"1\n" * 1_000), "streamable_http"),
    "mcp line": Case(
        lambda _: {"utcp": dripping("text/event-stream", b"data: " + b"x" * (60 * MEGA), b"y")},
        {},
        {"call_template_type": "mcp"},
    ),
    "mcp values": Case(
        lambda _: {
            "utcp": lambda: zipped(b'{"jsonrpc":"2.0","id":0,"result":{"tools":[' + b"[]," * (5 * MEGA) + b"0]}}")
        },
        {},
        {"call_template_type": "mcp"},
    ),
}


class Provider:
    """The answers below one address. Each is made once."""

    def __init__(self, at: str) -> None:
        self._at = at
        self.answer = cache(self._answer)

    def _answer(self, path: str) -> Answer:
        name, _, rest = path.strip("/").partition("/")
        paths = CASES[name.replace("-", " ")].paths(f"{self._at}/{name}")
        return paths[rest]() if rest in paths else Answer(b"{}", status=404)


async def serve() -> None:
    """Serve on a free port of loopback until stdin closes."""
    provider: list[Provider] = []

    async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while await _one_request(provider[0], reader, writer):
                pass
        writer.close()

    server = await asyncio.start_server(exchange, "127.0.0.1", 0, backlog=512)
    port = server.sockets[0].getsockname()[1]
    provider.append(Provider(f"http://127.0.0.1:{port}"))
    print(port, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    server.close()


async def _one_request(provider: Provider, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    await reader.readexactly(length)
    path = head.split(b" ", 2)[1].decode().partition("?")[0]
    answer = provider.answer(path)
    lines = [f"HTTP/1.1 {answer.status} x", f"Content-Type: {answer.content_type}"]
    if answer.encoding:
        lines.append(f"Content-Encoding: {answer.encoding}")
    lines.append("Connection: close" if answer.pieces else f"Content-Length: {len(answer.body)}")
    writer.write("\r\n".join([*lines, "", ""]).encode() + answer.body)
    await writer.drain()
    if answer.pieces is None:
        return True
    async for piece in answer.pieces():
        writer.write(piece)
        await writer.drain()
    return False


if __name__ == "__main__":
    asyncio.run(serve())
