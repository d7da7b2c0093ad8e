"""The table of statements is complete: each row has tests that exist, and a difference has a reason and a page."""

import re
import subprocess
import sys

from scripts.statement_rows import GENERATIONS, areas, page, rows, vectors
from tests.support.source import DOCS, ROOT
from tests.test_references import anchors

STATEMENTS = 301
"""What the documents were found to state, without WebRTC, commands and the faults that were found once."""


def test_each_area_has_at_least_the_statements_that_were_found() -> None:
    assert {area.name: len(area.rows) for area in areas() if len(area.rows) < area.least} == {}
    assert sum(area.least for area in areas() if area.name not in {"webrtc", "cli", "study"}) == STATEMENTS
    assert len(rows()) >= STATEMENTS


def test_each_row_is_a_sentence_with_a_source_and_a_test() -> None:
    assert [row.id for row in rows() if not row.says.endswith(".") or "<" in row.id] == []
    assert [row.id for row in rows() if not row.source or not row.tests or row.generation not in GENERATIONS] == []


def test_no_area_states_a_thing_twice() -> None:
    said = [(row.area, row.says) for row in rows()]
    assert sorted({one for one in said if said.count(one) > 1}) == []


def test_each_vector_exists() -> None:
    assert [(row.id, name) for row in rows() for name in row.vectors if name not in vectors()] == []


def test_a_row_works_only_if_no_vector_of_it_declares_a_difference_of_this_library() -> None:
    wrong = [
        (row.id, vector.id)
        for row in rows()
        if not row.differs
        for name in row.vectors
        for vector in vectors()[name]
        if any("utcp-bridge" in divergence.known for divergence in vector.divergences)
    ]
    assert wrong == []


def test_each_difference_has_a_reason_and_a_page_that_documents_it() -> None:
    differing = [row for row in rows() if row.differs or row.page]
    assert [row.id for row in differing if len(row.differs) < 40 or not row.differs.endswith(".")] == []
    missing = []
    for row in differing:
        name, _, anchor = row.page.partition("#")
        path = DOCS / name
        if not path.is_file() or (anchor and anchor not in anchors(path)):
            missing.append((row.id, row.page))
    assert missing == []
    assert len(differing) > 10, "the differences are found"


def test_each_test_is_collected() -> None:
    """A name without its case in brackets stands for all cases."""
    nodes = sorted({node for row in rows() for node in row.nodes})
    files = sorted({node.partition("::")[0] for node in nodes})
    assert [name for name in files if not (ROOT / name).is_file()] == []
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *files],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    collected = {line for line in done.stdout.splitlines() if "::" in line}
    found = collected | {line.partition("[")[0] for line in collected}
    assert [node for node in nodes if node not in found] == [], done.stdout[-2000:] + done.stderr[-2000:]


def test_the_page_has_a_line_for_each_row() -> None:
    lines = [line for line in page("").splitlines() if re.match(r"\| .* \| (works|deliberate difference)", line)]
    assert len(lines) == len(rows())
