"""The command group, and the one place where errors become a line on stderr and an exit code."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn, cast

import click

from utcp_bridge import __version__
from utcp_bridge.cli import exits
from utcp_bridge.cli.commands.call import call
from utcp_bridge.cli.commands.check import check
from utcp_bridge.cli.commands.completion import completion
from utcp_bridge.cli.commands.convert import convert
from utcp_bridge.cli.commands.describe import describe
from utcp_bridge.cli.commands.doctor import doctor
from utcp_bridge.cli.commands.explain import explain
from utcp_bridge.cli.commands.init import init
from utcp_bridge.cli.commands.install import install
from utcp_bridge.cli.commands.migrate import migrate
from utcp_bridge.cli.commands.registry import registry
from utcp_bridge.cli.commands.search import search
from utcp_bridge.cli.commands.serve import serve
from utcp_bridge.cli.commands.tools import tools
from utcp_bridge.cli.commands.validate import validate
from utcp_bridge.cli.options import Session
from utcp_bridge.cli.output import complain, introduce, print_json
from utcp_bridge.cli.program import CONTEXT, REGISTRY, NamedGroup, started_as, under_name
from utcp_bridge.errors import ConfigError, Rejected, UtcpError

__all__ = ["bridge", "main", "run"]


class _ReaderLeft(Exception):
    """Whoever read stdout has left (`| head`), which is no failure."""


class _Group(NamedGroup):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise _ReaderLeft from error  # before click makes a failure of it


@click.group(
    cls=_Group,
    context_settings=CONTEXT,
    epilog="""\b
Examples:
  utcp-bridge serve --quickstart --http        try it: sample tools on http://127.0.0.1:8000/mcp
  utcp-bridge serve providers.json             what an MCP host starts: stdio
  utcp-bridge tools -c providers.json          what is there
  utcp-bridge search -c providers.json "send a message"
  utcp-bridge call -c providers.json weather.get_forecast city=Paris days:=3
""",
)
@click.version_option(__version__, message="%(prog)s %(version)s")
def bridge() -> None:
    """One MCP server for every UTCP tool, and a UTCP client for the command line.

    A configuration is a UTCP client configuration (v1), a list of providers (v0), a manual, an OpenAPI
    description, an MCP host's file, a folder of these, or a URL of one.
    """


for verb in (
    serve,
    tools,
    search,
    describe,
    call,
    explain,
    check,
    doctor,
    convert,
    validate,
    registry,
    init,
    install,
    migrate,
    completion,
):
    bridge.add_command(verb)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command and leave the process with its exit code."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code (see `exits`). Never raises, never prints a traceback unasked."""
    session, program = Session(), started_as()
    introduce(program)
    root = under_name(registry if program == REGISTRY else bridge, program)
    try:
        outcome = root.main(args=arguments, prog_name=program, standalone_mode=False, obj=session)
        sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001 - the outermost frame: whatever comes becomes an exit code
        return _fail(_cause(error), session)
    return outcome if isinstance(outcome, int) else exits.OK


def _fail(error: BaseException, session: Session) -> int:
    if isinstance(error, BrokenPipeError | _ReaderLeft):
        _discard_stdout()
        return exits.OK
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return exits.INTERRUPTED
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else exits.USAGE
    if isinstance(error, click.ClickException):
        error.show()
        return exits.USAGE
    if session.debug:
        traceback.print_exception(error)
    if isinstance(error, UtcpError):
        _tell(error, session)
        return exits.exit_code(error)
    complain(f"A fault of utcp-bridge itself ({type(error).__name__}). Run it with --debug to see where.")
    return exits.INTERNAL


def _tell(error: UtcpError, session: Session) -> None:
    detail = error.detail if isinstance(error, Rejected) else None
    if session.as_json:
        told = {"code": error.code, "message": error.message, "remedy": error.remedy, "detail": detail}
        print_json({"error": told})
        return
    complain(str(error))
    if detail:
        complain(f"It said: {detail if isinstance(detail, str) else json.dumps(detail, ensure_ascii=False)}")


def _cause(error: BaseException) -> BaseException:
    """Task groups wrap what leaves them; the first error in the group is the one to tell."""
    if isinstance(error, OSError) and error.filename is not None:
        told = ConfigError(f"{error.filename}: {error.strerror}.", remedy="Check the path and its permissions.")
        told.__cause__ = error
        return told
    if not isinstance(error, BaseExceptionGroup):
        return error
    group = cast("BaseExceptionGroup[BaseException]", error)
    return _cause(group.exceptions[0])


def _discard_stdout() -> None:
    """The interpreter's last flush must not complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
