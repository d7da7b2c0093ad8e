"""What the command prints: results on stdout, everything else on stderr; colour on terminals only.

Control characters and invisible characters are removed from text of other programs where it goes to a terminal, and
always from tables and errors. A pipe or a file receives results unchanged. Where the log is JSON, lines on stderr are
log lines.
"""

from __future__ import annotations

import json
import logging
import sys
import textwrap
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any, Final, TextIO

import click

from utcp_bridge.cli.logs import discard_stderr, log_line, logs_json, write_line
from utcp_bridge.cli.program import started_as
from utcp_bridge.foreign import visible
from utcp_bridge.late.patterns import late_pattern

__all__ = [
    "complain",
    "heading",
    "note",
    "print_json",
    "print_line",
    "print_table",
    "print_text",
    "table_lines",
    "width",
    "without_sequences",
]

_GAP: Final = 2
_MIN_COLUMNS: Final = 20
_OWN_STYLES: Final = late_pattern("(\x1b\\[1m|\x1b\\[0m)")
"""Bold and its end, which `heading` writes."""
_ZERO_WIDTH: Final = frozenset({"Mn", "Me", "Cf"})


def complain(text: str) -> None:
    """Print one line on stderr about something that went wrong."""
    if logs_json():
        log_line(logging.ERROR, _one_line(text))
    else:
        _echo(f"{click.style(f'{started_as()}:', fg='red', bold=True)} {_one_line(text)}")


def note(text: str) -> None:
    """Print one line on stderr about something that is not a fault."""
    if logs_json():
        log_line(logging.INFO, text)
    else:
        _echo(without_sequences(text, sys.stderr))


def _echo(text: str) -> None:
    """Print on stderr, without waiting for its reader while a server runs. A full disk costs the line alone."""
    if write_line(text if _is_terminal(sys.stderr) else click.unstyle(text)):
        return
    try:
        click.echo(text, err=True)
    except OSError:
        discard_stderr()


def heading(text: str) -> str:
    """Return a heading: bold on a terminal."""
    return click.style(_OWN_STYLES.sub("", text), bold=True)


def print_line(text: str = "") -> None:
    """Print one line on stdout. On a terminal, headings keep their style, and other sequences are removed."""
    if _is_terminal(sys.stdout):
        pieces = _OWN_STYLES.split(text)
        text = "".join(piece if place % 2 else visible(piece) for place, piece in enumerate(pieces))
    click.echo(text)


def print_text(text: str, *, newline: bool = True) -> None:
    """Print the text of another program on stdout: as it is, and on a terminal without sequences."""
    click.echo(without_sequences(text, sys.stdout), nl=newline, color=True)  # click removes colours otherwise


def without_sequences(text: str, stream: TextIO) -> str:
    """Return a text without terminal sequences and invisible characters, if `stream` is a terminal."""
    return visible(text) if _is_terminal(stream) else text


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and not stream.closed and stream.isatty()


def print_json(value: Any, *, compact: bool = False) -> None:
    """Print a value as JSON on stdout; on one line if `compact`.

    On a terminal, characters that are not printable are escaped, so that it is the same value.
    """
    import orjson

    options = orjson.OPT_NON_STR_KEYS | (0 if compact else orjson.OPT_INDENT_2)
    text = orjson.dumps(value, default=str, option=options).decode()
    click.echo(_escaped(text) if _is_terminal(sys.stdout) else text)


def _escaped(text: str) -> str:
    """Return JSON with an escape for each character that is not printable. orjson does not escape DEL and others."""
    if text.replace("\n", "").isprintable():
        return text
    kept = {"Zs"}  # spaces of other scripts, which Python does not count as printable
    return "".join(
        one if one.isprintable() or one == "\n" or unicodedata.category(one) in kept else json.dumps(one)[1:-1]
        for one in text
    )


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table on stdout; see `table_lines`."""
    for line in table_lines(headings, rows):
        click.echo(line)


def _columns_of_terminal() -> int:
    import shutil  # with modules of archives, which few commands need

    return shutil.get_terminal_size().columns


def table_lines(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Return a table whose columns are as wide as their cells. On a terminal, the last column is wrapped to fit.

    Without a terminal nothing is cut or wrapped, so that `grep` and `cut` find whole lines.
    """
    cells = [[_one_line(cell) for cell in row] for row in rows]
    widths = [max(map(width, column)) for column in zip(headings, *cells, strict=True)]
    start = sum(widths[:-1]) + _GAP * (len(widths) - 1)
    room = max(_columns_of_terminal() - start, _MIN_COLUMNS) if sys.stdout.isatty() else None
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
