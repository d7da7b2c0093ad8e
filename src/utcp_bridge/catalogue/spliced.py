"""Large results are written once: their text and their structured content are spliced into messages as bytes.

A text that shows a value of JSON remembers the bytes that were written of it (`model.WrittenValue`). A result stays a
plain dict for everything that reads or changes it: only the bytes of what is still the same object are spliced.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final, Self

import orjson

from utcp_bridge.model import JsonObject, WrittenValue, is_list, is_object
from utcp_bridge.workers.memory import keep_room

__all__ = ["SPLICED_FROM", "ListedTools", "SplicedText", "spliced", "spliced_message"]

SPLICED_FROM: Final = 4_096
"""Bytes of a value from which splicing saves time."""
_LOOKED_AT: Final = 2
"""Blocks of content that may have the text: before it, there is at most a mark."""


class SplicedText(str):
    """The text of a result that is a value as compact JSON, with what is written of both in a message."""

    __slots__ = ("_escaped", "_written", "size")

    size: int
    """The bytes of the text."""
    _escaped: bytes | None
    _written: WrittenValue | None

    @classmethod
    def of(cls, written: WrittenValue, *, is_structured: bool) -> Self:
        """Return the text of a value. Only that of a structured result keeps the value, which is many small objects."""
        keep_room()
        made = cls(written.data, "utf-8")
        made.size = len(written.data)
        made._written = written if is_structured else None
        made._escaped = None
        return made

    @property
    def escaped(self) -> bytes:
        """The text as a string of JSON. It is kept for the message; without it, the message writes the text itself."""
        if self._escaped is None:
            self._escaped = orjson.dumps(self)
        return self._escaped

    @property
    def is_escaped(self) -> bool:
        """Whether somebody has asked for `escaped`."""
        return self._escaped is not None

    def structure(self, structured: Any) -> bytes | None:
        """Return structured content as JSON, if it is the same value, by itself or as the one member `result`."""
        written = self._written
        if written is None:
            return None
        if structured is written.value:
            return written.data
        if is_object(structured) and len(structured) == 1 and structured.get("result") is written.value:
            return b'{"result":%b}' % written.data
        return None


class ListedTools(list[JsonObject]):
    """The tools of one page of `tools/list`, which nobody changes. Their bytes are kept when a second client asks."""

    __slots__ = ("_data", "_is_asked")

    def __init__(self, tools: Iterable[JsonObject]) -> None:
        super().__init__(tools)
        self._is_asked = False
        self._data: bytes | None = None

    def asked(self) -> Self:
        """Return this list, for one more client. Its bytes would double the memory of a page that is read once."""
        if self._is_asked and self._data is None:
            with suppress(TypeError):  # what orjson refuses has another way
                self._data = orjson.dumps(self)
        self._is_asked = True
        return self

    @property
    def data(self) -> bytes | None:
        """The list as JSON, if that is kept."""
        return self._data


def spliced(result: Any) -> Any:
    """Return a result for orjson, with what is known of its large parts as bytes; `result` itself if it has none."""
    if not is_object(result):
        return result
    content: Any = result.get("content")
    if not is_list(content):
        tools: Any = result.get("tools")
        if isinstance(tools, ListedTools) and tools.data is not None:
            return {**result, "tools": orjson.Fragment(tools.data)}
        return result
    if _is_one_plain_text(content):
        return result
    for number, block in enumerate(content[:_LOOKED_AT]):
        text = block.get("text") if is_object(block) else None
        if isinstance(text, SplicedText):
            return _with_parts(result, content, number, text)
    return result


def _with_parts(result: JsonObject, blocks: list[Any], number: int, text: SplicedText) -> JsonObject:
    parts: JsonObject = {}
    if text.is_escaped:
        shown = blocks.copy()
        shown[number] = {**blocks[number], "text": orjson.Fragment(text.escaped)}
        parts["content"] = shown
    if (data := text.structure(result.get("structuredContent"))) is not None:
        parts["structuredContent"] = orjson.Fragment(data)
    return {**result, **parts} if parts else result


def _is_one_plain_text(content: Any) -> bool:
    """Return whether the content of a result is one text that is not spliced, as that of most results."""
    block: Any = content[0] if content.__class__ is list and len(content) == 1 else None
    return block.__class__ is dict and block.get("text").__class__ is str


def spliced_message(message: Any) -> Any:
    """Return a message for orjson: that of `spliced`, if it is the response of a result."""
    result: Any = message.get("result") if message.__class__ is dict else None
    if result.__class__ is dict and _is_one_plain_text(result.get("content")):
        return message
    parts = spliced(result)
    return message if parts is result else {**message, "result": parts}
