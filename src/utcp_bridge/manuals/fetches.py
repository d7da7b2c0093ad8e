"""Fetches of documents of manuals that several manuals share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import field, replace
from typing import Final

import anyio
import orjson

from utcp_bridge.dialects import ManualEntry
from utcp_bridge.errors import UtcpError
from utcp_bridge.late.records import dataclass
from utcp_bridge.model import Document, Edition, Source
from utcp_bridge.settings import ManualOptions

__all__ = ["Fetches"]

_OPERATORS: Final = frozenset(ManualOptions.model_fields)
_BARE: Final = frozenset({"name", "call_template_type", "url"})


@dataclass(slots=True)
class _Fetch:
    """A document on its way."""

    ended: anyio.Event = field(default_factory=anyio.Event)
    document: Document | None = None
    error: UtcpError | None = None


class Fetches:
    """The documents of manuals, each fetched once if several manuals have the same address and ask in the same way."""

    def __init__(self, documents: Mapping[str, Document], max_bytes: int) -> None:
        self._documents = dict(documents)
        self._max_bytes = max_bytes
        self._running: dict[Hashable, _Fetch] = {}

    def handed(self, entry: ManualEntry) -> Document | None:
        """Return the document if the configuration's reader has fetched it, once: a refresh fetches it again."""
        if entry.kind != "http" or frozenset(entry.template) != _BARE:
            return None
        document = self._documents.pop(str(entry.template["url"]), None)
        return None if document is None or len(document.content) > self._max_bytes else document

    async def share(
        self, entry: ManualEntry, source: Source, known: Edition | None, fetch: Callable[[], Awaitable[Document]]
    ) -> Document:
        """Fetch a document, or wait for the one that another manual fetches at the moment.

        :raises UtcpError: it cannot be fetched.
        """
        key = _request_of(entry, source, known)
        if key is None:
            return await fetch()
        running = self._running.get(key)
        if running is not None:
            await running.ended.wait()
            if running.error is not None:
                raise running.error
            if running.document is not None:
                return running.document
        mine = _Fetch()
        self._running[key] = mine
        try:
            mine.document = await fetch()
            return mine.document
        except UtcpError as error:
            mine.error = error
            raise
        finally:
            mine.ended.set()
            if self._running.get(key) is mine:
                del self._running[key]


def _request_of(entry: ManualEntry, source: Source, known: Edition | None) -> Hashable:
    """Return what the fetch of a manual depends on; None if it depends on the manual's name, as its variables do."""
    if entry.kind != "http":
        return None
    template = {key: value for key, value in entry.template.items() if key not in _OPERATORS and key != "name"}
    text = orjson.dumps(template, option=orjson.OPT_SORT_KEYS, default=str)
    return None if b"$" in text or "auth" in template else (text, replace(source, name=""), known)
