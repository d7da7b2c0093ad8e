"""sse: server-sent events; each event's data is a partial result, and the list of all events is the result.

    v1  {"call_template_type": "sse", "url": "https://api.example.com/events/{channel}", "event_type": "update",
         "reconnect": true, "retry_timeout": 3000}
    v0  the same with "provider_type": "sse"

An event named `log` is a log message of the call, unless `event_type` is `log`. The request is a GET, or a POST if the
call has a body. If the connection breaks and the call has no body, the transport reconnects with `Last-Event-ID` after
the server's `retry` or `retry_timeout` milliseconds. An orderly end ends the call. Limits: `max_stream_events`,
`max_reply_bytes`, `idle_timeout` without an event, `stream_timeout`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import anyio
from pydantic import Field

from utcp_bridge.errors import ConnectionLost, MalformedReply, Unreachable
from utcp_bridge.model import Call, Document, Emit, Result
from utcp_bridge.net.document import fetch_manual
from utcp_bridge.net.preview import NativeRequest
from utcp_bridge.net.stream import Collector
from utcp_bridge.net.stream_decoders import EventSplitter
from utcp_bridge.placement.http_template import HttpFamilyTemplate, verb_annotations
from utcp_bridge.placement.request import RequestParts
from utcp_bridge.transport import Target, Transport
from utcp_bridge.urls import bare_url

if TYPE_CHECKING:
    from utcp_bridge.net.http_session import HttpSession

__all__ = ["TRANSPORT", "SseTemplate", "SseTransport"]

_MAX_RECONNECTIONS = 10
_MIN_PAUSE = 0.05
"""Seconds before a connection is opened again, whatever the server and the template say."""


class SseTemplate(HttpFamilyTemplate):
    """The HTTP fields and those of the stream; `retry_timeout` is in milliseconds, as in UTCP."""

    event_type: str | None = None
    reconnect: bool = True
    retry_timeout: int = Field(default=30_000, ge=0)


class SseTransport(Transport[SseTemplate]):
    """Calls that return an event stream."""

    kinds: ClassVar[tuple[str, ...]] = ("sse",)
    template = SseTemplate
    raw_fields: ClassVar[frozenset[str]] = frozenset({"request_plan"})
    streaming: ClassVar[bool] = True

    @classmethod
    def endpoint(cls, template: SseTemplate) -> str | None:
        """Return the template's URL, with its placeholders."""
        return template.url

    @classmethod
    def annotations(cls, template: SseTemplate) -> Mapping[str, Any]:
        """Return the hints that follow from the method; none for a call with a body, which is a POST."""
        return verb_annotations("POST" if template.body_field or template.body_template else template.http_method)

    async def discover(self, target: Target[SseTemplate]) -> Document:
        """Fetch the manual from the URL."""
        return await fetch_manual(
            self.services.http.session(target.source),
            target.template.discovery_request(),
            max_bytes=self.services.settings.max_manual_bytes,
            credentials=target.credentials,
            entry="manual",
            known=target.known,
        )

    async def call(self, target: Target[SseTemplate], call: Call, emit: Emit) -> Result:
        """Read events until the stream ends, a limit is reached or the caller cancels."""
        template, settings = target.template, self.services.settings
        parts = _as_stream_request(template.build_request(call.arguments))
        where = bare_url(parts.url)
        events = EventSplitter(settings.max_reply_bytes, where, event_type=template.event_type, logs=True)
        collector = Collector(settings, emit, target.source.name)
        with collector.keeping():
            await self._follow(target, parts, events, collector)
        # unlike other streams: what the result is must not depend on the data of the events
        return collector.listed()

    async def _follow(
        self, target: Target[SseTemplate], parts: RequestParts, events: EventSplitter, collector: Collector
    ) -> None:
        """Read events over one connection, and over others after it if it breaks."""
        template = target.template
        session = self.services.http.session(target.source)
        tries = _MAX_RECONNECTIONS if template.reconnect and parts.body is None else 0
        while True:
            before = events.last_event_id
            try:
                return await self._read(session, target, _resumed(parts, events), events, collector)
            except (ConnectionLost, Unreachable):
                if tries == 0 or not collector.values:
                    raise
                tries = _MAX_RECONNECTIONS if events.last_event_id != before else tries - 1
            await anyio.sleep(max(_MIN_PAUSE, template.retry_timeout / 1000 if events.retry is None else events.retry))
            events.new_connection()

    async def explain(self, target: Target[SseTemplate], call: Call) -> NativeRequest:
        """Return the request that opens the stream."""
        parts = _as_stream_request(target.template.build_request(call.arguments))
        return await self.services.http.session(target.source).preview(parts, credentials=target.credentials)

    async def _read(
        self,
        session: HttpSession,
        target: Target[SseTemplate],
        parts: RequestParts,
        events: EventSplitter,
        collector: Collector,
    ) -> None:
        async with session.stream(parts, credentials=target.credentials) as stream:
            media_type = stream.headers.get("Content-Type", "").partition(";")[0].strip().lower()
            if stream.status >= 400 or media_type != "text/event-stream":
                reply = await stream.read(self.services.settings.max_reply_bytes)
                reply.raise_for_status()
                if stream.status == 204:
                    return
                raise MalformedReply(
                    f"{bare_url(parts.url)} returned {media_type or 'an untyped body'} instead of an event stream."
                )
            await collector.consume(aiter(stream), events)


TRANSPORT = SseTransport


def _as_stream_request(parts: RequestParts) -> RequestParts:
    headers = [pair for pair in parts.headers if pair[0].lower() != "accept"]
    method = "POST" if parts.body is not None and parts.method == "GET" else parts.method
    return replace(parts, method=method, headers=[*headers, ("Accept", "text/event-stream")])


def _resumed(parts: RequestParts, events: EventSplitter) -> RequestParts:
    if not events.last_event_id:
        return parts
    identifier = events.last_event_id.encode().decode("latin-1")
    return replace(parts, headers=[*parts.headers, ("Last-Event-ID", identifier)])
