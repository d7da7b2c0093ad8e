"""One document of whatever shape: which checks it goes through, and where in its text the faults stand."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path as FilePath
from typing import Any, Final

import anyio.to_thread

from utcp_bridge.configuration.places import STDIN, is_url, read_place
from utcp_bridge.dialects import Shape, detect, read_manual
from utcp_bridge.dialects.positions import Path, lines_of
from utcp_bridge.dialects.shorthand import suggest_name
from utcp_bridge.errors import ConfigError, ManualError
from utcp_bridge.manuals.variables_needed import variables_of_tools
from utcp_bridge.model import JsonObject, Trust, is_list
from utcp_bridge.registry.listing import read_page
from utcp_bridge.validate.configs import check_config
from utcp_bridge.validate.findings import Finding, Findings, Report
from utcp_bridge.validate.manuals import check_manual
from utcp_bridge.validate.openapi import check_openapi
from utcp_bridge.variables import Variables

__all__ = ["check_document", "check_place"]

_MANUALS: Final = frozenset({Shape.MANUAL, Shape.TOOLS, Shape.MCP_TOOLS})
_CONFIGS: Final = frozenset({Shape.CONFIG, Shape.CONFIG_ENTRIES, Shape.TEMPLATE})


async def check_place(
    place: str, *, name: str | None = None, read_stdin: Callable[[], bytes] | None = None, environ: Mapping[str, str]
) -> Report:
    """Check the document at a path, or `-` for stdin; nothing is asked of the network.

    A text that is neither JSON nor YAML is a report with one error.

    :raises ConfigError: there is no such file, or it is a URL.
    """
    if is_url(place):
        raise ConfigError(
            f"{place} is on the network, which `validate` does not ask.", remedy="Save it to a file first."
        )
    name = name or (suggest_name({"file_path": place}, ()) if place != STDIN else "manual")
    try:
        placed = await read_place(place, read_stdin=read_stdin)
    except ManualError as error:
        return Report(place, name, findings=[Finding("error", (), error.message, error.remedy or "", line=error.line)])
    except ConfigError as error:
        raise ConfigError(f"{place}: {error.message}", remedy=error.remedy) from None
    report = await check_document(placed.document, place=place, name=name, url=placed.url, environ=environ)
    if report.findings:
        text = placed.data.decode("utf-8-sig", "replace")
        paths = [finding.path for finding in report.findings]
        lines = await anyio.to_thread.run_sync(lines_of, text, paths)
        for finding in report.findings:
            finding.line = lines[finding.path]
    return report


async def check_document(
    document: Any, *, place: str, name: str, url: str | None = None, environ: Mapping[str, str] | None = None
) -> Report:
    """Check a parsed document; its findings have no lines.

    `name` is the name it would be loaded under, `url` the absolute path where relative paths start; `environ` replaces
    the process environment, in which variables are looked up.
    """
    shape, findings = detect(document), Findings()
    report = Report(place, name, shape=shape.value)
    environ = os.environ if environ is None else environ  # noqa: TID251 - where variables may be set
    if shape in _CONFIGS:
        _check_config(document, FilePath(url).parent if url else None, report, findings, environ)
    elif shape is Shape.OPENAPI:
        tools = await check_openapi(document, url, findings)
        _note_tools(report, tools, environ)
        report.dialect = "openapi"
    elif shape is Shape.REGISTRY:
        _check_registry(document, report, findings)
    elif shape in _MANUALS or (is_list(document) and not document):
        _check_manual(document, report, findings, environ)
    else:
        _refuse(report, findings)
    report.findings = findings.faults
    return report


def _check_manual(document: Any, report: Report, findings: Findings, environ: Mapping[str, str]) -> None:
    _note_tools(report, check_manual(document, (), findings), environ)
    report.dialect = read_manual(document, default_template={}, where="").dialect


def _check_config(
    document: Any, folder: FilePath | None, report: Report, findings: Findings, environ: Mapping[str, str]
) -> None:
    def check_nested(content: Any, path: Path, name: str) -> None:
        if detect(content) in _MANUALS:
            tools = check_manual(content, path, findings)
            report.tools += len(tools)
            nested.extend((name, tool) for tool in tools)

    nested: list[tuple[str, JsonObject]] = []
    checked = check_config(document, folder, findings, check_nested=check_nested, environ=environ)
    report.dialect, report.entries = checked.dialect, len(checked.entries)
    report.variables, report.found = checked.variables, checked.found
    for name, tool in nested:
        for key, tools in variables_of_tools([tool], name).items():
            report.variables.setdefault(key, []).extend(f"{name}.{one}" for one in tools)


def _check_registry(document: Any, report: Report, findings: Findings) -> None:
    """Every listing by itself; names that clash show when they are read together."""
    for index, raw in enumerate(document["manuals"]):
        page = read_page({"manuals": [raw]}, base="https://registry.example.com/", where="")
        findings.take(("manuals", index), page.faults)
        report.entries += len(page.listings)
    if not findings.faults:
        page = read_page(document, base="https://registry.example.com/", where="")
        findings.take(("manuals",), page.faults)


def _note_tools(report: Report, tools: list[JsonObject], environ: Mapping[str, str]) -> None:
    report.tools = len(tools)
    report.variables = variables_of_tools(tools, report.name)
    sources = Variables(environ=environ)
    for key in report.variables:
        bare = key.removeprefix(f"{report.name.replace('_', '__')}_")
        if sources.lookup(report.name, bare, Trust.OPERATOR) is not None:
            report.found.add(key)


def _refuse(report: Report, findings: Findings) -> None:
    report.shape = Shape.UNKNOWN.value
    findings.error(
        (),
        "this is neither a manual, nor a configuration, nor an OpenAPI description.",
        'A manual has "tools", a configuration "manual_call_templates" or "providers", a description "openapi".',
    )
