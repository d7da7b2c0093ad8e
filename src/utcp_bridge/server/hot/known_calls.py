"""Bodies of `tools/call` that differ from an earlier one in their id and their arguments alone.

A client writes the rest of a call of one tool in the same way each time: its own data in `_meta` are most of the body.
So the bytes around the two places are kept, and a later body with the same bytes is read by parsing its arguments. This
takes two thirds of the instructions of parsing and examining the whole.

It is the same as to read the whole: both places are known to hold a value of JSON, as a parse with other values in
them has shown, and each place has one whole value again. So the bytes around them mean what they meant.
"""

from __future__ import annotations

import json
import re
import secrets
from typing import Final

from pydantic_core import from_json

from utcp_bridge.model import JsonObject
from utcp_bridge.server.hot.requests import HotRequest
from utcp_bridge.server.wire.protocol import RequestId

__all__ = ["KnownCalls"]

_MAX_KNOWN: Final = 8
_MAX_BYTES: Final = 2_048
"""Of what is around the two places."""
_MAX_MISSES: Final = 64
"""Bodies in a row without a known form after which none is looked for: each has something else that varies."""
_MAX_DEPTH: Final = 100
"""Brackets of arguments. The parser counts their depth from the beginning of the body, and allows twice as many."""
_MAX_DIGITS: Final = 15
_ZERO: Final = ord("0")
_NUMBER: Final = re.compile(rb"[1-9][0-9]{0,14}|0")
_NAME: Final = re.compile(rb"[0-9A-Za-z_.:-]{1,128}")
_ID_PLACES: Final = re.compile(rb'"id"\s*:\s*(' + _NUMBER.pattern + rb'|"' + _NAME.pattern + rb'")(?=[\s,}])')
_ARGUMENTS_PLACES: Final = re.compile(r'"arguments"\s*:\s*(?=\{)')
_OTHER: Final = secrets.token_hex(16)
"""A text that is in no body, to find out what is in a place."""
_decode: Final = json.JSONDecoder().raw_decode
_blank: Final = object.__new__


class _Form:
    """The bytes around the two places of a body, and what they mean. `ids` is the length of the last id as JSON."""

    __slots__ = ("after", "arguments_first", "before", "between", "envelope", "ids", "meta", "params", "version")

    def __init__(self, parts: tuple[bytes, bytes, bytes], request: HotRequest, *, arguments_first: bool) -> None:
        self.before, self.between, self.after = parts
        self.arguments_first = arguments_first
        self.params: Final[JsonObject] = {**(request.params or {}), "arguments": None}
        self.meta, self.version, self.envelope = request.meta, request.version, request.envelope
        self.ids = 1


class KnownCalls:
    """The forms of the calls that came with one head."""

    __slots__ = ("_forms", "_last", "_misses")

    def __init__(self) -> None:
        self._forms: list[_Form] = []
        self._last: _Form | None = None
        """That of the last call, which the next one has as a rule."""
        self._misses = 0

    def read(self, data: bytes) -> HotRequest | None:
        """Return the call that a body of a known form is; None for any other body."""
        form = self._last
        if form is None or not (data.startswith(form.before) and data.endswith(form.after)):
            form = self._found(data)
        if form is None or (places := _split(form, data)) is None:
            return None
        arguments, ident = places[0], _id_of(places[1])
        is_long = len(arguments) > _MAX_DEPTH
        if ident is None or (is_long and arguments.count(b"{") + arguments.count(b"[") > _MAX_DEPTH):
            return None
        try:
            value = from_json(arguments, cache_strings="keys")
        except ValueError:
            return None
        if value.__class__ is not dict:
            return None
        self._misses = 0
        request = _blank(HotRequest)  # as in `hot_request`
        request.ident, request.method = ident, "tools/call"
        request.params = {**form.params, "arguments": value}
        request.meta, request.version, request.envelope = form.meta, form.version, form.envelope
        request.token = request.caller = None
        return request

    def _found(self, data: bytes) -> _Form | None:
        """Return another form that a body may have."""
        if not self._forms:
            return None
        for form in self._forms:
            if data.startswith(form.before) and data.endswith(form.after) and form.between in data:
                self._last = form
                return form
        self._misses += 1
        if self._misses >= _MAX_MISSES:
            self._forms.clear()
            self._last = None
        return None

    def learn(self, data: bytes, request: HotRequest) -> None:
        """Keep the form of a call that was read as a whole, and whose client is known.

        It is by the session of the handshake era, or by the envelope (`HotRequest.envelope`).
        """
        if len(self._forms) >= _MAX_KNOWN or self._misses >= _MAX_MISSES or request.token is not None:
            return
        form = _form_of(data, request)
        if form is not None:
            self._forms.append(form)
            self._last = form


def _split(form: _Form, data: bytes) -> tuple[bytes, bytes] | None:
    """Return the texts of the arguments and of the id in a body that begins and ends like a form."""
    between, start = form.between, len(form.before)
    size, end = len(between), len(data) - len(form.after)
    if form.arguments_first:
        at = end - form.ids - size  # most ids are as long as the last one: to look for the place takes much longer
        if not data.startswith(between, at):
            at = data.rfind(between, start, end)  # the last one: arguments may contain it, while an id does not
            form.ids = end - at - size
        return (data[start:at], data[at + size : end]) if at >= start else None
    at = data.find(between, start, end)
    return (data[at + size : end], data[start:at]) if at >= start else None


def _id_of(text: bytes) -> RequestId | None:
    """Return the id that a text of JSON is; None if it is another value, or not certainly an id."""
    if text[:1] == b'"':
        name = text[1:-1]
        # names of letters and digits are the usual ones, and are known without the expression
        return name.decode() if text[-1:] == b'"' and (name.isalnum() or _NAME.fullmatch(name)) else None
    is_usual = text.isdigit() and text[0] != _ZERO and len(text) <= _MAX_DIGITS  # as `_NUMBER`, in less time
    return int(text) if is_usual or text == b"0" else None


def _form_of(data: bytes, request: HotRequest) -> _Form | None:
    """Return the form of a call; None if its places are not found, or are not what they look like."""
    params = request.params or {}
    if not isinstance(params.get("arguments"), dict) or (request.version is None) is not (request.envelope is None):
        return None
    arguments = _arguments_of(data)
    if arguments is None or len(data) - (arguments[1] - arguments[0]) > _MAX_BYTES:
        return None
    expected = {
        "jsonrpc": "2.0",
        "id": _OTHER,
        "method": request.method,
        "params": {**params, "arguments": {_OTHER: 0}},
    }
    for found in _ID_PLACES.finditer(data):
        ident = found.span(1)
        (start, stop), (begin, end) = sorted((arguments, ident))
        if begin < stop:
            continue  # it is in the arguments
        before, between, after = data[:start], data[stop:begin], data[end:]
        arguments_first = start == arguments[0]
        others = (b'{"%b":0}' % _OTHER.encode(), b'"%b"' % _OTHER.encode())
        first, second = others if arguments_first else reversed(others)
        try:
            is_form = from_json(before + first + between + second + after) == expected
        except ValueError:
            continue
        if is_form:
            return _Form((before, between, after), request, arguments_first=arguments_first)
    return None


def _arguments_of(data: bytes) -> tuple[int, int] | None:
    """Return where the arguments of a call seem to be; None if they are not found, or the body has other characters."""
    if not data.isascii():  # its characters would have other places than its bytes
        return None
    text = data.decode()
    found = _ARGUMENTS_PLACES.search(text)
    if found is None:
        return None
    try:
        _, end = _decode(text, found.end())
    except (ValueError, RecursionError):
        return None
    return found.end(), end
