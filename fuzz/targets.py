"""What the fuzzer calls: one function for each target. Each takes any bytes and fails if a promise does not hold.

The promises: bad input raises an error of `utcp_bridge.errors` and no other; cleaning twice changes nothing more;
pieces of a stream give what the whole gives; a secret is masked in each of its forms. `scripts/fuzz` bounds the time
and the memory of one input. This module needs no fuzzer: `tests/test_fuzz.py` replays the corpus anywhere.
"""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Final
from urllib.parse import quote, urlsplit

import h11
import mcp_types as types
import orjson
from mcp_types.methods import validate_client_request
from mcp_types.version import LATEST_HANDSHAKE_VERSION
from yarl import URL

from utcp_bridge.auth.redaction import Redactor
from utcp_bridge.catalogue.schemas.portable import portable_input
from utcp_bridge.dialects import detect, read_config, read_manual, to_v1
from utcp_bridge.dialects.documents import parse_document, write_document
from utcp_bridge.dialects.openapi import convert
from utcp_bridge.dialects.openapi.options import ConversionOptions
from utcp_bridge.errors import UtcpError
from utcp_bridge.foreign import decode, encodable, json_line, load_json, outer_id, visible, visible_json
from utcp_bridge.net.heads.request_heads import RequestHeads
from utcp_bridge.net.stream_decoders import EventSplitter, JsonSplitter, TextSplitter
from utcp_bridge.pipeline.schema_checks import SchemaChecks
from utcp_bridge.placement.encoding import compact_json
from utcp_bridge.placement.placeholders import Context, Syntax, compile_template
from utcp_bridge.placement.url import compile_url
from utcp_bridge.server.hot.calls import HandlingServer, HotCalls
from utcp_bridge.server.hot.known_calls import KnownCalls
from utcp_bridge.server.hot.requests import read_hot
from utcp_bridge.server.incoming import UnreadableMessage, read_message
from utcp_bridge.transports.cli.scripts import CommandStep, UnsafePlaceholder, bash_script
from utcp_bridge.transports.cli.words import ArgvTemplate, flags
from utcp_bridge.transports.tcp import Framing

__all__ = ["TARGETS"]

_LIMIT: Final = 65_536
_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_MAX_TOOLS: Final = 20
_LISTED_BYTES: Final = 16_000
_SYNTAXES: Final = (
    Syntax.MUSTACHE,
    Syntax.MUSTACHE | Syntax.DOLLAR | Syntax.BRACES,
    Syntax.UTCP_ARG | Syntax.UTCP_END | Syntax.MUSTACHE,
)
_FRAMINGS: Final = (
    Framing("length_prefix", prefix_bytes=1),
    Framing("length_prefix", prefix_bytes=4, endian="little", limit=4_096),
    Framing("delimiter", delimiter=b"\r\n", limit=4_096),
    Framing("fixed_length", fixed_length=7),
    Framing("stream", limit=4_096),
)

_HOT: Final = HotCalls(HandlingServer("fuzz"))

logging.disable(logging.CRITICAL)


def documents(data: bytes) -> None:
    """Read JSON, JSON with comments, or YAML. What was read from JSON is the same after it is written."""
    form, text = data[:1], data[1:]
    hint = {b"j": "application/json", b"c": "x.jsonc", b"y": "x.yaml"}.get(form, "")
    with suppress(UtcpError):
        value = parse_document(text, hint=hint, jsonc=form == b"c")
        if form == b"j":
            assert parse_document(write_document(value, "json"), hint=hint) == value
        elif form == b"y":
            with suppress(TypeError):  # a whole number above 64 bits
                orjson.dumps(value)


def dialects(data: bytes) -> None:
    """Read a manual and a configuration of any dialect. Bad input is a fault and never an exception."""
    value = _json(data)
    if value is None:
        return
    shape = detect(value)
    template = {"call_template_type": "http", "url": "https://api.example.com/utcp"}
    read = read_manual(value, default_template=template, where="m", shape=shape)
    assert all(isinstance(tool.name, str) and isinstance(tool.inputs, dict) for tool in read.tools)
    read_config(value, where="c", shape=shape)
    with suppress(UtcpError):
        to_v1(value)


def openapi(data: bytes) -> None:
    """Convert an OpenAPI document, and list its tools."""
    value = _json(data)
    if not isinstance(value, dict):
        return
    if "swagger" not in value:
        value.setdefault("openapi", "3.1.0")
    with suppress(UtcpError):
        made = convert(value, url="https://api.example.com/openapi.json", options=ConversionOptions())
        for tool in made.tools[:_MAX_TOOLS]:
            _portable(tool.inputs)


def framings(data: bytes) -> None:
    """Read a stream in pieces and as a whole: events, JSON values, text, and each framing of TCP."""
    if len(data) < 2:
        return
    choice, step, body = data[0], data[1] % 16 + 1, data[2:]
    makers: list[Callable[[], Any]] = [
        lambda: EventSplitter(_LIMIT, "s", logs=True),
        lambda: JsonSplitter(_LIMIT, "s", None),
        lambda: TextSplitter(None),
    ]
    index = choice % (len(makers) + len(_FRAMINGS))
    if index < len(makers):
        whole, pieces = _split(makers[index](), [body]), _split(makers[index](), _pieces(body, step))
        if index == 2:
            whole, pieces = (None if one is None else ["".join(one)] for one in (whole, pieces))
    else:
        framing = _FRAMINGS[index - len(makers)]
        whole, pieces = _deframed(framing, [body]), _deframed(framing, _pieces(body, step))
    if whole is not None and pieces is not None:
        assert whole == pieces, (whole, pieces)


def templates(data: bytes) -> None:
    """Compile a template and a URL, and fill them in. A URL stays one line, and its literal host stays."""
    value, arguments, choice = _pair(data)
    inputs = frozenset(arguments) if choice % 2 else None
    with suppress(UtcpError):
        template = compile_template(value, syntaxes=_SYNTAXES[choice % len(_SYNTAXES)], inputs=inputs)
        for context in Context:
            with suppress(UtcpError):
                template.render(arguments, context=context)
    if isinstance(value, str):
        with suppress(UtcpError):
            address = f"https://api.example.com/{value}"
            built = compile_url(address).build(arguments)
            assert urlsplit(built).netloc == "api.example.com", built
            assert built.isascii(), built
            assert not any(ord(one) <= 32 for one in built), built


def commands(data: bytes) -> None:
    """Read a command, and pass values to it. A value is never a part of the script."""
    value, arguments, _ = _pair(data)
    with suppress(UtcpError):
        words = flags(arguments)
        assert all(isinstance(word, str) for word in words)
    if not isinstance(value, str):
        return
    secret = "v4lue'\"$(x)"
    in_json = compact_json(secret).decode()  # a command's word can be JSON text
    filled = dict.fromkeys(arguments, secret)
    with suppress(UtcpError, UnsafePlaceholder):
        script = bash_script([CommandStep(command=value)], [0])
        environment = script.environment(filled)
        assert secret in value or secret not in script.text
        assert set(environment.values()) <= {secret, in_json, in_json[1:-1], "", "null"}
    with suppress(UtcpError, UnsafePlaceholder):
        assert all(isinstance(word, str) for word in ArgvTemplate([value]).render(arguments))


def schemas(data: bytes) -> None:
    """Judge, compile and list a schema, and check a value. What is compiled is checked in bounded time."""
    value, arguments, _ = _pair(data)
    if not isinstance(value, dict):
        return
    form = SchemaChecks(value).form_for(arguments)
    if form is not None:
        form.validator.is_valid(arguments)
        form.faults(arguments)
    _portable(value)


def incoming(data: bytes) -> None:
    """Read one message of JSON-RPC."""
    with suppress(UnreadableMessage):
        read_message(data)
    outer_id(data)
    line = json_line(data)
    with suppress(orjson.JSONDecodeError):
        orjson.loads(line)
        assert json_line(line) == line


def hot(data: bytes) -> None:
    """Read a message ahead of the MCP SDK. What is read so, the SDK reads in the same way and finds valid."""
    found = read_hot(data)
    if found is None:
        return
    message = types.jsonrpc_message_adapter.validate_json(data, by_name=False)
    assert isinstance(message, types.JSONRPCRequest)
    mine, its = (found.ident, found.method, found.params), (message.id, message.method, message.params)
    assert repr(mine) == repr(its), (mine, its)  # NaN differs from itself
    if found.version is None:
        validate_client_request(found.method, LATEST_HANDSHAKE_VERSION, message.params)
    elif (envelope := _HOT.envelope_of(found)) is not None:
        validate_client_request(found.method, found.version, message.params)
        found.envelope, known = envelope, KnownCalls()
        known.learn(data, found)
        assert repr(known.read(data) or found) == repr(found)


def foreign(data: bytes) -> None:
    """Decode and clean text of other programs. Cleaning twice changes nothing more."""
    charset, _, body = data.partition(b"\n")
    text = decode(body, charset.decode("latin-1"))
    assert encodable(encodable(text)) == encodable(text)
    encodable(text).encode()
    for terminal in (False, True):
        cleaned = visible(text, terminal=terminal)
        assert visible(cleaned, terminal=terminal) == cleaned, (text, cleaned)
        assert "\x1b" not in cleaned
    with suppress(orjson.JSONDecodeError):
        value = visible_json(load_json(body))
        assert visible_json(value) == value


def requests(data: bytes) -> None:
    """Write a plain HTTP request. A strict server reads one request with these headers and this body, and no more."""
    path, *rest = data[1:].split(b"\xff")
    method = _METHODS[sum(data[:1]) % len(_METHODS)]
    body = rest.pop() if len(rest) % 2 else None
    texts = [one.decode(errors="replace") for one in rest]
    headers = list(zip(texts[::2], texts[1::2], strict=True))
    target = URL("http://h/" + "".join(chr(one) for one in path if 0x20 < one < 0x7F and one != ord("#")), encoded=True)
    with suppress(UtcpError):
        request = RequestHeads().written(method, target, headers, body)
        server = h11.Connection(h11.SERVER)
        server.receive_data(request)
        head = server.next_event()
        assert isinstance(head, h11.Request)
        assert (head.method, head.target) == (method.encode(), target.raw_path_qs.encode())
        sent = sorted(value.strip(" \t").encode() for name, value in headers if name.lower() == "x-a")
        assert sorted(value for name, value in head.headers if name == b"x-a") == sent
        received = b""
        while isinstance(event := server.next_event(), h11.Data):
            received += event.data
        assert isinstance(event, h11.EndOfMessage)
        assert received == (body or b"")
        assert server.trailing_data == (b"", False)


def redaction(data: bytes) -> None:
    """Mask a secret in each form in which it is sent."""
    first, _, rest = data.partition(b"\n")
    secret, text = first.decode(errors="ignore"), rest.decode(errors="ignore")
    if len(secret) < 8 or "***" in secret:
        return
    masked = Redactor()
    masked.learn([secret])
    shown = [secret, quote(secret, safe=""), json.dumps(secret, ensure_ascii=False)[1:-1]]
    for form in shown:
        out = masked(f"{text}|{form}|")
        assert secret not in out, (form, out)
    encoded = base64.b64encode(f"user:{secret}".encode()).decode()
    assert encoded not in masked(f"|{encoded}|")


def _json(data: bytes) -> Any:
    try:
        return load_json(data)
    except orjson.JSONDecodeError:
        return None


def _pair(data: bytes) -> tuple[Any, dict[str, Any], int]:
    """Return a value (JSON, or the text itself), arguments, and a number to choose by."""
    first, _, second = data[1:].partition(b"\n")
    value, arguments = _json(first), _json(second)
    if value is None:
        value = first.decode(errors="replace")
    return value, arguments if isinstance(arguments, dict) else {"a": second.decode(errors="replace")}, sum(data[:1])


def _portable(schema: Any) -> None:
    listed = portable_input(schema, _LISTED_BYTES).schema
    assert portable_input(listed, _LISTED_BYTES).schema == listed


def _pieces(data: bytes, step: int) -> Iterator[bytes]:
    return (data[start : start + step] for start in range(0, len(data), step))


def _split(splitter: Any, pieces: Any) -> list[Any] | None:
    try:
        return [value for piece in pieces for value in splitter.feed(piece)] + splitter.finish()
    except UtcpError:
        return None


def _deframed(framing: Framing, pieces: Any) -> list[bytes] | None:
    deframer, found = framing.deframer(), list[bytes]()
    try:
        for piece in pieces:
            message = deframer.feed(piece)
            while message is not None:
                found.append(message)
                message = deframer.feed(b"")
        found.append(deframer.finish())
    except UtcpError:
        return None
    return found


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    one.__name__: one
    for one in (
        commands,
        dialects,
        documents,
        foreign,
        framings,
        hot,
        incoming,
        openapi,
        redaction,
        requests,
        schemas,
        templates,
    )
}
"""The targets by name. Each has its first inputs in `fuzz/corpus/NAME`."""
