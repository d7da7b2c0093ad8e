"""Credentials are replaced in results: an upstream may send back what it received, and a model reads results.

Only credentials are searched, not every variable: a variable may be a city, and results must stay true. The usual forms
of a value are compared as they are, because a result may have megabytes; `redaction.py` searches errors more closely.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any, Final, cast

import orjson

from utcp_bridge.auth.redaction import MASK, Form, Redactor
from utcp_bridge.foreign import visible_json_steps
from utcp_bridge.model import Binary, ContentBlocks, Deferred, JsonObject, Result, StatusMeta, is_list, is_object
from utcp_bridge.tasks import at_once, in_slices
from utcp_bridge.variables import names_credential

__all__ = [
    "masked_arguments",
    "masked_at_once",
    "masked_in_steps",
    "masked_later",
    "masked_notes",
    "masked_partial",
    "masked_result",
    "shown_to_hosts",
]

_OPTIONS: Final = orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_DATACLASS
_ENCODED: Final = frozenset({"blob", "data"})
"""Members of MCP content in Base64."""
_STEP_BYTES: Final = 1 << 18
"""Bytes that are searched in one step: a tenth of a millisecond."""
_AT_ONCE: Final = 1 << 16
"""Bytes that are searched without counting the time."""
_ENCODED_MASK: Final = base64.b64encode(MASK.encode()).decode()
_Mask = Callable[[str], str]


def masked_notes(result: Result, redactor: Redactor) -> Result:
    """Return a result without known secrets in its notes: `meta`, why it was cut, and an error of an MCP server."""
    value = result.value
    if isinstance(value, ContentBlocks) and value.is_error:
        result = replace(result, value=_masked_blocks(value, redactor))
    if result.truncated:
        result = replace(result, truncated=redactor(result.truncated))
    meta = result.meta
    if type(meta) is StatusMeta or all(isinstance(note, int) for note in meta.values()):
        return result
    return replace(result, meta=_walked(dict(meta), redactor))


async def masked_result(result: Result, redactor: Redactor) -> Result:
    """Return a result without credentials. It takes small steps if the result is large."""
    if not redactor.has_credentials:
        return result
    value, written = result.value, None if result.data is None else result.data.data
    if type(value) is dict:
        written = _bytes(value) if written is None else written
        if written is not None and _surely_has_none(written, redactor.credential_forms()):
            return result
    value = await masked_partial(value, redactor, written)
    return result if value is result.value else replace(result, value=value)


async def masked_partial(value: Any, redactor: Redactor, written: bytes | None = None) -> Any:
    """Return a value, such as one partial result, without credentials; the same object if it has none.

    `written` is the value as compact JSON, if that is known.
    """
    if not redactor.has_credentials:
        return value
    return await in_slices(_masked(value, redactor.credential_forms(), written))


def masked_arguments(value: Any, redactor: Redactor, key: str = "") -> Any:
    """Return arguments for the audit log or a person: without known secrets and without values named as credentials."""
    if is_object(value):
        members: JsonObject = {
            redactor(str(name)): masked_arguments(member, redactor, str(name)) for name, member in value.items()
        }
        return members
    if is_list(value):
        return [masked_arguments(one, redactor, key) for one in value]
    if value is None or isinstance(value, bool):
        return value
    if key and names_credential(key):
        return MASK
    return redactor(value) if isinstance(value, str) else value


async def shown_to_hosts(value: Any, redactor: Redactor) -> Any:
    """Return JSON of an upstream as hosts may see it: without credentials, and without what a person would not see."""
    return await masked_partial(await in_slices(visible_json_steps(value)), redactor)


def masked_at_once(value: Any, redactor: Redactor) -> Any:
    """Return a small value without credentials; the same object if it has none."""
    return at_once(_masked(value, redactor.credential_forms())) if redactor.has_credentials else value


def masked_later(value: Deferred, redactor: Redactor) -> Deferred:
    """Return a value that is read elsewhere, to be masked there."""
    if not redactor.has_credentials:
        return value
    return value.then(masked_in_steps, forms=[form.text for form in redactor.credential_forms() if form.is_unicode])


def masked_in_steps(value: Any, forms: list[str]) -> Generator[None, None, Any]:
    """Return a value without these forms of credentials, in steps."""
    return _masked(value, tuple(map(Form.of, forms)))


def _masked(value: Any, forms: tuple[Form, ...], written: bytes | None = None) -> Generator[None, None, Any]:
    """Return a value without these credentials, in steps. `written` is its compact form, if that is known."""
    if is_list(value) and any(isinstance(one, Binary | ContentBlocks) for one in value):
        masked = value
        for number, one in enumerate(value):
            inner = yield from _masked(one, forms)
            if inner is not one:
                masked = [*masked[:number], inner, *masked[number + 1 :]]
        return masked
    parts = [value.content, value.structured, value.meta] if isinstance(value, ContentBlocks) else value
    is_plain = isinstance(parts, str | Binary)
    data = parts.data if isinstance(parts, Binary) else _bytes(parts) if written is None else written
    present: list[str] = []
    size = _STEP_BYTES if data is None else len(data)
    searched = 0
    for form in forms:
        if data is None or (form.plain if is_plain else form.as_json) in data:
            present.append(form.text)
        searched += size + 1
        if searched > _STEP_BYTES:
            searched = 0
            yield
    return _replaced(value, present) if present else value


def _surely_has_none(data: bytes, forms: tuple[Form, ...]) -> bool:
    """Return whether short JSON has none of these credentials: in one step, as most results have none. Else False."""
    return len(data) * len(forms) <= _AT_ONCE and not [1 for form in forms if form.as_json in data]


def _replaced(value: Any, forms: list[str]) -> Any:
    def mask(text: str) -> str:
        for form in forms:
            text = text.replace(form, MASK)
        return text

    if isinstance(value, Binary):
        data = value.data
        for form in forms:
            data = data.replace(form.encode("utf-8", "surrogatepass"), MASK.encode())
        return replace(value, data=data)
    if isinstance(value, ContentBlocks):
        return _masked_blocks(value, mask)
    return _walked(value, mask)


def _bytes(value: Any) -> bytes | None:
    """Return a value as bytes to search; None if it cannot be written as JSON."""
    try:
        return value.encode() if isinstance(value, str) else orjson.dumps(value, option=_OPTIONS)
    except (TypeError, ValueError):  # a lone surrogate, an object of an extension
        return None


def _masked_blocks(value: ContentBlocks, mask: _Mask) -> ContentBlocks:
    content = [_walked(block, mask, _ENCODED) for block in value.content]
    return replace(value, content=content, structured=_walked(value.structured, mask), meta=_walked(value.meta, mask))


def _walked(value: Any, mask: _Mask, encoded: frozenset[str] = frozenset(), key: Any = None) -> Any:
    """Return JSON with each text masked. `encoded` are members in Base64, which has no place for the mask itself."""
    if isinstance(value, str):
        masked = mask(value)
        return _ENCODED_MASK if masked != value and key in encoded else masked
    if is_object(value):
        members: JsonObject = {
            mask(name) if isinstance(name, str) else name: _walked(member, mask, encoded, name)
            for name, member in cast("dict[Any, Any]", value).items()  # of a program, keys may be other than text
        }
        return members
    return [_walked(one, mask, encoded) for one in value] if is_list(value) else value
