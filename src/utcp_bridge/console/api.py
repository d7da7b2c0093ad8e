"""The operations of the admin API, and their description in OpenAPI 3.1. One table serves both."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from utcp_bridge import __version__
from utcp_bridge.access.principals import ANYONE
from utcp_bridge.console.admin import MAX_PAGE, Admin
from utcp_bridge.console.visitors import HEADER
from utcp_bridge.console.whole import Whole
from utcp_bridge.errors import InvalidArguments, PolicyError
from utcp_bridge.model import JsonObject, Requester, is_list, is_object
from utcp_bridge.telemetry.recent import MAX_CALLS

__all__ = ["BASE", "Operation", "Question", "described", "operations"]

BASE: Final = "/admin/api"
_TEXT: Final[JsonObject] = {"type": "string"}
_NUMBER: Final[JsonObject] = {"type": "integer", "minimum": 0}
_OBJECT: Final[JsonObject] = {"type": "object"}
_STATUSES: Final = {
    "400": "The request is not valid.",
    "401": "The request needs a login or a token.",
    "403": "The caller, its Host or its Origin is not accepted.",
    "404": "There is no such manual, tool or entry.",
}


@dataclass(frozen=True, slots=True)
class Question:
    """What an operation receives: the parameters of the URL, the JSON of the body, and who asks."""

    query: Mapping[str, str] = field(repr=False)
    body: JsonObject = field(repr=False)
    requester: Requester
    address: str = ""
    """The URL of the MCP endpoint, as the caller reaches it."""
    is_signed_in: bool = False

    def text(self, name: str) -> str:
        """Return a text of the body.

        :raises InvalidArguments: there is none.
        """
        value = self.body.get(name)
        if not isinstance(value, str) or not value:
            raise InvalidArguments(f"The member `{name}` of the body must be a text.")
        return value

    def texts(self, name: str) -> list[str]:
        """Return a list of texts of the body.

        :raises InvalidArguments: there is none.
        """
        value = self.body.get(name)
        if not is_list(value) or not all(isinstance(one, str) for one in value):
            raise InvalidArguments(f"The member `{name}` of the body must be a list of texts.")
        return [str(one) for one in value]

    def arguments(self) -> JsonObject:
        """Return the arguments of a tool.

        :raises InvalidArguments: they are not an object.
        """
        value = self.body.get("arguments", {})
        if not is_object(value):
            raise InvalidArguments("The member `arguments` of the body must be an object.")
        return value

    def insist_on_login(self) -> None:
        """Refuse a decision of a caller that nobody knows: any program on this machine could make it.

        :raises PolicyError: the bridge does not recognise its callers.
        """
        if not self.is_signed_in:
            raise PolicyError(
                "This bridge does not know who you are, so it takes no decisions here.",
                remedy="Use `utcp-bridge console`, or set `bearer_token`.",
            )

    def number(self, name: str, default: int) -> int:
        """Return a number of the URL.

        :raises InvalidArguments: it is not one.
        """
        text = self.query.get(name, "")
        if not text:
            return default
        if not (text.isascii() and text.isdigit() and len(text) < 10):
            raise InvalidArguments(f"The parameter `{name}` must be a number.")
        return int(text)


Answer = Callable[[Question], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation. `parameters` are those of the URL, `body` the required members of a JSON body."""

    method: str
    path: str
    summary: str
    answer: Answer
    parameters: Mapping[str, JsonObject]
    body: Mapping[str, JsonObject] = field(repr=False)


class _Answers:
    """The answers of the operations on the state of a client."""

    def __init__(self, admin: Admin, whole: Whole) -> None:
        self._admin, self._whole = admin, whole

    async def status(self, _: Question) -> Any:
        return self._admin.status()

    async def replicas(self, _: Question) -> Any:
        return await self._admin.replicas()

    async def manuals(self, _: Question) -> Any:
        return await self._whole.manuals()

    async def retry(self, asked: Question) -> Any:
        return await self._whole.retry(asked.text("manual"))

    async def tools(self, asked: Question) -> Any:
        query, manual = asked.query.get("query", ""), asked.query.get("manual", "")
        return self._admin.tools(query, manual, offset=asked.number("offset", 0), limit=asked.number("limit", 50))

    async def tool(self, asked: Question) -> Any:
        return self._admin.tool(asked.query.get("name", ""))

    async def explain(self, asked: Question) -> Any:
        return await self._admin.explain(asked.text("tool"), asked.arguments())

    async def call(self, asked: Question) -> Any:
        return await self._admin.call(asked.text("tool"), asked.arguments(), asked.requester)

    async def calls(self, asked: Question) -> Any:
        found = await self._whole.calls(min(asked.number("limit", 50), MAX_CALLS))
        return {key: found[key] for key in ("number", "calls", "silent")}

    async def tokens(self, _: Question) -> Any:
        return await self._whole.tokens()

    async def approvals(self, _: Question) -> Any:
        return {"approvals": await self._admin.approvals()}

    async def decide(self, asked: Question) -> Any:
        asked.insist_on_login()
        name = asked.requester.principal
        own = None if name == ANYONE.name else name  # a code is of the operator, and makes no calls over MCP
        return await self._admin.decide(asked.text("id"), asked.text("decision"), f"console ({name})", own)

    async def drift(self, _: Question) -> Any:
        return await self._admin.differences()

    async def approve(self, asked: Question) -> Any:
        asked.insist_on_login()
        return await self._whole.approve(asked.texts("names"))

    async def hosts(self, asked: Question) -> Any:
        return {"hosts": self._admin.hosts(asked.address)}


def operations(admin: Admin, whole: Whole) -> list[Operation]:
    """Return every operation on the state of a client, and of all bridges where there are others."""
    of = _Answers(admin, whole)
    names: JsonObject = {"type": "array", "items": _TEXT}
    decision: JsonObject = {"enum": ["approve", "deny"]}
    paging = {"query": _TEXT, "manual": _TEXT, "offset": _NUMBER, "limit": {**_NUMBER, "maximum": MAX_PAGE}}
    called = {"tool": _TEXT, "arguments": _OBJECT}
    return [
        _get("/status", "Return the counts of the readiness probe, and the faults of the configuration.", of.status),
        _get("/replicas", "Return the bridges that share an address or a store, and which one this is.", of.replicas),
        _get(
            "/manuals",
            "Return each manual with its state in each bridge, causes and remedies.",
            of.manuals,
        ),
        _post("/retry", "Load a manual again in each bridge, and return its state.", of.retry, {"manual": _TEXT}),
        _get("/tools", "Return a page of the tools: the best first for a query, otherwise by name.", of.tools, paging),
        _get("/tool", "Return one tool with its schemas.", of.tool, {"name": _TEXT}),
        _post("/explain", "Return the request that a call would send, and send nothing.", of.explain, called),
        _post("/call", "Call a tool, and return the seconds and the result as hosts get it.", of.call, called),
        _get("/calls", "Return the last calls of all bridges, the newest first.", of.calls, {"limit": _NUMBER}),
        _get("/tokens", "Return the tokens of the list of tools, and those that results were shortened by.", of.tokens),
        _get("/approvals", "Return the calls that wait for an approval.", of.approvals),
        _post("/decide", "Approve or deny a call that waits.", of.decide, {"id": _TEXT, "decision": decision}),
        _get("/drift", "Return what differs from `utcp.lock`. Each manual is loaded once more.", of.drift),
        _post("/approve", "Approve differences in `utcp.lock` by their names.", of.approve, {"names": names}),
        _get("/hosts", "Return the entry for the file of each MCP host.", of.hosts),
    ]


def _get(path: str, summary: str, answer: Answer, parameters: Mapping[str, JsonObject] | None = None) -> Operation:
    return Operation("GET", path, summary, answer, parameters or {}, {})


def _post(path: str, summary: str, answer: Answer, body: Mapping[str, JsonObject]) -> Operation:
    return Operation("POST", path, summary, answer, {}, body)


def described(every: Sequence[Operation]) -> JsonObject:
    """Return the description of the API (OpenAPI 3.1)."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Admin API of utcp-bridge",
            "version": __version__,
            "description": "State of a bridge, and what its operator may do with it.",
        },
        "servers": [{"url": BASE}],
        "paths": {one.path: {one.method.lower(): _described(one)} for one in every},
        "components": {
            "schemas": {
                "Problem": {
                    "type": "object",
                    "properties": {"error": _TEXT, "message": _TEXT, "remedy": _TEXT},
                    "required": ["error", "message"],
                }
            },
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def _described(one: Operation) -> JsonObject:
    parameters: list[JsonObject] = [
        {"name": name, "in": "query", "required": name == "name", "schema": schema}
        for name, schema in one.parameters.items()
    ]
    if one.method == "POST":
        parameters.append({"name": HEADER, "in": "header", "required": True, "schema": {"const": "1"}})
    problem = {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    found: JsonObject = {
        "operationId": one.path.strip("/").replace("/", "_"),
        "summary": one.summary,
        "responses": {
            "200": {"description": "The answer.", "content": {"application/json": {"schema": _OBJECT}}},
            **{status: {"description": text, "content": problem} for status, text in _STATUSES.items()},
        },
    }
    if parameters:
        found["parameters"] = parameters
    if one.body:
        optional = {"arguments"}
        schema = {
            "type": "object",
            "properties": dict(one.body),
            "required": [name for name in one.body if name not in optional],
        }
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return found
