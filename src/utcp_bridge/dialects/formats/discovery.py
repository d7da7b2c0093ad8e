"""Google API Discovery documents as OpenAPI 3 descriptions (pure).

The source is Google's page "Google API Discovery Service: document format". Its schemas are JSON Schema draft 3 with
names for references. `path` may have a reserved expansion (`{+name}`, RFC 6570, 3.2.3) of several segments;
`flatPath` has a placeholder for each of these segments, and any client can fill in those.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from utcp_bridge.errors import ManualError
from utcp_bridge.model import Fault, JsonObject, is_list, is_object

__all__ = ["is_discovery", "openapi_of_discovery"]

_KIND: Final = "discovery#restDescription"
_MAX_DEPTH: Final = 50
_PLACEHOLDER: Final = re.compile(r"\{\+?([^{}]+)\}")
_COPIED: Final = (
    "description", "enum", "format", "pattern", "readOnly", "deprecated", "title", "minLength", "maxLength", "minItems",
    "maxItems",
)  # fmt: skip
_TYPES: Final = frozenset({"string", "number", "integer", "boolean", "array", "object", "null"})
_KEY: Final = "google"
"""The scheme of API keys: the variable of its value is GOOGLE_API_KEY."""
_OAUTH: Final = "google_oauth"
_FIELDS: Final = "fields"
"""The one parameter of every method that a tool keeps: it makes replies short."""


def is_discovery(document: Any) -> bool:
    """Return whether a parsed document is the Discovery document of one API."""
    return is_object(document) and document.get("kind") == _KIND


def openapi_of_discovery(document: JsonObject, name: str) -> tuple[JsonObject, list[Fault]]:
    """Return the OpenAPI description of a Discovery document, and a fault for each method that is changed or left out.

    `name` names the document in faults.

    :raises ManualError: the document names no address or is not a Discovery document.
    """
    if not is_discovery(document):
        raise ManualError(f"{name} is not a Google API Discovery document.")
    return _Discovery(document, name).openapi()


class _Discovery:
    def __init__(self, document: JsonObject, name: str) -> None:
        self._document = document
        self._name = name
        self._faults: list[Fault] = []
        self._prefix = f"{document.get('name')}."

    def openapi(self) -> tuple[JsonObject, list[Fault]]:
        document = self._document
        paths: dict[str, dict[str, Any]] = {}
        for tag, method in _methods(document, ()):
            self._add(paths, tag, method)
        schemas = _object(document.get("schemas"))
        made: JsonObject = {
            "openapi": "3.0.3",
            "info": {
                "title": str(document.get("title") or document.get("name") or ""),
                "version": str(document.get("version") or ""),
                "description": str(document.get("description") or ""),
            },
            "servers": [{"url": self._address()}],
            "paths": paths,
            "components": {
                "schemas": {str(key): _schema(one) for key, one in schemas.items()},
                "securitySchemes": self._schemes(),
            },
        }
        return made, self._faults

    def _address(self) -> str:
        document = self._document
        root, path = document.get("rootUrl"), document.get("servicePath")
        address = f"{root}{path or ''}" if isinstance(root, str) else document.get("baseUrl")
        if not isinstance(address, str) or not address:
            raise ManualError(f"{self._name} does not contain `rootUrl` or `baseUrl`.", remedy="Fetch it again.")
        return address.rstrip("/")

    def _schemes(self) -> JsonObject:
        made: JsonObject = {_KEY: {"type": "apiKey", "in": "query", "name": "key"}}
        scopes = _object(_object(_object(self._document.get("auth")).get("oauth2")).get("scopes"))
        if scopes:
            flow = {
                "authorizationUrl": "https://accounts.google.com/o/oauth2/v2/auth",
                "tokenUrl": "https://oauth2.googleapis.com/token",
                "scopes": {str(scope): str(_object(one).get("description") or "") for scope, one in scopes.items()},
            }
            made[_OAUTH] = {"type": "oauth2", "flows": {"authorizationCode": flow}}
        return made

    def _add(self, paths: dict[str, dict[str, Any]], tag: str, method: JsonObject) -> None:
        identity = str(method.get("id") or "")
        where = f"{self._name}, method {identity}"
        path = self._path(method, where)
        verb = str(method.get("httpMethod") or "GET").lower()
        item = paths.setdefault(path, {})
        if verb in item:
            what = f"another method also has {verb.upper()} {path}, so this one is left out."
            self._faults.append(Fault(where, what, severity="error"))
            return
        if method.get("supportsMediaUpload") is True:
            what = "its tool sends the metadata only: the upload of a file is left out."
            self._faults.append(Fault(where, what, severity="warning"))
        item[verb] = self._operation(method, path, identity.removeprefix(self._prefix), tag)

    def _path(self, method: JsonObject, where: str) -> str:
        """Return the path with a placeholder for each segment, if the document has it."""
        path, flat = str(method.get("path") or ""), method.get("flatPath")
        if "{+" in path and isinstance(flat, str) and "{+" not in flat:
            path = flat
        elif "{+" in path:
            what = "a slash in the value of its path is sent as %2F, because the document has no `flatPath`."
            self._faults.append(Fault(where, what, severity="warning"))
        return "/" + path.replace("{+", "{").lstrip("/")

    def _operation(self, method: JsonObject, path: str, identity: str, tag: str) -> JsonObject:
        made: JsonObject = {
            "operationId": identity,
            "description": str(method.get("description") or ""),
            "parameters": self._parameters(method, path),
            "responses": {"200": {"description": "OK", **_content(method.get("response"))}},
            "security": self._security(method),
        }
        if tag:
            made["tags"] = [tag]
        if method.get("deprecated") is True:
            made["deprecated"] = True
        if body := _content(method.get("request")):
            made["requestBody"] = {"required": True, **body}
        return made

    def _parameters(self, method: JsonObject, path: str) -> list[JsonObject]:
        stated = {str(key): one for key, one in _object(method.get("parameters")).items() if is_object(one)}
        segments = _PLACEHOLDER.findall(path)
        patterns = [
            f"Part of `{key}`, which has the form {one['pattern']}."
            for key, one in stated.items()
            if one.get("location") == "path" and key not in segments and isinstance(one.get("pattern"), str)
        ]
        made: list[JsonObject] = []
        for segment in dict.fromkeys(segments):
            known = stated.get(segment)
            schema = {"type": "string"} if known is None else _typed(known)
            if known is None and patterns:
                schema["description"] = " ".join(patterns)
            made.append(_parameter(segment, "path", schema, required=True))
        for key, one in stated.items():
            if one.get("location") != "path":
                made.append(_parameter(key, "query", _typed(one), required=one.get("required") is True))
        fields = _object(self._document.get("parameters")).get(_FIELDS)
        if is_object(fields) and _FIELDS not in stated:
            made.append(_parameter(_FIELDS, "query", _typed(fields), required=False))
        return made

    def _security(self, method: JsonObject) -> list[JsonObject]:
        """Return the ways in: one scope is enough, and public data needs only a key."""
        scopes = method.get("scopes")
        named: list[JsonObject] = [{_OAUTH: [str(scopes[0])]}] if is_list(scopes) and scopes else [{}]
        return [*named, {_KEY: []}]


def _methods(raw: JsonObject, names: tuple[str, ...]) -> Iterator[tuple[str, JsonObject]]:
    """Yield each method of an API or a resource, with the name of its resource."""
    for method in _object(raw.get("methods")).values():
        if is_object(method):
            yield ".".join(names), method
    if len(names) < _MAX_DEPTH:
        for key, resource in _object(raw.get("resources")).items():
            if is_object(resource):
                yield from _methods(resource, (*names, str(key)))


def _object(value: Any) -> Mapping[str, Any]:
    return value if is_object(value) else {}


def _content(named: Any) -> JsonObject:
    if not is_object(named) or not isinstance(named.get("$ref"), str):
        return {}
    return {"content": {"application/json": {"schema": _reference(named["$ref"])}}}


def _reference(name: str) -> JsonObject:
    return {"$ref": "#/components/schemas/" + name.replace("~", "~0").replace("/", "~1")}


def _parameter(name: str, place: str, schema: JsonObject, *, required: bool) -> JsonObject:
    description = schema.pop("description", "")
    return {"name": name, "in": place, "required": required, "description": description, "schema": schema}


def _typed(raw: JsonObject) -> JsonObject:
    """Return the schema of a parameter: `repeated` means a list, and its values are stated as text."""
    schema = _schema({key: one for key, one in raw.items() if key not in {"required", "location", "repeated"}})
    if raw.get("repeated") is not True:
        return schema
    description = schema.pop("description", "")
    schema.pop("default", None)
    return {"type": "array", "items": schema, "description": description}


def _schema(raw: Any, depth: int = 0) -> JsonObject:
    """Return a schema in OpenAPI's form. What is nested too deeply allows anything."""
    if not is_object(raw) or depth > _MAX_DEPTH:
        return {}
    if isinstance(raw.get("$ref"), str):
        return _reference(raw["$ref"])
    made: JsonObject = {key: raw[key] for key in _COPIED if raw.get(key) is not None}
    if raw.get("type") in _TYPES:
        made["type"] = raw["type"]
    for key in ("default", "minimum", "maximum"):
        if raw.get(key) is not None and (value := _value(raw[key], raw.get("type"))) is not None:
            made[key] = value
    if is_object(raw.get("items")):
        made["items"] = _schema(raw["items"], depth + 1)
    elif made.get("type") == "array":
        made["items"] = {}
    if is_object(raw.get("properties")):
        made["properties"] = {str(key): _schema(one, depth + 1) for key, one in raw["properties"].items()}
    if is_object(raw.get("additionalProperties")):
        made["additionalProperties"] = _schema(raw["additionalProperties"], depth + 1)
    return made


def _value(stated: Any, kind: Any) -> Any:
    """Return a value that the document states as text, in its own type; None if it does not have this type."""
    if not isinstance(stated, str) or kind not in {"integer", "number", "boolean"}:
        return stated
    if kind == "boolean":
        return {"true": True, "false": False}.get(stated)
    if re.fullmatch(r"[-+]?\d{1,18}", stated, re.ASCII):
        return int(stated)
    return float(stated) if kind == "number" and re.fullmatch(r"[-+]?\d{1,18}\.\d{1,18}", stated, re.ASCII) else None
