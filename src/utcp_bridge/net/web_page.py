"""Web pages where something else was expected: how to notice one, and the words that a person would read on it."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Final

__all__ = ["HTML_TYPES", "is_web_page", "words_of"]

HTML_TYPES: Final = frozenset({"text/html", "application/xhtml+xml"})
_TAG: Final = re.compile(rb"<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE)
_UNSEEN: Final = frozenset({"script", "style", "template", "noscript", "svg", "head", "iframe", "object", "select"})
_VOID: Final = frozenset({
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr",
})  # fmt: skip
_BLOCKS: Final = frozenset({
    "address", "article", "aside", "blockquote", "body", "br", "dd", "div", "dl", "dt", "footer", "form", "h1", "h2",
    "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "p", "pre", "section", "table", "td", "th",
    "title", "tr", "ul",
})  # fmt: skip
_MAX_PAGE: Final = 512 * 1024
"""Characters of a page that are read: what comes after them is not read."""


def is_web_page(body: bytes) -> bool:
    """Return whether the first thing after comments is a tag of HTML. Takes one pass, whatever the comments are."""
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
    """Return the title and the visible text of a page, at most `limit` characters; empty if it has no words."""
    reader = _Words()
    try:
        reader.feed(page[:_MAX_PAGE])
        reader.close()
    except (AssertionError, ValueError, RecursionError):  # the parser raises these for some broken declarations
        pass
    lines = [line for part in "".join(reader.parts).split("\n") if (line := " ".join(part.split()))]
    title = " ".join("".join(reader.title).split())
    if title and title not in lines[:1]:
        lines.insert(0, title)
    text = "\n".join(lines)
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


class _Words(HTMLParser):
    """Gathers the title, and the text outside elements that a browser does not show."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.title: list[str] = []
        self.parts: list[str] = []
        self._unseen: list[str] = []
        self._in_title = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "title":
            self._in_title = True
        elif tag == "body":
            self._unseen.clear()  # a head that is not closed ends here
        elif tag not in _VOID and (tag in _UNSEEN or _is_hidden(attrs)):
            self._unseen.append(tag)
        if tag in _BLOCKS:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag == "title":
            self._in_title = False
        if tag in self._unseen:
            while self._unseen.pop() != tag:
                pass
        if tag in _BLOCKS:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title.append(data)
        elif not self._unseen:
            self.parts.append(data)


def _is_hidden(attributes: list[tuple[str, str | None]]) -> bool:
    return any(
        name == "hidden" or (name == "style" and "display:none" in (value or "").replace(" ", "").lower())
        for name, value in attributes
    )
