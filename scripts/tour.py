"""A tour: start the bridge over stdio like an MCP host, then list, search, and call one tool of each kind.

`scripts/run --tour` runs it. The exit code is 0 if every step succeeded.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
from mcp import StdioServerParameters
from mcp.client import Client
from mcp.client.stdio import stdio_client

TOOL_CALLS: list[tuple[str, str, dict[str, Any]]] = [
    ("an OpenAPI operation", "desk_convert_units", {"value": 26.2, "from": "mi", "to": "km"}),
    ("a POST", "desk_create_note", {"text": "Write a manual of my own", "tags": ["todo"]}),
    ("a GET", "desk_list_notes", {"tag": "todo"}),
    ("a PUT", "desk_replace_note", {"id": 1, "text": "Serve my own manual"}),
    ("a DELETE", "desk_delete_note", {"id": 1}),
    ("a UTCP v0 provider", "calendar_days_between", {"start": "2026-01-01", "end": "2026-12-31"}),
    ("a UTCP v1 template, an image", "studio_bar_chart", {"values": [3, 5, 2, 8]}),
    ("a stream of lines", "studio_count_slowly", {"to": 3}),
    ("server-sent events", "studio_count_down", {"to": 2}),
    ("a GraphQL query", "books_books", {"author": "Lem"}),
    ("a GraphQL mutation", "books_addBook", {"book": {"title": "Momo", "author": "Michael Ende", "year": 1973}}),
    ("a WebSocket", "workshop_throw_dice", {"count": 3}),
    ("a line over TCP", "workshop_shout", {"text": "so it goes"}),
    ("a datagram", "workshop_reverse", {"text": "so it goes"}),
    ("a local command", "workshop_describe_computer", {}),
    ("a text", "guide_read_guide", {}),
    ("a call by search", "call_tool", {"name": "desk.text_statistics", "arguments": {"text": "So it goes. Twice."}}),
]
SEARCHES = ["how many words has this text", "difference between two dates"]


@asynccontextmanager
async def bridge() -> AsyncIterator[Client]:
    """Return a client of the bridge, which runs as a child process."""
    command = StdioServerParameters(
        command=sys.executable, args=["-m", "utcp_bridge", "serve", "--quickstart", "--log-level", "warning"]
    )
    async with Client(stdio_client(command)) as client:
        yield client


async def tour() -> int:
    """Run every step in order and return how many failed."""
    failed = 0
    async with bridge() as client:
        listed = await client.list_tools()
        print(f"\n{len(listed.tools)} tools are listed:\n")
        table([(tool.name, (tool.description or "").split("\n")[0]) for tool in listed.tools])
        for query in SEARCHES:
            found = await client.call_tool("search_tools", {"query": query, "limit": 3})
            print(f'\nA search for "{query}" finds:\n')
            lines = " ".join(map(shape, found.content)) if found.is_error else found.content[0].text
            print(lines)
            failed += not lines.startswith("1. ")
        print("\nOne call of each kind:\n")
        rows: list[tuple[str, str, str]] = []
        for what, name, arguments in TOOL_CALLS:
            progress: list[str] = []
            result = await client.call_tool(name, arguments, progress_callback=noting(progress))
            failed += bool(result.is_error)
            shown = " ".join(map(shape, result.content))
            partials = f"{len(progress)} parts, then " if progress else ""
            rows.append((what, name, f"{'FAILED: ' if result.is_error else ''}{partials}{shown}"))
        table(rows)
    print(
        f"\n{failed} steps failed." if failed else "\nEverything worked. Next: README.md, or docs/getting-started.md."
    )
    return failed


def noting(progress: list[str]) -> Any:
    """Return a progress callback that keeps the messages."""

    async def keep(_progress: float, _total: float | None, message: str | None) -> None:
        progress.append(message or "")

    return keep


def shape(block: Any) -> str:
    """Return a content block in one line."""
    if block.type == "text":
        return " ".join(block.text.split())
    return f"[{block.type}, {block.mime_type}, {len(block.data) * 3 // 4} bytes]"


def table(rows: Sequence[tuple[str, ...]]) -> None:
    """Print columns as wide as their cells; cut the last one to the terminal's width."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    room = max(shutil.get_terminal_size().columns - sum(widths[:-1]) - 2 * len(widths), 30)
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)]
        last = row[-1] if len(row[-1]) <= room else f"{row[-1][: room - 1]}…"
        print("  ".join(["", *cells, last]))


if __name__ == "__main__":
    sys.exit(1 if anyio.run(tour) else 0)
