"""What the released UTCP clients of other vendors accept in a manual: keys, call templates, schemas and credentials.

They refuse a whole manual for one key, tool or template that their models do not have, so a manual for them contains
nothing else. Sources: python-utcp 1.2 with its plugins, @utcp/sdk 1.1 with @utcp/http 1.1.
"""

from __future__ import annotations

from typing import Any, Final

from utcp_bridge.model import JsonObject, is_list, is_object

__all__ = [
    "AUTH_FIELDS",
    "FIELDS",
    "HTTP_KINDS",
    "MANUAL_KEYS",
    "METHODS",
    "TOOL_KEYS",
    "Unwritable",
    "family_of",
    "official_auth",
    "official_schema",
    "official_tool",
]

MANUAL_KEYS: Final = ("utcp_version", "manual_version", "tools")
TOOL_KEYS: Final = ("name", "description", "inputs", "outputs", "tags", "average_response_size", "tool_call_template")
HTTP_KINDS: Final = frozenset({"http", "sse", "streamable_http"})
METHODS: Final = {
    "http": frozenset({"GET", "POST", "PUT", "DELETE", "PATCH"}),
    "streamable_http": frozenset({"GET", "POST"}),
}
_HTTP: Final = frozenset({"url", "headers", "body_field", "header_fields", "auth"})
FIELDS: Final[dict[str, frozenset[str]]] = {
    "http": _HTTP | {"http_method", "content_type"},
    "sse": _HTTP | {"event_type", "reconnect", "retry_timeout"},
    "streamable_http": _HTTP | {"http_method", "content_type", "chunk_size", "timeout"},
    "websocket": frozenset({"url", "message", "protocol", "keep_alive", "response_format", "timeout", "headers"})
    | {"header_fields", "auth"},
    "graphql": frozenset({"url", "operation_type", "operation_name", "headers", "header_fields", "query", "auth"})
    | {"variable_types"},
    "cli": frozenset({"commands", "env_vars", "inherit_env_vars", "working_dir"}),
    "mcp": frozenset({"config", "auth", "register_resources_as_tools"}),
    "text": frozenset({"content", "base_url"}),
    "file": frozenset({"file_path"}),
}
"""The fields of each type of call template that a released client calls, next to `call_template_type`."""
AUTH_FIELDS: Final[dict[str, tuple[frozenset[str], frozenset[str]]]] = {
    "api_key": (frozenset({"api_key"}), frozenset({"var_name", "location"})),
    "basic": (frozenset({"username", "password"}), frozenset()),
    "oauth2": (frozenset({"token_url", "client_id", "client_secret"}), frozenset({"scope"})),
}
"""Required and optional fields of each type of credentials."""
_AUTH_IGNORED: Final = frozenset({"auth_type", "aliases", "description"})
_TYPES: Final = frozenset({"string", "number", "integer", "boolean", "object", "array", "null"})
_TEXTS: Final = frozenset({"$schema", "$id", "title", "description", "format", "pattern"})
_NUMBERS: Final = frozenset({"minimum", "maximum"})
_LENGTHS: Final = frozenset({"minLength", "maxLength"})
_LISTS: Final = frozenset({"required", "enum", "examples"})
_MAX_DEPTH: Final = 60


class Unwritable(Exception):
    """Why a tool, or one of its arguments, cannot be written for other clients; the text follows "because"."""


def family_of(kind: str) -> str:
    """Return the package of a call template type: a client without it refuses every manual with such a tool."""
    return "http" if kind in HTTP_KINDS else kind


def official_tool(tool: JsonObject, *, inputs: JsonObject, template: JsonObject) -> JsonObject:
    """Return a tool with these inputs and this call template, and with official keys only."""
    written: JsonObject = {"name": str(tool.get("name", "")), "description": _text(tool.get("description"))}
    written["inputs"] = official_schema(inputs)
    if is_object(outputs := tool.get("outputs")):
        written["outputs"] = official_schema(outputs)
    if is_list(tags := tool.get("tags")):
        written["tags"] = [tag for tag in tags if isinstance(tag, str)]
    size = tool.get("average_response_size")
    if isinstance(size, int) and not isinstance(size, bool):
        written["average_response_size"] = size
    return {key: written[key] for key in written if key in tool or key == "inputs"} | {"tool_call_template": template}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def official_schema(schema: JsonObject, depth: int = 0) -> JsonObject:
    """Return a JSON Schema without what the clients' models refuse; what they do not know stays.

    A schema that is `true` or `false` becomes an object, and a keyword whose value has another form is left out.
    """
    if depth > _MAX_DEPTH:
        return {}
    return {key: kept for key, value in schema.items() if (kept := _keyword(key, value, depth)) is not None}


def _keyword(key: str, value: Any, depth: int) -> Any:
    if key == "properties":
        return {name: _member(one, depth) for name, one in value.items()} if is_object(value) else None
    if key == "items":
        return [_member(one, depth) for one in value] if is_list(value) else _member(value, depth)
    if key == "additionalProperties":
        return value if isinstance(value, bool) else _member(value, depth)
    return value if _is_accepted(key, value) else None


def _is_accepted(key: str, value: Any) -> bool:
    if key == "type":
        return all(one in _TYPES for one in value) if is_list(value) else isinstance(value, str) and value in _TYPES
    if key in _TEXTS:
        return isinstance(value, str)
    if key in _NUMBERS or key in _LENGTHS:
        kinds = (int,) if key in _LENGTHS else (int, float)
        return isinstance(value, kinds) and not isinstance(value, bool)
    if key in _LISTS:
        return is_list(value) and (key != "required" or all(isinstance(one, str) for one in value))
    return value is not None


def _member(value: Any, depth: int) -> JsonObject:
    if is_object(value):
        return official_schema(value, depth + 1)
    return {"not": {}} if value is False else {}


def official_auth(auth: Any) -> JsonObject | None:
    """Return credentials in an official form; of alternatives the first that has one.

    :raises Unwritable: the credentials have no official form.
    """
    if not is_object(auth) or not auth:
        return None
    kind = auth.get("auth_type")
    options = auth.get("options")
    if kind == "any" and is_list(options):
        return _first_option(options)
    known = AUTH_FIELDS.get(str(kind))
    if known is None:
        raise Unwritable(f"the auth type {str(kind)!r} is unknown")
    required, optional = known
    fields = {key: value for key, value in auth.items() if value is not None and key not in _AUTH_IGNORED}
    if missing := sorted(required - fields.keys()):
        raise Unwritable(f"auth of type {kind!r} needs {', '.join(f'`{key}`' for key in missing)}")
    if strange := sorted(fields.keys() - required - optional):
        raise Unwritable(f"auth of type {kind!r} has no {', '.join(f'`{key}`' for key in strange)}")
    return {"auth_type": kind, **fields}


def _first_option(options: list[Any]) -> JsonObject | None:
    for option in options:
        try:
            return official_auth(option)
        except Unwritable:
            continue
    raise Unwritable("the official fields cannot say 'one of several' for auth")
