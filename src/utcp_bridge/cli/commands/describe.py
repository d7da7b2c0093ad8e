"""`utcp-bridge describe`: one tool, its arguments, and how to call it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from utcp_bridge.cli.finding import find_tool, summary
from utcp_bridge.cli.opening import opened, report_failures, run_async, wait_for_manuals
from utcp_bridge.cli.options import Options, client_options, tool_names
from utcp_bridge.cli.output import heading, print_json, print_line, print_table
from utcp_bridge.cli.program import command_line
from utcp_bridge.processes.systems import join_command

if TYPE_CHECKING:
    from utcp_bridge.model import JsonObject, Tool

__all__ = ["describe"]


@click.command(
    epilog="""\b
Examples:
  utcp-bridge describe --quickstart desk.convert_units
  utcp-bridge describe utcp.yaml github.create_issue --json
"""
)
@client_options("TOOL", required=1, complete=tool_names)
def describe(options: Options, words: tuple[str, ...], as_json: bool) -> None:
    """Show a tool's description, its arguments, and an example of a call."""
    tool, *surplus = words
    if surplus:
        raise click.UsageError(f"`describe` shows one tool; {surplus[0]!r} is one argument too many.")
    run_async(_describe, options, tool, as_json)


async def _describe(options: Options, name: str, as_json: bool) -> None:
    from utcp_bridge.catalogue.catalogue import Catalogue

    async with opened(options.without_calls(), only=name) as client:
        await wait_for_manuals(client)
        report_failures(client)
        tool = find_tool(client, name)
        mcp_name = Catalogue(client).name_of(tool)
        if as_json:
            print_json({**summary(tool), "mcp_name": mcp_name})
        else:
            _print(tool, mcp_name, options)


def _print(tool: Tool, mcp_name: str, options: Options) -> None:
    from utcp_bridge.catalogue.text import clean

    print_line(f"{heading(tool.qualified_name)}  ({tool.kind}, over MCP: {mcp_name})")
    for line in _remarks(tool):
        print_line(line)
    if tool.description:
        print_line(f"\n{clean(tool.description)}")
    rows = [_row(name, schema, tool.inputs) for name, schema in _properties(tool.inputs)]
    print_line()
    if rows:
        print_table(("ARGUMENT", "TYPE", "", "DESCRIPTION"), rows)
    else:
        print_line("The tool has no arguments.")
    line = command_line("call", *options.words(), tool.qualified_name)
    print_line(f"\n  {line}{_sample_arguments(tool.inputs)}")


def _remarks(tool: Tool) -> Iterator[str]:
    if tool.deprecated:
        yield "Deprecated."
    if tool.tags:
        yield f"Tags: {', '.join(tool.tags)}"
    hints = [name.removesuffix("Hint") for name, value in tool.annotations.items() if value is True]
    if hints:
        yield f"Hints: {', '.join(hints)}"


def _properties(inputs: JsonObject) -> list[tuple[str, JsonObject]]:
    from utcp_bridge.model import is_object

    properties = inputs.get("properties")
    if not is_object(properties):
        return []
    return [(name, _resolved(schema, inputs)) for name, schema in properties.items()]


def _resolved(schema: Any, inputs: JsonObject) -> JsonObject:
    """Return the schema, with the schema of its local reference."""
    from utcp_bridge.model import is_object
    from utcp_bridge.urls import at_pointer

    if not is_object(schema):
        return {}
    target = at_pointer(inputs, str(schema["$ref"])) if "$ref" in schema else None
    return {**target, **schema} if is_object(target) else schema


def _is_required(name: str, inputs: JsonObject) -> bool:
    required = inputs.get("required")
    return isinstance(required, list) and name in required


def _row(name: str, schema: JsonObject, inputs: JsonObject) -> tuple[str, str, str, str]:
    description = str(schema.get("description") or "")
    if "enum" in schema:
        description = f"{description} One of {_shown(schema['enum'])}.".strip()
    if "default" in schema:
        description = f"{description} Default: {_shown(schema['default'])}.".strip()
    return name, _kind(schema), "required" if _is_required(name, inputs) else "", description


def _kind(schema: JsonObject) -> str:
    from utcp_bridge.model import is_list, is_object

    kind = schema.get("type", "any")
    if is_list(kind):
        return " or ".join(str(one) for one in kind)
    items = schema.get("items")
    if kind == "array" and is_object(items):
        return f"array of {_kind(items)}"
    return str(kind)


def _shown(value: Any) -> str:
    from utcp_bridge.model import is_list

    if is_list(value):
        return ", ".join(_shown(one) for one in value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _sample_arguments(inputs: JsonObject) -> str:
    """Return the required arguments, for the user to fill in."""
    parts = [_sample(name, schema, inputs) for name, schema in _properties(inputs) if _is_required(name, inputs)]
    return "".join(f" {join_command([part])}" for part in parts)


def _example(name: str, inputs: JsonObject) -> str:
    """Return an example of a value, with the properties that it requires."""
    from utcp_bridge.doctor.tools import example_arguments

    return json.dumps(example_arguments({**inputs, "required": [name]})[name], ensure_ascii=False)


def _sample(name: str, schema: JsonObject, inputs: JsonObject) -> str:
    if schema.get("enum"):
        return f"{name}={_shown(schema['enum'][:1])}"
    kind = schema.get("type")
    if kind in {"array", "object"}:
        return f"{name}:={_example(name, inputs)}"
    return f"{name}={'TEXT' if kind == 'string' else str(kind or 'value').upper()}"
