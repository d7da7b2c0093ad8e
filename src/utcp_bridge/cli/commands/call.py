"""`utcp-bridge call`: call a tool and print its result."""

from __future__ import annotations

import base64
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from utcp_bridge.cli import exits
from utcp_bridge.cli.finding import loaded_tool
from utcp_bridge.cli.opening import opened, run_async
from utcp_bridge.cli.options import Options, client_options, tool_names
from utcp_bridge.cli.output import note, print_json, print_text
from utcp_bridge.late.records import dataclass

if TYPE_CHECKING:
    from utcp_bridge.model import Binary, ContentBlocks, Emit, Result

__all__ = ["call"]


@dataclass(frozen=True, slots=True)
class _Output:
    """The form of the output that the options ask for."""

    as_json: bool
    stream: bool
    file: Path | None


class _Call(click.Command):
    """The command, whose unknown options are often arguments of the tool."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the words; say how a tool's argument is written.

        :raises click.UsageError: an option is not known.
        """
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if error.possibilities:
                raise
            name = error.option_name.lstrip("-")
            advice = f"If it is an argument of the tool, write {name}=VALUE after the tool's name."
            raise click.UsageError(f"{error.message} {advice}", ctx) from None


@click.command(
    cls=_Call,
    epilog="""\b
Arguments:
  city=Paris          text, number, true or false, as the tool's schema says
  tags=a tags=b       an array, if the schema says array
  days:=3             JSON
  '{"city": "Paris"}' all arguments as a JSON object
  -                   all arguments as a JSON object, from stdin
\b
Examples:
  utcp-bridge call --quickstart desk.convert_units value=10 from=km to=mi
  utcp-bridge call utcp.yaml github.create_issue '{"title": "Broken"}'
  echo '{"city": "Paris"}' | utcp-bridge call utcp.yaml weather.get -
  utcp-bridge call --quickstart studio.count_slowly to=5 --stream
  utcp-bridge call --quickstart studio.bar_chart values:='[3,5,2]' -o chart.png
\b
Exit codes:
"""
    + exits.listed(),
)
@click.option("--stream", is_flag=True, help="Print partial results as they arrive, one per line.")
@click.option(
    "-o", "--output", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write the result to this file."
)
@client_options("TOOL [ARGUMENT]...", required=1, complete=tool_names)
def call(options: Options, words: tuple[str, ...], stream: bool, file: Path | None, as_json: bool) -> int:
    """Call a tool and print its result."""
    tool, *arguments = words
    return run_async(_call, options, tool, arguments, _Output(as_json, stream, file))


async def _call(options: Options, name: str, words: list[str], output: _Output) -> int:
    from utcp_bridge.cli.arguments import read_arguments
    from utcp_bridge.errors import InvalidArguments
    from utcp_bridge.model import discard

    async with opened(options, only=name, alone=True) as client:
        tool = await loaded_tool(client, name)
        if isinstance(tool, int):
            return tool
        try:
            arguments = read_arguments(words, tool.inputs, sys.stdin.read)
            partials = _Partials(output)
            result = await client.call(tool, arguments, partials.emit if output.stream else discard)
        except InvalidArguments as error:
            error.remedy = error.remedy or f"`utcp-bridge describe {name}` shows its arguments."
            raise
        return exits.OK if partials.printed and output.stream else _give(result, output)


class _Partials:
    """Prints partial results as they arrive."""

    def __init__(self, output: _Output) -> None:
        self._output = output
        self.printed = 0

    @property
    def emit(self) -> Emit:
        return self._emit

    async def _emit(self, partial: Any) -> None:
        self.printed += 1
        if isinstance(partial, str) and not self._output.as_json:
            print_text(partial.rstrip("\n"))
        else:
            print_json(_plain(partial), compact=True)
        sys.stdout.flush()


def _give(result: Result, output: _Output) -> int:
    """Print or write the final value. An error in the content of an MCP server is a failure, too."""
    from utcp_bridge.model import Binary, ContentBlocks

    value = result.value
    if output.file is not None:
        _write(value, output.file)
    elif output.as_json:
        print_json({"value": _plain(value), "truncated": result.truncated, "meta": dict(result.meta)})
    elif isinstance(value, Binary):
        _print_binary(value)
    elif isinstance(value, ContentBlocks):
        _print_blocks(value)
    elif isinstance(value, str):
        print_text(value)
    else:
        print_json(_plain(value))
    if result.truncated and not output.as_json:
        note(f"The result is incomplete: {result.truncated}")
    has_failed = result.failure is not None or (isinstance(value, ContentBlocks) and value.is_error)
    return exits.UPSTREAM if has_failed else exits.OK


def _write(value: Any, file: Path) -> None:
    from utcp_bridge.model import Binary
    from utcp_bridge.net.files.writing import write_file

    if isinstance(value, Binary):
        data = value.data
    elif isinstance(value, str):
        data = value.encode()
    else:
        import orjson

        data = orjson.dumps(_plain(value), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    write_file(file, data, within=file.absolute().parent)
    note(f"Wrote {len(data)} bytes to {file}.")


def _print_binary(value: Binary) -> None:
    if sys.stdout.isatty():
        note(f"The result is {len(value.data)} bytes of {value.media_type}. Write it to a file with -o FILE.")
    else:
        sys.stdout.buffer.write(value.data)


def _print_blocks(value: ContentBlocks) -> None:
    for block in value.content:
        if block.get("type") == "text":
            print_text(str(block.get("text")))
        else:
            print_json(block)


def _plain(value: Any) -> Any:
    """Return a value as JSON: bytes become Base64, MCP content stays as it is."""
    from utcp_bridge.model import Binary, ContentBlocks, is_list

    if isinstance(value, Binary):
        return {"media_type": value.media_type, "base64": base64.b64encode(value.data).decode()}
    if isinstance(value, ContentBlocks):
        return {"content": value.content, "structured": value.structured, "is_error": value.is_error}
    return [_plain(item) for item in value] if is_list(value) else value
