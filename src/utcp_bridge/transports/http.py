"""http: one request, one response; the manual is a UTCP manual or an OpenAPI description at a URL.

    v1  {"call_template_type": "http", "url": "https://api.example.com/items/{id}", "http_method": "POST",
         "body_field": "item", "header_fields": ["X-Request-Id"],
         "auth": {"auth_type": "api_key", "api_key": "${KEY}", "var_name": "X-Api-Key"}}
    v0  the same with "provider_type": "http"

`{id}`, `header_fields` and `body_field` take their arguments, and the other arguments are the query. Limits: a response
of at most `max_reply_bytes`, redirects within the origin only, cookies are not kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from utcp_bridge.foreign import SURELY_LIGHT
from utcp_bridge.model import Call, Document, Emit, Result, defers, made_result
from utcp_bridge.net.document import fetch_manual
from utcp_bridge.net.preview import NativeRequest
from utcp_bridge.net.reply import Reply, located
from utcp_bridge.placement.http_template import HttpFamilyTemplate, verb_annotations
from utcp_bridge.transport import Services, Target, Transport

__all__ = ["TRANSPORT", "HttpTemplate", "HttpTransport"]

_INFORMATIVE_HEADERS = (
    "Content-Type",
    "Content-Length",
    "ETag",
    "Last-Modified",
    "Cache-Control",
    "Accept-Ranges",
    "Allow",
    "Link",
    "Location",
    "Retry-After",
)
"""Headers that a HEAD or OPTIONS request asks for."""


class HttpTemplate(HttpFamilyTemplate):
    """The shared fields; by default, the body is the argument `body`."""

    body_field: str | None = "body"


class HttpTransport(Transport[HttpTemplate]):
    """Calls over plain HTTP requests."""

    kinds: ClassVar[tuple[str, ...]] = ("http",)
    template = HttpTemplate
    raw_fields: ClassVar[frozenset[str]] = frozenset({"request_plan"})
    ends_at_once: ClassVar[bool] = True
    emits: ClassVar[bool] = False

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        self._max_reply_bytes = services.settings.max_reply_bytes

    @classmethod
    def endpoint(cls, template: HttpTemplate) -> str | None:
        """Return the template's URL, with its placeholders."""
        return template.url

    @classmethod
    def annotations(cls, template: HttpTemplate) -> Mapping[str, Any]:
        """Return the hints that follow from the method."""
        return verb_annotations(template.http_method)

    async def discover(self, target: Target[HttpTemplate]) -> Document:
        """Fetch the document as bytes."""
        return await fetch_manual(
            self.services.http.session(target.source),
            target.template.discovery_request(),
            max_bytes=self.services.settings.max_manual_bytes,
            credentials=target.credentials,
            entry="manual",
            known=target.known,
        )

    async def call(self, target: Target[HttpTemplate], call: Call, emit: Emit) -> Result:
        """Send one request; the value is the body, decoded by its media type."""
        del emit
        template = target.template
        reply = await self.services.http.session(target.source).request(
            template.build_request(call.arguments),
            credentials=target.credentials,
            max_bytes=call.tool.limits.get("max_reply_bytes", self._max_reply_bytes),
        )
        if reply.status >= 400:
            reply.raise_for_status()
        body = reply.body
        if len(body) > SURELY_LIGHT and defers(body):
            return Result(reply.deferred(), meta=reply.facts.meta)
        value = reply.value()
        if value is None and template.http_method in {"HEAD", "OPTIONS"}:
            value = _informative_headers(reply)
        elif type(value) is not dict:
            value = located(value, reply)
        return made_result(value, reply.facts.meta, reply.written, reply.clean)

    async def explain(self, target: Target[HttpTemplate], call: Call) -> NativeRequest:
        """Return the request."""
        parts = target.template.build_request(call.arguments)
        return await self.services.http.session(target.source).preview(parts, credentials=target.credentials)


TRANSPORT = HttpTransport


def _informative_headers(reply: Reply) -> dict[str, Any]:
    headers = {name.lower(): reply.headers[name] for name in _INFORMATIVE_HEADERS if name in reply.headers}
    return {"status": reply.status, "headers": headers}
