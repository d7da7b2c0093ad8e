"""Reads an OpenAPI document by the specification alone: what each operation declares.

Written apart from the converter, to be held against it. Nothing here imports `utcp_bridge`.
"""

from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from urllib.parse import unquote, urljoin, urlsplit

import jsonschema_rs
from tests.openapi_oracle.checking import loosened

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace", "query")
FORM = "application/x-www-form-urlencoded"


DATA = {"const", "default", "enum", "example", "examples"}


def _anywhere(value, url):
    """A document of several files, with references that mean the same wherever they are read."""
    if isinstance(value, list):
        return [_anywhere(one, url) for one in value]
    if not isinstance(value, dict):
        return value
    new = {key: one if key in DATA and not isinstance(one, dict) else _anywhere(one, url) for key, one in value.items()}
    if isinstance(value.get("$ref"), str):
        new["$ref"] = urljoin(url, value["$ref"])
    return new


def _named(value, base):
    """(address, schema) of each schema that has an `$id`."""
    if isinstance(value, dict) and isinstance(value.get("$id"), str):
        base = urljoin(base, value["$id"])
        yield base, value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for one in inner:
        yield from _named(one, base)


@dataclass
class Field:
    """A parameter, or a property of a form."""

    name: str
    place: str
    schema: dict
    required: bool
    style: str = "form"
    explode: bool = True
    content_type: str | None = None


@dataclass
class Body:
    required: bool
    contents: dict  # media type → (schema, encoding)
    forms: list = field(default_factory=list)  # 2.0 formData


@dataclass
class Declared:
    """One operation as the document declares it."""

    method: str
    path: str
    fields: list
    body: Body | None
    servers: list
    security: list  # alternatives; each a set of (place, name, prefix)


class Reader:
    def __init__(self, document, url, files):
        self.document = _anywhere(document, url) if files else document
        self.url = url
        self.files = {**{place: _anywhere(part, place) for place, part in files.items()}, url: self.document}
        self.old = "swagger" in document
        self.named = dict(_named(document, url or ""))

    @cached_property
    def loose(self):
        return loosened(self.document)

    # --- references

    def resolve(self, value, base=None):
        """(value, base) at the end of a chain of references."""
        base = base or self.url
        for _ in range(20):
            if not (isinstance(value, dict) and isinstance(value.get("$ref"), str)):
                return value, base
            address, _, pointer = value["$ref"].partition("#")
            base = urljoin(base, address) if address else base
            target = self.files[base] if base in self.files else self.named.get(base)
            for token in unquote(pointer).split("/")[1:]:
                key = token.replace("~1", "/").replace("~0", "~")
                target = target[int(key)] if isinstance(target, list) else (target or {}).get(key)
            value = target
        return {}, base

    def schema(self, value):
        resolved, _ = self.resolve(value)
        return resolved if isinstance(resolved, dict) else {}

    def accepts(self, schema, value):
        """Whether a schema of the document accepts a value, bounds aside. Any value fits one that cannot be read."""
        is_new = str(self.document.get("openapi")).startswith(("3.1", "3.2"))
        draft = jsonschema_rs.Draft202012Validator if is_new else jsonschema_rs.Draft4Validator
        try:
            return draft({**self.loose, **loosened(schema)}).is_valid(value)
        except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError):
            return True

    # --- operations

    def operations(self):
        for path, raw in self.document.get("paths", {}).items():
            if path.startswith("x-"):
                continue
            item, base = self.resolve(raw)
            for method in METHODS:
                if isinstance((item or {}).get(method), dict):
                    yield self.declared(method.upper(), path, item, item[method], base)

    def declared(self, method, path, item, operation, base):
        parameters = {}
        for raw in [*item.get("parameters", []), *operation.get("parameters", [])]:
            parameter, _ = self.resolve(raw, base)
            if isinstance(parameter, dict) and parameter.get("name"):
                parameters[parameter["name"], parameter.get("in")] = parameter
        fields = [made for parameter in parameters.values() if (made := self.field(parameter))]
        known = {one.name for one in fields if one.place == "path"}
        named = [part.split("}")[0] for part in path.split("{")[1:]]
        fields += [
            Field(name, "path", {"type": "string"}, required=True, style="simple", explode=False)
            for name in named
            if name not in known
        ]
        body = self.old_body(parameters, operation) if self.old else self.body(operation, base)
        if self.old and body:
            fields = [one for one in fields if one.name.lower() != "content-type"]
        security = self.security(operation)
        carried = {(place, name.lower()) for option in security for place, name, _ in option}
        fields = [one for one in fields if (one.place, one.name.lower()) not in carried]
        fields = [one for one in fields if one.place != "path" or f"{{{one.name}}}" in path]
        return Declared(method, path, fields, body, self.servers(item, operation), security)

    def field(self, parameter):
        place, name = parameter.get("in"), parameter["name"]
        if place not in {"path", "query", "header", "cookie"}:
            return None
        required = parameter.get("required") is True or place == "path"
        if place == "header" and name.lower() in WRITTEN_BY_CLIENTS:
            return None
        if self.old:
            style, explode = OLD_STYLES.get(parameter.get("collectionFormat"), OLD_STYLES["csv"])
            return Field(name, place, parameter, required, style, explode)
        if place == "header" and name.lower() in {"accept", "content-type", "authorization"}:
            return None
        if parameter.get("content"):
            media_type, media = next(iter(parameter["content"].items()))
            return Field(name, place, media.get("schema", {}), required, content_type=media_type)
        style = parameter.get("style") or ("form" if place in {"query", "cookie"} else "simple")
        explode = parameter.get("explode")
        explode = style in {"form", "cookie"} if explode is None else explode
        return Field(name, place, parameter.get("schema", {}), required, style, explode)

    def body(self, operation, base):
        body, _ = self.resolve(operation.get("requestBody"), base)
        if not isinstance(body, dict) or not body.get("content"):
            return None
        contents = {
            kind: (media.get("schema", {}), media.get("encoding", {})) for kind, media in body["content"].items()
        }
        return Body(body.get("required") is True, contents)

    def old_body(self, parameters, operation):
        consumes = operation.get("consumes", self.document.get("consumes")) or []
        for (_, place), parameter in parameters.items():
            if place == "body":
                schema = parameter.get("schema", {})
                contents = {kind: (schema, {}) for kind in consumes or ["application/json"]}
                return Body(parameter.get("required") is True, contents)
        forms = [parameter for (_, place), parameter in parameters.items() if place == "formData"]
        if not forms:
            return None
        kinds = [kind for kind in consumes if kind.split(";")[0] in {FORM, "multipart/form-data"}] or [FORM]
        if any(parameter.get("type") == "file" for parameter in forms):
            kinds = ["multipart/form-data"]
        if all(kind != FORM for kind in kinds):
            forms = [as_file(parameter) for parameter in forms]
        fields = []
        for parameter in forms:
            style, explode = OLD_STYLES.get(parameter.get("collectionFormat"), OLD_STYLES["csv"])
            fields.append(
                Field(parameter["name"], "form", parameter, parameter.get("required") is True, style, explode)
            )
        return Body(any(one.required for one in fields), {kind: ({}, {}) for kind in kinds}, fields)

    # --- servers

    def servers(self, item, operation):
        if self.old:
            own = urlsplit(self.url)
            host = self.document.get("host") or own.netloc
            schemes = operation.get("schemes") or self.document.get("schemes") or [own.scheme or "https"]
            base = "/" + self.document.get("basePath", "").strip("/")
            return [f"{scheme}://{host}{base.rstrip('/')}" for scheme in schemes]
        listed = operation.get("servers") or item.get("servers") or self.document.get("servers") or [{"url": "/"}]
        return [address.rstrip("/") for server in listed for address in self.addresses(server)]

    def addresses(self, server):
        variables = server.get("variables", {})
        choices = [[(name, str(about.get("default")))] for name, about in variables.items()]
        for combination in product(*choices):
            address = server["url"]
            for name, value in combination:
                address = address.replace(f"{{{name}}}", value)
            yield urljoin(self.url, address)

    # --- security

    def security(self, operation):
        requirements = operation.get("security", self.document.get("security"))
        declared = self.document.get("securityDefinitions" if self.old else "components", {})
        schemes = declared if self.old else declared.get("securitySchemes", {})
        options = []
        for requirement in requirements or []:
            members = [self.placed(self.resolve(schemes.get(name))[0]) for name in requirement]
            if all(member is not None for member in members):
                options.append(frozenset(place for member in members for place in member))
        return options

    def placed(self, scheme):
        """Where one scheme puts its secret; None for a scheme that does not exist."""
        match (scheme or {}).get("type"):
            case "apiKey":
                name, _, word = scheme["name"].partition(":" if scheme["in"] == "header" else "\0")
                return [(scheme["in"], name.strip(), f"{word.strip()} " if word.strip() else "")]
            case "basic":
                return [("header", "Authorization", "Basic ")]
            case "http":
                kind = scheme["scheme"]
                return [
                    ("header", "Authorization", {"basic": "Basic ", "bearer": "Bearer "}.get(kind.lower(), f"{kind} "))
                ]
            case "oauth2" | "openIdConnect":
                return [("header", "Authorization", "Bearer ")]
            case "mutualTLS":
                return []
        return None


def as_file(parameter):
    """A field of a multipart form that has binary content is a file, as in 3.0; 2.0 leaves open what it is."""
    items = parameter.get("items", {})
    if parameter.get("type") == "array" and (items.get("type") == "file" or items.get("format") == "binary"):
        return {**parameter, "items": {"type": "file"}, "collectionFormat": "multi"}
    return {**parameter, "type": "file"} if parameter.get("format") == "binary" else parameter


WRITTEN_BY_CLIENTS = {
    "accept-encoding", "connection", "content-length", "expect", "host", "keep-alive", "te", "trailer",
    "transfer-encoding", "upgrade",
}  # fmt: skip
"""Headers that an HTTP client writes by itself (RFC 9110, RFC 9112), whatever a description says of them."""

OLD_STYLES = {
    "csv": ("csv", False),
    "ssv": ("spaceDelimited", False),
    "tsv": ("tab", False),
    "pipes": ("pipeDelimited", False),
    "multi": ("form", True),
}
