"""JSON Schemas from protobuf message descriptors, by the proto3 JSON mapping (pure).

64-bit integers are integer or text, bytes are Base64, enumerations their names, well-known types their own
JSON forms. A message that is used more than once, or within itself, stands in `$defs`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from utcp_bridge.model import JsonObject

__all__ = ["message_schema"]

_MAX_DEFINITIONS = 300
_INTEGER_OR_TEXT: JsonObject = {"anyOf": [{"type": "integer"}, {"type": "string", "pattern": "^-?[0-9]+$"}]}
_SCALARS: dict[int, JsonObject] = {
    1: {"type": "number"},
    2: {"type": "number"},
    3: _INTEGER_OR_TEXT,
    4: _INTEGER_OR_TEXT,
    5: {"type": "integer"},
    6: _INTEGER_OR_TEXT,
    7: {"type": "integer"},
    8: {"type": "boolean"},
    9: {"type": "string"},
    12: {"type": "string", "contentEncoding": "base64"},
    13: {"type": "integer"},
    15: {"type": "integer"},
    16: _INTEGER_OR_TEXT,
    17: {"type": "integer"},
    18: _INTEGER_OR_TEXT,
}
_ENUM, _MESSAGE, _GROUP = 14, 11, 10
_WELL_KNOWN: dict[str, JsonObject] = {
    "Timestamp": {"type": "string", "format": "date-time"},
    "Duration": {"type": "string", "description": "Seconds with the suffix s, such as 1.5s."},
    "FieldMask": {"type": "string", "description": "Field paths, separated by commas."},
    "Struct": {"type": "object"},
    "Value": {},
    "ListValue": {"type": "array", "items": {}},
    "NullValue": {"type": "null"},
    "Any": {"type": "object", "properties": {"@type": {"type": "string"}}, "required": ["@type"]},
    "Empty": {"type": "object", "properties": {}},
    "DoubleValue": {"type": "number"},
    "FloatValue": {"type": "number"},
    "Int64Value": _INTEGER_OR_TEXT,
    "UInt64Value": _INTEGER_OR_TEXT,
    "Int32Value": {"type": "integer"},
    "UInt32Value": {"type": "integer"},
    "BoolValue": {"type": "boolean"},
    "StringValue": {"type": "string"},
    "BytesValue": {"type": "string", "contentEncoding": "base64"},
}


def message_schema(
    descriptor: Any, *, proto_names: bool = False, comments: Mapping[str, str] | None = None
) -> JsonObject:
    """The schema of one message (`google.protobuf.descriptor.Descriptor`).

    Properties have the JSON names (lower camel case), or with `proto_names` those of the .proto file; `comments`, by
    full name, are their descriptions.
    """
    writer = _Writer(proto_names, comments or {})
    schema = writer.body(descriptor)
    if writer.definitions:
        schema["$defs"] = writer.definitions
    return schema


class _Writer:
    def __init__(self, proto_names: bool, comments: Mapping[str, str]) -> None:
        self._proto_names = proto_names
        self._comments = comments
        self.definitions: dict[str, JsonObject] = {}

    def body(self, descriptor: Any) -> JsonObject:
        """The object schema of a message, fields in the order of the .proto file."""
        properties = {
            (field.name if self._proto_names else field.json_name): self._field(field) for field in descriptor.fields
        }
        schema: JsonObject = {"type": "object", "properties": properties}
        alternatives = [_one_of(group, self._proto_names) for group in descriptor.oneofs if len(group.fields) > 1]
        if alternatives:
            schema["description"] = " ".join(alternatives)
        return schema

    def _field(self, field: Any) -> JsonObject:
        schema = self._bare_field(field)
        comment = self._comments.get(field.full_name)
        return schema if comment is None else {**schema, "description": comment}

    def _bare_field(self, field: Any) -> JsonObject:
        entry = field.message_type
        if entry is not None and entry.GetOptions().map_entry:
            return {"type": "object", "additionalProperties": self._single(entry.fields_by_name["value"])}
        schema = self._single(field)
        return {"type": "array", "items": schema} if _is_repeated(field) else schema

    def _single(self, field: Any) -> JsonObject:
        if field.type == _ENUM:
            if field.enum_type.full_name == "google.protobuf.NullValue":
                return {"type": "null"}
            return {"type": "string", "enum": [value.name for value in field.enum_type.values]}
        if field.type in {_MESSAGE, _GROUP}:
            return self._message(field.message_type)
        return dict(_SCALARS[field.type])

    def _message(self, descriptor: Any) -> JsonObject:
        package, _, name = descriptor.full_name.rpartition(".")
        if package == "google.protobuf" and name in _WELL_KNOWN:
            return dict(_WELL_KNOWN[name])
        key = descriptor.full_name
        if key not in self.definitions:
            if len(self.definitions) >= _MAX_DEFINITIONS:
                return {"type": "object"}
            self.definitions[key] = {}
            self.definitions[key] = self.body(descriptor)
        return {"$ref": f"#/$defs/{key}"}


def _is_repeated(field: Any) -> bool:
    repeated = getattr(field, "is_repeated", None)
    return bool(field.label == field.LABEL_REPEATED if repeated is None else repeated)


def _one_of(group: Any, proto_names: bool) -> str:
    names = [field.name if proto_names else field.json_name for field in group.fields]
    return f"At most one of {', '.join(names)}."
