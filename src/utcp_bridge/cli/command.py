"""The command and its verbs. Errors become a line on stderr and an exit code here, and nowhere else."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from io import TextIOWrapper
from typing import Any, Final, NoReturn, cast

import click

from utcp_bridge import __version__
from utcp_bridge.cli.program import CONTEXT, DEFAULT, REGISTRY, NamedGroup, Session, renamed, started_as, under_name

__all__ = ["JOURNEY", "bridge", "every_command", "main", "run"]

JOURNEY: Final[dict[str, dict[str, str]]] = {
    "Start": {
        "init": "Write a configuration with comments: utcp.yaml, or FILE.",
        "add": "Add a source of tools to the configuration, with its key.",
        "remove": "Remove a manual from the configuration.",
        "install": "Write the bridge's entry into an MCP host's file.",
        "uninstall": "Remove the bridge's entry from an MCP host's file.",
        "migrate": "Move hosts' MCP servers into a UTCP configuration, behind one entry.",
        "serve": "Serve the tools of CONFIG over MCP.",
    },
    "Look": {
        "list": "List the manuals of the configuration with kind and source.",
        "status": "Show how each manual is now, and which hosts start this configuration.",
        "console": "Show a page about CONFIG in a browser, with its manuals and tools.",
        "top": "Show the manuals and the last calls of a running bridge in the terminal.",
        "tools": "List the tools by name.",
        "search": "Find tools by what they do.",
        "learned": "Show the words of past searches that led to each tool, or forget them.",
        "describe": "Show a tool's description, its arguments, and an example of a call.",
        "call": "Call a tool and print its result.",
    },
    "Log in": {
        "login": "Log in to the services of a manual, in a browser or with a code.",
        "logout": "Forget the logins of a manual, and revoke their tokens.",
        "auth": "Show the logins that `utcp-bridge login` made.",
    },
    "Mend": {
        "check": "Load every manual and report what is wrong.",
        "validate": "Test each CONFIG by itself, without the network.",
        "doctor": "Find the step at which a manual fails, and what to do about it.",
        "explain": "Print the exact request that a call would send, and send nothing.",
    },
    "Admit": {
        "token": "Make, list, rotate and revoke the tokens of HTTP clients.",
    },
    "Approve": {
        "lock": "Write utcp.lock: the hashes of all tools as they are now.",
        "diff": "Show which tools are new, changed or gone since they were approved.",
        "approve": "Approve tools as they are now, in utcp.lock.",
    },
    "Control": {
        "reload": "Let a running bridge read its configuration again.",
        "health": "Report whether a running bridge is alive, for health checks of containers.",
        "audit": "Check that nobody changed the audit log.",
        "approvals": "Decide about calls that wait for an approval.",
    },
    "Compare": {
        "compare": "Compare what two manuals offer and reply, to replace one by the other.",
        "shadow": "Show how replies of shadowed tools compare.",
        "promote": "Let the new side answer tools of a manual with `shadow`, tool by tool.",
        "conformance": "Test a UTCP client against the vectors of the conformance kit.",
    },
    "Make": {
        "convert": "Make one UTCP manual of all SOURCEs.",
        "registry": "Serve a folder of manuals as a registry, or list a registry.",
    },
    "Help": {
        "help": "Print a page of the documentation, or a verb's help.",
        "completion": "Print the script that lets a shell complete the command.",
    },
}
"""The verbs as a user meets them, each with the first sentence of its help, so that the list of verbs imports none.

A verb `x` is the command `x` of `commands/x.py`, or of the module in `_TOGETHER`.
"""

_TOGETHER: Final = {
    "remove": "add",
    "reload": "serve",
    "uninstall": "install",
    "list": "status",
    "search": "tools",
    "learned": "tools",
    "shadow": "compare",
    "promote": "compare",
    "logout": "login",
    "completion": "help",
    "auth": "login",
    "token": "login",
    "diff": "lock",
    "approve": "lock",
    "conformance": "validate",
    "health": "access.health",
    "audit": "access.audit",
    "approvals": "access.approvals",
    "console": "console.console",
    "top": "console.top",
}
"""The module of each verb that shares one with its counterpart."""

_REMARKS: Final = {
    "Look": "Use `list` for what the configuration says, `status` for how each manual is now, and `tools` for what"
    " hosts get.",
    "Mend": "Use `check` to load every manual and see what is wrong, `validate` to test a file without the network,"
    " `doctor` to find the step at which a manual fails, and `explain` to see the request that a call would send.",
}


_SYNONYMS: Final = {
    "run": "serve",
    "start": "serve",
    "ls": "tools",
    "test": "check",
    "lint": "validate",
}
"""What other programs call a verb."""


_YOUNG_OBJECTS: Final = 100_000
"""New objects from which the collector looks for circles. Modules and tools are many objects that stay: with Python's
own number, looking at them again and again takes a tenth of a short command's time."""


class _ReaderLeft(Exception):
    """The program that read stdout has ended (`| head`). This is not a failure."""


class _Bridge(NamedGroup):
    """The group of all verbs. A verb's module is imported when the verb is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the verbs, in the order of a user's journey."""
        del ctx
        return [*(name for names in JOURNEY.values() for name in names), *sorted(self.commands.keys() - _VERBS)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the verb, imported at its first use."""
        if cmd_name in _VERBS and cmd_name not in self.commands:
            session = ctx.find_object(Session)
            if session is not None and session.is_program:
                from utcp_bridge.late.modules import find_modules_at_once

                find_modules_at_once()  # for the hundreds that a verb imports
            self.add_command(_imported(cmd_name))
        return super().get_command(ctx, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the verb; for an unknown one, suggest the nearest, or the one that other programs call so."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from difflib import get_close_matches

            near = [_SYNONYMS[args[0]]] if args[0] in _SYNONYMS else get_close_matches(args[0], self.list_commands(ctx))
            if not near or "mean" in error.message:
                raise
            raise click.UsageError(f"{error.message} Did you mean {' or '.join(map(repr, near))}?", ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one section for each part of the journey."""
        program = ctx.find_root().info_name or DEFAULT
        for title, verbs in JOURNEY.items():
            with formatter.section(title):
                formatter.write_dl([(name, renamed(text, program)) for name, text in verbs.items()])
                if title in _REMARKS:
                    formatter.write_paragraph()
                    formatter.write_text(_REMARKS[title])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise _ReaderLeft from error  # click would report a failure


_VERBS: Final = frozenset(name for names in JOURNEY.values() for name in names)


def _imported(name: str) -> click.Command:
    module = import_module(f"utcp_bridge.cli.commands.{_TOGETHER.get(name, name)}")
    members = vars(module).values()
    return next(one for one in members if isinstance(one, click.Command) and one.name == name)


@click.group(
    cls=_Bridge,
    context_settings=CONTEXT,
    epilog="""\b
Examples:
  utcp-bridge serve --quickstart --http        try it: sample tools on http://127.0.0.1:8000/mcp
  utcp-bridge serve providers.json             the command that an MCP host starts: stdio
  utcp-bridge tools providers.json             the tools of a configuration
  utcp-bridge search providers.json "send a message"
  utcp-bridge call providers.json weather.get_forecast city=Paris days:=3
  utcp-bridge help                             the pages of the documentation
""",
)
@click.version_option(__version__, message="%(prog)s %(version)s")
def bridge() -> None:
    """One MCP server for every UTCP tool, and a UTCP client for the command line.

    A configuration (CONFIG) is a UTCP client configuration (v1), a list of providers (v0), a manual, an OpenAPI
    description, an MCP host's file, a folder of these, or a URL of one. Every verb that uses one takes it as
    its first argument or with -c. Without either, it takes $UTCP_CONFIG_FILE, ./providers.json, ./.utcp_config.json,
    ./utcp.yaml or ./utcp.json.
    """


def every_command(name: str = "", command: click.Command = bridge) -> Iterator[tuple[str, click.Command]]:
    """Return a command and those below it, each with its name; the name of the whole program is empty."""
    yield name, command
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=DEFAULT)
        for verb in command.list_commands(context):
            child = command.get_command(context, verb)
            if child is not None:
                yield from every_command(f"{name} {verb}".strip(), child)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command and end the process with its exit code."""
    _open_standard_streams()
    _let_streams_take_any_text()
    if arguments is None:
        gc.set_threshold(_YOUNG_OBJECTS)
    code = run(arguments, Session(is_program=True))
    if (ending := sys.modules.get("utcp_bridge.processes.ending")) is not None:
        ending.leave(code)
    if arguments is None and "utcp_bridge.client.client" in sys.modules:
        from utcp_bridge.processes.ending import leave_now

        leave_now(code)
    sys.exit(code)


def _open_standard_streams() -> None:
    """Let each standard stream that is closed lead nowhere.

    Otherwise the next file that is opened gets its number, and what is meant for the stream goes there.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def _let_streams_take_any_text() -> None:
    """Write UTF-8 to pipes and files of Windows, and escape a character that another encoding does not have."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            if sys.platform == "win32" and not stream.isatty():  # Python takes the code page of the system there
                stream.reconfigure(encoding="utf-8")
            if stream is not sys.stdin and stream.errors == "strict":
                stream.reconfigure(errors="backslashreplace")


def run(arguments: Sequence[str] | None = None, session: Session | None = None) -> int:
    """Run the command and return its exit code (see `exits`). Raise nothing; print a traceback only with `--debug`."""
    session, program = session or Session(), started_as()
    root = under_name(_imported("registry") if program == REGISTRY else bridge, program)
    try:
        outcome = root.main(args=arguments, prog_name=program, standalone_mode=False, obj=session)
        sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001 - the outermost frame: every exception becomes an exit code
        return _fail(_cause(error), session)
    return outcome if isinstance(outcome, int) else 0


# What reports an error is imported when there is one: `--help` works without it.


def _fail(error: BaseException, session: Session) -> int:
    from utcp_bridge.cli import exits
    from utcp_bridge.errors import Rejected, UtcpError

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
        _show_traceback(error)
    if isinstance(error, UtcpError):
        detail = error.detail if isinstance(error, Rejected) else None
        _report(session, error.code, error.message, error.remedy, detail)
        return exits.exit_code(error)
    what = f"Internal error in utcp-bridge ({type(error).__name__})."
    _report(session, "internal", what, "Run with --debug for the traceback.")
    return exits.INTERNAL


def _show_traceback(error: BaseException) -> None:
    import logging
    import traceback

    from utcp_bridge.cli.logs import log_line, logs_json
    from utcp_bridge.cli.output import without_sequences

    if logs_json():
        log_line(logging.ERROR, f"Traceback of {type(error).__name__}.", error)
    else:
        click.echo(without_sequences("".join(traceback.format_exception(error)), sys.stderr), err=True, nl=False)


def _report(session: Session, code: str, message: str, remedy: str | None, detail: Any = None) -> None:
    """Print an error: an object on stdout with `--json`, otherwise lines on stderr."""
    from utcp_bridge.cli.output import complain, print_json

    if session.as_json:
        print_json({"error": {"code": code, "message": message, "remedy": remedy, "detail": detail}})
        return
    complain(f"{message} {remedy}" if remedy else message)
    if detail:
        import json

        shown = detail if isinstance(detail, str) else json.dumps(detail, ensure_ascii=False)
        complain(f"The response says: {shown}")


def _cause(error: BaseException) -> BaseException:
    """Return the error to report: the first one of a task group, and a `ConfigError` for an error of a file."""
    if isinstance(error, OSError) and error.filename is not None:
        from utcp_bridge.errors import ConfigError

        reported = ConfigError(f"{error.filename}: {error.strerror}.", remedy="Check the path and its permissions.")
        reported.__cause__ = error
        return reported
    if not isinstance(error, BaseExceptionGroup):
        return error
    group = cast("BaseExceptionGroup[BaseException]", error)
    return _cause(group.exceptions[0])


def _discard_stdout() -> None:
    """Keep the interpreter's last flush from reporting an error."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
