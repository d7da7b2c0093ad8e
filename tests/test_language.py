"""Plain words: no message, docstring, comment, page or test name contains a phrase that docs/style.md bans."""

import ast
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest
from tests.support.source import (
    DOCS,
    SOURCE,
    TESTS,
    Passage,
    comments,
    functions,
    literals,
    pages,
    parsed,
    python_files,
)

STYLE = DOCS / "style.md"
ALLOWED_AFTER = r"(?!\s+longer\b|-)"
"""`is no longer` and `is no-op` are plain words."""

ALLOWED_BEFORE = re.compile(r"\bthere\s+$", re.IGNORECASE)
"""`there is no configuration` is plain too."""


@cache
def banned() -> dict[str, str]:
    """Return each banned phrase and what to write, from the table of the style page."""
    section = STYLE.read_text(encoding="utf-8").partition("## Banned phrases")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (?!Do not write|---)([^|]+) \| ([^|]+) \|$", section, re.MULTILINE)
    return {phrase.strip(): better for phrases, better in rows for phrase in phrases.split(",")}


@cache
def pattern() -> re.Pattern[str]:
    """Return one pattern for all phrases: whole words, any case, any white space between the words."""
    forms = (r"\s+".join(phrase.split()) for phrase in sorted(banned(), key=len, reverse=True))
    return re.compile(rf"(?<![\w-])(?:{'|'.join(forms)})(?!\w){ALLOWED_AFTER}", re.IGNORECASE)


def matches(text: str) -> Iterator[re.Match[str]]:
    return (match for match in pattern().finditer(text) if not ALLOWED_BEFORE.search(text[: match.start()]))


def found_in(passages: Iterable[Passage]) -> list[str]:
    """Return a line for each banned phrase: where, which, and what to write."""
    lines = []
    for passage in passages:
        plain = " ".join(passage.text.lower().split())
        if not any(phrase in plain for phrase in banned()):  # much faster than the pattern
            continue
        for match in matches(passage.text):
            phrase = " ".join(match[0].split()).lower()
            line = passage.line + passage.text.count("\n", 0, match.start())
            lines.append(f"{Passage(passage.path, line, '')}: {phrase!r}; write: {banned()[phrase]}")
    return lines


def by_room(lines: Iterable[str], folder: str) -> str:
    """Return the lines, and how many there are in each room."""
    lines = list(lines)
    rooms = Counter(line.removeprefix(f"{folder}/").partition("/")[0].partition(":")[0] for line in lines)
    counts = ", ".join(f"{room} {count}" for room, count in rooms.most_common())
    return f"{len(lines)} banned phrases ({counts})\n" + "\n".join(lines)


def may_contain(path: Path) -> bool:
    """Return whether a file of tests may contain a banned phrase: much faster than parsing it."""
    plain = re.sub(r"[\s_]+", " ", path.read_text(encoding="utf-8").lower())
    return any(phrase in plain for phrase in banned())


def test_names_and_docstrings(path: Path) -> Iterator[Passage]:
    module = parsed(path)
    if text := ast.get_docstring(module, clean=False):
        yield Passage(path, 1, text)
    for node in functions(path):
        if node.name.startswith("test_"):
            yield Passage(path, node.lineno, node.name.replace("_", " "))
        if text := ast.get_docstring(node, clean=False):
            yield Passage(path, node.body[0].lineno, text)


test_names_and_docstrings.__test__ = False  # type: ignore[attr-defined]


def test_the_source_contains_no_banned_phrase() -> None:
    lines = [line for path in python_files(SOURCE) for line in found_in((*literals(path), *comments(path)))]
    assert lines == [], by_room(lines, "src/utcp_bridge")


def test_the_pages_contain_no_banned_phrase() -> None:
    passages = (Passage(path, 1, path.read_text(encoding="utf-8")) for path in pages() if path != STYLE)
    lines = found_in(passages)
    assert lines == [], by_room(lines, "docs")


def test_the_names_of_tests_contain_no_banned_phrase() -> None:
    files = [path for path in python_files(TESTS) if not path.is_relative_to(TESTS / "data")]
    lines = [line for path in files if may_contain(path) for line in found_in(test_names_and_docstrings(path))]
    assert lines == [], by_room(lines, "tests")


def test_the_table_of_banned_phrases_is_read() -> None:
    assert {"is no", "are told", "thus", "as it were"} <= set(banned())
    assert len(banned()) > 40


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        ("This is no list.", ["is no"]),
        ("It is no longer there; it is no-op.", []),
        ("There is no file, and there\n  are no\n tools.", []),
        ("Where is no file?", ["is no"]),
        ("Thus it\n    is   told.", ["Thus", "is   told"]),
        ("enthusiasm, thusly", []),
        ("whoever Answered A page", ["whoever", "Answered A"]),
    ],
)
def test_phrases_are_whole_words_in_any_case(text: str, phrases: list[str]) -> None:
    assert [match[0] for match in matches(text)] == phrases


def test_strings_and_comments_of_a_file_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text('"""Docs\nhere."""\n# one\n# two\nx = f"a {1} is " "no b"  # three\n', encoding="utf-8")
    assert [one.text for one in literals(path)] == ["Docs\nhere.", "a {} is no b"]
    assert [(one.line, one.text) for one in comments(path)] == [(3, "one two"), (5, "three")]
