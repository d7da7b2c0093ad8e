"""Path, query, header and cookie parameters: their schema and how they are written (pure)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from utcp_bridge.dialects.openapi.bodies import Argument
from utcp_bridge.dialects.openapi.definitions import Definitions
from utcp_bridge.dialects.openapi.references import References
from utcp_bridge.dialects.openapi.shapes import Faults, Located, as_object, as_text
from utcp_bridge.model import JsonObject, is_object

__all__ = ["ParameterReader", "ParameterShape"]

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_DEFAULTS = {"path": "simple", "header": "simple", "query": "form", "cookie": "form", "querystring": "form"}
_DELIMITED = frozenset({"spaceDelimited", "pipeDelimited", "tabDelimited"})
_STYLES: dict[str, frozenset[str]] = {
    "path": frozenset({"simple", "label", "matrix"}) | _DELIMITED,
    "header": frozenset({"simple"}) | _DELIMITED,
    "query": frozenset({"form", "deepObject"}) | _DELIMITED,
    "cookie": frozenset({"form", "cookie"}),
    "querystring": frozenset({"form"}),
}
_NOT_SCHEMA = frozenset(
    {"name", "in", "required", "style", "explode", "allowReserved", "allowEmptyValue", "description"}
)


@dataclass(frozen=True, slots=True)
class ParameterShape:
    """One parameter, and its plan (`wire.plan_models.ParameterPlan` as JSON) without the argument's key."""

    name: str
    place: str
    argument: Argument
    plan: JsonObject


class ParameterReader:
    """Reads the parameters of one document."""

    def __init__(self, references: References, definitions: Definitions, faults: Faults) -> None:
        self._references = references
        self._definitions = definitions
        self._faults = faults

    def read(self, parameter: Located) -> ParameterShape | None:
        """The shape of one parameter; None where its name cannot be sent."""
        node: JsonObject = parameter.value
        name, place = str(node["name"]), str(node["in"])
        if place in {"header", "cookie"} and not _TOKEN.fullmatch(name):
            self._faults.add(parameter.pointer, f"{name!r} is no legal {place} name", "It was left out.")
            return None
        required = node.get("required") is True or place == "path"
        plan: JsonObject = {"name": name, "in": place}
        content = as_object(node.get("content"))
        if content:
            plan["content_type"] = next(iter(content))
            schema = self._references.follow(parameter.at("content", plan["content_type"])).at("schema")
        else:
            plan |= self._style(parameter, place)
            schema = _schema_of(parameter)
        if required:
            plan["required"] = True
        piece = self._definitions.translate(schema)
        argument = Argument(_annotated(piece.schema, node), piece.refs, required)
        return ParameterShape(name, place, argument, plan)

    def _style(self, parameter: Located, place: str) -> JsonObject:
        node: JsonObject = parameter.value
        declared = node.get("style")
        style = as_text(declared) or _DEFAULTS[place]
        if style not in _STYLES[place]:
            self._faults.add(parameter.pointer, f"style {style!r} is not possible in {place}", "The default is used.")
            style = _DEFAULTS[place]
        explode = node.get("explode")
        plan: JsonObject = {
            "style": style,
            "explode": explode if isinstance(explode, bool) else style in {"form", "cookie"},
        }
        if node.get("allowReserved") is True:
            plan["allow_reserved"] = True
        return plan


def _schema_of(parameter: Located) -> Located:
    """`schema`; for 2.0's way of writing in a 3.x document, the parameter's own keywords."""
    if "schema" in parameter.value or "type" not in parameter.value:
        return parameter.at("schema")
    own = {key: value for key, value in parameter.value.items() if key not in _NOT_SCHEMA}
    return Located(own, parameter.base, parameter.pointer)


def _annotated(schema: Any, node: JsonObject) -> Any:
    """The parameter's own description wins over its schema's; its example and deprecation are kept."""
    if not is_object(schema):
        return schema
    about: JsonObject = {}
    if text := as_text(node.get("description")).strip():
        about["description"] = text
    if node.get("deprecated") is True:
        about["deprecated"] = True
    return {**schema, **about}
