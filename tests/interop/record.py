"""Writes docs/interop.md: which programs, in which versions, were shown to do what."""

from __future__ import annotations

import datetime as dt
import platform
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.interop.software import Software

_HEAD = """\
# Interoperability

<!-- Written by `scripts/interop --record`; run it again rather than editing. -->

The transports are tested against programs that others wrote, each a real process on loopback.

`scripts/interop` installs all of them below `.tools` (unpacked Debian packages, Python and npm environments of their
own) and runs every line below. `scripts/interop --light`, the Debian and Python part, belongs to every change.

Last run: {date}, {system}, Python {python}: {passed} passed, {failed} failed, {skipped} skipped in {seconds:.0f} s
(programs installed beforehand).
"""


@dataclass
class _Row:
    software: list[Software]
    outcomes: dict[str, str] = field(default_factory=dict)


class Record:
    """A pytest plugin that keeps each test's outcome by what it needs."""

    def __init__(self, page: Path) -> None:
        self._page = page
        self._rows: dict[str, dict[tuple[str, ...], _Row]] = defaultdict(dict)
        self._seconds = 0.0

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]):
        report = yield
        self._seconds += report.duration
        if report.when == "call" or report.outcome != "passed":
            software = [one for mark in item.iter_markers("needs") for one in mark.args]
            kind = item.path.stem.removeprefix("test_")
            key = tuple(one.package for one in software)
            row = self._rows[kind].setdefault(key, _Row(software))
            row.outcomes[item.name] = report.outcome
        return report

    def pytest_sessionfinish(self) -> None:
        outcomes = [one for rows in self._rows.values() for row in rows.values() for one in row.outcomes.values()]
        head = _HEAD.format(
            date=dt.datetime.now(dt.UTC).date(),
            system=platform.freedesktop_os_release().get("PRETTY_NAME", platform.system()),
            python=platform.python_version(),
            passed=outcomes.count("passed"),
            failed=outcomes.count("failed"),
            skipped=outcomes.count("skipped"),
            seconds=self._seconds,
        )
        parts = [head]
        for kind in sorted(self._rows):
            parts.append(f"\n## {kind}\n\n| Program | Version | From | Shown |\n| --- | --- | --- | --- |\n")
            parts.extend(_line(row) for row in self._rows[kind].values())
        self._page.write_text("".join(parts), encoding="utf-8")


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
