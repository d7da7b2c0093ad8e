"""text: a manual or an API description written straight into the configuration; calling returns the text.

    v1  {"call_template_type": "text", "content": {"utcp_version": "1.0.0", "tools": [...]}}
    v0  {"provider_type": "text", "file_path": "./manual.json"} names a file: see the `file` transport

`content` is JSON or YAML, as text or as an object. `base_url` is where an OpenAPI description's calls go.
Variables in it are filled in per tool, at call time. Limits: none but the configuration's own size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from utcp_bridge.errors import ManualError, ReplyTooLarge
from utcp_bridge.model import Call, CallTemplate, Document, Emit, JsonObject
from utcp_bridge.net.preview import NativeRequest
from utcp_bridge.transport import Target, Transport

__all__ = ["TRANSPORT", "TextTemplate", "TextTransport"]


class TextTemplate(CallTemplate):
    """The text itself."""

    content: str | JsonObject | list[Any] = Field(repr=False)
    base_url: str | None = None
    auth_tools: JsonObject | None = Field(default=None, repr=False)
    """Credentials of tools made from an OpenAPI description in the text."""


class TextTransport(Transport[TextTemplate]):
    """Text of the configuration; nothing is fetched."""

    kinds: ClassVar[tuple[str, ...]] = ("text",)
    template = TextTemplate
    local: ClassVar[bool] = True
    remote: ClassVar[bool] = False
    raw_fields: ClassVar[frozenset[str]] = frozenset({"content"})

    @classmethod
    def annotations(cls, template: TextTemplate) -> Mapping[str, Any]:
        """Reading changes nothing and reaches nothing else."""
        del template
        return {"readOnlyHint": True, "idempotentHint": True, "openWorldHint": False}

    async def discover(self, target: Target[TextTemplate]) -> Document:
        """The content as it was written: text, or an object or list that needs no parsing.

        :raises ManualError: there is nothing in it.
        :raises ReplyTooLarge: it is above `max_manual_bytes`.
        """
        content = target.template.content
        if isinstance(content, str):
            _check_size(content, self.services.settings.max_manual_bytes, "manual")
        if not content or (isinstance(content, str) and not content.strip()):
            raise ManualError("The `content` of a text template is empty.", remedy="Write the manual into it.")
        return Document(content=content)

    async def call(self, target: Target[TextTemplate], call: Call, emit: Emit) -> Any:
        """The content; arguments play no part."""
        del emit
        content = target.template.content
        if isinstance(content, str):
            limit = call.tool.limits.get("max_reply_bytes", self.services.settings.max_reply_bytes)
            _check_size(content, limit, "text")
        return content

    async def explain(self, target: Target[TextTemplate], call: Call) -> NativeRequest:
        """Nothing is sent."""
        del target, call
        return NativeRequest("The text of the call template; nothing is sent.")


TRANSPORT = TextTransport


def _check_size(content: str, limit: int, what: str) -> None:
    if len(content) > limit or len(content.encode("utf-8", "surrogatepass")) > limit:
        raise ReplyTooLarge(f"The {what} in a text template is above {limit} bytes.", remedy="Raise the size limit.")
