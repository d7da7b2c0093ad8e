"""Which alternative of an `auth` object is used: the first one whose variables are all set (pure).

    {"auth_type": "any", "options": […], "optional": true}     {"auth_type": "all", "schemes": […]}
    {"auth_type": "api_key", "api_key": "${KEY}", "aliases": ["API_KEY_0"]}

It reads the raw object before variables are filled in, so that an unused alternative needs no variables. `aliases` are
older names of a scheme's variables, from the OpenAPI converter of python-utcp. They are used if the scheme's own
variable is not set.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from utcp_bridge.late.patterns import late_pattern
from utcp_bridge.model import JsonObject, is_list, is_object

__all__ = ["choose_auth"]

_VARIABLE = late_pattern(r"\$\{([A-Za-z0-9_]+)\}")
_ALIAS_KINDS = {
    "api_key": "API_KEY_",
    "username": "USERNAME_",
    "password": "PASSWORD_",
    "client_id": "CLIENT_ID_",
    "client_secret": "CLIENT_SECRET_",
}


def choose_auth(auth: JsonObject, is_set: Callable[[str], bool]) -> JsonObject | None:
    """Return the object without alternatives; None if no alternative is complete and the `auth` is optional.

    `is_set` returns whether a variable, by its name in the template, has a value. If no alternative is complete and the
    `auth` is not optional, the first one is returned, so that the error names the variable to set.
    """
    kind = auth.get("auth_type")
    if kind == "any" and is_list(options := auth.get("options")):
        return _first(auth, [choose_auth(option, is_set) for option in options if is_object(option)], is_set)
    if kind == "all" and is_list(schemes := auth.get("schemes")):
        chosen = [member for scheme in schemes if is_object(scheme) and (member := choose_auth(scheme, is_set))]
        return {**auth, "schemes": chosen} if chosen else None
    return _with_aliases(auth, is_set)


def _first(auth: JsonObject, options: list[JsonObject | None], is_set: Callable[[str], bool]) -> JsonObject | None:
    usable = [option for option in options if option is not None]
    for option in usable:
        if all(map(is_set, _names(option))):
            return option
    if auth.get("optional") is True or not usable:
        return None
    return usable[0]


def _names(value: Any) -> list[str]:
    if isinstance(value, str):
        return _VARIABLE.findall(value)
    if is_object(value):
        return [name for member in value.values() for name in _names(member)]
    return [name for member in value for name in _names(member)] if is_list(value) else []


def _with_aliases(auth: JsonObject, is_set: Callable[[str], bool]) -> JsonObject:
    aliases = auth.get("aliases")
    chosen = {key: value for key, value in auth.items() if key != "aliases"}
    if not is_list(aliases):
        return chosen
    for key, prefix in _ALIAS_KINDS.items():
        candidates = [name for name in aliases if isinstance(name, str) and name.startswith(prefix)]
        if isinstance(text := chosen.get(key), str):
            chosen[key] = _aliased(text, [name for name in candidates if is_set(name)], is_set)
    return chosen


def _aliased(text: str, aliases: list[str], is_set: Callable[[str], bool]) -> str:
    def replacement(match: re.Match[str]) -> str:
        return match[0] if is_set(match[1]) or not aliases else f"${{{aliases[0]}}}"

    return _VARIABLE.sub(replacement, text)
