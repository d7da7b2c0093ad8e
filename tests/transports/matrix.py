"""The table of docs/transports/index.md: kind by dialect, from the results of the shared suite."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "transports" / "index.md"
BEGIN, END = "<!-- table: begin -->\n", "<!-- table: end -->\n"
COLUMNS = {
    "discover": "test_a_manual_of_either_dialect_is_discovered",
    "call": "test_a_tool_of_either_dialect_is_called_through_the_client",
    "stream": "test_a_tool_of_either_dialect_streams_through_the_client",
    "auth": "test_a_tool_of_either_dialect_presents_its_credentials",
    "cancel": "test_a_call_of_either_dialect_is_cancelled_through_the_client",
    "limits": "test_a_reply_above_the_limit_is_refused_in_either_dialect",
}
_TEST = re.compile(r"test_(?P<kind>\w+)\.py::(?P<name>\w+)\[(?P<dialect>v[01])\]$")


class Matrix:
    """A pytest plugin. `--write-transport-table` writes the page. Otherwise a run of the whole suite checks it."""

    def __init__(self, config: pytest.Config) -> None:
        self._writes = config.getoption("--write-transport-table")
        self._cells: dict[str, dict[tuple[str, str], str]] = defaultdict(dict)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        found = _TEST.search(report.nodeid)
        if found is None or found["name"] not in COLUMNS.values():
            return
        cell = self._cells[found["kind"]]
        key = found["name"], found["dialect"]
        if report.outcome == "skipped" and isinstance(report.longrepr, tuple):
            cell[key] = report.longrepr[2].removeprefix("Skipped: ").split(": ", 1)[-1]
        elif report.when == "call" or report.outcome == "failed":
            cell[key] = "" if report.outcome == "passed" else "FAILED"

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        head, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        written, _, tail = rest.partition(END)
        if not self._is_complete(written):
            return
        table = self._table()
        if self._writes:
            PAGE.write_text(head + BEGIN + table + END + tail, encoding="utf-8")
        elif table != written:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
            reporter = session.config.pluginmanager.get_plugin("terminalreporter")
            if reporter is not None:
                remedy = "scripts/test tests/transports --write-transport-table"
                reporter.write_line(f"{PAGE.name}: the table differs from this run; `{remedy}` writes it.", red=True)

    def _is_complete(self, written: str) -> bool:
        kinds = set(re.findall(r"^\| `(\w+)`", written, re.MULTILINE))
        cells = [key for cell in self._cells.values() for key in cell]
        return bool(cells) and (self._writes or kinds <= self._cells.keys()) and len(cells) == self._expected()

    def _expected(self) -> int:
        return len(self._cells) * len(COLUMNS) * 2

    def _table(self) -> str:
        notes: dict[str, int] = {}
        lines = [f"| Type | Generation | {' | '.join(COLUMNS)} |\n", f"| --- | --- |{' --- |' * len(COLUMNS)}\n"]
        for kind, cell in sorted(self._cells.items()):
            for dialect in ("v0", "v1"):
                texts = (_cell(cell[name, dialect], notes) for name in COLUMNS.values())
                lines.append(f"| `{kind}` | {dialect} | {' | '.join(texts)} |\n")
        lines.append("\n" + "".join(f"{number}. {note}\n" for note, number in notes.items()))
        return "".join(lines)


def _cell(note: str, notes: dict[str, int]) -> str:
    if note in {"", "FAILED"}:
        return note or "yes"
    return f"- ({notes.setdefault(note, len(notes) + 1)})"
