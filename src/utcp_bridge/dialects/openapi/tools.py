"""One operation as one raw tool: name, description, annotations, arguments, request plan, call template (pure).

The properties of a body keep their names. A parameter becomes `name__place` if a body property, or a parameter in
another place, has the same name.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from typing import Any

from utcp_bridge.dialects.fields import asked_as
from utcp_bridge.dialects.openapi.definitions import Definitions
from utcp_bridge.dialects.openapi.inputs import Argument, BodyReader, BodyShape, ParameterReader, ParameterShape
from utcp_bridge.dialects.openapi.operations import OpenApiOperation
from utcp_bridge.dialects.openapi.outputs import OutputReader
from utcp_bridge.dialects.openapi.schemas import Key
from utcp_bridge.dialects.openapi.security import SecurityReader
from utcp_bridge.dialects.openapi.servers import PLACEHOLDER, ServerChoice, literal_path
from utcp_bridge.dialects.openapi.shapes import Faults, as_array, as_text
from utcp_bridge.dialects.readings import RawTool
from utcp_bridge.model import JsonObject

__all__ = [
    "MAX_NAME",
    "OperationConverter",
    "description_of",
    "hints_of",
    "numbered_name",
    "safe_name",
    "title_of",
    "unique_names",
]

MAX_NAME = 64
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
_DIGEST = 6
_MAX_TITLE = 120
_READING = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "QUERY"})


class OperationConverter:
    """Converts the operations of one document to raw tools."""

    def __init__(
        self,
        readers: tuple[ParameterReader, BodyReader, OutputReader],
        definitions: Definitions,
        security: SecurityReader,
        servers: ServerChoice,
        faults: Faults,
    ) -> None:
        self._parameters, self._bodies, self._outputs = readers
        self._definitions = definitions
        self._security = security
        self._servers = servers
        self._faults = faults

    def build(self, operation: OpenApiOperation, name: str, legacy: int | None) -> RawTool:
        """Return the raw tool of one operation."""
        body = self._bodies.read(operation.body) if operation.body else None
        shapes = _argument_keys(self._placed(operation), body)
        arguments = {key: shape.argument for key, shape in shapes.items()} | (body.arguments if body else {})
        inputs, refs = _inputs(arguments)
        asked = asked_as(operation.node.value.get("x-asked-as") or [])
        if asked is None:
            self._faults.add(operation.node.pointer, "`x-asked-as` must be a list of texts", "It is ignored.")
        return RawTool(
            name=name,
            template=self._template(operation, shapes, body, legacy),
            inputs=self._definitions.attach(inputs, refs),
            description=description_of(operation),
            title=title_of(operation),
            outputs=self._outputs.schema(operation) or None,
            tags=_tags(operation),
            annotations=hints_of(operation.method),
            deprecated=operation.node.value.get("deprecated") is True,
            extras={"asked_as": asked} if asked else {},
            body_members=tuple(body.members) if body else (),
            returns_bytes=self._outputs.are_bytes(operation),
        )

    def _placed(self, operation: OpenApiOperation) -> list[ParameterShape]:
        """Return the parameters that a caller fills in.

        Credentials are left out, and so are path parameters without a placeholder. Every placeholder gets a parameter.
        """
        carriers = self._security.carriers(operation.security)
        placeholders = PLACEHOLDER.findall(operation.path)
        shapes: list[ParameterShape] = []
        for located in operation.parameters:
            shape = self._parameters.read(located)
            if shape is None or (shape.place, _folded(shape)) in carriers:
                continue
            if shape.place == "path" and shape.name not in placeholders:
                self._faults.add(
                    located.pointer, f"the path has no placeholder {shape.name!r}", "The parameter was left out."
                )
                continue
            shapes.append(shape)
        known = {shape.name for shape in shapes if shape.place == "path"}
        for name in dict.fromkeys(placeholders):
            if name not in known:
                self._faults.add(
                    operation.node.pointer, f"path parameter {name!r} is not described", "It accepts text."
                )
                plan: JsonObject = {"name": name, "in": "path", "style": "simple", "explode": False, "required": True}
                shapes.append(ParameterShape(name, "path", Argument({"type": "string"}, required=True), plan))
        return shapes

    def _template(
        self,
        operation: OpenApiOperation,
        shapes: dict[str, ParameterShape],
        body: BodyShape | None,
        legacy: int | None,
    ) -> JsonObject:
        server = self._servers.base_of(operation)
        template: JsonObject = {
            "call_template_type": "http",
            "url": server + _target(operation.path, shapes),
            "http_method": operation.method,
        }
        if body:
            template |= {"content_type": body.plan["media_type"], "body_field": "body"}
        headers = [key for key, shape in shapes.items() if shape.place == "header"]
        if headers:
            template["header_fields"] = headers
        if auth := self._security.auth(operation.security, legacy, server):
            template["auth"] = auth
        template["request_plan"] = self._plan(operation, shapes, body)
        return template

    def _plan(
        self, operation: OpenApiOperation, shapes: dict[str, ParameterShape], body: BodyShape | None
    ) -> JsonObject:
        plan: JsonObject = {"parameters": [{"argument": key, **shape.plan} for key, shape in shapes.items()]}
        if body:
            plan["body"] = body.plan
        if accept := self._outputs.accept(operation):
            plan["headers"] = {"Accept": accept}
        return plan


def _folded(shape: ParameterShape) -> str:
    return shape.name.lower() if shape.place == "header" else shape.name


def _argument_keys(shapes: list[ParameterShape], body: BodyShape | None) -> dict[str, ParameterShape]:
    taken = set(body.arguments) if body else set[str]()
    counts = Counter(shape.name for shape in shapes)
    keys: dict[str, ParameterShape] = {}
    for shape in shapes:
        key = shape.name
        if key in taken or counts[key] > 1:
            key = f"{shape.name}__{shape.place}"
        while key in taken or key in keys:
            key += "_"
        keys[key] = shape
    return keys


def _inputs(arguments: dict[str, Argument]) -> tuple[JsonObject, Counter[Key]]:
    refs: Counter[Key] = Counter()
    for argument in arguments.values():
        refs.update(argument.refs)
    inputs: JsonObject = {
        "type": "object",
        "properties": {key: argument.schema for key, argument in arguments.items()},
        "additionalProperties": False,
    }
    required = [key for key, argument in arguments.items() if argument.required]
    if required:
        inputs["required"] = required
    return inputs, refs


def _target(path: str, shapes: dict[str, ParameterShape]) -> str:
    """Return the path with its fixed text encoded and each placeholder renamed to its argument."""
    keys = {shape.name: key for key, shape in shapes.items() if shape.place == "path"}
    return PLACEHOLDER.sub(lambda match: f"{{{keys.get(match[1], match[1])}}}", literal_path(path))


def _tags(operation: OpenApiOperation) -> tuple[str, ...]:
    return tuple(tag for tag in as_array(operation.node.value.get("tags")) if isinstance(tag, str))


def safe_name(name: str) -> str:
    """Return the name with each run of characters other than letters, digits, `_` and `-` replaced by one `_`."""
    return _UNSAFE.sub("_", name).strip("_-")


def numbered_name(name: str, taken: set[str]) -> str:
    """Return the name, with a number from 2 on if it is taken. What is returned is taken from then on."""
    found, number = name, 2
    while found in taken:
        found, number = f"{name}_{number}", number + 1
    taken.add(found)
    return found


def _path_name(method: str, path: str) -> str:
    """Return `get_users_by_id_posts` for `GET /users/{id}/posts`."""
    words = [method.lower()]
    for segment in path.partition("?")[0].split("/"):
        spoken = re.sub(r"\{([^{}]*)\}", r" by \1 ", segment)
        words += [word for word in _UNSAFE.split(spoken) if word]
    return "_".join(words) if len(words) > 1 else f"{words[0]}_root"


def unique_names(wanted: list[tuple[str, str, str]]) -> list[str]:
    """Return a valid name for each (name or empty text, method, path), none twice.

    A name that is too long or that several operations share ends in a hash of method and path. So neither the order of
    operations nor new operations change it.
    """
    plain = [safe_name(name) or safe_name(_path_name(method, path)) or "operation" for name, method, path in wanted]
    counts = Counter(plain)
    taken: set[str] = set()
    names: list[str] = []
    for name, (_, method, path) in zip(plain, wanted, strict=True):
        chosen = name
        if len(name) > MAX_NAME or counts[name] > 1 or name in taken:
            chosen = _hashed(name, f"{method} {path}")
        while chosen in taken:
            chosen = _hashed(name, f"{method} {path} {chosen}")
        taken.add(chosen)
        names.append(chosen)
    return names


def _hashed(name: str, identity: str) -> str:
    digest = hashlib.sha256(identity.encode("utf-8", "replace")).hexdigest()[:_DIGEST]
    return f"{name[: MAX_NAME - _DIGEST - 1].rstrip('_-')}_{digest}"


def title_of(operation: OpenApiOperation) -> str | None:
    """Return the summary on one line."""
    summary = " ".join(as_text(operation.node.value.get("summary")).split())
    return summary[:_MAX_TITLE] or None


def description_of(operation: OpenApiOperation) -> str:
    """Return summary and description, else method and path; the text says if the operation is deprecated."""
    node: JsonObject = operation.node.value
    summary, details = as_text(node.get("summary")).strip(), as_text(node.get("description")).strip()
    if summary and details.startswith(summary.rstrip(".")):
        summary = ""
    text = "\n\n".join(part for part in (summary, details) if part) or operation.label
    return f"{text} (deprecated)" if node.get("deprecated") is True else text


def hints_of(method: str) -> dict[str, Any]:
    """Return MCP's hints that follow from the HTTP method (RFC 9110, section 9.2).

    POST and PATCH have no destructive hint; MCP assumes destruction by default.
    """
    found: dict[str, Any] = {"openWorldHint": True}
    if method in _READING:
        found |= {"readOnlyHint": True, "idempotentHint": True}
    elif method in {"PUT", "DELETE"}:
        found |= {"readOnlyHint": False, "destructiveHint": True, "idempotentHint": True}
    else:
        found |= {"readOnlyHint": False}
    return found
