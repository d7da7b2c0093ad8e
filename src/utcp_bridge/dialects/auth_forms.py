"""Every spelling of `auth` rewritten to the official fields.

Official: `{"auth_type": "api_key", "api_key": "Bearer ${TOKEN}", "var_name": "Authorization"}`.
Also in use: `type` for `auth_type`; no type at all; `client_id_var: "ID"` for `client_id: "${ID}"`;
`{"type": "token", "token": …}`; and an api_key whose `var_name` is a *variable* and whose `key_name` is the header. The
last differs from the official form in that it has no `api_key`.
"""

from __future__ import annotations

from typing import Any

from utcp_bridge.dialects.fields import VARIABLE_NAME, sort_of, strings_in, text_of
from utcp_bridge.dialects.readings import Notes
from utcp_bridge.model import JsonObject, is_list, is_object

__all__ = ["rewrite_auth", "wants_auth"]

_TYPES = {
    "apikey": "api_key",
    "api-key": "api_key",
    "bearer": "token",
    "bearer_token": "token",
    "oauth": "oauth2",
    "client_credentials": "oauth2",
    "oauth2_client_credentials": "oauth2",
    "oauth2_authorization_code": "oauth2_login",
    "authorization_code": "oauth2_login",
}
_VARIABLE_FIELDS = ("api_key", "token", "username", "password", "client_id", "client_secret")
_INFERRED = (
    ("oauth2_login", "authorization_url"),
    ("oauth2_login", "device_authorization_url"),
    ("oauth2", "token_url"),
    ("api_key", "api_key"),
    ("api_key", "key_name"),
    ("api_key", "var_name"),
    ("basic", "username"),
    ("token", "token"),
    ("oauth2_user", "access_token"),
    ("all", "schemes"),
    ("any", "options"),
)
_DEFAULT_KEY_NAME = "X-Api-Key"
_PLACES = {"header": "headers", "query": "query_params", "cookie": "cookies"}


def rewrite_auth(raw: Any, notes: Notes, *, template: JsonObject | None = None) -> JsonObject | None:
    """Return one `auth` object in the official fields; None if there is none, or if it only declares a variable.

    It only declares a variable if it has neither a secret nor a place for one, or if `template` already has that
    variable, or something else, in that place.

    :raises ValueError: it cannot be read. The text says why and contains no value of it.
    """
    if raw is None:
        return None
    if not is_object(raw):
        raise ValueError(f"`auth` is {sort_of(raw)}, not an object.")
    auth = dict(raw)
    instructions = text_of(auth.pop("instructions", None))
    kind = _kind(auth)
    if kind == "none":
        return None
    variables = _fill_variables(auth)
    if kind == "token":
        rewritten: JsonObject | None = _as_api_key(auth)
        variables.append("")
    elif kind == "api_key" and auth.get("api_key") is None:
        variables.append(_checked(auth.get("var_name"), "var_name"))
        rewritten = _placed(auth, template)
    elif kind in {"oauth2", "oauth2_login"}:
        rewritten = _with_scope({"auth_type": kind, **auth})
    else:
        rewritten = {"auth_type": kind, **auth}
    _note(variables, instructions, notes)
    return rewritten


def wants_auth(template: JsonObject, auth: JsonObject) -> bool:
    """Return whether a tool should use its manual's `auth`: the tool has none, and nothing else in the same place.

    `auth` is in the official fields. The caller decides whether the tool's origin may receive it.
    """
    if template.get("auth") is not None:
        return False
    if auth.get("auth_type") == "api_key":
        return not _is_filled(template, text_of(auth.get("location")) or "header", auth.get("var_name"))
    return not _is_filled(template, "header", "Authorization")


def _kind(auth: JsonObject) -> str:
    stated = auth.pop("type", None) if auth.get("auth_type") is None else None
    stated = auth.pop("auth_type", None) or stated
    if stated is None:
        stated = next((kind for kind, key in _INFERRED if key in auth or f"{key}_var" in auth), None)
        if stated is None:
            raise ValueError("`auth` has no `auth_type`.")
    kind = text_of(stated)
    if not kind:
        raise ValueError(f"`auth_type` is {sort_of(stated)}, not the name of a type.")
    return _TYPES.get(kind.lower(), kind)


def _fill_variables(auth: JsonObject) -> list[str]:
    """Turn `x_var: "NAME"` into `x: "${NAME}"`; return the names."""
    names: list[str] = []
    for field in _VARIABLE_FIELDS:
        if (name := auth.pop(f"{field}_var", None)) is None:
            continue
        names.append(_checked(name, f"{field}_var"))
        if auth.get(field) is None:
            auth[field] = f"${{{name}}}"
    return names


def _checked(name: Any, field: str) -> str:
    if not isinstance(name, str) or not VARIABLE_NAME.match(name):
        raise ValueError(
            f"`auth` has no `api_key`, and its `{field}` is not the name of a variable."
            if field == "var_name"
            else f"`auth.{field}` is not the name of a variable."
        )
    return name


def _as_api_key(auth: JsonObject) -> JsonObject:
    token = text_of(auth.pop("token", None))
    if not token:
        raise ValueError("`auth` of type token has no `token`.")
    text = token if token.lower().startswith("bearer ") else f"Bearer {token}"
    return {"auth_type": "api_key", "api_key": text, "var_name": "Authorization", "location": "header", **auth}


def _placed(auth: JsonObject, template: JsonObject | None) -> JsonObject | None:
    variable, location, key_name = auth.pop("var_name"), auth.pop("location", None), auth.pop("key_name", None)
    if location is None and key_name is None:
        return None
    location, name = text_of(location) or "header", text_of(key_name) or _DEFAULT_KEY_NAME
    if template is not None and (_uses(template, variable) or _is_filled(template, location, name)):
        return None
    auth.pop("api_key", None)
    return {"auth_type": "api_key", "api_key": f"${{{variable}}}", "var_name": name, "location": location, **auth}


def _uses(template: JsonObject, variable: str) -> bool:
    forms = (f"${{{variable}}}", f"${variable}")
    elsewhere = {key: value for key, value in template.items() if key != "auth"}
    return any(form in text for text in strings_in(elsewhere) for form in forms)


def _is_filled(template: JsonObject, location: str, name: Any) -> bool:
    place = template.get(_PLACES.get(location, ""))
    return is_object(place) and text_of(name).lower() in {text_of(key).lower() for key in place}


def _with_scope(auth: JsonObject) -> JsonObject:
    scopes = auth.get("scopes")
    if not is_list(scopes) or auth.get("scope") is not None:
        return auth
    rest = {key: value for key, value in auth.items() if key != "scopes"}
    return {**rest, "scope": " ".join(scope for scope in scopes if isinstance(scope, str))}


def _note(variables: list[str], instructions: str, notes: Notes) -> None:
    if variables or instructions:
        notes.dialects.add("extended")
    for name in filter(None, variables):
        notes.declared[name] = instructions or notes.declared.get(name, "")
