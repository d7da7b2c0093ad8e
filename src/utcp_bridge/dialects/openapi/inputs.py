"""The inputs of an operation: its parameters and its request body, as arguments and as plans for writing them (pure).

A body that is one object with plain properties is flattened: each property becomes an argument, because hosts show
and models fill in separate arguments best. Unions, maps and large objects remain one argument, because flattening would
lose what they say.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from utcp_bridge.dialects.openapi.definitions import Definitions
from utcp_bridge.dialects.openapi.reading_back import MemberPath, ReadOnlyMembers
from utcp_bridge.dialects.openapi.references import References
from utcp_bridge.dialects.openapi.schemas import Key
from utcp_bridge.dialects.openapi.shapes import Family, Faults, Located, as_array, as_object, as_text, has_type
from utcp_bridge.model import JsonObject, is_object
from utcp_bridge.placement.body import media_kind

__all__ = ["Argument", "BodyReader", "BodyShape", "ParameterReader", "ParameterShape"]

_MAX_MEMBERS = 40
_MAX_MERGE_DEPTH = 8
_NOT_FLAT = ("oneOf", "anyOf", "discriminator", "patternProperties", "not", "if", "dependentRequired", "propertyNames")
_KIND_RANKS = {"json": 2, "form": 3, "multipart": 4, "lines": 5, "text": 6, "binary": 7}
_FILE: JsonObject = {
    "anyOf": [
        {"type": "string", "contentEncoding": "base64"},
        {
            "type": "object",
            "properties": {
                "content": {"type": "string", "contentEncoding": "base64"},
                "filename": {"type": "string"},
                "media_type": {"type": "string"},
            },
            "required": ["content"],
            "additionalProperties": False,
        },
    ]
}
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
class Argument:
    """One key of a tool's arguments."""

    schema: Any
    refs: Counter[Key] = field(default_factory=Counter[Key])
    required: bool = False


@dataclass(frozen=True, slots=True)
class BodyShape:
    """The arguments that make up a body, and its plan (`placement.plan_models.BodyPlan` as JSON)."""

    arguments: dict[str, Argument]
    plan: JsonObject

    @property
    def members(self) -> list[str]:
        """The names of the flattened properties; empty if the body is one argument."""
        return list(self.plan.get("members", ()))


@dataclass(frozen=True, slots=True)
class _FlatObject:
    properties: dict[str, Located]
    required: list[str]
    read_only: tuple[str, ...] = ()


class BodyReader:
    """The request bodies of one document."""

    def __init__(self, references: References, definitions: Definitions, family: Family, faults: Faults) -> None:
        self._references = references
        self._definitions = definitions
        self._family = family
        self._faults = faults
        self._read_only = ReadOnlyMembers(references, self._is_read_only)

    def read(self, body: Located) -> BodyShape | None:
        """Return the shape of one request body; None if it has no media type."""
        content = body.at("content")
        declared = [name for name in as_object(content.value) if "/" in name]
        if not declared:
            self._faults.add(body.pointer, "the request body has no media type", "The body was left out.")
            return None
        name = min(declared, key=_rank)
        media = self._references.follow(content.at(name))
        schema = media.at("schema")
        if schema.value is None and "itemSchema" in as_object(media.value):
            schema = Located({"type": "array", "items": media.value["itemSchema"]}, media.base, media.pointer)
        required = body.value.get("required") is True
        return self._shape(
            _concrete(name, self._resolved(schema)), media, schema, required, as_text(body.value.get("description"))
        )

    def _shape(self, media_type: str, media: Located, schema: Located, required: bool, about: str) -> BodyShape:
        plan: JsonObject = {"media_type": media_type, "required": required}
        kind = media_kind(media_type)
        if kind == "text":
            return self._text_body(plan, schema, about)
        if kind == "binary" and not self._is_container(schema):
            return _binary_body(plan, about)
        flat = self._flat_input(schema) if kind != "lines" else None
        if flat:
            return self._flat_body(plan, kind, media, flat)
        return self._whole_body(plan, kind, media, schema, about)

    def _flat_body(self, plan: JsonObject, kind: str, media: Located, flat: _FlatObject) -> BodyShape:
        encoding = self._encoding(kind, media, flat.properties)
        arguments = {
            name: self._argument(place, encoding.get(name, {}), plan["required"] and name in flat.required)
            for name, place in flat.properties.items()
        }
        plan["members"] = list(arguments)
        if flat.read_only:
            plan["read_only"] = list(flat.read_only)
        _note_read_only(
            plan, ((name, *path) for name in arguments for path in self._read_only.within(flat.properties[name]))
        )
        if encoding:
            plan["encoding"] = encoding
        return BodyShape(arguments, plan)

    def _argument(self, place: Located, encoding: JsonObject, required: bool) -> Argument:
        if encoding.get("binary"):
            return Argument(self._file_schema(place), required=required)
        piece = self._definitions.translate(place)
        return Argument(piece.schema, piece.refs, required)

    def _whole_body(self, plan: JsonObject, kind: str, media: Located, schema: Located, about: str) -> BodyShape:
        node = self._resolved(schema)
        properties = {name: schema.at("properties", name) for name in as_object(node.get("properties"))}
        if "$ref" in as_object(schema.value):
            target = self._references.follow(schema)
            properties = {name: target.at("properties", name) for name in as_object(node.get("properties"))}
        encoding = self._encoding(kind, media, properties)
        if encoding:
            plan["encoding"] = encoding
        if plan["required"] and _may_be_empty(node):
            plan["empty_object"] = True
        _note_read_only(plan, (("body", *path) for path in self._read_only.within(schema)))
        piece = self._definitions.translate(schema)
        return BodyShape({"body": Argument(_described(piece.schema, about), piece.refs, plan["required"])}, plan)

    def _text_body(self, plan: JsonObject, schema: Located, about: str) -> BodyShape:
        node = self._resolved(schema)
        text: JsonObject = {"type": "string"}
        if as_array(node.get("enum")) and has_type(node, "string"):
            text = as_object(self._definitions.translate(schema).schema) or text
        note = f"The complete {plan['media_type']} document as text."
        about = f"{about} {note}".strip() if "xml" in plan["media_type"] or not about else about
        return BodyShape({"body": Argument(_described(text, about), required=plan["required"])}, plan)

    def _encoding(self, kind: str, media: Located, properties: dict[str, Located]) -> JsonObject:
        """Return how the properties of a form or multipart body are written, if not in the default way."""
        if kind not in {"form", "multipart"}:
            return {}
        declared = as_object(as_object(media.value).get("encoding"))
        found: JsonObject = {}
        for name, place in properties.items():
            plan = self._property_plan(kind, as_object(declared.get(name)), place)
            if plan:
                found[name] = plan
        return found

    def _property_plan(self, kind: str, encoding: JsonObject, place: Located) -> JsonObject:
        plan: JsonObject = {}
        content_type = encoding.get("contentType")
        if isinstance(content_type, str) and "/" in content_type:
            plan["content_type"] = content_type.split(",", 1)[0].strip()
        if kind == "multipart" and self._is_file(place, content_type):
            return {**plan, "binary": True}
        styled = encoding.keys() & {"style", "explode", "allowReserved"}
        if styled and not (kind == "multipart" and self._family == "3.0"):
            style = as_text(encoding.get("style")) or "form"
            explode = encoding.get("explode")
            plan |= {"style": style, "explode": explode if isinstance(explode, bool) else style == "form"}
            if encoding.get("allowReserved") is True:
                plan["allow_reserved"] = True
        return plan

    # --- looking at schemas

    def _resolved(self, schema: Located) -> JsonObject:
        return as_object(self._references.follow(schema).value)

    def _is_container(self, schema: Located) -> bool:
        node = self._resolved(schema)
        return has_type(node, "object", "array") or "properties" in node

    def _is_file(self, place: Located, content_type: Any) -> bool:
        """Return whether a property is sent as a file.

        It is if its format or media type is binary, or if it is an array or a union of such schemas.
        """
        schema = self._references.follow(place)
        node = as_object(schema.value)
        if has_type(node, "array") or "items" in node:
            return is_object(node.get("items")) and self._is_file(schema.at("items"), content_type)
        for key in ("anyOf", "oneOf", "allOf"):
            branches = range(len(as_array(node.get(key))))
            if any(self._is_file(schema.at(key, index), None) for index in branches):
                return True
        return _is_binary(node, content_type)

    def _file_schema(self, place: Located) -> JsonObject:
        node = self._resolved(place)
        about = as_text(as_object(place.value).get("description")) or as_text(node.get("description"))
        schema: JsonObject = {"type": "array", "items": _FILE} if has_type(node, "array") else _FILE
        return {**schema, "description": f"{about} File content as base64.".strip()}

    def _flat_input(self, schema: Located) -> _FlatObject | None:
        """Return the object to flatten; None for a base class (subclasses add properties) or too many properties."""
        flat = None if "discriminator" in self._resolved(schema) else self._flat(schema, 0)
        if flat is None:
            return None
        flat = self._without_read_only(flat)
        return flat if 0 < len(flat.properties) <= _MAX_MEMBERS else None

    def _flat(self, schema: Located, depth: int) -> _FlatObject | None:
        """Return an object's properties after merging references and allOf; None if merging would lose something."""
        schema = self._references.follow(schema)
        node = schema.value
        if depth > _MAX_MERGE_DEPTH or not is_object(node) or not _is_mergeable(node):
            return None
        properties = {name: schema.at("properties", name) for name in as_object(node.get("properties"))}
        required = [name for name in as_array(node.get("required")) if isinstance(name, str)]
        required += [name for name, place in properties.items() if as_object(place.value).get("required") is True]
        for index in range(len(as_array(node.get("allOf")))):
            part = self._flat(schema.at("allOf", index), depth + 1)
            if part is None:
                return None
            for name, place in part.properties.items():
                properties[name] = _both(place, properties[name]) if name in properties else place
            required += part.required
        return _FlatObject(properties, required)

    def _without_read_only(self, flat: _FlatObject) -> _FlatObject:
        """Drop readOnly properties; make required properties without a description optional, with any value.

        Such a name is usually a mistake in the document, so the server decides.
        """
        kept = {name: place for name, place in flat.properties.items() if not self._is_read_only(place)}
        undescribed = [name for name in flat.required if name not in flat.properties]
        if kept:
            kept |= dict.fromkeys(undescribed, Located({}, "", ""))
        read_only = tuple(name for name in flat.properties if name not in kept)
        return _FlatObject(kept, [name for name in flat.required if name not in undescribed], read_only)

    def _is_read_only(self, place: Located) -> bool:
        node = as_object(place.value)
        return node.get("readOnly") is True or ("$ref" in node and self._resolved(place).get("readOnly") is True)


def _note_read_only(plan: JsonObject, paths: Iterable[MemberPath]) -> None:
    if found := [list(path) for path in paths]:
        plan["read_only_within"] = found


def _binary_body(plan: JsonObject, about: str) -> BodyShape:
    plan["binary"] = True
    schema = _described({"type": "string", "contentEncoding": "base64"}, f"{about} Content as base64.".strip())
    return BodyShape({"body": Argument(schema, required=plan["required"])}, plan)


def _is_mergeable(node: JsonObject) -> bool:
    kind = node.get("type", "object")
    if kind not in ("object", ["object"], ["object", "null"], ["null", "object"]):
        return False
    extra = node.get("additionalProperties")
    return not (any(key in node for key in _NOT_FLAT if key != "discriminator") or (is_object(extra) and extra))


def _both(first: Located, second: Located) -> Located:
    if first.value == second.value or first.base != second.base:
        return second
    return Located({"allOf": [first.value, second.value]}, second.base, second.pointer)


def _is_binary(node: JsonObject, content_type: Any) -> bool:
    if node.get("format") == "binary" or node.get("type") == "file":
        return True
    if node.get("format") in ("byte", "base64") or node.get("contentEncoding"):
        return False
    media_type = node.get("contentMediaType") or content_type
    textual = ("type" not in node or has_type(node, "string")) and not node.keys() & {
        "properties",
        "anyOf",
        "oneOf",
        "allOf",
    }
    return isinstance(media_type, str) and textual and media_kind(media_type.split(",", 1)[0]) == "binary"


def _rank(media_type: str) -> tuple[int, int]:
    """Return a sort key: JSON first, then the types closest to JSON; media ranges after plain types."""
    essence = media_type.split(";", 1)[0].strip().lower()
    wild = int("*" in essence)
    if essence == "application/json":
        return 0, 0
    if essence in {"application/merge-patch+json", "*/*"}:
        return 1, wild
    return _KIND_RANKS[media_kind(essence)], wild


def _concrete(media_type: str, schema: JsonObject) -> str:
    """Return the type that is sent for a declared one: of a range, the one that the schema names, or a usual one."""
    essence = media_type.split(";", 1)[0].strip().lower()
    named = as_text(schema.get("contentMediaType")).strip()
    if "*" in essence and "contentEncoding" not in schema and "*" not in named and fnmatchcase(named.lower(), essence):
        return named
    if essence in {"*/*", "application/*", "application/*+json"}:
        return "application/octet-stream" if _is_binary(schema, None) else "application/json"
    return "text/plain" if essence == "text/*" else media_type.strip()


def _may_be_empty(node: JsonObject) -> bool:
    """Return whether the schema accepts `{}`, as far as it can be seen without resolving its branches."""
    if as_array(node.get("required")) or any(key in node for key in ("oneOf", "anyOf", "allOf")):
        return False
    return "type" not in node or has_type(node, "object")


def _described(schema: Any, about: str) -> Any:
    if not about or not is_object(schema):
        return schema
    return {**schema, "description": about} if "description" not in schema else schema


@dataclass(frozen=True, slots=True)
class ParameterShape:
    """One parameter, and its plan (`placement.plan_models.ParameterPlan` as JSON) without the argument's key."""

    name: str
    place: str
    argument: Argument
    plan: JsonObject


class ParameterReader:
    """The parameters of one document."""

    def __init__(self, references: References, definitions: Definitions, faults: Faults) -> None:
        self._references = references
        self._definitions = definitions
        self._faults = faults

    def read(self, parameter: Located) -> ParameterShape | None:
        """Return the shape of one parameter; None if its name cannot be sent."""
        node: JsonObject = parameter.value
        name, place = str(node["name"]), str(node["in"])
        if place in {"header", "cookie"} and not _TOKEN.fullmatch(name):
            self._faults.add(parameter.pointer, f"{name!r} is not a valid {place} name", "The parameter was left out.")
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
            self._faults.add(
                parameter.pointer, f"style {style!r} is not allowed in {place}", "The default style is used."
            )
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
    """Return `schema`, or the parameter's own keywords if a 3.x document writes them as 2.0 does."""
    if "schema" in parameter.value or "type" not in parameter.value:
        return parameter.at("schema")
    own = {key: value for key, value in parameter.value.items() if key not in _NOT_SCHEMA}
    return Located(own, parameter.base, parameter.pointer)


def _annotated(schema: Any, node: JsonObject) -> Any:
    """Return the schema with the parameter's own description, which replaces the schema's, and its deprecation."""
    if not is_object(schema):
        return schema
    about: JsonObject = {}
    if text := as_text(node.get("description")).strip():
        about["description"] = text
    if node.get("deprecated") is True:
        about["deprecated"] = True
    return {**schema, **about}
