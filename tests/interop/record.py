"""Writes docs/interop.md: which programs, in which versions, were shown to do what."""

from __future__ import annotations

import datetime as dt
import platform
import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.interop.hosting import HostKind
from tests.interop.software import Software
from tests.interop.storehouse import Storehouse

_HEAD = """\
# Interoperability

<!-- Written by `scripts/interop --record`; run it again rather than editing. -->

The transports are tested against programs that others wrote, and the server against hosts that others wrote. Each is a
real process on loopback.

`scripts/interop` installs all of them below `.tools` (unpacked Debian packages, Python and npm environments of their
own) and runs every line below. `scripts/interop --light` belongs to every change: programs from Debian, most of those
from PyPI, and the hosts that install quickly. `scripts/interop --newest` takes the newest versions of the hosts.

Last run: {date}, {system}, Python {python}: {passed} passed, {failed} failed, {skipped} skipped in {seconds:.0f} s
(programs installed beforehand).
"""
_SUITES = """
## conformance

The suites of the protocol's makers, without a list of expected failures. Scenarios that do not count for a revision run
too; the last column names those that are not passed.

| What is tested | Suite | Passed | Not counted |
| --- | --- | --- | --- |
"""
_HOSTS = """
## hosts

A manual of {tools} tools is listed and called by each host, over HTTP and stdio. An empty field means that the
client does not do that.

"""


@dataclass
class _Row:
    software: list[Software]
    outcomes: dict[str, str] = field(default_factory=dict)
    reason: str = ""

    def add(self, name: str, report: pytest.TestReport) -> None:
        if self.outcomes.get(name) != "failed":  # a test may fail while it ends
            self.outcomes[name] = report.outcome
        if report.outcome == "skipped":
            self.reason = _reason(report)


class Record:
    """A pytest plugin that keeps each test's outcome by what it needs."""

    def __init__(self, page: Path) -> None:
        self._page = page
        self._rows: dict[str, dict[tuple[str, ...], _Row]] = defaultdict(dict)
        self._hosts: dict[str, _Row] = {}
        """By the name of the host; outcomes by the column and the transport, with a blank between them."""
        self._columns: list[str] = []
        self._suites = _Row([])
        """Outcomes by the lines of their table, which tests of suites recorded as the property `suite`."""
        self._seconds = 0.0

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]):
        report = yield
        self._seconds += report.duration
        if report.when == "call" or report.outcome != "passed":
            software = [one for mark in item.iter_markers("needs") for one in mark.args]
            if line := dict(item.user_properties).get("suite"):
                self._suites.add(str(line), report)
            elif column := item.get_closest_marker("column"):
                self._add_host(item, column.args[0], software, report)
            else:
                kind = item.path.stem.removeprefix("test_")
                key = tuple(one.package for one in software)
                self._rows[kind].setdefault(key, _Row(software)).add(item.name, report)
        return report

    def _add_host(self, item: pytest.Item, column: str, software: list[Software], report: pytest.TestReport) -> None:
        kind: HostKind
        kind, transport = item.callspec.params["host"]  # type: ignore[attr-defined]
        if column not in self._columns:
            self._columns.append(column)
        self._hosts.setdefault(kind.name, _Row(software)).add(f"{column} {transport}", report)

    def pytest_sessionfinish(self) -> None:
        rows = [row for part in self._rows.values() for row in part.values()]
        outcomes = [one for row in (*rows, *self._hosts.values(), self._suites) for one in row.outcomes.values()]
        head = _HEAD.format(
            date=dt.datetime.now(dt.UTC).date(),
            system=platform.freedesktop_os_release().get("PRETTY_NAME", platform.system()),
            python=platform.python_version(),
            passed=outcomes.count("passed"),
            failed=outcomes.count("failed"),
            skipped=outcomes.count("skipped"),
            seconds=self._seconds,
        )
        parts = [head, *self._table_of_hosts(), *self._table_of_suites()]
        for kind in sorted(self._rows):
            parts.append(f"\n## {kind}\n\n| Program | Version | From | Shown |\n| --- | --- | --- | --- |\n")
            parts.extend(_line(row) for row in self._rows[kind].values())
        self._page.write_text("".join(parts), encoding="utf-8")

    def _table_of_suites(self) -> list[str]:
        lines = [f"{line}\n" for line in self._suites.outcomes]
        return [_SUITES, *lines] if lines else []

    def _table_of_hosts(self) -> list[str]:
        if not self._hosts:
            return []
        lines = [_HOSTS.format(tools=len(Storehouse().original))]
        lines.append(f"| Host | Version | From | {' | '.join(self._columns)} |\n")
        lines.append(f"| --- | --- | --- |{' --- |' * len(self._columns)}\n")
        for name, row in self._hosts.items():
            software = row.software[0]
            version = software.version if software.present else ""
            cells = [_cell(row, column) for column in self._columns]
            lines.append(f"| {name} | {software.title} {version} | {software.origin} | {' | '.join(cells)} |\n")
        reasons = {name: row.reason for name, row in self._hosts.items() if row.reason}
        lines += [f"\n{name} was skipped: {reason}\n" for name, reason in reasons.items()]
        return lines


def _cell(row: _Row, column: str) -> str:
    """Return what a host did in one column: `yes` where it held over each transport that was tried."""
    found = {key.removeprefix(f"{column} "): one for key, one in row.outcomes.items() if key.startswith(f"{column} ")}
    tried = {key.rpartition(" ")[2] for key in row.outcomes}
    words = []
    for outcome in dict.fromkeys(found.values()):
        transports = [transport for transport, one in found.items() if one == outcome]
        word = {"passed": "yes", "failed": "**no**", "skipped": "skipped"}[outcome]
        words.append(word if set(transports) == tried else f"{word} ({', '.join(transports)})")
    return ", ".join(words) or " "


def _line(row: _Row) -> str:
    names = ", ".join(one.package.split()[0] for one in row.software) or "in the tests' own environment"
    versions = ", ".join(one.version for one in row.software if one.present)
    origins = ", ".join(dict.fromkeys(one.origin for one in row.software)) or "PyPI"
    shown = "; ".join(_sentence(name, outcome) for name, outcome in row.outcomes.items())
    return f"| {names} | {versions} | {origins} | {shown} |\n"


def _sentence(name: str, outcome: str) -> str:
    name, _, parameters = name.removeprefix("test_").partition("[")
    text = name.replace("_", " ") + (f" ({parameters.removesuffix(']')})" if parameters else "")
    return text if outcome == "passed" else f"**{outcome}:** {text}"


def _reason(report: pytest.TestReport) -> str:
    """Return why a test was skipped: the first line, without addresses."""
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    first = reason.removeprefix("Skipped: ").partition("\n")[0]
    return re.sub(r"\S*https?://\S+", "…", first).replace("|", "/")
