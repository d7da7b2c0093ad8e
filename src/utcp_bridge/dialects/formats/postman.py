"""Postman collections 2.0 and 2.1 as OpenAPI descriptions (pure).

The source is the JSON Schema of the format (schema.postman.com, collection v2.1.0). A request has values where a
description has types, so each value is an example. A variable with a value in the collection is filled in; one without
becomes an argument, in a credential the scheme's variable. A variable at the start of a URL must have a value. A
credential that is one variable has the scheme of this name, so the bridge asks for each variable once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote_plus

from utcp_bridge.dialects.json_comments import without_comments
from utcp_bridge.dialects.openapi.tools import numbered_name, safe_name
from utcp_bridge.errors import ManualError
from utcp_bridge.model import Fault, JsonObject, is_list, is_object

__all__ = ["PostmanDescription", "is_postman", "openapi_of_postman"]

_MAX_DEPTH: Final = 30
_MAX_FILLS: Final = 5
_MAX_NAME: Final = 56
_VARIABLE: Final = re.compile(r"\{\{([^{}]{1,200})\}\}")
_BASE: Final = re.compile(r"\{\{[^{}]{1,200}\}\}(?=[/?:]|$)|([A-Za-z][\w+.-]{0,30}://)?[^/?#]+")
_COLON: Final = re.compile(r":([A-Za-z_][\w.-]*)")
_METHODS: Final = frozenset({"get", "put", "post", "delete", "options", "head", "patch", "trace"})
_UNSENT: Final = frozenset({
    "accept", "accept-encoding", "cache-control", "connection", "content-length", "content-type", "cookie", "host",
    "postman-token", "user-agent",
})  # fmt: skip
"""Headers that the client writes itself, or that belong to one session."""
_LANGUAGES: Final = {"xml": "application/xml", "html": "text/html", "javascript": "application/javascript"}
_FORMS: Final = {"urlencoded": "application/x-www-form-urlencoded", "formdata": "multipart/form-data"}


_ONE_VARIABLE: Final = re.compile(r"\{\{([^{}$]{1,200})\}\}")
_SECRET_HEADERS: Final = re.compile(
    r"(?i)^(?:proxy-)?authorization\Z|^token\Z|(?:api[-_]?key|access[-_]?key|auth[-_]?key|[-_]token|secret|password)\Z"
)
_SECRET_QUERIES: Final = re.compile(
    r"(?i)^(?:api[-_]?key|access[-_]?token|auth[-_]?token|client[-_]?secret|password)\Z"
)
_SECRET_NAMES: Final = re.compile(r"(?i)(?:api[-_]?key|access[-_]?token|auth[-_]?token|secret|password)\Z")
_BEARER: Final = frozenset({"bearer", "jwt"})
_MAX_SAMPLE_DEPTH: Final = 20
_MAX_TEXT: Final = 120
_TYPES: Final[Mapping[str, JsonObject]] = {
    "<string>": {"type": "string"},
    "<integer>": {"type": "integer"},
    "<long>": {"type": "integer"},
    "<number>": {"type": "number"},
    "<float>": {"type": "number"},
    "<double>": {"type": "number"},
    "<boolean>": {"type": "boolean"},
    "<uuid>": {"type": "string", "format": "uuid"},
    "<date>": {"type": "string", "format": "date"},
    "<dateTime>": {"type": "string", "format": "date-time"},
    "<email>": {"type": "string", "format": "email"},
    "<uri>": {"type": "string", "format": "uri"},
}
"""What collections that were made of OpenAPI descriptions have in place of values."""
_NO_VALUES: Final = frozenset({"{}", "%7B%7D"})
"""What collections that were made of other descriptions have in place of values."""
_NUMBER: Final = re.compile(r"-?(?:0|[1-9]\d{0,14})(?:\.\d{1,15})?", re.ASCII)


@dataclass(slots=True)
class PostmanDescription:
    """What a collection says. `headers` are the fixed headers of each operation, by its id."""

    openapi: JsonObject
    headers: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]], repr=False)
    faults: list[Fault] = field(default_factory=list[Fault])


def is_postman(document: Any) -> bool:
    """Return whether a parsed document is a Postman collection of version 2."""
    whole = _collection(document)
    return is_object(whole) and is_object(whole.get("info")) and is_list(whole.get("item"))


def openapi_of_postman(
    document: JsonObject, name: str, variables: Mapping[str, str], base_url: str | None = None
) -> PostmanDescription:
    """Return the OpenAPI description of a collection. `variables` win over those of the collection.

    :raises ManualError: the document is not a collection, or an address starts with a variable without a value.
    """
    if not is_postman(document):
        raise ManualError(f"{name} is not a Postman collection of version 2.")
    return _Collection(_collection(document), name, variables, base_url).described()


def _collection(document: Any) -> Any:
    """Return a collection, also from the reply of Postman's API, which wraps it."""
    wrapped = document.get("collection") if is_object(document) else None
    return wrapped if is_object(wrapped) and "item" not in document else document


class _Collection:
    def __init__(self, document: JsonObject, name: str, variables: Mapping[str, str], base_url: str | None) -> None:
        self._document = document
        self._name = name
        self._base_url = base_url
        self._values = {**_values(document.get("variable")), **variables}
        self._credentials = _Credentials()
        self._paths: dict[str, dict[str, JsonObject]] = {}
        self._made = PostmanDescription({})
        self._taken: set[str] = set()

    def described(self) -> PostmanDescription:
        info = _object(self._document.get("info"))
        for item, folders, auth in _requests(self._document, (), None):
            self._add(item, folders, auth)
        operations = [one for item in self._paths.values() for one in item.values()]
        self._made.openapi = {
            "openapi": "3.1.0",
            "info": {
                "title": str(info.get("name") or ""),
                "version": _version(info.get("version")),
                "description": _text(info.get("description")),
            },
            "servers": next((one["servers"] for one in operations if "servers" in one), list[JsonObject]()),
            "paths": self._paths,
            "components": {"securitySchemes": self._credentials.schemes},
        }
        return self._made

    def _add(self, item: JsonObject, folders: tuple[str, ...], auth: Any) -> None:
        """Add one request. A second one with the method and path of another adds its parameters to that one's."""
        title = " ".join(str(item.get("name") or "").split())
        where = f"{self._name}, request {'/'.join((*folders, title))!r}"
        stated = item.get("request")
        request: JsonObject = {"url": stated} if isinstance(stated, str) else _object(stated)
        method = str(request.get("method") or "GET").lower()
        if method not in _METHODS:
            self._fault(where, f"the method {method.upper()} cannot be sent, so this request is left out.", "error")
            return
        address = _Address(request.get("url"))
        server, path = self._target(address, where)
        path, segments = self._path(path, address)
        operation: JsonObject = {
            "operationId": "",
            "summary": title,
            "description": _text(request.get("description") or item.get("description")),
            "tags": [folders[-1]] if folders else [],
            "parameters": [*segments],
            "responses": {"200": {"description": "OK"}},
            **({"servers": [{"url": server}]} if server else {}),
        }
        body, media_type = self._body(request, where)
        if body:
            operation["requestBody"] = {"required": True, "content": {media_type: {"schema": body}}}
        schemes = self._credentials.of(
            request["auth"] if is_object(request.get("auth")) else auth, where, self._made.faults
        )
        fixed = self._headers(request, operation, schemes)
        self._queries(address, operation, schemes)
        operation["security"] = [{one: list[str]() for one in schemes}] if schemes else []
        known = self._paths.setdefault(path, {}).get(method)
        if known is not None and known.get("servers") == operation.get("servers"):
            self._merge(known, operation, where)
            return
        while method in self._paths.setdefault(path, {}):
            path += "#"  # the same path at another server; what follows the mark is not sent
        operation["operationId"] = identity = self._identity(title or f"{method} {path}", folders)
        self._paths[path][method] = operation
        if fixed:
            self._made.headers[identity] = fixed

    def _fault(self, where: str, what: str, severity: Any = "warning") -> None:
        self._made.faults.append(Fault(where, what, severity=severity))

    def _identity(self, title: str, folders: tuple[str, ...]) -> str:
        name = safe_name(title)[:_MAX_NAME].strip("_-") or "request"
        if name in self._taken and folders:
            name = safe_name(f"{folders[-1]}_{title}")[:_MAX_NAME].strip("_-")
        return numbered_name(name, self._taken)

    # --- the address

    def _filled(self, text: str) -> str:
        """Return a text with the values of the collection's variables. Those without a value stay."""
        for _ in range(_MAX_FILLS):
            filled = _VARIABLE.sub(lambda match: self._values.get(match[1].strip(), match[0]), text)
            if filled == text or len(filled) > 100_000:
                break
            text = filled
        return text

    def _target(self, address: _Address, where: str) -> tuple[str, str]:
        """Return the server of a request, and its path. The server is empty if `base_url` replaces it."""
        start = _BASE.match(address.base)
        if start is None:
            if self._base_url:
                return "", address.base
            raise ManualError(f"{where}, has no address.", remedy="Write it into the collection, or give --base-url.")
        path = address.base[start.end() :]
        if self._base_url:
            return "", path
        server = self._filled(start[0])
        if (missing := _VARIABLE.search(server)) is not None:
            name = missing[1].strip()
            what = f"{where}: its address has the variable {name!r}, which has no value in the collection."
            remedy = f"Give it, for example --server-variable {name}=https://api.example.com, or --base-url."
            raise ManualError(what, remedy=remedy)
        return server.rstrip("/") if "://" in server else f"http://{server.rstrip('/')}", path

    def _path(self, path: str, address: _Address) -> tuple[str, list[JsonObject]]:
        """Return the path with a placeholder for each variable, and their parameters."""
        about = {str(one.get("key") or one.get("id")): one for one in _objects(address.variables)}
        named: dict[str, None] = {}

        def placeholder(match: re.Match[str]) -> str:
            name = re.sub(r"[^\w.-]+", "_", match[1].strip())
            named[name] = None
            return f"{{{name}}}"

        segments = [
            _COLON.sub(placeholder, one, count=1) if one.startswith(":") else _VARIABLE.sub(placeholder, one)
            for one in self._filled(path.partition("#")[0]).split("/")
        ]
        made: list[JsonObject] = []
        for name in named:
            known = about.get(name, {})
            text = self._filled(str(known.get("value") or ""))
            schema = _text_schema("" if _VARIABLE.search(text) else text)
            made.append(_parameter(name, "path", schema, _text(known.get("description")), required=True))
        whole = "/".join(segments)
        return whole if whole.startswith("/") else f"/{whole}", made

    # --- parameters

    def _queries(self, address: _Address, operation: JsonObject, schemes: dict[str, None]) -> None:
        for one in address.queries:
            key = one.get("key")
            if not isinstance(key, str) or not key:
                continue
            stated = str(one.get("value") or "")
            value = self._filled(stated)
            if _is_credential(key, stated, in_header=False) and one.get("disabled") is not True:
                schemes[self._credentials.key("query", key, stated)] = None
                continue
            schema = _text_schema("" if _VARIABLE.search(value) else value)
            operation["parameters"].append(_parameter(key, "query", schema, _text(one.get("description"))))

    def _headers(self, request: JsonObject, operation: JsonObject, schemes: dict[str, None]) -> dict[str, str]:
        """Add a parameter for each header whose value is open, and return the fixed ones."""
        fixed: dict[str, str] = {}
        for one in _header_list(request.get("header")):
            key, stated = str(one.get("key") or "").strip(), str(one.get("value") or "")
            if not key or one.get("disabled") is True or key.lower() in _UNSENT:
                continue
            value = self._filled(stated)
            if _is_credential(key, stated, in_header=True):
                if key.lower() != "authorization" or not self._credentials.are_in_authorization(schemes):
                    schemes[self._credentials.header(key, stated)] = None
            elif _VARIABLE.search(value):
                about = _text(one.get("description"))
                operation["parameters"].append(_parameter(key, "header", {"type": "string"}, about))
            elif value and value.isprintable():
                fixed[key] = value
        return fixed

    # --- bodies

    def _body(self, request: JsonObject, where: str) -> tuple[JsonObject, str]:
        """Return the schema of a request's body, and its media type. An empty schema: there is none."""
        body = _object(request.get("body"))
        mode = body.get("mode")
        stated = next(
            (str(one.get("value")) for one in _header_list(request.get("header"))
             if str(one.get("key")).lower() == "content-type" and one.get("disabled") is not True),
            "",
        ).strip()  # fmt: skip
        media_type = stated if "/" in stated and not _VARIABLE.search(stated) else ""
        if body.get("disabled") is True or mode is None:
            return {}, ""
        if mode == "raw":
            return self._raw(body, media_type)
        if mode in _FORMS:
            return _form(self._fields(body.get(mode))), _FORMS[mode]
        if mode == "graphql":
            return self._graphql(_object(body.get(mode))), "application/json"
        if mode == "file":
            return {"type": "string", "format": "binary"}, media_type or "application/octet-stream"
        self._fault(where, f"its body has the unknown mode {mode!r}, which is left out.")
        return {}, ""

    def _raw(self, body: JsonObject, media_type: str) -> tuple[JsonObject, str]:
        text = self._filled(str(body.get("raw") or ""))
        language = _object(_object(body.get("options")).get("raw")).get("language")
        is_json = "json" in media_type if media_type else language == "json" or text.lstrip()[:1] in {"{", "["}
        if not text.strip():
            return {}, ""
        if not is_json:
            schema = {"type": "string", "description": f"Sample: {text.strip()[:2_000]}"}
            return schema, media_type or _LANGUAGES.get(str(language), "text/plain")
        sample = _json_sample(text)
        known = _sample_schema(sample) if sample is not None else {"description": f"Sample: {text.strip()[:2_000]}"}
        return known, media_type or "application/json"

    def _fields(self, stated: Any) -> Iterator[tuple[str, JsonObject]]:
        for one in _objects(stated):
            key = one.get("key")
            if not isinstance(key, str) or not key:
                continue
            value = self._filled(str(one.get("value") or ""))
            schema = _text_schema("" if _VARIABLE.search(value) else value)
            if one.get("type") == "file":
                schema = {"type": "string", "format": "binary"}
            if about := _text(one.get("description")):
                schema["description"] = about
            yield key, schema

    def _graphql(self, stated: JsonObject) -> JsonObject:
        """Return the body of a GraphQL request: the query is in its description, the variables are arguments."""
        query = self._filled(str(stated.get("query") or ""))
        variables = stated.get("variables")
        sample = _json_sample(self._filled(variables)) if isinstance(variables, str) else variables
        about = f"Send exactly this, or another query of the same schema: {query}"
        return {
            "type": "object",
            "properties": {
                "query": {"type": "string", "description": about[:4_000]},
                "variables": _sample_schema(sample) if is_object(sample) else {"type": "object"},
            },
            "required": ["query"],
        }

    def _merge(self, known: JsonObject, more: JsonObject, where: str) -> None:
        """Add the parameters and the members of the body of a second request to the operation of the first."""
        names = {(one["in"], one["name"]) for one in known["parameters"]}
        known["parameters"] += [one for one in more["parameters"] if (one["in"], one["name"]) not in names]
        first, second = (_body_schema(one) for one in (known, more))
        if second is None:
            if first is not None:
                known["requestBody"]["required"] = False
        elif first is None:
            known["requestBody"] = {**more["requestBody"], "required": False}
        elif first[0] == second[0] and is_object(first[1].get("properties")) and is_object(second[1].get("properties")):
            first[1]["properties"] = {**second[1]["properties"], **first[1]["properties"]}
        elif first != second:
            what = f"its body is left out: {known['operationId']!r} has the same method and path, and another body."
            self._fault(where, what)
            return
        self._fault(where, f"it has the method and path of {known['operationId']!r}, so both are one tool.")


@dataclass(slots=True)
class _Address:
    """A request's URL in its parts. `base` is what stands before the query."""

    base: str
    queries: list[JsonObject]
    variables: Any

    def __init__(self, stated: Any) -> None:
        url: JsonObject = {"raw": stated} if isinstance(stated, str) else _object(stated)
        raw = url.get("raw")
        text = (raw if isinstance(raw, str) and raw.strip() else _joined(url)).strip()
        self.base, _, query = text.partition("#")[0].partition("?")
        listed = _objects(url.get("query"))
        parts = (one.partition("=") for one in query.split("&") if one)
        self.queries = listed or [{"key": unquote_plus(key), "value": unquote_plus(value)} for key, _, value in parts]
        self.variables = url.get("variable")


def _joined(url: JsonObject) -> str:
    """Return the text of a URL that is stated in parts only."""
    host, path = url.get("host"), url.get("path")
    address = ".".join(map(str, host)) if is_list(host) else str(host or "")
    if url.get("port"):
        address += f":{url['port']}"
    steps = [str(one.get("value") if is_object(one) else one) for one in path] if is_list(path) else [str(path or "")]
    protocol = f"{url['protocol']}://" if url.get("protocol") and "{{" not in address else ""
    return f"{protocol}{address}/{'/'.join(steps).lstrip('/')}"


def _requests(
    folder: JsonObject, names: tuple[str, ...], auth: Any
) -> Iterator[tuple[JsonObject, tuple[str, ...], Any]]:
    """Yield each request with the names of its folders, and the auth that it inherits."""
    inherited = folder["auth"] if is_object(folder.get("auth")) else auth
    for item in _objects(folder.get("item")):
        if "request" in item:
            yield item, names, inherited
        elif len(names) < _MAX_DEPTH:
            yield from _requests(item, (*names, str(item.get("name") or "")), inherited)


def _header_list(stated: Any) -> list[JsonObject]:
    """Return headers as a list; some collections have them as one text."""
    if not isinstance(stated, str):
        return _objects(stated)
    pairs = (line.partition(":") for line in stated.splitlines() if ":" in line)
    return [{"key": key.strip(), "value": value.strip()} for key, _, value in pairs]


def _json_sample(text: str) -> Any:
    """Return the value of a JSON text with open variables; None if it is not JSON. Postman leaves out its comments."""
    text = without_comments(text)
    for marked in (text, _bare_variables_as_null(text)):
        try:
            return _without_variables(json.loads(marked))
        except (ValueError, RecursionError):
            continue
    return None


def _bare_variables_as_null(text: str) -> str:
    """Replace variables that stand outside of texts, where a value of any type goes."""
    made: list[str] = []
    is_text = False
    for piece in text.split('"'):
        made.append(piece if is_text else _VARIABLE.sub("null", piece))
        is_escaped = is_text and (len(piece) - len(piece.rstrip("\\"))) % 2 == 1
        is_text = is_text if is_escaped else not is_text
    return '"'.join(made)


def _without_variables(value: Any) -> Any:
    """Empty the texts with open variables, which say nothing of the values."""
    if is_object(value):
        return {key: _without_variables(one) for key, one in value.items()}
    if is_list(value):
        return [_without_variables(one) for one in value]
    return "" if isinstance(value, str) and _VARIABLE.search(value) else value


def _form(fields: Iterator[tuple[str, JsonObject]]) -> JsonObject:
    properties = dict(fields)
    return {"type": "object", "properties": properties} if properties else {}


def _body_schema(operation: JsonObject) -> tuple[str, JsonObject] | None:
    content = _object(_object(operation.get("requestBody")).get("content"))
    return next(((media_type, one["schema"]) for media_type, one in content.items()), None)


def _parameter(name: str, place: str, schema: JsonObject, about: str, *, required: bool = False) -> JsonObject:
    return {"name": name, "in": place, "required": required, "description": about, "schema": schema}


def _values(stated: Any) -> dict[str, str]:
    """Return the values of a collection's variables. An empty one has none."""
    return {
        str(one.get("key") or one.get("id")): str(one["value"])
        for one in _objects(stated)
        if one.get("disabled") is not True and isinstance(one.get("value"), str | int | float) and one["value"] != ""
    }


def _text(stated: Any) -> str:
    """Return a description, which is a text or an object with a text."""
    if is_object(stated):
        stated = stated.get("content")
    return stated if isinstance(stated, str) else ""


def _version(stated: Any) -> str:
    if is_object(stated):
        return ".".join(str(stated.get(key, 0)) for key in ("major", "minor", "patch"))
    return stated if isinstance(stated, str) and stated else "1.0.0"


def _object(value: Any) -> JsonObject:
    return value if is_object(value) else {}


def _objects(value: Any) -> list[JsonObject]:
    return [one for one in value if is_object(one)] if is_list(value) else []


# --- credentials: their values are never copied


def _is_credential(name: str, value: str, *, in_header: bool) -> bool:
    """Return whether a header or a query parameter carries a credential, by its name or by that of its variable."""
    one = _ONE_VARIABLE.fullmatch(value.strip())
    if one is not None and _SECRET_NAMES.search(one[1].strip()):
        return True
    return (_SECRET_HEADERS if in_header else _SECRET_QUERIES).search(name) is not None


class _Credentials:
    """The schemes that requests of one collection use, by name."""

    def __init__(self) -> None:
        self.schemes: dict[str, JsonObject] = {}

    def of(self, auth: Any, where: str, faults: list[Fault]) -> dict[str, None]:
        """Return the names of the schemes of a request. A kind that the bridge cannot send is a fault."""
        kind = auth.get("type") if is_object(auth) else None
        if not isinstance(kind, str) or kind == "noauth":
            return {}
        stated = _auth_members(auth.get(kind))
        if kind in _BEARER:
            return {self._put(stated.get("token"), "bearer", {"type": "http", "scheme": "bearer"}): None}
        if kind == "basic":
            return {self._put(None, "basic", {"type": "http", "scheme": "basic"}): None}
        if kind == "apikey":
            place = "query" if stated.get("in") == "query" else "header"
            return {self.key(place, str(stated.get("key") or "X-API-Key"), str(stated.get("value") or "")): None}
        if kind == "oauth2":
            return {self._put(stated.get("accessToken"), "oauth2", _oauth2(stated)): None}
        what = f"credentials of the type {kind!r} cannot be sent, so its tool sends none."
        faults.append(Fault(where, what, "Write them into the manual, as `headers` or `auth`.", severity="warning"))
        return {}

    def are_in_authorization(self, names: Iterable[str]) -> bool:
        """Return whether one of these schemes writes the header `Authorization`."""
        return any(self.schemes[name]["type"] in {"http", "oauth2"} for name in names)

    def header(self, name: str, value: str) -> str:
        """Return the scheme of a header that a request states."""
        word, _, rest = value.strip().partition(" ")
        if name.lower() == "authorization" and word.lower() in {"bearer", "basic"}:
            return self._put(rest, word.lower(), {"type": "http", "scheme": word.lower()})
        return self.key("header", name, value)

    def key(self, place: str, name: str, value: str) -> str:
        """Return the scheme of a key in a header or a query."""
        return self._put(value, re.sub(r"\W+", "_", name), {"type": "apiKey", "in": place, "name": name})

    def _put(self, value: Any, otherwise: str, scheme: JsonObject) -> str:
        one = _ONE_VARIABLE.fullmatch(value.strip()) if isinstance(value, str) else None
        base = name = re.sub(r"\W+", "_", one[1]).strip("_") or otherwise if one is not None else otherwise
        number = 2
        while self.schemes.get(name, scheme) != scheme:
            name, number = f"{base}_{number}", number + 1
        self.schemes[name] = scheme
        return name


def _auth_members(stated: Any) -> JsonObject:
    """Return the parameters of an auth: a list of keys and values in 2.1, an object in 2.0."""
    if is_object(stated):
        return stated
    pairs = [one for one in stated if is_object(one)] if is_list(stated) else []
    return {str(one.get("key")): one.get("value") for one in pairs}


def _oauth2(stated: JsonObject) -> JsonObject:
    """Return OAuth 2 with client credentials if the collection says so; else a token, which a person fetches."""
    address = stated.get("accessTokenUrl")
    if stated.get("grant_type") != "client_credentials" or not isinstance(address, str) or "{{" in address:
        return {"type": "http", "scheme": "bearer"}
    scopes = str(stated.get("scope") or "").split() if "{{" not in str(stated.get("scope")) else []
    flow = {"tokenUrl": address, "scopes": dict.fromkeys(scopes, "")}
    return {"type": "oauth2", "flows": {"clientCredentials": flow}}


# --- schemas of samples


def _sample_schema(value: Any, depth: int = 0) -> JsonObject:
    """Return a schema of values like this one. Nothing is required: a sample does not say what may be absent."""
    if depth > _MAX_SAMPLE_DEPTH or value is None:
        return {}
    if is_object(value):
        properties = {str(key): _sample_schema(one, depth + 1) for key, one in value.items()}
        return {"type": "object", "properties": properties} if properties else {"type": "object"}
    if is_list(value):
        kinds = [_sample_schema(one, depth + 1) for one in value[:_MAX_SAMPLE_DEPTH]]
        is_uniform = bool(kinds) and all(_shape(one) == _shape(kinds[0]) for one in kinds)
        return {"type": "array", "items": kinds[0] if is_uniform else {}}
    if isinstance(value, bool):
        return {"type": "boolean", "examples": [value]}
    if isinstance(value, int | float):
        return {"type": "number", "examples": [value]}
    text = str(value)
    return dict(_TYPES[text]) if text in _TYPES else {"type": "string", **_example(text)}


def _text_schema(text: str) -> JsonObject:
    """Return a schema of a value that a URL, a header or a form has as text. Numbers may come as numbers, too."""
    if text in _TYPES:
        return dict(_TYPES[text])
    example = _example(text)
    if text in {"true", "false"}:
        return {"type": ["boolean", "string"], **example}
    return {"type": ["number", "string"] if _NUMBER.fullmatch(text) else "string", **example}


def _example(text: str) -> JsonObject:
    return {"examples": [text]} if 0 < len(text) <= _MAX_TEXT and text not in _NO_VALUES else {}


def _shape(schema: JsonObject) -> Any:
    """Return what must be equal for the items of a list to have one schema."""
    if is_object(properties := schema.get("properties")):
        return schema["type"], frozenset(properties)
    return schema.get("type")
