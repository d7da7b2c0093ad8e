"""What tcp and udp call templates share: their fields, and the message of a call (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import orjson
from pydantic import Field, field_validator

from utcp_bridge.errors import InvalidArguments
from utcp_bridge.foreign import is_charset
from utcp_bridge.model import Call
from utcp_bridge.placement.compiling import CallTemplate, compiled_property
from utcp_bridge.placement.encoding import format_scalar, reference_json
from utcp_bridge.placement.placeholders import Context, Syntax, Template, compile_template

__all__ = ["SocketTemplate", "encode_request"]

_JSON = orjson.OPT_NON_STR_KEYS


class SocketTemplate(CallTemplate):
    """Fields of UTCP's tcp and udp templates, for both forms of a message.

    `wire: tool` sends `{"tool": name, "args": {...}}`, as the Go and Rust libraries do; `plain` sends
    only the arguments. `response_format` says how the decoded text is read: `auto` parses an object or array.
    """

    host: str = Field(min_length=1)
    port: int = Field(ge=1, le=65_535)
    request_data_format: Literal["json", "text"] = "json"
    request_data_template: str | None = Field(default=None, repr=False)
    response_byte_format: str | None = "utf-8"
    response_format: Literal["auto", "json", "text"] = "auto"
    wire: Literal["plain", "tool"] = "plain"
    tool_name_style: Literal["qualified", "bare"] = "qualified"

    @field_validator("response_byte_format")
    @classmethod
    def _known_encoding(cls, name: str | None) -> str | None:
        if name is not None and not is_charset(name):
            raise ValueError("is not a character encoding that the bridge reads")
        return name

    @property
    def address(self) -> str:
        """Return `host:port`, for error messages."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @compiled_property
    def request_template(self) -> Template | None:
        """Return the compiled `request_data_template`.

        :raises ConfigError: the template cannot be compiled.
        """
        if self.request_data_template is None:
            return None
        syntaxes = Syntax.UTCP_ARG | Syntax.MUSTACHE | Syntax.DOLLAR
        return compile_template(self.request_data_template, syntaxes=syntaxes, where="`request_data_template`")

    @property
    def written(self) -> bytes:
        """Return the part of each message that the operator wrote."""
        return (self.request_data_template or "").encode() if self.request_data_format == "text" else b""

    def discovery_request(self) -> bytes:
        """Return the message that asks for the manual: `{"type": "utcp"}`, or the Go library's line."""
        return b'{"action":"list"}\n' if self.wire == "tool" else b'{"type": "utcp"}'


def encode_request(template: SocketTemplate, call: Call) -> bytes:
    """Return the message for one call.

    :raises InvalidArguments: the text template needs an argument that is missing, or JSON cannot represent one.
    """
    if template.wire == "tool":
        name = call.tool.qualified_name if template.tool_name_style == "qualified" else call.tool.name
        return _dump({"tool": name, "args": call.arguments}) + b"\n"
    if template.request_data_format == "json":
        return reference_json(_dump(call.arguments))
    if template.request_template is None:
        return " ".join(_as_text(value) for value in call.arguments.values()).encode()
    return str(template.request_template.render(call.arguments, context=Context.TEXT)).encode()


def _dump(value: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(value, option=_JSON)
    except TypeError:
        raise InvalidArguments("The arguments cannot be written as JSON.") from None


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else format_scalar(value)
