"""The operations of a document, each with its effective parameters, body, responses, servers and security (pure).

Operations of 2.0 are rewritten in 3.x form, so later steps need no distinction.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from utcp_bridge.dialects.openapi.references import References
from utcp_bridge.dialects.openapi.shapes import Family, Faults, Located, as_array, as_object, as_text, is_array
from utcp_bridge.dialects.openapi.swagger2 import (
    unknown_format,
    upgrade_body,
    upgrade_parameter,
    upgrade_response,
)
from utcp_bridge.model import is_object

__all__ = ["OpenApiOperation", "OperationReader"]

_METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace", "query")
_IGNORED_HEADERS = frozenset({"accept", "content-type", "authorization"})
_ENGINE_HEADERS = frozenset({
    "accept-encoding", "connection", "content-length", "expect", "host", "keep-alive", "te", "trailer",
    "transfer-encoding", "upgrade",
})  # fmt: skip
"""Headers that the HTTP client writes for each request. An argument could only make the request wrong."""
_GREEDY = re.compile(r"\{([^{}+*]+)[+*]\}|\{\+([^{}+*]+)\}")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
_LOCATIONS = frozenset({"path", "query", "header", "cookie", "querystring"})


@dataclass(frozen=True, slots=True)
class OpenApiOperation:
    """One operation in 3.x form, for every version of OpenAPI."""

    method: str
    path: str
    node: Located
    parameters: list[Located]
    body: Located | None
    responses: dict[str, Located]
    servers: Located | None
    """The operation's own servers, else its path's; None means the document's servers."""
    security: list[Any] | None
    """The requirements that apply; None if neither the operation nor the document has any."""

    @property
    def label(self) -> str:
        """The operation's name in messages."""
        return f"{self.method} {self.path}"


class OperationReader:
    """The operations of one document's paths."""

    def __init__(self, references: References, family: Family, faults: Faults) -> None:
        self._references = references
        self._family = family
        self._faults = faults
        self._root = references.root()

    def found(self) -> Iterator[tuple[str, str, Located, Located]]:
        """Yield (METHOD, path, operation, path item) for every operation."""
        paths = self._root.at("paths")
        for path in as_object(paths.value):
            if path.startswith("x-"):
                continue
            item = self._path_item(paths.at(path))
            for method in _METHODS:
                if (node := self._operation(item.at(method))) is not None:
                    yield method.upper(), path, node, item
            for method in as_object(as_object(item.value).get("additionalOperations")):
                node = self._operation(item.at("additionalOperations", method))
                if node is not None and self._may_be_additional(method, node):
                    yield method.upper(), path, node, item

    def _may_be_additional(self, method: str, node: Located) -> bool:
        """Return whether a key of `additionalOperations` is a method without a field of its own (3.2, Path Item).

        It is sent in capitals, as the HTTP engine writes every method, and as all registered methods are.
        """
        if method.lower() in _METHODS:
            what = f"the method {method} has a field of its own and cannot be in `additionalOperations`"
        elif _TOKEN.fullmatch(method) is None or method.upper() == "CONNECT":
            what = "the key in `additionalOperations` is not a method that can be sent"
        else:
            return True
        self._faults.add(node.pointer, what, "The operation was left out.", severity="error")
        return False

    def _operation(self, node: Located) -> Located | None:
        """Return an operation. One that is only a reference is followed: published documents are written so."""
        if not is_object(node.value):
            return None
        if not isinstance(node.value.get("$ref"), str):
            return node
        target = self._references.follow(node)
        if not is_object(target.value):
            self._faults.add(
                node.pointer,
                "the operation's reference cannot be read",
                "The operation was left out.",
                severity="error",
            )
            return None
        own = {key: value for key, value in node.value.items() if key != "$ref"}
        return Located({**target.value, **own}, target.base, target.pointer) if own else target

    def read(self, method: str, path: str, node: Located, item: Located) -> OpenApiOperation:
        """Return one operation with everything it inherits from its path and the document."""
        parameters = self._parameters(item, node)
        path = _plain_placeholders(path, parameters)
        if self._family == "2.0":
            body = upgrade_body(parameters, node, self._media_types(node, "consumes"))
            has_types = bool(self._media_types(node, "produces"))
            kept = [
                upgrade_parameter(p)
                for p in parameters
                if p.value.get("in") not in {"body", "formData"} and not (has_types and _is_plain_accept(p))
            ]
            parameters = [p for p in kept if not (body and p.value["name"].lower() == "content-type")]
        else:
            body = self._body(node)
            parameters = [p for p in parameters if not _is_ignored(p)]
        parameters = [p for p in parameters if not _is_engines(p)]
        placeable = [p for p in parameters if p.value.get("in") in _LOCATIONS]
        for parameter in parameters:
            if parameter not in placeable:
                self._faults.add(
                    parameter.pointer, "the parameter's `in` is missing or unknown", "The parameter was left out."
                )
        return OpenApiOperation(
            method, path, node, placeable, body, self._responses(node), _servers(node, item), self._security(node)
        )

    def _path_item(self, item: Located) -> Located:
        """Return a path item, merged with the target of its `$ref`; its own members win."""
        if "$ref" not in as_object(item.value):
            return item
        target = self._references.follow(item)
        if not is_object(target.value):
            self._faults.add(item.pointer, "the path cannot be read", "Its operations were left out.", severity="error")
            return target
        own = {key: value for key, value in item.value.items() if key != "$ref"}
        return Located({**target.value, **own}, target.base, target.pointer)

    def _parameters(self, item: Located, node: Located) -> list[Located]:
        """Return the path's parameters, overridden by the operation's of the same name and place, in order."""
        effective: dict[tuple[str, str], Located] = {}
        for owner in (item, node):
            for index in range(len(as_array(as_object(owner.value).get("parameters")))):
                parameter = self._references.follow(owner.at("parameters", index))
                value = as_object(parameter.value)
                name, place = value.get("name"), as_text(value.get("in"))
                if parameter.value is None and "$ref" in as_object(owner.at("parameters", index).value):
                    continue  # the reference is the fault
                if not isinstance(name, str | int) or not place:
                    self._faults.add(owner.at("parameters", index).pointer, "the parameter has no `name` or no `in`")
                    continue
                if self._family == "2.0" and (odd := unknown_format(parameter)):
                    what = f"`collectionFormat` must be csv, ssv, tsv, pipes or multi, not {odd}"
                    self._faults.add(parameter.pointer, what, "The items are joined by commas.")
                if not isinstance(name, str):
                    parameter = Located({**value, "name": str(name)}, parameter.base, parameter.pointer)
                effective[str(name), place] = parameter
        return list(effective.values())

    def _body(self, node: Located) -> Located | None:
        if not is_object(node.value.get("requestBody")):
            return None
        body = self._references.follow(node.at("requestBody"))
        return body if is_object(body.value) else None

    def _responses(self, node: Located) -> dict[str, Located]:
        responses = node.at("responses")
        read: dict[str, Located] = {}
        for status in as_object(responses.value):
            if not str(status).startswith("x-"):
                response = self._references.follow(responses.at(status))
                if self._family == "2.0":
                    response = upgrade_response(response, self._media_types(node, "produces"))
                read[str(status)] = response
        return read

    def _media_types(self, node: Located, key: str) -> list[str]:
        """Return the operation's `consumes` or `produces`, which replaces the document's even if it is empty."""
        own = node.value.get(key)
        declared = own if own is not None else as_object(self._root.value).get(key)
        if isinstance(declared, str):
            return [declared]
        return [media_type for media_type in as_array(declared) if isinstance(media_type, str) and "/" in media_type]

    def _security(self, node: Located) -> list[Any] | None:
        for owner in (node.value, as_object(self._root.value)):
            if is_array(requirements := owner.get("security")):
                return requirements
        return None


def _plain_placeholders(path: str, parameters: list[Located]) -> str:
    """Return the path with `{proxy+}` or `{+proxy}`, as gateways write it, as `{proxy}`, if that is a parameter."""
    names = {p.value["name"] for p in parameters if p.value.get("in") == "path"}

    def plain(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        return f"{{{name}}}" if name in names and match[0][1:-1] not in names else match[0]

    return _GREEDY.sub(plain, path)


def _is_ignored(parameter: Located) -> bool:
    """Return whether OpenAPI 3 says to ignore this parameter (Parameter Object: three header names)."""
    return parameter.value.get("in") == "header" and parameter.value["name"].lower() in _IGNORED_HEADERS


def _is_engines(parameter: Located) -> bool:
    """Return whether the HTTP client writes this header itself."""
    return parameter.value.get("in") == "header" and parameter.value["name"].lower() in _ENGINE_HEADERS


def _is_plain_accept(parameter: Located) -> bool:
    """Return whether a 2.0 parameter is the `Accept` header without a choice: `produces` says what to accept."""
    value = parameter.value
    is_header = value.get("in") == "header" and str(value.get("name")).lower() == "accept"
    return is_header and len(as_array(value.get("enum"))) < 2


def _servers(node: Located, item: Located) -> Located | None:
    for owner in (node, item):
        if as_array(as_object(owner.value).get("servers")):
            return owner.at("servers")
    return None
