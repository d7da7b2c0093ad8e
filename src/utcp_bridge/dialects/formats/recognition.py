"""The recognition of formats of others, by the members of a parsed document or by the beginning of a text (pure)."""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Final

from utcp_bridge.dialects.formats.table import FORMATS, GRAPHQL_ENTRY, ForeignFormat, Wanted
from utcp_bridge.model import JsonObject, is_list, is_object
from utcp_bridge.net.web_page import document_link, is_web_page, viewer_of

__all__ = ["format_of_document", "format_of_text", "said_of_format"]

_MAX_HEAD: Final = 256 * 1024
"""Characters at the beginning of a text that are looked at."""
_MAX_ITEMS: Final = 20
"""Items of a list that are looked at."""
_MAX_START: Final = 512
"""Characters at the beginning of a binary file that are looked at."""
_COMMENTS: Final = (("#", "\n"), ("//", "\n"), ("/*", "*/"), ('"""', '"""'), ('"', '"'))
"""The comments of any of these languages, and the descriptions of GraphQL."""
_PROLOG: Final = (("<?", "?>"), ("<!--", "-->"), ("<!DOCTYPE", ">"), ("<!doctype", ">"))
_SPACE: Final = re.compile(r"\s*")
_ROOT: Final = re.compile(r"<(?:[\w.-]+:)?([A-Za-z_][\w.-]*)[\s/>]")
_ROOTS: Final = tuple(row for row in FORMATS if row.root[0])
_MEMBERS: Final = tuple(row for row in FORMATS if row.members)


def said_of_format(found: ForeignFormat) -> str:
    """Return what a message says of a document of this format, behind its place and `is`."""
    return f"{found.name}, not a UTCP manual, a configuration or an OpenAPI description"


def format_of_document(document: Any) -> ForeignFormat | None:
    """Return the foreign format of a parsed document that `detect` does not know. Never raises."""
    if isinstance(document, str):
        return format_of_text(document)
    return next((row for row in _MEMBERS if all(_has(document, *one) for one in row.members.items())), None)


def format_of_text(text: str) -> ForeignFormat | None:
    """Return the foreign format of a text that is neither JSON nor YAML of ours. Never raises."""
    head = text[:_MAX_HEAD].replace("\0", "").replace("\r\n", "\n").lstrip("\ufeff\xff\xfe")
    page = head.encode("utf-8", "replace")
    if is_web_page(page):
        return _page(page)
    root = _ROOT.match(head, _behind(head, _PROLOG))
    if root is not None:
        if root[1].lower() == "html":
            return _page(page)
        return next((row for row in _ROOTS if row.root[0] in {root[1], "*"} and row.root[1] in head), None)
    behind = _behind(head, _COMMENTS)
    return next((row for row, start in _starts() if start.match(head, behind) or start.match(text[:_MAX_START])), None)


def _behind(text: str, skipped: tuple[tuple[str, str], ...]) -> int:
    """Return the place behind blanks and what is skipped, each with its opening and closing mark."""
    place = 0
    while True:
        blank = _SPACE.match(text, place)
        place = blank.end() if blank else place
        pair = next((one for one in skipped if text.startswith(one[0], place)), None)
        if pair is None or text.startswith("#%RAML", place):
            return place
        start = place + len(pair[0])
        end = text.find(pair[1], start)
        if pair[1] == ">" and (inner := text.find("[", start, max(end, start))) >= 0:
            end = text.find(">", max(text.find("]", inner), inner))  # a DOCTYPE with its own declarations
        if end < 0:
            return len(text)
        place = end + len(pair[1])


@cache
def _starts() -> tuple[tuple[ForeignFormat, re.Pattern[str]], ...]:
    return tuple((row, re.compile(row.start)) for row in FORMATS if row.start)


def _page(page: bytes) -> ForeignFormat:
    viewer, link = viewer_of(page), document_link(page)
    name = f"a web page ({viewer or 'HTML'})"
    if link:
        return ForeignFormat(name, f"The page links to its document, {link}: save and name that document.")
    if viewer == "GraphiQL":
        return ForeignFormat(name, GRAPHQL_ENTRY)
    return ForeignFormat(name, "Save the JSON document itself, not the page.")


def _has(document: Any, path: str, wanted: Wanted) -> bool:
    """Return whether a document has a member at a path, and it is what is wanted. `NoneType` is a missing member."""
    value: Any = document
    for step in [path] if is_object(document) and path in document else path.split("."):
        value = _member(value, step)
    if isinstance(wanted, str):
        is_text = isinstance(value, str | int | float) and not isinstance(value, bool)
        return is_text and re.match(wanted, str(value)) is not None
    return value is not None if wanted is object else isinstance(value, wanted)


def _member(value: Any, step: str) -> Any:
    if is_list(value):
        return next((one for one in value[:_MAX_ITEMS] if is_object(one)), None) if step == "*" else None
    if not is_object(value):
        return None
    raw: JsonObject = value
    if step == "?":
        return next((one for one in raw.values() if is_object(one)), None)
    if step == "/":
        return next((one for key, one in raw.items() if key.startswith("/") and is_object(one)), None)
    return raw.get(step)
