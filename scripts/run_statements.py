"""Run the test of every statement and print a line for each. `scripts/statements [--failed] [AREA ...]` runs this."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from xml.etree import ElementTree as ET

import anyio
from statement_rows import ROOT, Row, areas, vectors

from utcp_bridge.conformance.adapters import command_of
from utcp_bridge.conformance.running import Implementation, Outcome, run
from utcp_bridge.conformance.vectors import chosen_topics

WORKS = {"passes", "passed"}
DIFFERS = WORKS | {"diverges"}


def of_vectors(rows: Iterable[Row]) -> dict[str, str]:
    """Run the vectors of the rows against this library and return the verdict of each."""
    names = sorted({vector.id for row in rows for name in row.vectors for vector in vectors()[name]})
    if not names:
        return {}
    _, outcomes = anyio.run(of_topics, names)
    return {one.vector.id: one.verdict for one in outcomes}


async def of_topics(names: list[str]) -> tuple[Implementation, list[Outcome]]:
    command = command_of(["utcp-bridge"])
    return await run(command, chosen_topics(names), environment=dict(os.environ))  # noqa: TID251 - a program


def of_nodes(rows: Iterable[Row], options: list[str]) -> dict[str, str]:
    """Run the tests of the rows in a process of their own and return the outcome of each, by its node id."""
    nodes = sorted({node for row in rows for node in row.nodes})
    if not nodes:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        words = ["-q", "--no-header", "-p", "no:cacheprovider", f"--junitxml={report}", *options, *nodes]
        subprocess.run([sys.executable, "-m", "pytest", *words], check=False)
        cases = ET.parse(report).iter("testcase") if report.is_file() else ()  # noqa: S314 - pytest wrote it
        return {node_of(case): outcome_of(case) for case in cases}


def node_of(case: ET.Element) -> str:
    return f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name', '')}"


def outcome_of(case: ET.Element) -> str:
    return next((child.tag for child in case if child.tag in {"failure", "error", "skipped"}), "passed")


def verdicts_of(row: Row, by_vector: Mapping[str, str], by_node: Mapping[str, str]) -> Counter[str]:
    """Return how many tests of a row ended in which way. A test that did not run counts as `missing`."""
    found: Counter[str] = Counter()
    for name in row.vectors:
        found.update(by_vector.get(vector.id, "missing") for vector in vectors()[name])
    for node in row.nodes:
        mine = [outcome for name, outcome in by_node.items() if name == node or name.startswith(f"{node}[")]
        found.update(mine or ["missing"])
    return found


def line_of(row: Row, found: Counter[str]) -> tuple[bool, str]:
    """Return whether a row is as the page says, and its line."""
    good = found.keys() <= (DIFFERS if row.differs else WORKS)
    word = ("differs" if row.differs else "works") if good else "FAILS"
    detail = "" if good else "  " + ", ".join(f"{number} {name}" for name, number in sorted(found.items()))
    return good, f"{word:8}{row.id}: {row.says}{detail}"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="scripts/statements", description=__doc__)
    parser.add_argument("area", nargs="*", help="areas, such as http; all of them by default")
    parser.add_argument("--failed", action="store_true", help="print only rows that fail, and the counts")
    parser.add_argument("--pytest", action="append", default=[], metavar="OPTION", help="an option for pytest")
    options = parser.parse_args(arguments)
    known = [area.name for area in areas()]
    if unknown := sorted(set(options.area) - set(known)):
        parser.error(f"{', '.join(unknown)} is not an area. Areas: {', '.join(known)}.")
    os.chdir(ROOT)
    chosen = [row for area in areas() if not options.area or area.name in options.area for row in area.rows]
    by_vector, by_node = of_vectors(chosen), of_nodes(chosen, options.pytest)
    counts: Counter[str] = Counter()
    for row in chosen:
        good, line = line_of(row, verdicts_of(row, by_vector, by_node))
        counts[("differs" if row.differs else "works") if good else "fails"] += 1
        if not good or not options.failed:
            print(line)
    print(
        f"{len(chosen)} rows: {counts['works']} work, {counts['differs']} differ deliberately, {counts['fails']} fail."
    )
    return bool(counts["fails"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
