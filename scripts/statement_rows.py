"""The statements of UTCP's documents, as rows: one file for each area, in the order of the page.

A row has an `id`, what is stated (`says`), where (`source`), for which generation, and the `test` that shows it: a
vector of the conformance kit (`http/path@v1`, or `http/path` for each generation of it) or a test
(`tests/test_urls.py::test_name[case]`, or without the case for all). A row that utcp-bridge deliberately does not
follow has `differs` (what happens instead, and why) and `page` (where that is documented). `each` writes several rows
at once: `<name>` is replaced by every value of that name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from utcp_bridge.conformance.vectors import Vector, topics

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "conformance" / "statements"
GENERATIONS: Final = {"v0": "0.x", "v1": "1.x", "both": "0.x, 1.x", "guide": "guide"}
_KEYS: Final = {"id", "says", "source", "generation", "test", "differs", "page"}
_REQUIRED: Final = _KEYS - {"differs", "page"}


class StatementError(Exception):
    """A row cannot be read: the message says which and why."""


@dataclass(frozen=True, slots=True)
class Row:
    """One statement."""

    id: str
    area: str
    says: str
    source: str
    generation: str
    tests: tuple[str, ...]
    differs: str = ""
    page: str = ""

    @property
    def vectors(self) -> tuple[str, ...]:
        """Those of its tests that are vectors of the kit."""
        return tuple(one for one in self.tests if "::" not in one)

    @property
    def nodes(self) -> tuple[str, ...]:
        """Those of its tests that pytest runs."""
        return tuple(one for one in self.tests if "::" in one)


class Area(NamedTuple):
    """The rows of one file. `least` is the number of statements that the documents were found to make."""

    name: str
    title: str
    least: int
    rows: tuple[Row, ...]


@cache
def areas() -> tuple[Area, ...]:
    """Return every area.

    :raises StatementError: a row lacks a member, has an unknown one, or has the id of another.
    """
    found = tuple(_area(path) for path in sorted(FOLDER.glob("*.yaml")))
    seen: set[str] = set()
    for row in (row for area in found for row in area.rows):
        if row.id in seen:
            raise StatementError(f"Two rows have the id {row.id}.")
        seen.add(row.id)
    return found


def rows() -> list[Row]:
    return [row for area in areas() for row in area.rows]


def _area(path: Path) -> Area:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    name = path.stem.partition("-")[2]
    made = tuple(_row(name, one) for given in content["rows"] for one in _each(given))
    return Area(name, content["title"], content["least"], made)


def _each(given: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    choices: Mapping[str, list[Any]] = given.get("each", {})
    plain = {key: value for key, value in given.items() if key != "each"}
    for values in product(*(_pairs(name, choices[name]) for name in choices)):
        words = {key: text for value in values for key, text in value.items()}
        yield {key: _filled(value, words) for key, value in plain.items()}


def _pairs(name: str, values: list[Any]) -> list[dict[str, str]]:
    """Return the replacements of each value: a value is a text, or an object with several words that go together."""
    return [value if isinstance(value, dict) else {name: str(value)} for value in values]


def _filled(value: Any, words: Mapping[str, str]) -> Any:
    if isinstance(value, list):
        return [_filled(item, words) for item in value]
    return re.sub(r"<(\w+)>", lambda match: words.get(match[1], match[0]), value)


def _row(area: str, given: Mapping[str, Any]) -> Row:
    where = f"{area}, {given.get('id', given)}"
    if missing := sorted(_REQUIRED - given.keys()):
        raise StatementError(f"{where}: {', '.join(missing)} is missing.")
    if unknown := sorted(given.keys() - _KEYS):
        raise StatementError(f"{where}: {', '.join(unknown)} is unknown.")
    tests = given["test"] if isinstance(given["test"], list) else [given["test"]]
    return Row(
        id=f"{area}/{given['id']}",
        area=area,
        says=given["says"],
        source=given["source"],
        generation=given["generation"],
        tests=tuple(tests),
        differs=given.get("differs", ""),
        page=given.get("page", ""),
    )


@cache
def vectors() -> Mapping[str, tuple[Vector, ...]]:
    """Return the vectors of the kit by each name that a row may give them: with its generation, and without."""
    found: dict[str, tuple[Vector, ...]] = {}
    for vector in (vector for topic in topics() for vector in topic.vectors):
        for name in (vector.id, vector.id.partition("@")[0]):
            found[name] = (*found.get(name, ()), vector)
    return found


# --- the page --------------------------------------------------------------------------------------

INTRO: Final = """# Statements

{notice}

This page lists what UTCP's documents state, one statement a row, with what utcp-bridge does and the test that shows it.

{counts}

- **works**: utcp-bridge does what the statement says.
- **deliberate difference**: utcp-bridge does something else on purpose. The row says what and why, and links to the
  page that documents it.

A test is a vector of the [conformance kit](conformance.md), such as `http/path@v1`, or a test of the project, such as
`tests/test_urls.py::test_name`. `scripts/statements` runs them all and prints a line for each row. A row without a
test, a test that does not exist, and a difference without a reason fail the build.

| Source | What it is |
| --- | --- |
| README 0.1, README 0.2 | the pages of the Python library of 0.x |
| guide | an article about UTCP 1.0.1, with forms that no released library has |
| encyclopedia | an article about UTCP |
| specification | the specification of 1.x, or of 0.1 |
| library, plugin tests | the Python library and its plugins |
| kit | a vector whose documents are silent, with the reason in the vector |
| fault | a fault that the first version had, by its number in the last table; its row keeps it mended |
"""


def page(notice: str) -> str:
    """Return docs/statements.md."""
    parts = [INTRO.format(notice=notice, counts=_counts())]
    for area in areas():
        lines = ["| Statement | Source | UTCP | Verdict | Test |", "| --- | --- | --- | --- | --- |"]
        lines += [_line(row) for row in area.rows]
        parts.append(f"## {area.title}\n\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)


def _counts() -> str:
    lines = ["| Area | Statements | Work | Deliberate differences |", "| --- | ---: | ---: | ---: |"]
    lines += [_count_line(f"[{area.title}](#{_anchor(area.title)})", area.rows) for area in areas()]
    return "\n".join([*lines, _count_line("**All**", rows())])


def _count_line(title: str, found: tuple[Row, ...] | list[Row]) -> str:
    differ = sum(bool(row.differs) for row in found)
    return f"| {title} | {len(found)} | {len(found) - differ} | {differ} |"


def _anchor(title: str) -> str:
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def _line(row: Row) -> str:
    verdict = "works"
    if row.differs:
        verdict = f"deliberate difference: {row.differs} [More]({row.page})"
    tests = "<br>".join(f"`{one}`" for one in row.tests)
    cells = (row.says, row.source, GENERATIONS[row.generation], verdict, tests)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
