"""Secrets that somebody wrote into a call template as they are: in `auth`, headers, `env`, cookies and URLs (pure).

The names of fields decide. So a value that is a secret under an ordinary name is not found.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, TypeAlias
from urllib.parse import unquote, urlsplit

from utcp_bridge.auth.redaction import Redactor, secrets_in_url
from utcp_bridge.late.patterns import late_pattern
from utcp_bridge.model import is_list, is_object
from utcp_bridge.processes.inherited import CHILDREN_INHERIT, inherited_environment
from utcp_bridge.settings import UtcpClientConfig
from utcp_bridge.variables import names_credential

__all__ = ["learn_configuration", "literal_secrets", "without_literals"]

_MAX_DEPTH: Final = 30
_MAX_URL: Final = 32_768
_SCHEME: Final = late_pattern(r"(?P<scheme>Bearer|Basic|Token|ApiKey) +(?P<value>\S+)", re.IGNORECASE)
_PAIR: Final = late_pattern(r"(?P<before>[?&](?P<name>[^=&#?]{1,200})=)(?P<value>[^&#]+)")
_PATHS: Final = ("/", "./", "../", "~")
_DOCUMENTS: Final = frozenset({"content", "description", "inputs", "outputs"})
"""Members with text and schemas of tools, which describe values."""
_names_credential = lru_cache(maxsize=1_024)(names_credential)
"""The tools of a manual have the same few keys."""
_Replace: TypeAlias = Callable[[str, str], str]


def learn_configuration(redactor: Redactor, config: UtcpClientConfig) -> None:
    """Let the redactor learn the secrets that a configuration and the environment of its children contain."""
    for name, value in inherited_environment(CHILDREN_INHERIT).items():
        redactor.learn(secrets_in_url(value), source=f"environment {name}", is_credential=True)
    if config.bridge.bearer_token is not None:
        redactor.learn([config.bridge.bearer_token.get_secret_value()], is_credential=True)
    if config.bridge.oauth_client_secret is not None:
        redactor.learn([config.bridge.oauth_client_secret.get_secret_value()], is_credential=True)
    for url in (config.bridge.token_store, config.bridge.search_store, config.bridge.store or ""):
        redactor.learn(secrets_in_url(url))
    if config.bridge.store_password is not None:
        redactor.learn([config.bridge.store_password.get_secret_value()], is_credential=True)
    for entry in ({"proxy": config.bridge.proxy}, *config.manual_call_templates):
        redactor.learn(secrets_in_url(str(entry.get("proxy") or "")))
        redactor.learn(literal_secrets(entry), is_credential=True)


def literal_secrets(template: Any, *, without: str | None = None) -> list[str]:
    """Return the secrets that a template has as they are. The member `without` of an object is not looked at."""
    if is_object(template):
        template = {key: one for key, one in template.items() if key != without and not _is_ordinary(key, one)}
        if not template:
            return []
    found: list[str] = []

    def keep(_name: str, secret: str) -> str:
        found.append(secret)
        return secret

    without_literals(template, keep)
    return found


def without_literals(template: Any, replace: _Replace) -> Any:
    """Return a template with `replace(name of the field, secret)` in place of each secret."""
    return _walked(template, "", replace, 0)


def _walked(value: Any, name: str, replace: _Replace, depth: int) -> Any:
    if isinstance(value, str):
        return _text(value, name, replace)
    if depth > _MAX_DEPTH:
        return value
    if is_object(value):
        return {
            key: member if key in _DOCUMENTS else _walked(member, str(key), replace, depth + 1)
            for key, member in value.items()
        }
    return [_walked(one, name, replace, depth + 1) for one in value] if is_list(value) else value


def _text(text: str, name: str, replace: _Replace) -> str:
    if _names_credential(name) and _is_literal(text):
        found = _SCHEME.fullmatch(text)
        return f"{found['scheme']} {replace(name, found['value'])}" if found else replace(name, text)
    return _url(text, replace) if "://" in text and len(text) <= _MAX_URL else text


def _is_ordinary(key: Any, value: Any) -> bool:
    """Return whether a member surely has no secret, in a tenth of the time of a closer look."""
    if value is None or value is True or value is False:
        return True
    if value.__class__ is not str or key.__class__ is not str or _names_credential(key):
        return False
    return "://" not in value or not ("?" in value or "&" in value or "@" in value)


def _is_literal(text: str) -> bool:
    """Return whether a text is a value itself, instead of a variable, an argument, a path or an address."""
    return bool(text) and not ("$" in text or "{" in text or "://" in text or text.startswith(_PATHS))


def _url(text: str, replace: _Replace) -> str:
    def pair(found: re.Match[str]) -> str:
        name, value = unquote(found["name"]), unquote(found["value"])
        if not (names_credential(name) and _is_literal(value)):
            return found[0]
        return found["before"] + _same_or(found["value"], value, replace(name, value))

    text = _PAIR.sub(pair, text)
    try:
        password = urlsplit(text).password
    except ValueError:
        return text
    if not password or not _is_literal(password):
        return text
    plain = unquote(password)
    return text.replace(f":{password}@", f":{_same_or(password, plain, replace('password', plain))}@", 1)


def _same_or(written: str, plain: str, replaced: str) -> str:
    """Return a part of a URL as it was written, unless it was replaced."""
    return written if replaced == plain else replaced
