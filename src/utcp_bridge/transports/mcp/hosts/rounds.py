"""What a server requires of the host before it goes on (`InputRequiredResult`, 2026-07-28), for hosts of either era.

A host of 2026-07-28 gets the requests with the result of its own request, and sends that again with the answers. An
older host is asked here, and the request is sent again for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Final
from uuid import uuid4

import anyio

from utcp_bridge.errors import MalformedReply
from utcp_bridge.foreign import visible
from utcp_bridge.model import JsonObject, is_object
from utcp_bridge.upstream import HOST, CallingHost, InputRequired, ProtocolError, ask_host

__all__ = ["ASKING_METHODS", "INPUT_METHODS", "HostRefusal", "for_host", "identity_of", "with_answers"]

INPUT_METHODS: Final = frozenset({"tools/call", "prompts/get", "resources/read"})
"""Requests that may return what the server requires of the host."""
ASKING_METHODS: Final = INPUT_METHODS | {"tasks/result"}
"""Requests during which a server may ask."""
_MAX_ROUNDS: Final = 10
_MAX_REQUESTS: Final = 64
"""What a server may ask of the host at once."""
_MAX_STATE: Final = 1024 * 1024
"""Characters of a server's state. The host sends it back in a request, whose size has a limit."""
_FIRST_PAUSE: Final = 0.05
_LAST_PAUSE: Final = 1.0


class HostRefusal(ProtocolError):
    """The host refused a request that a server made with `InputRequiredResult`, or cannot be asked."""


Send = Callable[[JsonObject], Awaitable[JsonObject]]


async def with_answers(
    send: Send, origin: str, *, seconds: float, give_up: Callable[[str | None], object] = lambda _state: None
) -> JsonObject:
    """Return the result of a request, after the host has given what the server requires for it.

    `send` sends the request with more parameters and returns its result, as wire-shaped as it came. A host that
    `retries` gets `InputRequired`, and its next request has the answers. Any other host is asked, at most `seconds`
    each time and ten times in all; `give_up` receives the server's state if it did not answer. Answers and states of
    other servers than `origin` are not sent.

    :raises InputRequired: the host has to retry the request with answers.
    :raises HostRefusal: the host refused to answer, or the call has no host.
    :raises MalformedReply: the server never has enough.
    """
    host = HOST.get()
    more: JsonObject = {}
    if host is not None and host.retries and host.origin == origin:
        more = _present({"inputResponses": host.answers, "requestState": host.state})
    pause = _FIRST_PAUSE
    for _ in range(_MAX_ROUNDS):
        result = await send(more)
        if result.get("resultType") != "input_required":
            return result
        requests, state = _required(result)
        if host is not None and host.retries:
            raise InputRequired(requests, state, origin)
        if requests:
            try:
                answers, pause = await _answers(host, requests, seconds), _FIRST_PAUSE
            except BaseException:
                give_up(state)
                raise
        else:
            await anyio.sleep(pause)
            answers, pause = None, min(pause * 2, _LAST_PAUSE)
        more = _present({"inputResponses": answers, "requestState": state})
    raise MalformedReply(f"The MCP server asked for input {_MAX_ROUNDS} times and returned no result.")


def _required(result: JsonObject) -> tuple[JsonObject, str | None]:
    requests: Any = result.get("inputRequests")
    state: Any = result.get("requestState")
    requests = {} if requests is None else requests
    is_valid = is_object(requests) and all(is_object(one) and visible(key) == key for key, one in requests.items())
    if not is_valid or not (state is None or isinstance(state, str)) or not (requests or state is not None):
        raise MalformedReply("The MCP server asks for input in a form that does not match the protocol.")
    if len(requests) > _MAX_REQUESTS:
        raise MalformedReply(f"The MCP server asks for {len(requests):,} inputs at once; {_MAX_REQUESTS} are the most.")
    if state is not None and len(state) > _MAX_STATE:
        raise MalformedReply(f"The MCP server has a state of {len(state):,} characters; {_MAX_STATE:,} are the most.")
    return requests, state


async def _answers(host: CallingHost | None, requests: JsonObject, seconds: float) -> JsonObject:
    """Ask a host for everything at once, and return its answers under the server's keys."""
    answers: JsonObject = {}
    refusals: list[ProtocolError] = []

    async def ask(key: str, request: JsonObject) -> None:
        try:
            method, params = str(request.get("method")), request.get("params")
            answers[key] = await ask_host(host, method, for_host(method, params, host), seconds=seconds)
        except ProtocolError as refusal:
            refusals.append(refusal)
            group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        for key, request in requests.items():
            group.start_soon(ask, key, request)
    for refusal in refusals:
        raise HostRefusal(refusal.code, str(refusal), refusal.data)
    return answers


def for_host(method: str, params: Any, host: CallingHost | None) -> JsonObject:
    """Return the parameters of a request in the form of the host's protocol version.

    Tasks and progress of the request belong to the connection with the server, so they stay there.
    """
    given: JsonObject = dict(params) if is_object(params) else {}
    given.pop("task", None)
    meta = given.pop("_meta", None)
    if is_object(meta) and (kept := {key: value for key, value in meta.items() if key != "progressToken"}):
        given["_meta"] = kept
    if method == "elicitation/create" and host is not None and not host.retries:
        if given.get("mode") == "url":
            given.setdefault("elicitationId", uuid4().hex)  # required until 2025-11-25
        elif host.version and host.version < "2025-11-25":
            given.pop("mode", None)
    return given


def _present(members: JsonObject) -> JsonObject:
    return {key: value for key, value in members.items() if value is not None}


def identity_of(host: CallingHost | None) -> Hashable:
    """Return what is equal for all requests of one host, and for no other host."""
    return None if host is None else host.key or id(host)
