"""`utcp-bridge validate`: test documents without the network; report each fault with its place."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from utcp_bridge.cli import exits
from utcp_bridge.cli.opening import run_async
from utcp_bridge.cli.options import Options, Session, config_options, debug_option
from utcp_bridge.cli.output import heading, print_json, print_line

if TYPE_CHECKING:
    from utcp_bridge.validate import Finding, Report

__all__ = ["validate"]


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
