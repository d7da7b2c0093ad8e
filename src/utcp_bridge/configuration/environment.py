"""Settings in the environment: `UTCP_BRIDGE_<KEY>` and `UTCP_BRIDGE_<GROUP>__<KEY>`. And whether `.env` is read.

Kubernetes and Docker write variables too, named after a Service or a linked container. One that is called `utcp-bridge`
has the prefix of the settings, so its variables are left out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import ValidationError

from utcp_bridge.late.patterns import late_pattern
from utcp_bridge.model import Fault, JsonObject
from utcp_bridge.settings import (
    FILE_SETTINGS,
    GROUPS,
    SEE_SETTINGS,
    BridgeSettings,
    flat_settings,
    nearest_setting,
    setting_named,
    spellings,
)

__all__ = ["ENV_FILE", "reads_env_file", "settings_from_environment", "unknown_variables", "variables_of_settings"]

ENV_FILE: Final = ".env"
"""The name of the file next to a configuration that the bridge reads variables from."""
_PREFIX: Final = "UTCP_BRIDGE_"
_SERVICE_LINK: Final = late_pattern(
    r"(?:[A-Z0-9_]{0,250}_)?(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]{1,250})?"
    r"|PORT_\d{1,5}_(?:TCP|UDP|SCTP)(?:_(?:ADDR|PROTO|(?:PORT_)?(?:START|END)|PORT))?|ENV_.*)"
)
"""What follows the prefix in variables that describe a Service (Kubernetes) or a linked container (Docker) whose name
begins with `utcp-bridge`. (Source: Kubernetes "Accessing the Service", Docker "Legacy container links".)"""
_LINK_ADDRESS: Final = late_pattern(r"(?:tcp|udp|sctp)://")


def settings_from_environment(environ: Mapping[str, str] | None = None) -> JsonObject:
    """Read `UTCP_BRIDGE_<KEY>` and `UTCP_BRIDGE_<GROUP>__<KEY>` variables: JSON where it parses, lists also by commas.

    Returns flat keys, only those that are set. A variable that does not name a setting is left out; see
    `unknown_variables`.

    :raises ConfigError: two variables give a setting two values.
    """
    return flat_settings({name: value for name, _, value in _environment(environ)})


def variables_of_settings(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment variable that gives each setting, by the setting's flat key."""
    pairs = ((spellings({name: value}), variable) for name, variable, value in _environment(environ))
    return {one.key or one.name: variable for found, variable in pairs for one in found}


def reads_env_file(settings: JsonObject) -> bool:
    """Return what the setting `dotenv` says, before all settings are checked. A wrong value counts as yes."""
    value = settings.get("dotenv", True)
    if isinstance(value, bool):
        return value
    try:
        return BridgeSettings.model_validate({"dotenv": value}).dotenv
    except ValidationError:
        return True


def unknown_variables(environ: Mapping[str, str] | None = None) -> Iterator[Fault]:
    """Yield a warning for each `UTCP_BRIDGE_` variable that does not name a setting, with the nearest setting.

    Variables that Kubernetes or Docker sets for a Service or a linked container named `utcp-bridge` are not among
    them.
    """
    for variable, name, text in _prefixed(environ):
        if not text or setting_named(name) is not None or name in GROUPS:
            continue
        near = nearest_setting(name)
        remedy = f"Did you mean {_variable(near)}?" if near else SEE_SETTINGS
        yield Fault(f"the environment variable {variable[:80]}", "it is not a setting.", remedy, "warning")


def _environment(environ: Mapping[str, str] | None) -> Iterator[tuple[str, str, Any]]:
    """Yield the name of each setting in the environment, the variable, and the value as read."""
    for variable, name, text in _prefixed(environ):
        key = setting_named(name)
        if not text and key != "bearer_token":  # an empty token is a mistake that would leave the door open
            continue
        if key is not None or name in GROUPS:
            yield name, variable, _parse(text, key)


def _prefixed(environ: Mapping[str, str] | None) -> Iterator[tuple[str, str, str]]:
    """Yield each variable that may be meant for the bridge: the variable, the name of its setting, and its text."""
    environ = os.environ if environ is None else environ  # noqa: TID251 - settings come from the environment
    for variable, text in environ.items():
        rest = variable.removeprefix(_PREFIX)
        if rest != variable and not _is_service_link(rest, text):
            yield variable, rest.lower().replace("__", "."), text


def _is_service_link(rest: str, text: str) -> bool:
    """Return whether a variable describes a Service or a linked container; `rest` follows the prefix."""
    if _SERVICE_LINK.fullmatch(rest):
        return True
    if rest == "PORT" or rest.endswith("_PORT"):
        return _LINK_ADDRESS.match(text) is not None
    return (rest == "NAME" or rest.endswith("_NAME")) and text.startswith("/")


def _variable(grouped: str) -> str:
    return _PREFIX + grouped.upper().replace(".", "__")


def _parse(text: str, key: str | None) -> Any:
    setting = BridgeSettings.model_fields.get(key or "")
    if key in FILE_SETTINGS or (setting is not None and _is_text(setting.annotation)):
        return text
    if setting is not None and isinstance(setting.default, tuple) and not text.lstrip().startswith("["):
        return [part.strip() for part in text.split(",") if part.strip()]
    import orjson

    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def _is_text(annotation: Any) -> bool:
    return annotation in {str, str | None} or "SecretStr" in repr(annotation)
