"""Swagger 1.1 and 1.2: a resource listing and its API declarations as one OpenAPI description (pure).

The source is the Swagger RESTful API Documentation Specification, version 1.2. A declaration has paths, operations and
models of one resource. Models of several declarations may have one name and differ; then each has a name of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urljoin

from utcp_bridge.errors import ManualError
from utcp_bridge.model import Fault, JsonObject, is_list, is_object

__all__ = ["declarations_of", "is_swagger1", "openapi_of_swagger1"]

_TYPES: Final[Mapping[str, tuple[str, str]]] = {
    "int": ("integer", "int32"),
    "integer": ("integer", ""),
    "long": ("integer", "int64"),
    "float": ("number", "float"),
    "double": ("number", "double"),
    "number": ("number", ""),
    "string": ("string", ""),
    "byte": ("string", "byte"),
    "boolean": ("boolean", ""),
    "date": ("string", "date"),
    "datetime": ("string", "date-time"),
    "date-time": ("string", "date-time"),
    "uuid": ("string", "uuid"),
    "url": ("string", "uri"),
}
"""A primitive type, in lower case → type and format in OpenAPI."""
_LISTS: Final = re.compile(r"(?:List|Array|Set|array|set|list)\[([^\[\]]{1,200})\]")
_METHODS: Final = frozenset({"get", "put", "post", "delete", "options", "head", "patch", "trace"})
_PLACES: Final = frozenset({"path", "query", "header"})
_MAX_DEPTH: Final = 30


def is_swagger1(document: Any) -> bool:
    """Return whether a parsed document is a resource listing or an API declaration of Swagger 1."""
    return (
        is_object(document)
        and str(document.get("swaggerVersion", "")).startswith("1.")
        and is_list(document.get("apis"))
    )


def declarations_of(document: JsonObject) -> list[str]:
    """Return the places of the declarations that a resource listing names; none for a declaration itself."""
    named = [one for one in _objects(document.get("apis")) if not is_list(one.get("operations"))]
    return [str(one["path"]).replace("{format}", "json") for one in named if isinstance(one.get("path"), str)]


def openapi_of_swagger1(
    listing: JsonObject, declarations: Sequence[tuple[str, JsonObject]], url: str | None
) -> tuple[JsonObject, list[Fault]]:
    """Return the OpenAPI description of declarations, each with the place that names it in faults.

    `url` is the address of the listing, where a relative `basePath` starts.

    :raises ManualError: no declaration has an operation.
    """
    made = _Swagger1(listing, url)
    for place, declaration in declarations:
        made.add(place, declaration)
    if not made.paths:
        places = ", ".join(place for place, _ in declarations[:3])
        raise ManualError(f"{places or 'The resource listing'} has no operations.")
    return made.openapi(), made.faults


@dataclass(frozen=True, slots=True)
class _Declaration:
    """An API declaration. `place` is what faults name, `server` the address, `reader` reads its types."""

    place: str
    document: JsonObject = field(repr=False)
    reader: _TypeReader
    server: str
    resource: str


class _Swagger1:
    def __init__(self, listing: JsonObject, url: str | None) -> None:
        self._listing = listing
        self._url = url or ""
        self.faults: list[Fault] = []
        self.paths: dict[str, JsonObject] = {}
        self._schemas: dict[str, JsonObject] = {}
        self._schemes: dict[str, JsonObject] = {}
        self._server = ""
        self._declare_schemes(listing)

    def openapi(self) -> JsonObject:
        info = _object(self._listing.get("info"))
        return {
            "openapi": "3.0.3",
            "info": {
                "title": str(info.get("title") or ""),
                "version": str(self._listing.get("apiVersion") or "1.0"),
                "description": str(info.get("description") or ""),
            },
            "servers": [{"url": self._server}] if self._server else [],
            "paths": self.paths,
            "components": {"schemas": self._schemas, "securitySchemes": self._schemes},
        }

    def add(self, place: str, declaration: JsonObject) -> None:
        """Add the operations and models of one declaration."""
        resource = re.sub(r"\W+", "_", str(declaration.get("resourcePath") or "")).strip("_")
        models = {str(key): one for key, one in _object(declaration.get("models")).items() if is_object(one)}
        reader = _TypeReader(models, self._names(models, resource))
        for key, model in models.items():
            self._schemas[reader.names[key]] = reader.model(key, model)
        self._declare_schemes(declaration)
        base = str(declaration.get("basePath") or self._listing.get("basePath") or "")
        server = urljoin(self._url, base) if base or self._url else ""
        self._server = self._server or server
        of = _Declaration(place, declaration, reader, server, resource)
        for api in _objects(declaration.get("apis")):
            path = str(api.get("path") or "").replace("{format}", "json")
            for operation in _objects(api.get("operations")):
                self._add(path, operation, of)

    def _names(self, models: Mapping[str, JsonObject], resource: str) -> dict[str, str]:
        """Return the name of each model. One that differs from a known model of its name gets the resource's."""
        names: dict[str, str] = {}
        for key in models:
            plain = re.sub(r"[^\w.-]+", "_", key) or "Model"
            name = plain if plain not in self._schemas else f"{resource or 'resource'}_{plain}"
            number = 2
            while name in self._schemas:
                name, number = f"{resource or 'resource'}_{plain}_{number}", number + 1
            names[key] = name
        return names

    def _add(self, path: str, operation: JsonObject, of: _Declaration) -> None:
        path = path if path.startswith("/") else f"/{path}"
        method = str(operation.get("method") or operation.get("httpMethod") or "GET").lower()
        nickname = str(operation.get("nickname") or "")
        where = f"{of.place}, operation {nickname or f'{method.upper()} {path}'!r}"
        if method not in _METHODS:
            self.faults.append(Fault(where, f"the method {method.upper()} cannot be sent.", severity="error"))
            return
        if method in self.paths.setdefault(path, {}):
            what = f"another operation also has {method.upper()} {path}, so this one is left out."
            self.faults.append(Fault(where, what, severity="error"))
            return
        parameters = _objects(operation.get("parameters"))
        made: JsonObject = {
            "operationId": nickname,
            "summary": str(operation.get("summary") or ""),
            "description": str(operation.get("notes") or ""),
            "tags": [of.resource] if of.resource else [],
            "parameters": [of.reader.parameter(one) for one in parameters if one.get("paramType") in _PLACES],
            "responses": _responses(operation, of.document, of.reader),
        }
        if str(operation.get("deprecated")).lower() == "true":
            made["deprecated"] = True
        if body := _body(parameters, operation, of.document, of.reader):
            made["requestBody"] = body
        if of.server and of.server != self._server:
            made["servers"] = [{"url": of.server}]
        stated = operation.get("authorizations", of.document.get("authorizations"))
        named = [str(key) for key in _object(stated) if str(key) in self._schemes]
        if named:
            made["security"] = [{key: list[str]()} for key in named]
        self.paths[path][method] = made

    def _declare_schemes(self, document: JsonObject) -> None:
        for key, raw in _object(document.get("authorizations")).items():
            scheme = _object(raw)
            kind = scheme.get("type")
            if kind == "apiKey":
                name, place = str(scheme.get("keyname") or "api_key"), str(scheme.get("passAs") or "header")
                self._schemes[str(key)] = {"type": "apiKey", "in": place, "name": name}
            elif kind == "basicAuth":
                self._schemes[str(key)] = {"type": "http", "scheme": "basic"}
            elif kind == "oauth2":
                self._schemes[str(key)] = _oauth2(scheme)


class _TypeReader:
    """The types of one declaration as schemas. `names` are the names of its models in the description."""

    def __init__(self, models: Mapping[str, JsonObject], names: dict[str, str]) -> None:
        self._models = models
        self.names = names
        self._parents = {
            str(child): parent for parent, model in models.items() for child in _list(model.get("subTypes"))
        }

    def model(self, key: str, model: JsonObject) -> JsonObject:
        """Return the schema of a model. One that another names among its `subTypes` has that one's members, too."""
        properties = _object(model.get("properties"))
        made: JsonObject = {
            "type": "object",
            "properties": {str(name): self.schema(one) for name, one in properties.items()},
        }
        if isinstance(model.get("description"), str):
            made["description"] = model["description"]
        required = [name for name in _list(model.get("required")) if name in properties]
        required += [name for name, one in properties.items() if _object(one).get("required") is True]
        if required:
            made["required"] = list(dict.fromkeys(required))
        parent = self._parents.get(key)
        return made if parent in {None, key} else {"allOf": [self._reference(str(parent)), made]}

    def parameter(self, raw: JsonObject) -> JsonObject:
        """Return a parameter of the path, the query or a header."""
        schema = self.schema({key: one for key, one in raw.items() if key not in {"description", "required"}})
        made: JsonObject = {
            "name": str(raw.get("name") or ""),
            "in": raw["paramType"],
            "required": raw.get("required") is True or raw["paramType"] == "path",
            "description": str(raw.get("description") or ""),
            "schema": schema,
        }
        if raw.get("allowMultiple") is True and schema.get("type") != "array":
            made["schema"] = {"type": "array", "items": schema}
        if made["schema"].get("type") == "array":
            made |= {"style": "form" if raw["paramType"] == "query" else "simple", "explode": False}
        return made

    def schema(self, raw: Any, depth: int = 0) -> JsonObject:
        """Return the schema of a type, a parameter or a property."""
        if not is_object(raw) or depth > _MAX_DEPTH:
            return {}
        made = self._typed(str(raw.get("$ref") or raw.get("type") or raw.get("dataType") or ""), raw, depth)
        if "$ref" in made:
            return made
        if isinstance(raw.get("format"), str):
            made["format"] = raw["format"]
        if isinstance(raw.get("description"), str):
            made["description"] = raw["description"]
        if values := _list(raw.get("enum")) or _list(_object(raw.get("allowableValues")).get("values")):
            made["enum"] = values
        if raw.get("uniqueItems") is True:
            made["uniqueItems"] = True
        for key, wanted in (("minimum", "minimum"), ("maximum", "maximum"), ("defaultValue", "default")):
            value = raw.get(key)
            if value is not None and (known := _value(value, made.get("type"))) is not None:
                made[wanted] = known
        return made

    def _typed(self, kind: str, raw: JsonObject, depth: int) -> JsonObject:
        if (inner := _LISTS.fullmatch(kind)) is not None:
            return {"type": "array", "items": self.schema({"type": inner[1]}, depth + 1)}
        if kind.lower() in {"array", "list", "set"}:
            return {"type": "array", "items": self.schema(raw.get("items"), depth + 1)}
        if kind in self._models:
            return self._reference(kind)
        if kind.lower() == "file":
            return {"type": "string", "format": "binary"}
        found, form = _TYPES.get(kind.lower(), ("object" if kind.lower() == "object" else "", ""))
        return {**({"type": found} if found else {}), **({"format": form} if form else {})}

    def _reference(self, key: str) -> JsonObject:
        return {"$ref": f"#/components/schemas/{self.names.get(key, key)}"}


def _body(
    parameters: list[JsonObject], operation: JsonObject, declaration: JsonObject, reader: _TypeReader
) -> JsonObject | None:
    """Return the request body: the one parameter of it, or the fields of a form."""
    consumes = _list(operation.get("consumes")) or _list(declaration.get("consumes"))
    stated = next((one for one in consumes if isinstance(one, str) and "/" in one), "application/json")
    for one in parameters:
        if one.get("paramType") == "body":
            schema = reader.schema({key: value for key, value in one.items() if key != "description"})
            about = str(one.get("description") or "")
            content = {stated: {"schema": schema}}
            return {"required": one.get("required") is True, "description": about, "content": content}
    fields = {str(one.get("name")): one for one in parameters if one.get("paramType") == "form"}
    if not fields:
        return None
    schemas = {name: reader.schema(one) for name, one in fields.items()}
    has_file = any(one.get("format") == "binary" for one in schemas.values())
    form: JsonObject = {"type": "object", "properties": schemas}
    if required := [name for name, one in fields.items() if one.get("required") is True]:
        form["required"] = required
    media_type = (
        "multipart/form-data" if has_file or "multipart/form-data" in consumes else "application/x-www-form-urlencoded"
    )
    return {"required": bool(required), "content": {media_type: {"schema": form}}}


def _responses(operation: JsonObject, declaration: JsonObject, reader: _TypeReader) -> JsonObject:
    produces = _list(operation.get("produces")) or _list(declaration.get("produces"))
    stated = next((one for one in produces if isinstance(one, str) and "/" in one), "application/json")
    kind = str(operation.get("type") or operation.get("responseClass") or "void")
    if kind == "void":
        return {"200": {"description": "OK"}}
    schema = reader.schema({**operation, "type": kind, "description": None})
    return {"200": {"description": "OK", "content": {stated: {"schema": schema}}}}


def _oauth2(scheme: Mapping[str, Any]) -> JsonObject:
    scopes = {str(one.get("scope")): str(one.get("description") or "") for one in _objects(scheme.get("scopes"))}
    grants = _object(scheme.get("grantTypes"))
    flows: JsonObject = {}
    if implicit := _object(grants.get("implicit")):
        address = str(_object(implicit.get("loginEndpoint")).get("url") or "")
        flows["implicit"] = {"authorizationUrl": address, "scopes": scopes}
    if code := _object(grants.get("authorization_code")):
        asking, token = (
            str(_object(code.get(key)).get("url") or "") for key in ("tokenRequestEndpoint", "tokenEndpoint")
        )
        flows["authorizationCode"] = {"authorizationUrl": asking, "tokenUrl": token, "scopes": scopes}
    return {"type": "oauth2", "flows": flows}


def _value(stated: Any, kind: Any) -> Any:
    """Return a bound or a default in its own type: documents write numbers as texts. None: it is not of this type."""
    if not isinstance(stated, str) or kind not in {"integer", "number", "boolean"}:
        return stated
    if kind == "boolean":
        return {"true": True, "false": False}.get(stated.lower())
    if re.fullmatch(r"[-+]?\d{1,18}(?:\.0{1,18})?", stated, re.ASCII):
        return int(stated.partition(".")[0])
    return float(stated) if kind == "number" and re.fullmatch(r"[-+]?\d{1,18}\.\d{1,18}", stated, re.ASCII) else None


def _object(value: Any) -> Mapping[str, Any]:
    return value if is_object(value) else {}


def _list(value: Any) -> list[Any]:
    return value if is_list(value) else []


def _objects(value: Any) -> list[JsonObject]:
    return [one for one in value if is_object(one)] if is_list(value) else []
