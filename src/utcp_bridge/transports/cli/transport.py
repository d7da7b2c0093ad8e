r"""cli: local commands, without a shell unless the template is a script.

    v1.1  {"call_template_type": "cli",
           "commands": [{"command": "cd UTCP_ARG_dir_UTCP_END"}, {"command": "git log -1"}]}
    v1.0  {"call_template_type": "cli", "command_name": "my-tool --utcp"}
    v0    the same with "provider_type": "cli"
    also  {"call_template_type": "cli", "command": "curl", "args": ["-s", "{{url}}"]}

`command_name` receives the arguments as flags. `args` are templates of single words. `commands` run in one bash, in
which `cd` and variables persist. A script receives values as environment variables, never as text. An exit code that is
not in `ok_exit_codes` is an error, which shows stdout and stderr. Limits: `max_reply_bytes` for stdout and for stderr;
the process group ends with the call.
"""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import orjson
from pydantic import AliasChoices, Field, model_validator

from utcp_bridge.errors import ManualError, Rejected
from utcp_bridge.foreign import TooManyValues, decode, is_heavy, load_json, visible, visible_steps
from utcp_bridge.model import Call, Deferred, Document, Emit, JsonObject, Result, defers, is_object
from utcp_bridge.net.preview import MASK, NativeRequest
from utcp_bridge.net.reply import json_or_text, parse_json
from utcp_bridge.net.stream import Collector
from utcp_bridge.placement.compiling import CallTemplate, compiled_property
from utcp_bridge.placement.placeholders import Context, Syntax, Template, compile_template
from utcp_bridge.processes.inherited import CHILDREN_INHERIT, inherited_environment
from utcp_bridge.processes.systems import (
    find_program,
    join_command,
    merge_environment,
    split_command,
    variables_of_commands,
)
from utcp_bridge.tasks import heavy_turn, in_slices
from utcp_bridge.telemetry import trace_context
from utcp_bridge.transport import Program, Target, Transport
from utcp_bridge.transports.cli.process import Command, Excerpt, Finished, run_command
from utcp_bridge.transports.cli.scripts import CommandStep, Script, bash_script, powershell_script
from utcp_bridge.transports.cli.words import (
    ArgvTemplate,
    argument_text,
    flags,
    refuse_batch_values,
    refuse_powershell_values,
)

__all__ = ["TRANSPORT", "CliTemplate", "CliTransport"]

_INHERITED = (
    *variables_of_commands(("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "USER", "LOGNAME", "SHELL", "TZ", "TERM")),
    *CHILDREN_INHERIT,
)
_MAX_DETAIL = 4096
_MAX_LOGGED_LINES = 100
_logger = logging.getLogger(__name__)


class CliTemplate(CallTemplate):
    """Fields of UTCP's cli templates of all versions and of this bridge. Exactly one of three forms is used."""

    command_name: str | None = None
    commands: tuple[CommandStep, ...] = ()
    command: str | None = None
    args: tuple[str, ...] = ()
    env_vars: Mapping[str, str] | None = Field(
        default=None, repr=False, validation_alias=AliasChoices("env_vars", "env")
    )
    inherit_env_vars: tuple[str, ...] | None = None
    working_dir: str | None = Field(default=None, validation_alias=AliasChoices("working_dir", "cwd"))
    stdin_template: Any = Field(default=None, repr=False)
    ok_exit_codes: tuple[int, ...] = (0,)
    allow_leading_dash: tuple[str, ...] = ()
    """Arguments whose values may begin with `-` where the command could read them as options."""
    output_format: Literal["auto", "json", "text"] = "auto"
    stream: bool = False
    wire: Literal["plain", "go"] = "plain"

    @model_validator(mode="after")
    def _one_form(self) -> CliTemplate:
        forms = [name for name in ("command_name", "commands", "command") if getattr(self, name)]
        if len(forms) != 1:
            found = " and ".join(f"`{form}`" for form in forms) or "none"
            raise ValueError(f"needs exactly one of `command_name`, `commands` and `command`; it has {found}")
        if self.commands:
            _ = self.script
        return self

    @compiled_property
    def script(self) -> Script:
        """The script of `commands`, for this operating system.

        :raises UnsafePlaceholder: a placeholder is in a place that cannot be filled.
        """
        return (
            powershell_script(self.commands, self.ok_exit_codes)
            if sys.platform == "win32"
            else bash_script(self.commands, self.ok_exit_codes)
        )

    @compiled_property
    def argv(self) -> ArgvTemplate:
        """The compiled `args`.

        :raises ConfigError: they cannot be compiled.
        """
        return ArgvTemplate(self.args, command=self.command or "", allowed=self.allow_leading_dash)

    @compiled_property
    def stdin(self) -> Template | None:
        """The compiled `stdin_template`.

        :raises ConfigError: it cannot be compiled.
        """
        if self.stdin_template is None:
            return None
        return compile_template(self.stdin_template, syntaxes=Syntax.MUSTACHE | Syntax.DOLLAR, where="`stdin_template`")


class CliTransport(Transport[CliTemplate]):
    """Calls that run a command; nothing is kept between calls."""

    kinds: ClassVar[tuple[str, ...]] = ("cli",)
    template = CliTemplate
    local: ClassVar[bool] = True
    remote: ClassVar[bool] = False
    implicit: ClassVar[bool] = False
    raw_fields: ClassVar[frozenset[str]] = frozenset({"commands"})

    @classmethod
    def annotations(cls, template: CliTemplate) -> Mapping[str, Any]:
        """Return the hints of a tool that may do anything on this machine."""
        del template
        return {"openWorldHint": True}

    @classmethod
    def starts_program(cls, template: CliTemplate) -> bool:
        """Return True: it starts a command."""
        del template
        return True

    def needs(self, target: Target[CliTemplate]) -> Sequence[Program]:
        """Return the command, or the shell that runs the script, with its PATH."""
        command = self._command(target.template, {}, [], self.services.settings.max_manual_bytes)
        return (Program(command.argv[0], command.folder, command.environment.get("PATH")),) if command.argv else ()

    async def discover(self, target: Target[CliTemplate]) -> Document:
        """Run the command without arguments. It must print a manual, a list of tools, or one JSON object per line."""
        template = target.template
        words = ["list-tools"] if template.wire == "go" else []
        command = self._command(template, {}, words, self.services.settings.max_manual_bytes)
        finished = await run_command(replace(command, manual=target.source.name))
        _log_stderr(finished, target.source.name, command)
        _raise_for_code(finished, template, command)
        content = _read_manual(finished.stdout)
        if content is None:
            raise ManualError(
                f"{command.name} printed no manual.", remedy="It must print a UTCP manual as JSON, and nothing else."
            )
        return Document(content=content)

    async def call(self, target: Target[CliTemplate], call: Call, emit: Emit) -> Any:
        """Run the command with the arguments. Its stdout is the value."""
        template = target.template
        command = replace(self._command_of(template, call), manual=target.source.name)
        if template.stream:
            return await self._stream(template, command, call, Collector(self.services.settings, emit))
        finished = await run_command(command)
        _log_stderr(finished, call.tool.qualified_name, command)
        _raise_for_code(finished, template, command)
        given: JsonObject = {"form": template.output_format, "name": command.name, "limit": command.limit}
        if defers(finished.stdout):
            return Result(Deferred(finished.stdout, ((read_output, given),)))
        if is_heavy(finished.stdout):
            await heavy_turn()
        return Result(await in_slices(read_output(finished.stdout, **given)))

    async def _stream(self, template: CliTemplate, command: Command, call: Call, collector: Collector) -> Result:
        """Return the lines that the command prints, each of which is a partial result."""

        async def on_line(line: bytes) -> bool:
            if line.strip():
                value = _value(_text(line), template.output_format, command.name, command.limit)
                await collector.take([value], len(line))
            return collector.truncated is None

        with collector.keeping():
            finished = await run_command(command, on_line)
            _log_stderr(finished, call.tool.qualified_name, command)
            if collector.truncated is None:
                _raise_for_code(finished, template, command)
        return Result(collector.values, truncated=collector.truncated, failure=collector.failure)

    async def explain(self, target: Target[CliTemplate], call: Call) -> NativeRequest:
        """Return the command line and the variables it adds to its environment; values from the operator are masked."""
        template = target.template
        command = self._command_of(template, call)
        own = dict.fromkeys(template.env_vars or {}, MASK)
        own |= _script_environment(template, call.arguments) if template.commands else {}
        inherited = [name for name in command.environment if name not in own]
        return NativeRequest(
            join_command(command.argv),
            tuple(own.items()),
            () if command.stdin is None else (command.stdin,),
            (f"It runs in the folder {command.folder}.", f"It also inherits {', '.join(inherited)}."),
        )

    def _command_of(self, template: CliTemplate, call: Call) -> Command:
        words = ["call", call.tool.manual, call.tool.name] if template.wire == "go" else []
        limit = self.services.settings.max_reply_bytes
        if template.commands:
            template.script.check_complete(call.arguments)
        return self._command(template, call.arguments, words, limit, declared=_declared(call.tool.inputs))

    def _command(
        self,
        template: CliTemplate,
        arguments: Mapping[str, Any],
        words: list[str],
        limit: int,
        *,
        declared: Iterable[str] = (),
    ) -> Command:
        environment = inherited_environment(
            _INHERITED if template.inherit_env_vars is None else template.inherit_env_vars
        )
        if trace_context.is_on():
            environment.update(trace_context.passed_on_in_environment())
        environment = merge_environment(environment, template.env_vars or {})
        folder = self._folder(template)
        if template.commands:
            argv = _shell(template.script.text)
            environment.update(_script_environment(template, arguments))
            for command, names in template.script.commands:
                file = find_program(command, environment.get("PATH"), folder)
                refuse_powershell_values(command, file, {name: arguments.get(name) for name in names})
        elif template.command is not None:
            argv = [template.command, *template.argv.render(arguments)]
        else:
            ordered = dict(sorted(arguments.items())) if template.wire == "go" else arguments
            given = flags(ordered, declared=declared, allowed=template.allow_leading_dash)
            argv = [*split_command(template.command_name or ""), *words, *given]
        if argv and not template.commands:
            refuse_batch_values(_program(argv[0], environment, folder), arguments)
        stdin = _stdin(template, arguments)
        return Command(argv, environment, folder, limit, stdin, bool(template.commands))

    def _folder(self, template: CliTemplate) -> Path:
        return self.services.root / (template.working_dir or "")


TRANSPORT = CliTransport


def _program(name: str, environment: Mapping[str, str], folder: Path) -> str:
    """Return the file that a name means on Windows, where `npm` may be `npm.cmd`."""
    return (sys.platform == "win32" and find_program(name, environment.get("PATH"), folder)) or name


def _script_environment(template: CliTemplate, arguments: Mapping[str, Any]) -> dict[str, str]:
    return template.script.environment(arguments, allowed=template.allow_leading_dash)


def _declared(inputs: JsonObject) -> Iterable[str]:
    properties = inputs.get("properties")
    return properties if is_object(properties) else ()


def _shell(text: str) -> list[str]:
    return (
        ["powershell", "-NoProfile", "-NonInteractive", "-Command", text]
        if sys.platform == "win32"
        else ["/bin/bash", "-c", text]
    )


def _stdin(template: CliTemplate, arguments: Mapping[str, Any]) -> bytes | None:
    if template.wire == "go":
        return orjson.dumps(dict(arguments))
    if template.stdin is None:
        return None
    return argument_text(template.stdin.render(arguments, context=Context.JSON)).encode()


def _raise_for_code(finished: Finished, template: CliTemplate, command: Command) -> None:
    code = finished.code
    if code in template.ok_exit_codes:
        return
    output = _labelled(finished)
    if code < 0:
        name = signal.Signals(-code).name
        raise Rejected(f"{command.name} was ended by the signal {name}.", status=name, detail=output or None)
    raise Rejected(
        f"{command.name} ended with exit code {code}.",
        status=code,
        detail=output or None,
        remedy="If this code means success, add it to `ok_exit_codes` in the call template.",
    )


def _labelled(finished: Finished) -> str:
    """Return stdout and stderr of a command that failed, each cut in its middle; each under its name if both wrote."""
    stdout, stderr = (
        _text(Excerpt.of(data.strip(), _MAX_DETAIL)).strip() for data in (finished.stdout, finished.stderr)
    )
    return f"stdout:\n{stdout}\n\nstderr:\n{stderr}" if stdout and stderr else stdout or stderr


def _log_stderr(finished: Finished, name: str, command: Command) -> None:
    if not finished.stderr or not _logger.isEnabledFor(logging.DEBUG):
        return
    for line in _text(finished.stderr).splitlines()[:_MAX_LOGGED_LINES]:
        _logger.debug("%s of %s wrote to stderr: %s", command.name, name, line)


def _text(output: bytes) -> str:
    return visible(decode(output), terminal=True)


def read_output(output: bytes, *, form: str, name: str, limit: int) -> Generator[None, None, Any]:
    """Return the value of the output of a command, in steps. It was written for a terminal.

    :raises MalformedReply: it must be JSON, and is not.
    """
    text = yield from visible_steps(_output_text(output), terminal=True)
    return _value(text, form, name, limit)


def _output_text(output: bytes) -> str:
    """Return the text of a whole output. Programs of Windows often write the code page of its console."""
    if sys.platform == "win32":
        with suppress(UnicodeDecodeError):
            return output.decode()
        return decode(output, "oem")
    return decode(output)


def _value(output: str, form: str, name: str, limit: int) -> Any:
    text = output.rstrip("\r\n")
    if form == "json":
        return parse_json(text, name, max_bytes=limit)
    return json_or_text(text, name, limit) if form == "auto" else text


def _read_manual(output: bytes) -> Any:
    """Return the whole output as JSON, or the lines that are JSON objects; None if there is no JSON."""
    try:
        return load_json(output)
    except TooManyValues as error:
        raise ManualError(f"The command wrote JSON of more than {error.most:,} values.") from None
    except orjson.JSONDecodeError:
        pass
    found: list[Any] = []
    for line in output.splitlines():
        if line.strip().startswith(b"{"):
            try:
                found.append(load_json(line))
            except orjson.JSONDecodeError:
                continue
    return found or None
