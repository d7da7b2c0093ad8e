"""MCP results above their budget, made to fit it. What is left out is kept, and a notice says how to read it.

Text and structured content share the budget. The form that the host shows to its model goes first; the other one has
what remains, at least a tenth, so every host sees the beginning and the notice. Texts that are JSON lose whole rows and
members. Images and audio are whole or a notice. They have a budget of their own, because hosts count their pixels and
seconds, not their bytes.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Any, Final, Protocol

import orjson

from utcp_bridge.catalogue.budget import Cut, Shrinker, as_jmespath, first_text, parsed_json
from utcp_bridge.late.records import dataclass
from utcp_bridge.model import Binary, JsonObject, is_object

__all__ = ["RESULT_SCHEME", "TRUNCATED", "Budget", "Rest", "Savings", "fitted", "json_bytes", "json_size"]

RESULT_SCHEME: Final = "utcp-result://"
TRUNCATED: Final = "_truncated"
_NOTE_BYTES: Final = 1_300
"""Room for a notice and a link."""
_MIN_SECOND_BYTES: Final = 600
_MAX_PLACES: Final = 3
_MAX_PATH: Final = 100
_MAX_MEDIA_BYTES: Final = 1_000_000
_MEDIA: Final = frozenset({"image", "audio"})


@dataclass(frozen=True, slots=True)
class Rest:
    """How a caller can read what its results do not show.

    `keep` stores a value, a text or bytes for it and returns a handle; None if that is too large. `reader` is the name
    of the meta-tool that reads it, None if the caller has none. It is called through the meta-tool `through`, or
    directly if that is None. `links` says whether the caller understands links.
    """

    keep: Callable[[Any], str | None]
    seconds: float
    reader: str | None = None
    through: str | None = None
    links: bool = False


class Savings(Protocol):
    """What counts the bytes that results lost; only while it is on."""

    is_on: bool

    def note_saved(self, size: int) -> None:
        """Note that a result was shortened by this number of bytes."""
        ...


@dataclass(frozen=True, slots=True)
class Budget:
    """Most bytes of one result for one caller. `max_message_bytes` limits it with its images and audio."""

    max_bytes: int
    prefers_structure: bool = False
    max_message_bytes: int = _MAX_MEDIA_BYTES
    rest: Rest | None = None
    savings: Savings | None = field(default=None, repr=False, compare=False)


def json_size(value: Any) -> int:
    """Return how many bytes a value has as JSON."""
    return len(json_bytes(value))


def json_bytes(value: Any) -> bytes:
    """Return a value as JSON, also one from outside that orjson refuses."""
    try:
        return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:  # integers above 64 bits, lone surrogates
        return json.dumps(value, default=str, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")


def fitted(
    result: JsonObject,
    budget: Budget,
    write: Callable[[Any], str],
    *,
    value: Any = None,
    conform: Callable[[JsonObject], JsonObject] | None = None,
) -> JsonObject:
    """Return `result` itself if it fits the budget, otherwise a copy that does.

    `value` is the value that the first text block shows as JSON, if the caller has it. `write` writes JSON, and
    `conform` fits structured content to the listed schema.
    """
    size = json_size(result)
    if size <= budget.max_bytes:
        return result
    media = sum(json_size(block) for block in result["content"] if block["type"] in _MEDIA)
    if size - media <= budget.max_bytes and size <= budget.max_message_bytes:
        return result
    found = _Fitting(budget, write, conform).run(result, value)
    if budget.savings is not None and budget.savings.is_on:
        budget.savings.note_saved(size - json_size(found))
    return found


@dataclass(slots=True)
class _Fitting:
    budget: Budget
    write: Callable[[Any], str]
    conform: Callable[[JsonObject], JsonObject] | None
    media_left: int = 0
    kept: list[tuple[Any, str | None]] = field(default_factory=list[tuple[Any, str | None]])

    def run(self, result: JsonObject, value: Any) -> JsonObject:
        content: list[JsonObject] = result["content"]
        structured = result.get("structuredContent")
        frame = {key: one for key, one in result.items() if key not in {"content", "structuredContent"}}
        room = self.budget.max_bytes - json_size(frame) - _NOTE_BYTES
        self.media_left = self.budget.max_message_bytes - self.budget.max_bytes
        if not is_object(structured):
            return {**result, "content": self._blocks(content, room, value)}
        sizes = sum(self._cost(block) for block in content), json_size(structured)
        for_content, for_structure = self._shares(*sizes, room)
        shown = self._blocks(content, for_content, value)
        structure, notice = self._structure(structured, for_structure, value)
        if notice and not self.kept:
            shown = [*shown, _text_block(f"[In the structured content: {notice}]")]
        return {**result, "content": shown, "structuredContent": structure}

    def _shares(self, content: int, structure: int, room: int) -> tuple[int, int]:
        first, second = (structure, content) if self.budget.prefers_structure else (content, structure)
        for_second = min(second, max(room // 10, room - first, _NOTE_BYTES + _MIN_SECOND_BYTES))
        shares = room - for_second, for_second
        return (shares[1], shares[0]) if self.budget.prefers_structure else shares

    def _cost(self, block: JsonObject) -> int:
        return 0 if block["type"] in _MEDIA else json_size(block) + 1

    def _blocks(self, blocks: Sequence[JsonObject], room: int, value: Any) -> list[JsonObject]:
        """Return small blocks whole and large ones shortened to equal shares of the rest."""
        costs = [json_size(block) + 1 for block in blocks]
        shown: dict[int, list[JsonObject]] = {}
        waiting = sorted(range(len(blocks)), key=costs.__getitem__)
        for done, number in enumerate(waiting):
            block, share = blocks[number], room // (len(blocks) - done)
            if block["type"] in _MEDIA and costs[number] <= self.media_left:
                self.media_left -= costs[number]
                shown[number] = [block]
                continue
            if costs[number] <= share:
                shown[number] = [block]
            elif share < 2 * _NOTE_BYTES and len(blocks) > 1:
                return self._first_blocks(blocks, costs, room + sum(map(json_size, _flat(shown))))
            else:
                shown[number] = self._smaller(block, share, value if number == 0 else None)
            room -= sum(json_size(one) + 1 for one in shown[number])
        return _flat({number: shown[number] for number in range(len(blocks))})

    def _first_blocks(self, blocks: Sequence[JsonObject], costs: Sequence[int], room: int) -> list[JsonObject]:
        """Return the first blocks that fit: there are too many to show a part of each."""
        shown: list[JsonObject] = []
        count, left = 0, room - _NOTE_BYTES
        for block, cost in zip(blocks, costs, strict=True):
            ones = [block] if cost <= max(left // 2, _NOTE_BYTES) else self._smaller(block, left // 2, None)
            used = sum(json_size(one) + 1 for one in ones)
            if used > left:
                break
            shown, left, count = [*shown, *ones], left - used, count + 1
        cut = Cut((), count, len(blocks), "blocks")
        return [*shown, *self._notice([cut], list(blocks))] if count < len(blocks) else shown

    def _smaller(self, block: JsonObject, share: int, value: Any) -> list[JsonObject]:
        resource = block.get("resource")
        holder = resource if is_object(resource) else block
        if not isinstance(holder.get("text"), str):
            return self._replaced(block, holder)
        room = share - _NOTE_BYTES - json_size({**block, "text": "", "resource": {**holder, "text": ""}})
        shown, cuts, whole = self._text(holder["text"], room, value)
        smaller = {**block, "resource": {**holder, "text": shown}} if holder is resource else {**block, "text": shown}
        return [smaller, *self._notice(cuts, whole)] if cuts else [smaller]

    def _text(self, text: str, room: int, value: Any) -> tuple[str, list[Cut], Any]:
        """Return the part of a text that is shown, what was cut, and the whole to keep."""
        whole = parsed_json(text) if value is None or isinstance(value, str) else value
        if whole is None:
            shown = first_text(text, room, json_size)
            return shown, [Cut((), len(shown), len(text), "characters")], text
        shrinker = Shrinker(self._size_in_text)
        return self.write(shrinker.fit(whole, room)), shrinker.cuts, whole

    def _size_in_text(self, value: Any) -> int:
        """Return the bytes of a value that is written as JSON within a JSON string."""
        data = self.write([value]).encode()
        return len(data) - 2 + data.count(b'"') + data.count(b"\\")

    def _replaced(self, block: JsonObject, holder: JsonObject) -> list[JsonObject]:
        """Return a notice for a block that cannot be shown in part."""
        encoded = holder.get("data") or holder.get("blob")
        media_type = str(holder.get("mimeType") or "application/octet-stream")[:127]
        whole: Any = block
        if isinstance(encoded, str):
            try:
                whole = Binary(base64.b64decode(encoded), media_type)
            except (binascii.Error, ValueError):
                whole = block
        size = len(whole.data) if isinstance(whole, Binary) else json_size(block)
        what = f"{size:,} bytes of {media_type}" if isinstance(whole, Binary) else f"A block of {size:,} bytes"
        verb = "are" if isinstance(whole, Binary) else "is"
        return self._announced(
            f"{what} {verb} left out, because a result may have {self.budget.max_bytes:,} bytes.", whole
        )

    def _structure(self, structured: JsonObject, room: int, value: Any) -> tuple[JsonObject, str]:
        """Return structured content that fits its room and the listed schema, and what was cut."""
        shrinker = Shrinker(json_size)
        earlier = structured.get(TRUNCATED)
        shown: JsonObject = shrinker.fit(structured, room - (_NOTE_BYTES if json_size(structured) > room else 0))
        if not shrinker.cuts:
            return shown, ""
        whole, handle, cuts = self._known(structured, shrinker.cuts, value)
        notice = f"{_cut_words(cuts)} {self._how(whole, handle, cuts)}"
        told = {**shown, TRUNCATED: f"{earlier} {notice}" if isinstance(earlier, str) else notice}
        for candidate in (told, shown, {TRUNCATED: notice}) if self.conform else (told,):
            if self.conform is None or self.conform(candidate) is candidate:
                return candidate, notice
        return {}, notice

    def _known(self, structured: JsonObject, cuts: list[Cut], value: Any) -> tuple[Any, str | None, list[Cut]]:
        """Return what is kept of structured content, its handle, and the cuts as places in it.

        A value that was only wrapped into an object is kept as it is, so that `read_result` shows its text as text.
        """
        inside = [Cut(cut.path[1:], cut.shown, cut.total, cut.unit) for cut in cuts]
        for whole, handle in self.kept:
            if whole == structured:
                return whole, handle, cuts
            if structured == {"result": whole}:
                return whole, handle, inside
        if value is not None and structured == {"result": value}:
            return value, self._handle(value, remember=False), inside
        return structured, self._handle(structured, remember=False), cuts

    def _notice(self, cuts: Sequence[Cut], whole: Any) -> list[JsonObject]:
        return self._announced(_cut_words(cuts), whole, cuts)

    def _announced(self, words: str, whole: Any, cuts: Sequence[Cut] = ()) -> list[JsonObject]:
        handle = self._handle(whole)
        blocks = [_text_block(f"[{words} {self._how(whole, handle, cuts)}]")]
        if handle is not None and self.budget.rest is not None and self.budget.rest.links:
            blocks.append(_link(handle, whole))
        return blocks

    def _handle(self, whole: Any, *, remember: bool = True) -> str | None:
        handle = None if self.budget.rest is None else self.budget.rest.keep(whole)
        if remember:
            self.kept.append((whole, handle))
        return handle

    def _how(self, whole: Any, handle: str | None, cuts: Sequence[Cut]) -> str:
        """Return the sentence that says how to read on."""
        rest = self.budget.rest
        if rest is None or handle is None:
            return "Ask for less."
        time = f"{rest.seconds / 60:.0f} minutes" if rest.seconds >= 120 else f"{rest.seconds:.0f} seconds"
        if rest.reader is None or isinstance(whole, Binary):
            return f"For {time}, the whole is the resource {RESULT_SCHEME}{handle}."
        arguments: JsonObject = {"handle": handle}
        if cut := next((one for one in cuts if one.unit == "rows"), cuts[0] if cuts else None):
            if cut.path and len(path := as_jmespath(cut.path)) <= _MAX_PATH:
                arguments["jmespath"] = path
            if not cut.path or "jmespath" in arguments:
                arguments["offset"] = cut.shown
        if rest.through is not None:
            arguments = {"name": rest.reader, "arguments": arguments}
        return f"For {time}, read on with {rest.through or rest.reader} {json.dumps(arguments, ensure_ascii=False)}."


def _cut_words(cuts: Sequence[Cut]) -> str:
    places = [str(cut) for cut in cuts[:_MAX_PLACES]]
    if len(cuts) > _MAX_PLACES:
        places.append(f"parts of {len(cuts) - _MAX_PLACES:,} more places")
    listed = places[0] if len(places) == 1 else f"{', '.join(places[:-1])} and {places[-1]}"
    return f"The result was cut: {listed} are shown."


def _flat(shown: Mapping[int, list[JsonObject]]) -> list[JsonObject]:
    return [block for blocks in shown.values() for block in blocks]


def _text_block(text: str) -> JsonObject:
    return {"type": "text", "text": text}


def _link(handle: str, whole: Any) -> JsonObject:
    media_type = (
        whole.media_type
        if isinstance(whole, Binary)
        else "text/plain"
        if isinstance(whole, str)
        else "application/json"
    )
    return {
        "type": "resource_link",
        "uri": f"{RESULT_SCHEME}{handle}",
        "name": f"result-{handle[:8]}",
        "description": "The whole of a result that was cut.",
        "mimeType": media_type,
    }
