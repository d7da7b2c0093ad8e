"""The conformance suites of the protocol's makers: what a revision requires, and what a run found.

A scenario is passed if the suite says so. No list of expected failures is given to it: each failure is one.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml
from tests.interop.software import Npm, Software

STABLE = Npm(
    "@modelcontextprotocol/conformance@0.1.16 node@22",
    "conformance",
    newest="@modelcontextprotocol/conformance@latest node@22",
)
ALPHA = Npm(
    "@modelcontextprotocol/conformance@0.2.0-alpha.12 node@22",
    "conformance",
    light=True,
    newest="@modelcontextprotocol/conformance@>=0.2.0-alpha node@22",
)
ACTIVE = "active"
"""The suite of the stable version, which knows no requirements of a revision."""
REVISIONS = ("2025-11-25", "2026-07-28")
SECONDS = 240
"""How long one run of a suite may take; each takes less than 20 s."""

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_VERDICT = re.compile(r"^([✓✗]) (\S+): (\d+) passed, (\d+) failed", re.MULTILINE)
_STAMP = re.compile(r"-\d{4}-\d\d-\d\dT[\d-]+Z$")


@dataclass(frozen=True)
class Verdict:
    """What the suite found in one scenario."""

    passed: bool
    checks: str
    """How many checks passed, of how many: `3/4`."""
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """The scenarios of one run by name: those that count for a revision, and those that are only reported."""

    scored: Mapping[str, Verdict]
    reported: Mapping[str, Verdict]

    @property
    def failures(self) -> dict[str, tuple[str, ...]]:
        return {name: verdict.reasons for name, verdict in self.scored.items() if not verdict.passed}

    @property
    def score(self) -> str:
        return f"{len(self.scored) - len(self.failures)} of {len(self.scored)}"

    @property
    def described(self) -> str:
        lines = [f"- {name}: {'; '.join(reasons)}" for name, reasons in self.failures.items()]
        return "\n".join([f"{self.score} scenarios passed. Not passed:", *lines])

    def line(self, tested: str, suite: str) -> str:
        """Return the line of the table in docs/interop.md."""
        missed = [f"{name} ({one.checks})" for name, one in self.reported.items() if not one.passed]
        passed = f"{len(self.reported) - len(missed)} of {len(self.reported)}" if self.reported else ""
        others = f"{passed}; not {', '.join(missed)}" if missed else passed
        return f"| {tested} | {suite} | {self.score} | {others} |"


def required(leg: str, revision: str) -> tuple[list[str], list[str]]:
    """Return the scenarios of a leg (`server`, `client`) that a revision requires, and those that are only reported."""
    path = ALPHA.folder / "node_modules" / ALPHA.title / "requirements" / f"{revision}.yaml"
    written = yaml.safe_load(path.read_text(encoding="utf-8"))
    return written[leg], [one["scenario"] for one in written["not_scored"] if one["leg"] == leg]


def judge_server(url: str, revision: str, folder: Path) -> Report:
    """Run a suite against an MCP server at `url`; `folder` receives what it writes."""
    if revision == ACTIVE:
        found = _run(STABLE, ["server", "--url", url, "--suite", ACTIVE], folder)
        return Report(found, {})
    found = _run(ALPHA, ["server", "--url", url, "--requirements", revision], folder)
    scored, reported = required("server", revision)
    return Report(_chosen(found, scored), _chosen(found, reported))


def judge_scenario(url: str, scenario: str, revision: str, folder: Path) -> Verdict:
    """Run one scenario against an MCP server at `url`, also one that does not count for the revision."""
    text = _output(
        ALPHA, ["server", "--url", url, "--scenario", scenario, "--spec-version", revision, "--force"], folder
    )
    counts = re.search(r"Passed: (\d+)/(\d+)", text)
    passed = counts is not None and counts[1] == counts[2]
    reasons = () if passed else (*_reasons(folder), *_tail(text))
    return Verdict(passed, f"{counts[1]}/{counts[2]}" if counts else "0/0", reasons)


def judge_client(command: str, scenario: str, revision: str, folder: Path, *, scored: bool = True) -> Verdict:
    """Run one scenario against a client: `command` is started by a shell with the suite's URL after it."""
    arguments = ["client", "--command", command, "--scenario", scenario, "--spec-version", revision]
    text = _output(ALPHA, [*arguments, *([] if scored else ["--force"]), "--timeout", "60000"], folder)
    counts = re.search(r"Passed: (\d+/\d+)", text)
    passed = "OVERALL: PASSED" in text
    reasons = () if passed else (*_reasons(folder), *_tail(text))
    return Verdict(passed, counts[1] if counts else "0/0", reasons)


def _run(software: Software, arguments: list[str], folder: Path) -> dict[str, Verdict]:
    text = _output(software, arguments, folder)
    summary = text.rpartition("=== SUMMARY ===")[2]
    found = {}
    for mark, name, good, bad in _VERDICT.findall(summary):
        passed = mark == "✓"
        reasons = () if passed else tuple(_reasons(folder, name))
        found[name] = Verdict(passed, f"{good}/{int(good) + int(bad)}", reasons)
    assert found, text[-3000:]
    return found


def _output(software: Software, arguments: list[str], folder: Path) -> str:
    command = [software.command, *arguments, "--output-dir", str(folder)]
    done = subprocess.run(
        command,
        env=software.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=SECONDS,
        check=False,
    )
    return _COLOURS.sub("", done.stdout + done.stderr)


def _reasons(folder: Path, scenario: str = "") -> Iterable[str]:
    """Yield why checks of a scenario failed, from what the suite wrote; without a name, those of every scenario."""
    for path in sorted(folder.glob("**/checks.json")):
        if scenario and _STAMP.sub("", path.parent.name).removeprefix("server-") != scenario:
            continue
        for check in json.loads(path.read_text(encoding="utf-8")):
            if check.get("status") == "FAILURE":
                words = str(check.get("errorMessage") or check.get("description"))
                yield f"{check['id']}: {' '.join(words.split())[:500]}"


def _tail(text: str) -> tuple[str, ...]:
    """Return the end of what a client printed."""
    return (" ".join(text.split())[-1500:],)


def _chosen(found: Mapping[str, Verdict], names: Iterable[str]) -> dict[str, Verdict]:
    return {name: found.get(name, Verdict(passed=False, checks="0/0", reasons=("it did not run",))) for name in names}
