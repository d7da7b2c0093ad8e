"""OpenAPI 2.0 in 3.x form, piece by piece: parameters, bodies, responses, security schemes, servers (pure).

Schemas and their references stay unchanged, because the translation of schemas handles 2.0.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from utcp_bridge.dialects.openapi.shapes import Located, as_array, as_object, as_text
from utcp_bridge.model import JsonObject, is_object

__all__ = [
    "unknown_format",
    "upgrade_body",
    "upgrade_parameter",
    "upgrade_response",
    "upgrade_schemes",
    "upgrade_servers",
]

FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"

_PARAMETER_ONLY = frozenset({"name", "in", "required", "collectionFormat", "allowEmptyValue", "schema"})
_STYLES = {
    "csv": ("form", False),
    "ssv": ("spaceDelimited", False),
    "tsv": ("tabDelimited", False),
    "pipes": ("pipeDelimited", False),
    "multi": ("form", True),
}
_FLOWS = {
    "accessCode": "authorizationCode",
    "application": "clientCredentials",
    "implicit": "implicit",
    "password": "password",
}


def upgrade_parameter(parameter: Located) -> Located:
    """Return a path, query or header parameter in 3.x form.

    Its type becomes `schema`, its collectionFormat becomes `style` and `explode`.
    """
    node: JsonObject = parameter.value
    upgraded: JsonObject = {key: node[key] for key in ("name", "in", "required", "description") if key in node}
    upgraded["schema"] = _schema_of(node)
    if upgraded["schema"].get("type") == "array":
        style, explode = _style_of(node)
        if node.get("in") in {"path", "header"} and style == "form":
            style = "simple"
        upgraded |= {"style": style, "explode": explode}
    return Located(upgraded, parameter.base, parameter.pointer)


def unknown_format(parameter: Located) -> str:
    """Return the `collectionFormat` of an array if it is not one of 2.0. Its items are then joined by commas."""
    declared = parameter.value.get("collectionFormat")
    is_known = declared is None or (isinstance(declared, str) and declared in _STYLES)
    return "" if is_known or parameter.value.get("type") != "array" else repr(declared)


def _schema_of(node: JsonObject) -> JsonObject:
    schema = {key: value for key, value in node.items() if key not in _PARAMETER_ONLY}
    declared = node.get("schema")
    return {**schema, **declared} if is_object(declared) else schema


def _style_of(node: JsonObject) -> tuple[str, bool]:
    return _STYLES.get(as_text(node.get("collectionFormat")), _STYLES["csv"])


def upgrade_body(parameters: list[Located], operation: Located, consumes: list[str]) -> Located | None:
    """Return the `body` parameter, or all `formData` parameters, as a 3.x request body; None without either."""
    for parameter in parameters:
        if parameter.value.get("in") == "body":
            return _whole_body(parameter, consumes)
    fields = [parameter for parameter in parameters if parameter.value.get("in") == "formData"]
    return _form_body(fields, operation, consumes) if fields else None


def _whole_body(parameter: Located, consumes: list[str]) -> Located:
    node = parameter.value
    media = {"schema": node.get("schema", {})}
    content = dict.fromkeys(consumes or ["application/json"], media)
    body = {"content": content, "required": node.get("required") is True, "x-name": node.get("name")}
    if node.get("description"):
        body["description"] = node["description"]
    return Located(body, parameter.base, parameter.pointer)


def _form_body(fields: list[Located], operation: Located, consumes: list[str]) -> Located:
    properties: dict[str, Any] = {}
    encoding: dict[str, Any] = {}
    required: list[str] = []
    for located in fields:
        node: JsonObject = located.value
        name = str(node["name"])
        properties[name] = _schema_of(node)
        if node.get("type") == "file":
            properties[name] |= {"type": "string", "format": "binary"}
        if node.get("type") == "array":
            style, explode = _style_of(node)
            encoding[name] = {"style": style, "explode": explode}
        if node.get("required") is True:
            required.append(name)
    has_file = any(located.value.get("type") == "file" for located in fields)
    schema = {"type": "object", "properties": properties, "required": required}
    media = {"schema": schema, "encoding": encoding}
    content = dict.fromkeys(_form_types(consumes, has_file=has_file), media)
    return Located({"content": content, "required": bool(required)}, operation.base, operation.pointer)


def _form_types(consumes: list[str], *, has_file: bool) -> list[str]:
    """Return the media types of a form: multipart for a file, else what the operation consumes, else the plain form."""
    declared = [kind for kind in consumes if kind.split(";")[0].strip().lower() in {FORM, MULTIPART}]
    if has_file:
        return [MULTIPART]
    return declared or [FORM]


def upgrade_response(response: Located, produces: list[str]) -> Located:
    """Return the response with its `schema` under each media type that the operation produces."""
    node = as_object(response.value)
    if "content" in node or "schema" not in node:
        return response
    media = {"schema": node["schema"]}
    content = dict.fromkeys(produces or ["application/json"], media)
    return Located({**node, "content": content}, response.base, response.pointer)


def upgrade_schemes(definitions: Any) -> JsonObject:
    """Return `securityDefinitions` as `components.securitySchemes`."""
    return {name: _upgrade_scheme(as_object(scheme)) for name, scheme in as_object(definitions).items()}


def _upgrade_scheme(scheme: JsonObject) -> JsonObject:
    if scheme.get("type") == "basic":
        return {**scheme, "type": "http", "scheme": "basic"}
    if scheme.get("type") != "oauth2":
        return scheme
    flow = {
        "tokenUrl": scheme.get("tokenUrl"),
        "authorizationUrl": scheme.get("authorizationUrl"),
        "scopes": as_object(scheme.get("scopes")),
    }
    return {**scheme, "flows": {_FLOWS.get(as_text(scheme.get("flow")), "implicit"): flow}}


def upgrade_servers(document: JsonObject, url: str | None, schemes: list[Any]) -> list[JsonObject]:
    """Return `schemes`, `host` and `basePath` as one server; missing parts come from the document's own address."""
    own = urlsplit(url or "")
    host = as_text(document.get("host")).strip().strip("/") or own.netloc
    base_path = as_text(document.get("basePath")).strip()
    if not host:
        return [{"url": base_path}] if base_path else []
    scheme = _scheme(
        schemes or as_array(document.get("schemes")), own.scheme if own.scheme in {"http", "https"} else ""
    )
    if "://" in host:
        scheme, host = host.split("://", 1)
    path = "/" + base_path.strip("/") if base_path.strip("/") else ""
    return [{"url": f"{scheme}://{host}{path}"}]


def _scheme(declared: list[Any], own: str) -> str:
    """Return https if it is declared, else the first declared scheme, else the document's own, else https."""
    offered = [scheme for scheme in declared if scheme in ("http", "https")]
    if "https" in offered:
        return "https"
    return offered[0] if offered else (own or "https")
