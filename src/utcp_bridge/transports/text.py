"""text: a manual or an API description written into the configuration; a call returns the text.

    v1  {"call_template_type": "text", "content": {"utcp_version": "1.0.0", "tools": [...]}}
    v0  {"provider_type": "text", "file_path": "./manual.json"} names a file: see the `file` transport

`content` is JSON or YAML, as text or as an object. `base_url` is the server of an OpenAPI description's calls.
Variables in the content are filled in per tool, when it is called. Limits: `max_manual_bytes`, `max_reply_bytes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from utcp_bridge.errors import ManualError, ReplyTooLarge
from utcp_bridge.model import Call, Deferred, Document, Emit, JsonObject, defers
from utcp_bridge.net.preview import NativeRequest
from utcp_bridge.net.reply import read_message
from utcp_bridge.placement.compiling import CallTemplate
from utcp_bridge.transport import Target, Transport

__all__ = ["TRANSPORT", "TextTemplate", "TextTransport"]


class TextTemplate(CallTemplate):
    """The text."""

    content: str | JsonObject | list[Any] = Field(repr=False)
    base_url: str | None = None
    auth_tools: JsonObject | None = Field(default=None, repr=False)
    """Credentials of tools made from an OpenAPI description in the text."""
    headers: JsonObject | None = Field(default=None, repr=False)
    """Headers of these tools."""
    header_fields: tuple[str, ...] = ()
    """Arguments that these tools send as headers."""


class TextTransport(Transport[TextTemplate]):
    """Text in the configuration; nothing is fetched."""

    kinds: ClassVar[tuple[str, ...]] = ("text",)
    template = TextTemplate
    local: ClassVar[bool] = True
    remote: ClassVar[bool] = False
    raw_fields: ClassVar[frozenset[str]] = frozenset({"content"})

    @classmethod
    def annotations(cls, template: TextTemplate) -> Mapping[str, Any]:
        """Return the hints of a read-only tool: reading text changes nothing."""
        del template
        return {"readOnlyHint": True, "idempotentHint": True, "openWorldHint": False}

    async def discover(self, target: Target[TextTemplate]) -> Document:
        """Return the content as the operator wrote it: text, or an object or list that needs no parsing.

        :raises ManualError: the content is empty.
        :raises ReplyTooLarge: it is above `max_manual_bytes`.
        """
        content = target.template.content
        if isinstance(content, str):
            _check_size(content, self.services.settings.max_manual_bytes, "max_manual_bytes")
        if not content or (isinstance(content, str) and not content.strip()):
            raise ManualError("The `content` of a text template is empty.", remedy="Write the manual into it.")
        return Document(content=content)

    async def call(self, target: Target[TextTemplate], call: Call, emit: Emit) -> Any:
        """Return the content. Arguments are ignored."""
        del emit
        content = target.template.content
        if isinstance(content, str):
            limit = call.tool.limits.get("max_reply_bytes", self.services.settings.max_reply_bytes)
            _check_size(content, limit, "max_reply_bytes")
            if defers(content):
                given = {"charset": "utf-8", "form": "text", "where": "", "max_bytes": None}
                return Deferred(content.encode("utf-8", "replace"), ((read_message, given),))
        return content

    async def explain(self, target: Target[TextTemplate], call: Call) -> NativeRequest:
        """Say that nothing is sent."""
        del target, call
        return NativeRequest("The text of the call template. Nothing is sent.")


TRANSPORT = TextTransport


def _check_size(content: str, limit: int, setting: str) -> None:
    if len(content) > limit or len(content.encode("utf-8", "surrogatepass")) > limit:
        raise ReplyTooLarge(f"The `content` of the call template is above {limit} bytes.", remedy=f"Raise `{setting}`.")
