"""What goes over a WebRTC data channel: calls, discovery, results and the pieces of a stream (pure).

The Go, Rust and Elixir libraries and the specification each have their own object for a call; none minds
fields it does not know, so one object holds all of theirs unless a `Form` is named.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias
from uuid import uuid4

import orjson

from utcp_bridge.errors import InvalidArguments, MalformedReply, Rejected
from utcp_bridge.model import JsonObject, is_list, is_object

__all__ = ["Form", "call_message", "discovery_message", "encode", "manual_of", "outcome", "piece"]

Form: TypeAlias = Literal["all", "args", "params", "inputs"]
"""Where a call's arguments stand: `args` for Go and Elixir, `params` for Rust, `inputs` for the specification."""
_ENVELOPE = frozenset({"id", "type", "jsonrpc", "result", "error"})
_FRAME = frozenset({"id", "type", "tool", "partial", "done"})
_REPLY = frozenset({"result", "output", "error"})
_END = frozenset({"stream_end", "end", "complete", "done", "close"})
_LAST = _END | {"response", "tool_response"}
_SHOWN = 200


def call_message(tool: str, arguments: JsonObject, *, stream: bool = False, form: Form = "all") -> JsonObject:
    """One call with an id of its own, in one form or all of them."""
    kind = "tool_call_stream" if stream else "tool_call"
    method = "call_tool_stream" if stream else "call_tool"
    forms: dict[str, JsonObject] = {
        "args": {"type": kind, "tool": tool, "args": arguments},
        "params": {"method": method, "params": {"tool": tool, "args": arguments}},
        "inputs": {"type": kind, "tool": tool, "inputs": arguments},
    }
    chosen = forms.values() if form == "all" else [forms[form]]
    return {"id": uuid4().hex, **{key: value for fields in chosen for key, value in fields.items()}}


def discovery_message() -> JsonObject:
    """What asks for the manual: Rust's `list_tools` and the specification's `utcp` in one."""
    return {"id": uuid4().hex, "method": "list_tools", "params": {}, "type": "utcp"}


def encode(message: JsonObject, *, binary: bool) -> str | bytes:
    """The message as a text frame, or as the binary one of PeerJS's `json`. Raises InvalidArguments."""
    try:
        data = orjson.dumps(message, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:
        raise InvalidArguments("The arguments cannot be written as JSON.") from None
    return data if binary else data.decode()


def outcome(message: JsonObject, where: str) -> Any:
    """The value of a reply: `result` or `output`. Raises Rejected for an error, MalformedReply for neither."""
    error = message.get("error")
    if error is None and message.get("type") == "error":
        error = message.get("message", "error")
    if error is not None:
        raise Rejected(f"{where} answered an error: {_words(error)}", status="error", detail=error)
    for key in ("result", "output"):
        if key in message:
            return message[key]
    raise MalformedReply(f"{where} answered neither a result nor an error.")


def manual_of(message: JsonObject, where: str) -> JsonObject:
    """The manual in a reply to discovery: `tools` itself, or within `result`. Raises Rejected, MalformedReply."""
    if "tools" in message:
        return {key: value for key, value in message.items() if key not in _ENVELOPE}
    value = outcome(message, where)
    if is_list(value):
        return {"tools": value}
    if is_object(value):
        return value
    raise MalformedReply(f"{where} answered the question for its tools with no manual.")


def piece(message: Any, identifier: str, where: str) -> tuple[bool, list[Any]]:
    """Whether this message ends the stream that answers call `identifier`, and the values in it (one or none).

    Rust's pieces are any JSON; a `result`, `output` or `error` alone, or under the call's own id, is taken out of its
    object. A `type` of `stream_end`, `end`, `complete`, `done` or `close` with nothing else ends the stream, and so do
    `done: true`, `partial: false` and a whole `response`. Raises Rejected.
    """
    if not is_object(message):
        return False, [message]
    content = {key: value for key, value in message.items() if key not in _FRAME}
    is_ours = message.get("id") == identifier or "partial" in message
    ends = _ends(message)
    if not is_ours and not (content.keys() <= _REPLY and (content or ends)):
        return False, [message]
    if message.get("error") is not None or message.get("type") == "error":
        outcome(message, where)
    for key in ("result", "output"):
        if key in content:
            return ends, [] if ends and content[key] is None else [content[key]]
    return ends, [content] if content else []


def _ends(message: JsonObject) -> bool:
    if message.get("partial") is True:
        return False
    return message.get("done") is True or message.get("partial") is False or message.get("type") in _LAST


def _words(error: Any) -> str:
    if is_object(error):
        error = error.get("message", error)
    text = error if isinstance(error, str) else orjson.dumps(error).decode()
    return text[:_SHOWN]
