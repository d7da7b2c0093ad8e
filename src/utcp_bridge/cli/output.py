"""What the command prints: results on stdout, everything else on stderr; colour on terminals only.

Control characters and invisible characters are removed from text of other programs. Where the log is JSON, lines on
stderr are log lines.
"""

from __future__ import annotations

import logging
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any, Final

import click

from utcp_bridge.cli.logs import log_line, logs_json
from utcp_bridge.cli.program import started_as

__all__ = ["complain", "heading", "note", "print_json", "print_line", "print_table", "table_lines", "width"]

_GAP: Final = 2
_MIN_COLUMNS: Final = 20
_ZERO_WIDTH: Final = frozenset({"Mn", "Me", "Cf"})


def complain(text: str) -> None:
    """Print one line on stderr about something that went wrong."""
    if logs_json():
        log_line(logging.ERROR, _one_line(text))
    else:
        click.echo(f"{click.style(f'{started_as()}:', fg='red', bold=True)} {_one_line(text)}", err=True)


def note(text: str) -> None:
    """Print one line on stderr about something that is not a fault."""
    if logs_json():
        log_line(logging.INFO, text)
    else:
        click.echo(text, err=True)


def heading(text: str) -> str:
    """Return a heading: bold on a terminal."""
    return click.style(text, bold=True)


def print_line(text: str = "") -> None:
    """Print one line on stdout."""
    click.echo(text)


def print_json(value: Any, *, compact: bool = False) -> None:
    """Print a value as JSON on stdout; on one line if `compact`."""
    import orjson

    options = orjson.OPT_NON_STR_KEYS | (0 if compact else orjson.OPT_INDENT_2)
    click.echo(orjson.dumps(value, default=str, option=options).decode())


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table on stdout; see `table_lines`."""
    for line in table_lines(headings, rows):
        click.echo(line)


def table_lines(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Return a table whose columns are as wide as their cells. On a terminal, the last column is wrapped to fit.

    Without a terminal nothing is cut or wrapped, so that `grep` and `cut` find whole lines.
    """
    cells = [[_one_line(cell) for cell in row] for row in rows]
    widths = [max(map(width, column)) for column in zip(headings, *cells, strict=True)]
    start = sum(widths[:-1]) + _GAP * (len(widths) - 1)
    room = max(shutil.get_terminal_size().columns - start, _MIN_COLUMNS) if sys.stdout.isatty() else None
    yield heading(_row(headings, widths))
    for row in cells:
        for line in _wrapped(row, room):
            yield _row(line, widths)


def width(text: str) -> int:
    """Return the columns that a text takes on a terminal: 2 for a wide East Asian character, 0 for a combining one."""
    if text.isascii():
        return len(text)
    return sum(_columns(char) for char in text)


def _columns(char: str) -> int:
    if unicodedata.category(char) in _ZERO_WIDTH:
        return 0
    return 2 if unicodedata.east_asian_width(char) in {"W", "F"} else 1


def _wrapped(row: Sequence[str], room: int | None) -> list[list[str]]:
    if room is None or width(row[-1]) <= room:
        return [list(row)]
    first, *more = textwrap.wrap(row[-1], room) or [""]
    return [[*row[:-1], first], *([*([""] * (len(row) - 1)), line] for line in more)]


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [cell + " " * (column - width(cell)) for cell, column in zip(cells[:-1], widths, strict=False)]
    return (" " * _GAP).join([*padded, cells[-1]]).rstrip()


def _one_line(text: str) -> str:
    from utcp_bridge.catalogue.text import clean_line

    return clean_line(text)
