"""`utcp-bridge validate` and `conformance`: test documents, and clients, against what UTCP says."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from utcp_bridge.cli import exits
from utcp_bridge.cli.opening import run_async
from utcp_bridge.cli.options import Options, config_options, debug_option
from utcp_bridge.cli.output import complain, heading, note, print_json, print_line, print_table
from utcp_bridge.cli.program import Session

if TYPE_CHECKING:
    from utcp_bridge.conformance.running import Implementation, Outcome
    from utcp_bridge.conformance.vectors import Topic
    from utcp_bridge.validate import Finding, Report

__all__ = ["conformance", "validate"]


@click.command(
    epilog="""\b
Examples:
  utcp-bridge validate utcp-manual.json
  utcp-bridge validate providers.json openapi.yaml --strict
  utcp-bridge convert openapi.json | utcp-bridge validate - --json
\b
Exit codes:
  0   every document is valid
  1   a document has an error (with --strict, or a warning)
  2   a file cannot be read
"""
)
@config_options()
@click.option("--name", help="The manual's name, which is the prefix of its variables.  [default: the file's name]")
@click.option("--strict", is_flag=True, help="Treat warnings as errors.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
@debug_option
@click.pass_obj
def validate(session: Session, /, options: Options, name: str | None, strict: bool, as_json: bool) -> int:
    """Test each CONFIG by itself, without the network.

    CONFIG is a file or a URL: a manual, a configuration, a list of providers, an OpenAPI description or a call
    template; - is stdin. Every tool is tested by itself: its template, its schemas, its variables. The report gives
    the line and the JSON pointer of each fault, and the exact key of each variable to set. `utcp-bridge check` loads
    the manuals as well.
    """
    session.as_json = as_json
    reports = run_async(_validate, options.found(), name)
    valid = all(report.as_json(strict=strict)["valid"] for report in reports)
    if as_json:
        print_json({"valid": valid, "manuals": [report.as_json(strict=strict) for report in reports]})
    else:
        for report in reports:
            _print(report, strict=strict)
    return exits.OK if valid else exits.FAULTS


async def _validate(files: tuple[str, ...], name: str | None) -> list[Report]:
    from utcp_bridge.validate import check_place

    environ = dict(os.environ)  # noqa: TID251 - says which variables are set already
    return [await check_place(file, name=name, read_stdin=sys.stdin.buffer.read, environ=environ) for file in files]


def _print(report: Report, *, strict: bool) -> None:
    verdict = "valid" if report.as_json(strict=strict)["valid"] else "not valid"
    print_line(f"{heading(report.place)}: {verdict} ({', '.join(_facts(report))})")
    for finding in [*report.errors, *report.warnings]:
        print_line(
            f"  {finding.severity}: {_where(finding)}{finding.what}{f' {finding.remedy}' if finding.remedy else ''}"
        )
    for key, needed in report.variables.items():
        state = "set" if key in report.found else "to set"
        shown = ", ".join(needed[:3]) + (f" and {len(needed) - 3} more" if len(needed) > 3 else "")
        print_line(f"  {state}: {key} (for {shown})")


def _facts(report: Report) -> list[str]:
    facts = [report.dialect] if report.dialect and report.dialect != report.shape else []
    facts.append(report.shape)
    if report.entries:
        facts.append(f"{report.entries} {'entry' if report.entries == 1 else 'entries'}")
    if report.tools:
        facts.append(f"{report.tools} {'tool' if report.tools == 1 else 'tools'}")
    for number, kind in ((len(report.errors), "error"), (len(report.warnings), "warning")):
        if number:
            facts.append(f"{number} {kind if number == 1 else f'{kind}s'}")
    return facts


def _where(finding: Finding) -> str:
    parts = [
        f"line {finding.line}" if finding.line else "",
        finding.pointer,
        f"({finding.tool})" if finding.tool else "",
    ]
    text = " ".join(part for part in parts if part)
    return f"{text}: " if text else ""


# --- conformance ---------------------------------------------------------------------------------


@click.command(
    epilog="""\b
Examples:
  utcp-bridge conformance utcp-bridge                    this library against every vector
  utcp-bridge conformance python-utcp --program venv/bin/python
  utcp-bridge conformance --only 'http/*' --json results.json node my_adapter.mjs
  utcp-bridge conformance --list --only 'auth/*'
\b
Exit codes:
  0   every vector passes, or its difference is declared
  1   a vector differs
  2   the target is not known, or its reply to hello cannot be used
  5   the adapter does not start
"""
)
@click.argument("target", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--only",
    metavar="PATTERN",
    multiple=True,
    help="Only vectors whose id matches, such as 'http/*@v1'; may be given several times.",
)
@click.option("--program", help="The Python or Node of the environment that has the implementation.")
@click.option("--seconds", type=click.FloatRange(min=0.1), default=20.0, show_default=True, help="Limit of one vector.")
@click.option("--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="Write the results to this file.")
@click.option("--list", "lists", is_flag=True, help="List the vectors instead of running them.")
@debug_option
def conformance(
    target: tuple[str, ...], only: tuple[str, ...], program: str | None, seconds: float, file: Path | None, lists: bool
) -> int:
    """Test a UTCP client against the vectors of the conformance kit.

    TARGET is utcp-bridge, python-utcp, python-utcp-0 or utcp-sdk, or the command line of an adapter; write two dashes
    before it if it has options. Each vector loads one manual from a server on 127.0.0.1 that records what arrives, and
    calls one tool. The matrix has a row for each topic, and each difference is shown with what was expected and what
    arrived. `utcp-bridge help conformance` describes vectors and adapters.
    """
    from utcp_bridge.conformance.vectors import chosen_topics

    found = chosen_topics(only)
    if lists:
        print_table(("VECTOR", "ABOUT"), [(one.id, one.title) for topic in found for one in topic.vectors])
        return exits.OK
    if not target:
        raise click.UsageError("Missing TARGET. Name an implementation, or give the command of an adapter.")
    implementation, outcomes = run_async(_conformance, target, found, program, seconds)
    return _report_conformance(implementation, outcomes, file)


async def _conformance(
    target: tuple[str, ...], found: list[Topic], program: str | None, seconds: float
) -> tuple[Implementation, list[Outcome]]:
    from utcp_bridge.conformance.adapters import command_of
    from utcp_bridge.conformance.running import run

    environment = dict(os.environ)  # noqa: TID251 - the adapter's environment
    return await run(command_of(target, program), found, environment=environment, seconds=seconds)


def _report_conformance(implementation: Implementation, outcomes: list[Outcome], file: Path | None) -> int:
    from utcp_bridge.conformance.running import HEADER, as_json, is_conforming, matrix

    for one in outcomes:
        if one.verdict in {"differs", "diverges"}:
            state = "differs" if one.verdict == "differs" else "differs, as declared"
            print_line(f"{heading(one.vector.id)}: {state}. {one.vector.title}")
            for line in one.differences:
                print_line(f"  {line}")
    print_line(f"{implementation.name} {implementation.version}")
    print_table(HEADER, matrix(outcomes))
    if file is not None:
        file.write_text(json.dumps(as_json(implementation, outcomes), indent=1) + "\n", encoding="utf-8")
        note(f"Wrote {file}.")
    if is_conforming(outcomes):
        return exits.OK
    complain("A vector differs, and the difference is not declared.")
    return exits.FAULTS
