"""Web pages where something else was expected: how to notice one, and the words that a person would read on it."""

from __future__ import annotations

import re
from collections import Counter
from typing import Final

__all__ = ["HTML_TYPES", "document_link", "is_web_page", "viewer_of", "words_of"]

HTML_TYPES: Final = frozenset({"text/html", "application/xhtml+xml"})
_TAG: Final = re.compile(rb"<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE)
_NAMED: Final = re.compile(r"</?([a-z][^\s/>]{0,40})", re.IGNORECASE)
_QUOTED: Final = re.compile(r"\"[^\"]*\"|'[^']*'")
_INSIDE: Final = re.compile(r"(?:[^>\"']|\"[^\"]*\"|'[^']*')*+>")
_HIDDEN: Final = re.compile(r"(?:^|[\s/])hidden(?:[\s=/]|$)", re.IGNORECASE)
_STYLE: Final = re.compile(r"\bstyle=(\"[^\"]*\"|'[^']*'|\S*)", re.IGNORECASE)
_LONG_NUMBER: Final = re.compile(r"&#[xX]?[0-9a-fA-F]{12,};?")
_RAW: Final = {name: re.compile(f"</{name}", re.IGNORECASE) for name in ("script", "style")}
_UNSEEN: Final = frozenset({"script", "style", "template", "noscript", "svg", "head", "iframe", "object", "select"})
_VOID: Final = frozenset({
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr",
})  # fmt: skip
_BLOCKS: Final = frozenset({
    "address", "article", "aside", "blockquote", "body", "br", "dd", "div", "dl", "dt", "footer", "form", "h1", "h2",
    "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "p", "pre", "section", "table", "td", "th",
    "title", "tr", "ul",
})  # fmt: skip
_MAX_PAGE: Final = 256 * 1024
"""Characters of a page that are read: what comes after them is not read."""
_MAX_MARKS: Final = 2_000
"""Tags, comments and lone `<` of a page that are read: each takes some microseconds, and none needs to hold words."""
_ENOUGH: Final = 8
"""Times the wanted length: the reading ends when it has that much text, of which blanks and entities take a part."""
_MAX_TAG: Final = 512
"""Characters of a tag in which quotes are looked at: a tag with a longer quoted text ends at its first `>`."""

_LINK: Final = re.compile(
    rb"""["']([A-Za-z0-9._~:/-]{0,180}(?:openapi|swagger|api-docs|utcp)[A-Za-z0-9._~/-]{0,40}(?:\.json|\.ya?ml|/json))["']"""
)
_VIEWERS: Final = {
    "Swagger UI": re.compile(rb"swagger-ui|SwaggerUIBundle", re.IGNORECASE),
    "Redoc": re.compile(rb"<redoc\b|\bRedoc\.init", re.IGNORECASE),
    "Scalar": re.compile(rb"@scalar/|api-reference|createApiReference", re.IGNORECASE),
    "RapiDoc": re.compile(rb"<rapi-doc\b", re.IGNORECASE),
    "Stoplight Elements": re.compile(rb"<elements-api\b", re.IGNORECASE),
    "GraphiQL": re.compile(rb"\bgraphiql\b", re.IGNORECASE),
}
"""The names of programs that show an API description as a page, and their signs."""
_VIEWED: Final = re.compile(
    rb"""(?:\b(?:spec-?url|data-url|api-?description-?url)\s{0,9}=\s{0,9}|\bRedoc\.init\(\s{0,99}|"""
    rb"""\b(?:spec)?url["']?\s{0,9}:\s{0,9})["']([A-Za-z0-9._~:/-]{1,220})["'?]""",
    re.IGNORECASE,
)
"""The address that such a page gives to its program."""


def document_link(page: bytes) -> str | None:
    """Return the address of the API description or manual that a page shows or links to, as it is written there."""
    head = page[:_MAX_PAGE]
    found = (_VIEWED.search(head) if viewer_of(head) not in {None, "GraphiQL"} else None) or _LINK.search(head)
    return found[1].decode("ascii") if found else None


def viewer_of(page: bytes) -> str | None:
    """Return the name of the program that shows an API description on a page, if it is a known one."""
    head = page[:_MAX_PAGE]
    return next((name for name, sign in _VIEWERS.items() if sign.search(head)), None)


def is_web_page(body: bytes) -> bool:
    """Return whether the first thing after comments is a tag of HTML. Takes one pass, whatever the comments are."""
    body = body[:_MAX_PAGE]
    start = 3 if body.startswith(b"\xef\xbb\xbf") else 0
    while True:
        while body[start : start + 1].isspace():
            start += 1
        if not body.startswith(b"<!--", start):
            return _TAG.match(body, start) is not None
        end = body.find(b"-->", start + 4)
        if end < 0:
            return False
        start = end + 3


def words_of(page: str, limit: int) -> str:
    """Return the title and the visible text of a page, at most `limit` characters; empty if it has no words.

    The page is read once from its beginning, until there is enough text, so a broken page takes no longer than another
    one.
    """
    reader = _Words(page[:_MAX_PAGE], _ENOUGH * limit)
    reader.read()
    lines = [line for part in _unescaped(reader.parts).split("\n") if (line := " ".join(part.split()))]
    title = " ".join(_unescaped(reader.title).split())
    if title and title not in lines[:1]:
        lines.insert(0, title)
    text = "\n".join(lines)
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


class _Words:
    """Gathers the title, and the text outside elements that a browser does not show."""

    def __init__(self, page: str, enough: int) -> None:
        self._left = enough
        self.title: list[str] = []
        self.parts: list[str] = []
        self._page = page
        self._unseen: list[str] = []
        self._unseen_counts: Counter[str] = Counter()
        self._in_title = False

    def read(self) -> None:
        """Read the page. What follows a comment or tag without an end is not shown."""
        place = marks = 0
        while 0 <= place < len(self._page) and self._left > 0 and marks < _MAX_MARKS:
            marks += 1
            start = self._page.find("<", place)
            if start < 0:
                self._text(self._page[place:])
                return
            self._text(self._page[place:start])
            place = self._mark(start)

    def _mark(self, start: int) -> int:
        """Read what a `<` begins, and return the place behind it; -1 if it does not end."""
        page = self._page
        if page.startswith("<!--", start):
            return _behind(page.find("-->", start + 2), 3)
        named = _NAMED.match(page, start)
        if named is None:
            if page[start + 1 : start + 2] in {"!", "?", "/"}:
                return _behind(page.find(">", start), 1)
            self._text("<")
            return start + 1
        inside = _INSIDE.match(page, named.end(), named.end() + _MAX_TAG)
        end = inside.end() if inside else _behind(page.find(">", named.end()), 1)
        if end < 0:
            return -1
        tag = named[1].lower()
        if page.startswith("</", start):
            self._end(tag)
        else:
            self._start(tag, page[named.end() : end - 1][:_MAX_TAG])
            if tag in _RAW:
                raw_end = _RAW[tag].search(page, end)
                return raw_end.start() if raw_end else -1
        return end

    def _start(self, tag: str, attributes: str) -> None:
        if tag == "title":
            self._in_title = True
        elif tag == "body":
            self._unseen.clear()  # a head that is not closed ends here
            self._unseen_counts.clear()
        elif tag not in _VOID and (tag in _UNSEEN or _is_hidden(attributes)):
            self._unseen.append(tag)
            self._unseen_counts[tag] += 1
        if tag in _BLOCKS:
            self.parts.append("\n")

    def _end(self, tag: str) -> None:
        if tag == "title":
            self._in_title = False
        while self._unseen_counts[tag]:
            closed = self._unseen.pop()
            self._unseen_counts[closed] -= 1
            if closed == tag:
                break
        if tag in _BLOCKS:
            self.parts.append("\n")

    def _text(self, text: str) -> None:
        if not self._in_title and self._unseen:
            return
        blanks = len(text) - len(text.lstrip())
        shown = text[: blanks + self._left]
        self._left -= len(shown.strip())
        (self.title if self._in_title else self.parts).append(shown)


def _unescaped(parts: list[str]) -> str:
    from html import unescape

    return unescape(_LONG_NUMBER.sub("\ufffd", "".join(parts)))


def _behind(place: int, length: int) -> int:
    return place if place < 0 else place + length


def _is_hidden(attributes: str) -> bool:
    style = _STYLE.search(attributes)
    if style is not None and "display:none" in style[1].replace(" ", "").lower():
        return True
    return _HIDDEN.search(_QUOTED.sub('""', attributes)) is not None
