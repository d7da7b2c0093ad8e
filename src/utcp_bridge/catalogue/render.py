"""Values and errors become MCP results: dicts in the shape of the protocol. No function here raises.

    value                       content                               structuredContent
    JSON (dict, list, scalar)   text: the same as compact JSON        by `structured_content` and output schema
    str                         text                                  the same, as {"result": text}
    Binary image/*, audio/*     image, audio                          -
    Binary, any other           embedded resource with a blob         -
    list with binaries in it    one block for each                    -
    ContentBlocks               its blocks                            its own
    values before an error      as above, and a note; isError         as above
    UtcpError                   text: what, where, remedy; isError    -
    any other exception         text with a correlation id; isError   -

Text and structured content have the same content, because hosts show a model one or the other.

A result above the budget of its caller is cut (`fitting.py`).

`well_formed` checks MCP content from another server field by field. One malformed block, or one malformed annotation,
would make the host reject the whole result. So malformed fields are omitted, and a block without its required fields
becomes text. A link that is not passed on (`links.py`) becomes text too, which says why.
"""

from __future__ import annotations

import base64
import json
import logging
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

import orjson

from utcp_bridge.catalogue.fitting import TRUNCATED, Budget, fitted, json_size
from utcp_bridge.catalogue.links import refused_link
from utcp_bridge.catalogue.schemas.conforming import Conformer
from utcp_bridge.catalogue.spliced import SPLICED_FROM, SplicedText
from utcp_bridge.catalogue.text import clean, clean_line
from utcp_bridge.errors import Rejected, UtcpError
from utcp_bridge.foreign import visible, visible_json
from utcp_bridge.late.records import dataclass
from utcp_bridge.model import Binary, ContentBlocks, JsonObject, Result, StatusMeta, WrittenValue, is_list, is_object

__all__ = [
    "Rendering",
    "ShowLink",
    "TextResult",
    "as_it_is",
    "compact",
    "fault_result",
    "render_error",
    "render_result",
    "safe_block",
    "text_result",
    "upstream_meta",
    "well_formed",
    "with_safe_links",
]

_logger = logging.getLogger(__name__)
_OPTIONS: Final = orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_DATACLASS
_MAX_DETAIL: Final = 8_000
_MAX_GROWTH: Final = 12
"""A text has at most 6 bytes in a character as JSON, its structured content 4. The rest is for the frame."""
_MAX_FRAME: Final = 2_000
"""Bytes around text and structured content, with a notice and the usual `_meta`."""
_LINKING: Final = frozenset({"resource", "resource_link"})
_OWN_META: Final = ("io.modelcontextprotocol/", "utcp/")
_MAX_META_BYTES: Final = 16_384
_LEFT_OUT: Final = "utcp:left-out"
_MAX_LINK_NAME: Final = 120
Check = Callable[[Any], bool]
ShowLink = Callable[[str, bool], str | None]
"""Returns the URI by which a host reads the resource behind a link, from its URI and whether the link itself is
refused; None if the host cannot read it."""


def as_it_is(uri: str, is_refused: bool) -> str | None:
    """Return the URI of a link that is not refused."""
    return None if is_refused else uri


@dataclass(slots=True)  # not frozen: each call makes one, which would take four times as long
class Rendering:
    """How to render one tool's results.

    `structured` says whether plain values get `structuredContent`. `conform` fits it to the listed output schema.
    `wrapped` says that the schema lists the value as `{"result": value}`. `uri` names embedded resources. `budget`
    limits the whole result. `refuse_link` returns why a link is not passed on, `show_link` what hosts read instead.
    """

    budget: Budget
    structured: bool = False
    conform: Conformer | None = None
    wrapped: bool = False
    uri: str = "utcp:result"
    refuse_link: Callable[[str], str | None] = refused_link
    show_link: ShowLink = as_it_is


class TextResult(JsonObject):
    """A whole result of a call that is one text, which `in_order` need not examine. Nobody changes it.

    It has `content`, `isError` (false), `resultType`, and perhaps `structuredContent` and `_meta`. In `_meta` are
    members `utcp/…` alone, none of them null. A copy of it is a plain dict.
    """

    __slots__ = ()


def render_result(result: Result, rendering: Rendering) -> JsonObject:
    """Return a result of a call as an MCP `tools/call` result."""
    value = result.value
    blocks = None if type(result.value) is dict else _content(value, rendering)
    rendered = _plain(value, rendering, result.written) if blocks is None else blocks
    is_small = blocks is None and _surely_fits(rendered, value, rendering.budget.max_bytes)
    is_whole = True
    if result.truncated:
        _announce_cut(rendered, clean(result.truncated, 500))
        is_whole = False
    if result.failure is not None:
        rendered["isError"] = True
        rendered["_meta"] = rendered.get("_meta", {}) | {"utcp/error": result.failure.code}
        is_whole = False
    if type(result.meta) is StatusMeta and blocks is None and is_whole:
        rendered["_meta"] = {"utcp/status": result.meta["status"]}
    elif result.meta:
        meta: JsonObject = dict(rendered.get("_meta", ()))
        for key, one in result.meta.items():
            meta[f"utcp/{key}"] = one if type(one) is int else _json_safe(one)
            is_whole = is_whole and one is not None
        rendered["_meta"] = meta
    if is_small:
        return TextResult(rendered) if is_whole else rendered
    plain = value if blocks is None else None
    return fitted(rendered, rendering.budget, compact, value=plain, conform=rendering.conform)


def _content(value: Any, rendering: Rendering) -> JsonObject | None:
    """Return the result of a value that has content of its own; None for any other value."""
    if isinstance(value, ContentBlocks):
        return _passed_through(value, rendering)
    if isinstance(value, Binary) or (is_list(value) and any(isinstance(one, Binary | ContentBlocks) for one in value)):
        return _blocks_result(value if is_list(value) else [value], rendering)
    return None


def render_error(error: Exception) -> JsonObject:
    """Return an `isError` result: a `UtcpError` in full, any other exception as an id that the log explains."""
    if isinstance(error, UtcpError):
        text = str(error)
        meta: JsonObject = {"utcp/error": error.code}
        if error.retry_after is not None:
            meta["utcp/retry_after"] = round(max(error.retry_after, 0.0), 3)
        if isinstance(error, Rejected):
            meta["utcp/status"] = error.status
            if error.detail not in (None, "", {}, []):
                text = f"{text}\n{_cut(compact(error.detail), _MAX_DETAIL)}"
        return {**fault_result(text), "_meta": meta}
    ident = uuid.uuid4().hex[:12]
    _logger.error("A call failed with an internal error (%s, id %s).", type(error).__name__, ident)
    _logger.debug("Cause of %s:", ident, exc_info=error)
    return fault_result(f"Internal error in utcp-bridge. Its log has the cause under id {ident}.")


def fault_result(text: str) -> JsonObject:
    """Return an `isError` result with this text."""
    return {"content": [{"type": "text", "text": visible(_encodable(text))}], "isError": True, "resultType": "complete"}


def text_result(text: str, structured: JsonObject | None = None) -> JsonObject:
    """Return a result with this text, and with structured content if there is any."""
    result: JsonObject = {"content": [{"type": "text", "text": text}], "isError": False, "resultType": "complete"}
    if structured is not None:
        result["structuredContent"] = structured
    return result


def compact(value: Any) -> str:
    """Return a value as text: a string unchanged, anything else as compact JSON. NaN becomes null."""
    if isinstance(value, str):
        return _encodable(value)
    try:
        return orjson.dumps(value, default=_substitute, option=_OPTIONS).decode()
    except (TypeError, ValueError):
        return _tolerant(value)


def _plain(value: Any, rendering: Rendering, written: WrittenValue | None) -> JsonObject:
    if written is not None and written.value is value and len(written.data) >= SPLICED_FROM:
        return _spliced(written, rendering)
    if not rendering.structured:
        return text_result(compact(value))
    text, safe = _text_and_value(value)
    result = text_result(text)
    result["structuredContent"] = _structured(safe, rendering)
    return result


def _spliced(written: WrittenValue, rendering: Rendering) -> JsonObject:
    """Return the result of a large value whose compact form is known."""
    if not written.is_exact and rendering.structured and written.data.find(b"null") >= 0:
        written = WrittenValue(orjson.loads(written.data), written.data)
    result = text_result(SplicedText.of(written, is_structured=rendering.structured))
    if rendering.structured:
        result["structuredContent"] = _structured(written.value, rendering)
    return result


def _text_and_value(value: Any) -> tuple[str, Any]:
    """Return what `compact` and `_json_safe` return. Most values are written once for both."""
    if is_object(value) or is_list(value):
        try:
            data = orjson.dumps(value, option=orjson.OPT_PASSTHROUGH_DATACLASS)
        except (TypeError, ValueError):
            pass
        else:
            safe: Any = orjson.loads(data) if data.find(b"null") >= 0 else value  # `in` takes twice as long
            return data.decode(), safe
    return compact(value), _json_safe(value)


def _surely_fits(rendered: JsonObject, value: Any, limit: int) -> bool:
    """Return whether a plain value fits for certain, without writing it again. JSON has no control characters."""
    text: str = rendered["content"][0]["text"]
    if _MAX_GROWTH * len(text) <= limit:
        return True
    structured = rendered.get("structuredContent")
    if isinstance(text, SplicedText):
        data = b"" if structured is None else text.structure(structured)
        if data is None:
            return False
        room = limit - len(data) - _MAX_FRAME
        return 2 * text.size <= room or len(text.escaped) <= room  # as below
    if isinstance(value, str) or (structured is not None and structured is not value):
        return False
    size = len(text) if text.isascii() else len(text.encode())
    if 3 * size + _MAX_FRAME <= limit:  # no character is more than twice as long in the text
        return True
    total = size + text.count('"') + text.count("\\") + (0 if structured is None else size)
    return total + _MAX_FRAME <= limit


def _structured(value: Any, rendering: Rendering) -> JsonObject:
    shaped: JsonObject = value if is_object(value) and not rendering.wrapped else {"result": value}
    return shaped if rendering.conform is None else rendering.conform(shaped)


def _announce_cut(result: JsonObject, notice: str) -> None:
    result["content"] = [*result["content"], {"type": "text", "text": f"[{notice}]"}]
    if is_object(structured := result.get("structuredContent")):
        result["structuredContent"] = {**structured, TRUNCATED: notice}


def _blocks_result(values: Iterable[Any], rendering: Rendering) -> JsonObject:
    content: list[JsonObject] = []
    is_error = False
    for number, value in enumerate(values):
        if isinstance(value, ContentBlocks):
            content += _valid_blocks(value.content, rendering.refuse_link, rendering.show_link)
            is_error = is_error or value.is_error
        elif isinstance(value, Binary):
            content.append(_binary(value, rendering, number))
        else:
            content.append({"type": "text", "text": compact(value)})
    result: JsonObject = {"content": content, "isError": is_error, "resultType": "complete"}
    if rendering.conform is not None and not is_error:
        result["structuredContent"] = {}
    return result


def _binary(value: Binary, rendering: Rendering, number: int) -> JsonObject:
    media_type = clean(value.media_type, 127) or "application/octet-stream"
    data = base64.b64encode(value.data).decode("ascii")
    family = media_type.partition("/")[0].lower()
    if family in {"image", "audio"}:
        return {"type": family, "data": data, "mimeType": media_type}
    uri = f"{rendering.uri}/{number}"
    return {"type": "resource", "resource": {"uri": uri, "mimeType": media_type, "blob": data}}


def _passed_through(value: ContentBlocks, rendering: Rendering) -> JsonObject:
    content = _valid_blocks(value.content, rendering.refuse_link, rendering.show_link)
    if not content and value.structured is not None:
        content = [{"type": "text", "text": compact(value.structured)}]
    result: JsonObject = {"content": content, "isError": value.is_error, "resultType": "complete"}
    if value.structured is not None:
        result["structuredContent"] = _structured(_json_safe(value.structured), rendering)
    elif rendering.conform is not None and not value.is_error:
        result["structuredContent"] = {}
        result["_meta"] = {"utcp/remark": "The server returned no structured content, though the tool promises it."}
    if meta := upstream_meta(value.meta):
        result["_meta"] = {**meta, **result.get("_meta", {})}
    return result


def upstream_meta(meta: JsonObject | None) -> JsonObject:
    """Return what hosts get of an upstream's `_meta`: not what is about its own connection, and nothing enormous."""
    kept = {key: value for key, value in (meta or {}).items() if not key.startswith(_OWN_META)}
    return visible_json(_json_safe(kept)) if kept and json_size(kept) <= _MAX_META_BYTES else {}


def with_safe_links(value: Any, refuse: Callable[[str], str | None]) -> Any:
    """Return a value of a call, with text in place of each link in MCP content that is not passed on."""
    if isinstance(value, ContentBlocks):
        return replace(value, content=_valid_blocks(value.content, refuse))
    if is_list(value) and any(isinstance(one, ContentBlocks) for one in value):
        return [with_safe_links(one, refuse) for one in value]
    return value


def _valid_blocks(
    blocks: Iterable[Any], refuse: Callable[[str], str | None], show: ShowLink = as_it_is
) -> list[JsonObject]:
    safe: list[Any] = _json_safe(list(blocks))
    valid: list[JsonObject] = []
    for one in safe:
        block = well_formed(one)
        valid += safe_block(block, refuse, show)
    return valid


def safe_block(block: JsonObject, refuse: Callable[[str], str | None], show: ShowLink) -> list[JsonObject]:
    """Return a block, or what replaces it if its URI is not passed on: a note, and an embedded resource's content."""
    if block["type"] not in _LINKING:
        return [block]
    embedded: JsonObject | None = block.get("resource")
    holder = block if embedded is None else embedded
    why = refuse(holder["uri"])
    if (shown := show(holder["uri"], why is not None)) is not None:
        return [{**block, "uri": shown} if embedded is None else {**block, "resource": {**embedded, "uri": shown}}]
    name = clean_line(holder.get("title") or holder.get("name"), _MAX_LINK_NAME)
    note = f"[The link{f' {name!r}' if name else ''} was left out: {why}.]"
    kept: list[JsonObject] = [{"type": "text", "text": note}]
    if embedded is not None:
        kept.append({**block, "resource": {**embedded, "uri": _LEFT_OUT}})
    return kept


def _json_safe(value: Any) -> Any:
    """Return `value` itself if it is valid JSON, otherwise a copy that is."""
    if value is None or isinstance(value, bool | int):
        return value
    try:
        data = orjson.dumps(value, option=orjson.OPT_PASSTHROUGH_DATACLASS)
    except (TypeError, ValueError):
        return json.loads(_tolerant(value))
    return orjson.loads(data) if data.find(b"null") >= 0 else value


def _tolerant(value: Any) -> str:
    """Return JSON of a value that orjson refuses: big integers, unusual keys, lone surrogates, other objects."""
    try:
        text = json.dumps(_plainly(value, 0), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        text = json.dumps(f"a {type(value).__name__} that JSON cannot represent")
    return _encodable(text)


def _plainly(value: Any, depth: int) -> Any:
    if depth > 200:
        return None
    if isinstance(value, Mapping):
        return {str(key): _plainly(one, depth + 1) for key, one in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - JSON of any kind
    if isinstance(value, list | tuple | set | frozenset):
        return [_plainly(one, depth + 1) for one in value]  # pyright: ignore[reportUnknownVariableType] - JSON of any kind
    if isinstance(value, float):
        return value if value - value == 0 else None
    return value if value is None or isinstance(value, str | int) else _substitute(value)


def _substitute(value: Any) -> Any:
    if isinstance(value, Binary):
        return {"mediaType": value.media_type, "base64": base64.b64encode(value.data).decode("ascii")}
    if isinstance(value, ContentBlocks):
        return value.content
    if isinstance(value, bytes | bytearray):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, set | frozenset):
        return list(value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - JSON of any kind
    return str(value)


def _encodable(text: str) -> str:
    """Replace lone surrogates, which UTF-8 cannot encode."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _cut(text: str, limit: int) -> str:
    data = text.encode()
    return text if len(data) <= limit else data[:limit].decode("utf-8", "ignore")


# --- MCP content from another server, checked field by field ---


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_audience(value: Any) -> bool:
    return is_list(value) and all(isinstance(one, str) and one in {"user", "assistant"} for one in value)


_ANNOTATIONS: Final[Mapping[str, Check]] = {"audience": _is_audience, "priority": _is_share, "lastModified": _is_text}
_RESOURCE: Final[Mapping[str, Check]] = {"mimeType": _is_text, "_meta": is_object}
_SHAPES: Final[Mapping[str, tuple[tuple[str, ...], Mapping[str, Check]]]] = {
    "text": (("text",), {}),
    "image": (("data", "mimeType"), {}),
    "audio": (("data", "mimeType"), {}),
    "resource_link": (
        ("uri", "name"),
        {"title": _is_text, "description": _is_text, "mimeType": _is_text, "size": _is_size},
    ),
}
"""Kind → (required strings, optional fields)."""


def well_formed(block: Any) -> JsonObject:
    """Return the block with its well-formed fields alone. A value that is not a block becomes a text block."""
    kept = _kept(block) if is_object(block) else None
    if kept is None:
        return {"type": "text", "text": compact(block)}
    if is_object(meta := block.get("_meta")):
        kept["_meta"] = meta
    if is_object(notes := block.get("annotations")) and (valid := _optional(notes, _ANNOTATIONS)):
        kept["annotations"] = valid
    return kept


def _kept(block: JsonObject) -> JsonObject | None:
    kind = block.get("type")
    if kind == "resource":
        return _embedded(block.get("resource"))
    if not isinstance(kind, str) or kind not in _SHAPES:
        return None
    needed, optional = _SHAPES[kind]
    if not all(_is_text(block.get(key)) for key in needed):
        return None
    return {"type": kind, **{key: block[key] for key in needed}, **_optional(block, optional)}


def _embedded(resource: Any) -> JsonObject | None:
    if not is_object(resource) or not _is_text(resource.get("uri")):
        return None
    for key in ("text", "blob"):
        if _is_text(resource.get(key)):
            kept = {"uri": resource["uri"], key: resource[key], **_optional(resource, _RESOURCE)}
            return {"type": "resource", "resource": kept}
    return None


def _optional(source: JsonObject, fields: Mapping[str, Check]) -> JsonObject:
    return {key: source[key] for key, check in fields.items() if key in source and check(source[key])}
