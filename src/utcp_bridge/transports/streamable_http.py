"""streamable_http: one request whose response comes in pieces; each piece is a partial result when it arrives.

    v1  {"call_template_type": "streamable_http", "url": "https://api.example.com/download/{file_id}",
         "chunk_size": 4096}
    v0  {"provider_type": "http_stream", "url": "https://api.example.com/stream", "http_method": "POST",
         "content_type": "application/x-ndjson", "timeout": 60000}

JSON lines, JSON text sequences and consecutive JSON values are reported one by one, text as it arrives, and other types
in chunks of `chunk_size` bytes. `wire: "path"` posts the arguments as JSON to `url/<tool>`, as servers of
the Go and Rust libraries expect. The limits are those of sse; an endless stream ends at
the first limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import orjson
from pydantic import Field

from utcp_bridge.model import Call, Document, Emit, Result
from utcp_bridge.net.document import fetch_manual
from utcp_bridge.net.preview import NativeRequest
from utcp_bridge.net.stream import Collector
from utcp_bridge.net.stream_decoders import splitter_for
from utcp_bridge.placement.encoding import encode_path_segment
from utcp_bridge.placement.http_template import HttpFamilyTemplate, verb_annotations
from utcp_bridge.placement.request import RequestParts
from utcp_bridge.transport import Target, Transport
from utcp_bridge.urls import bare_url

__all__ = ["TRANSPORT", "StreamableHttpTemplate", "StreamableHttpTransport"]


class StreamableHttpTemplate(HttpFamilyTemplate):
    """The HTTP fields and those of the stream."""

    content_type: str = "application/octet-stream"
    chunk_size: int = Field(default=4096, ge=1, le=1 << 20)
    wire: Literal["plain", "path"] = "plain"


class StreamableHttpTransport(Transport[StreamableHttpTemplate]):
    """Calls that return chunks."""

    kinds: ClassVar[tuple[str, ...]] = ("streamable_http", "http_stream", "http_ndjson", "http_octet_stream")
    template = StreamableHttpTemplate
    raw_fields: ClassVar[frozenset[str]] = frozenset({"request_plan"})
    streaming: ClassVar[bool] = True

    @classmethod
    def endpoint(cls, template: StreamableHttpTemplate) -> str | None:
        """Return the template's URL, with its placeholders."""
        return template.url

    @classmethod
    def annotations(cls, template: StreamableHttpTemplate) -> Mapping[str, Any]:
        """Return the hints that follow from the method."""
        return verb_annotations("POST" if template.wire == "path" else template.http_method)

    async def discover(self, target: Target[StreamableHttpTemplate]) -> Document:
        """Fetch the manual with the template's method."""
        return await fetch_manual(
            self.services.http.session(target.source),
            target.template.discovery_request(),
            max_bytes=self.services.settings.max_manual_bytes,
            credentials=target.credentials,
            entry="manual",
            known=target.known,
        )

    async def call(self, target: Target[StreamableHttpTemplate], call: Call, emit: Emit) -> Result:
        """Read pieces until the stream ends, a limit is reached or the caller cancels."""
        template, settings = target.template, self.services.settings
        parts = _request(template, call)
        collector = Collector(settings, emit, target.source.name)
        session = self.services.http.session(target.source)
        media_type = ""
        with collector.keeping():
            async with session.stream(parts, credentials=target.credentials) as stream:
                if stream.status >= 400:
                    (await stream.read(settings.max_reply_bytes)).raise_for_status()
                content_type = stream.headers.get("Content-Type", "")
                media_type = content_type.partition(";")[0].strip().lower()
                splitter = splitter_for(
                    content_type,
                    chunk_size=template.chunk_size,
                    limit=settings.max_reply_bytes,
                    where=bare_url(parts.url),
                    most=settings.max_stream_events + 1,
                )
                await collector.consume(aiter(stream), splitter)
        return collector.only() if media_type == "application/json" else collector.result()

    async def explain(self, target: Target[StreamableHttpTemplate], call: Call) -> NativeRequest:
        """Return the request."""
        parts = _request(target.template, call)
        return await self.services.http.session(target.source).preview(parts, credentials=target.credentials)


TRANSPORT = StreamableHttpTransport


def _request(template: StreamableHttpTemplate, call: Call) -> RequestParts:
    return _by_path(template, call) if template.wire == "path" else template.build_request(call.arguments)


def _by_path(template: StreamableHttpTemplate, call: Call) -> RequestParts:
    """Return `POST url/<tool>` with the arguments as a JSON object, the form of the Go and Rust libraries."""
    base = template.build_request({})
    url = f"{base.url.rstrip('/')}/{encode_path_segment(call.tool.name, argument='tool')}"
    headers = [pair for pair in base.headers if pair[0].lower() != "content-type"]
    return RequestParts("POST", url, [*headers, ("Content-Type", "application/json")], orjson.dumps(call.arguments))
