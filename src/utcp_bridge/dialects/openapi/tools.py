"""One operation as one tool: arguments, request plan, call template (pure).

A body's properties keep their names; a parameter that shares one with them, or with a parameter in another place,
becomes `name__place`.
"""

from __future__ import annotations

from collections import Counter

from utcp_bridge.dialects.openapi import names
from utcp_bridge.dialects.openapi.bodies import Argument, BodyReader, BodyShape
from utcp_bridge.dialects.openapi.definitions import Definitions
from utcp_bridge.dialects.openapi.operations import Operation
from utcp_bridge.dialects.openapi.outputs import OutputReader
from utcp_bridge.dialects.openapi.parameters import ParameterReader, ParameterShape
from utcp_bridge.dialects.openapi.schemas import Key
from utcp_bridge.dialects.openapi.security import SecurityReader
from utcp_bridge.dialects.openapi.servers import PLACEHOLDER, ServerChoice, literal_path
from utcp_bridge.dialects.openapi.shapes import Faults, as_array
from utcp_bridge.dialects.readings import RawTool
from utcp_bridge.model import JsonObject

__all__ = ["OperationConverter"]


class OperationConverter:
    """Makes tools of the operations of one document."""

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

    def build(self, operation: Operation, name: str, legacy: int | None) -> RawTool:
        """Return the tool of an operation."""
        body = self._bodies.read(operation.body) if operation.body else None
        shapes = _argument_keys(self._placed(operation), body)
        arguments = {key: shape.argument for key, shape in shapes.items()} | (body.arguments if body else {})
        inputs, refs = _inputs(arguments)
        return RawTool(
            name=name,
            template=self._template(operation, shapes, body, legacy),
            inputs=self._definitions.attach(inputs, refs),
            description=names.description(operation),
            title=names.title(operation),
            outputs=self._outputs.schema(operation) or None,
            tags=_tags(operation),
            annotations=names.hints(operation.method),
            deprecated=operation.node.value.get("deprecated") is True,
            body_members=tuple(body.members) if body else (),
        )

    def _placed(self, operation: Operation) -> list[ParameterShape]:
        """Parameters that a caller fills in: no keys, only placeholders that exist, and every one of those."""
        carriers = self._security.carriers(operation.security)
        placeholders = PLACEHOLDER.findall(operation.path)
        shapes: list[ParameterShape] = []
        for located in operation.parameters:
            shape = self._parameters.read(located)
            if shape is None or (shape.place, _folded(shape)) in carriers:
                continue
            if shape.place == "path" and shape.name not in placeholders:
                self._faults.add(located.pointer, f"the path has no place for {shape.name!r}", "It was left out.")
                continue
            shapes.append(shape)
        known = {shape.name for shape in shapes if shape.place == "path"}
        for name in dict.fromkeys(placeholders):
            if name not in known:
                self._faults.add(operation.node.pointer, f"path parameter {name!r} is not described", "It takes text.")
                plan: JsonObject = {"name": name, "in": "path", "style": "simple", "explode": False, "required": True}
                shapes.append(ParameterShape(name, "path", Argument({"type": "string"}, required=True), plan))
        return shapes

    def _template(
        self,
        operation: Operation,
        shapes: dict[str, ParameterShape],
        body: BodyShape | None,
        legacy: int | None,
    ) -> JsonObject:
        template: JsonObject = {
            "call_template_type": "http",
            "url": self._servers.base_of(operation) + _target(operation.path, shapes),
            "http_method": operation.method,
        }
        if body:
            template |= {"content_type": body.plan["media_type"], "body_field": "body"}
        headers = [key for key, shape in shapes.items() if shape.place == "header"]
        if headers:
            template["header_fields"] = headers
        if auth := self._security.auth(operation.security, legacy):
            template["auth"] = auth
        template["request_plan"] = self._plan(operation, shapes, body)
        return template

    def _plan(self, operation: Operation, shapes: dict[str, ParameterShape], body: BodyShape | None) -> JsonObject:
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
    """The path with fixed text encoded and each placeholder named like its argument."""
    keys = {shape.name: key for key, shape in shapes.items() if shape.place == "path"}
    return PLACEHOLDER.sub(lambda match: f"{{{keys.get(match[1], match[1])}}}", literal_path(path))


def _tags(operation: Operation) -> tuple[str, ...]:
    return tuple(tag for tag in as_array(operation.node.value.get("tags")) if isinstance(tag, str))
