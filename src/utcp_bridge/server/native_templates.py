"""Whether a tool can be given to other UTCP clients as it is, by its own call template. Pure.

It cannot where it runs on this machine (commands, files, servers on stdio), where the bridge found out how to call it
(introspection, reflection), where the operator changed what it does (default arguments, a part of the result), and
where a credential stands in the template itself: then it is reached through the bridge alone.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from utcp_bridge.model import JsonObject, Tool, is_list, is_object
from utcp_bridge.net.preview import names_credential
from utcp_bridge.settings import ManualOptions

__all__ = ["native_template"]

_KINDS: Final = frozenset({"http", "sse", "streamable_http", "websocket", "graphql", "grpc", "tcp", "udp", "webrtc"})
_OPERATORS: Final = frozenset(ManualOptions.model_fields)


def native_template(tool: Tool) -> JsonObject | None:
    """The tool's own call template with its variables, without the operator's options; None where there is none."""
    if tool.kind not in _KINDS or tool.overlay is not None or tool.projection is not None or tool.defaults:
        return None
    template = {key: value for key, value in tool.template.items() if key not in _OPERATORS and key != "name"}
    return None if _holds_credential(template) else template


def _holds_credential(value: Any, key: str = "") -> bool:
    if is_object(value):
        return any(_holds_credential(member, str(name)) for name, member in value.items())
    if is_list(value):
        return any(_holds_credential(item, key) for item in value)
    if not isinstance(value, str) or not value:
        return False
    return (names_credential(key) and _is_literal(value)) or ("://" in value and _url_holds_credential(value))


def _url_holds_credential(url: str) -> bool:
    try:
        parts = urlsplit(url)
        password = parts.password
    except ValueError:
        return True
    query = parse_qsl(parts.query)
    return bool(password and _is_literal(password)) or any(names_credential(k) and _is_literal(v) for k, v in query)


def _is_literal(text: str) -> bool:
    """Whether neither a variable nor an argument fills it in."""
    return "$" not in text and "{" not in text and "UTCP_ARG" not in text
