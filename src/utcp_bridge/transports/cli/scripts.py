"""Scripts from `commands` (pure): each placeholder becomes a reference to an environment variable with the value.

A placeholder is filled where a value stays one word, whatever it contains. Everywhere else the template is refused
when it is read: a quoted reference does not protect where the shell evaluates text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from utcp_bridge.errors import ConfigError, InvalidArguments
from utcp_bridge.placement.encoding import JsonPlace, written_in_json
from utcp_bridge.transports.cli.bash import Unreadable, read_bash
from utcp_bridge.transports.cli.places import PLACEHOLDER, DashGuard, Fill, StepReading
from utcp_bridge.transports.cli.powershell import read_powershell
from utcp_bridge.transports.cli.words import as_word, refuse_option

__all__ = ["CommandStep", "Script", "UnsafePlaceholder", "bash_script", "powershell_script"]

_REMEDY: Final = "Move the placeholder into a plain word of a command, or use `command` with `args`."
_POWERSHELL_EVALUATES: Final = re.compile(
    r"(?i)\b(?:invoke-expression|iex|invokescript|expandstring|encodedcommand)\b|scriptblock\s*\]\s*::|\s-c(?:ommand)?\s"
)
_OWN_FILE: Final = (
    'if [ -z "$__utcp_write" ]; then __utcp_file=$(mktemp) && exec 8>>"$__utcp_file" 9<"$__utcp_file" '
    '&& rm "$__utcp_file" || exit 70; __utcp_write=8 __utcp_read=9; fi'
)
"""Makes the file where the bridge did not, because somebody runs what `explain` shows."""
_POWERSHELL_UTF8: Final = (
    "try { [Console]::OutputEncoding = $OutputEncoding = New-Object System.Text.UTF8Encoding $false } catch { }"
)
_POWERSHELL_ERRORS: Final = (
    "@($__utcp_all | Where-Object { $_ -is [System.Management.Automation.ErrorRecord] "
    "-and $_.FullyQualifiedErrorId -notlike 'NativeCommandError*' }).Count"
)
_POWERSHELL_LINES: Final = (
    '$__utcp_all | ForEach-Object { if ($_ -is [System.Management.Automation.ErrorRecord]) { "$_" } else { $_ } }'
)
_POSITIONAL: Final = re.compile(r"\$\{?[@*0-9]")
_WORD: Final = re.compile(r"[A-Za-z0-9_]+")


class UnsafePlaceholder(ValueError):
    """A placeholder is in a place where its value could be evaluated."""


class CommandStep(BaseModel):
    """One of UTCP 1.1's `commands`. By default `append_to_final_output` is true for the last step only."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    command: str = Field(repr=False)
    append_to_final_output: bool | None = None


@dataclass(frozen=True, slots=True)
class Script:
    """A script, and the environment variables for its arguments: variable → argument."""

    text: str = field(repr=False)
    variables: Mapping[str, str] = field(repr=False)
    guards: Sequence[DashGuard] = ()
    commands: Sequence[tuple[str, Sequence[str]]] = ()
    """Commands of a PowerShell script, and the arguments that each receives."""
    places: Mapping[str, JsonPlace] = field(default_factory=dict[str, JsonPlace])
    """Variables whose values are written into a JSON text."""

    def check_complete(self, arguments: Mapping[str, Any]) -> None:
        """Check that each argument of the script is there: an empty word can mean something else to a command.

        :raises InvalidArguments: an argument is absent or null.
        """
        for name in self.variables.values():
            if arguments.get(name) is None:
                raise InvalidArguments(
                    f"Argument {name!r} is missing.",
                    remedy=f"Send {name!r}: the tool's command uses it. "
                    "The manual makes it optional with a `default` in `inputs`, which may be an empty text.",
                )

    def environment(self, arguments: Mapping[str, Any], *, allowed: Iterable[str] = ()) -> dict[str, str]:
        """Return the values of the variables. A missing argument is empty. `allowed` may begin with `-`.

        :raises InvalidArguments: a value cannot be passed, or a command would read it as an option.
        """
        written = {
            variable: as_word(self._written(variable, arguments.get(argument)), argument)
            for variable, argument in self.variables.items()
        }
        values = {
            argument: written[variable] for variable, argument in self.variables.items() if variable not in self.places
        }
        for guard in self.guards:
            argument = next((one for one in guard.arguments if values[one]), None)  # none of them is within JSON
            if argument is not None and argument not in allowed:
                refuse_option(values[argument], argument, after_option=guard.after_option, place="`--` before it")
        return written

    def _written(self, variable: str, value: Any) -> Any:
        place = self.places.get(variable)
        return value if place is None else written_in_json(value, place, argument=self.variables[variable])


@dataclass(slots=True)
class _ScriptVariables:
    """Names of environment variables for arguments, whose own names may have any characters.

    An argument has one variable for itself, and one for each kind of place in a JSON text.
    """

    known: dict[tuple[str, JsonPlace | None], str] = field(default_factory=dict[tuple[str, JsonPlace | None], str])

    def variable(self, argument: str, place: JsonPlace | None) -> str:
        return self.known.setdefault((argument, place), f"__UTCP_ARG_{len(self.known)}")

    def in_powershell(self, fill: Fill) -> str:
        return f"${{env:{self.variable(fill.argument, fill.place)}}}"

    def variables(self) -> dict[str, str]:
        return {variable: argument for (argument, _), variable in self.known.items()}

    def places(self) -> dict[str, JsonPlace]:
        return {variable: place for (_, place), variable in self.known.items() if place is not None}


def bash_script(steps: Sequence[CommandStep], ok_exit_codes: Iterable[int]) -> Script:
    """Return the steps as one bash script, in which `cd` and variables persist from step to step.

    The output of each step, with its errors, is `$CMD_<n>_OUTPUT` in the steps after it. The first step that fails ends
    the script with its exit code, and its output goes to stderr. The script writes its outputs to the descriptor
    `$__utcp_write`, and reads them from `$__utcp_read`, which is another opening of the same file.

    :raises UnsafePlaceholder: a placeholder is in a place that cannot be filled.
    """
    names = _ScriptVariables()
    codes = "|".join(str(code) for code in ok_exit_codes) or "0"
    findings = _findings(steps)
    lines = [_OWN_FILE]
    for number, step in enumerate(steps):
        command = _filled(step.command, findings[number], names) if findings else step.command
        lines += [
            "{",
            command,
            '} >&"$__utcp_write" 2>&1',
            "__utcp_code=$?",
            f'CMD_{number}_OUTPUT=$(cat <&"$__utcp_read")',
            f'case $__utcp_code in {codes}) ;; *) printf "%s\\n" "$CMD_{number}_OUTPUT" >&2; exit $__utcp_code ;; esac',
        ]
    lines += [f'printf "%s\\n" "$CMD_{number}_OUTPUT"' for number in _shown(steps)]
    guards = [guard for finding in findings for guard in finding.guards]
    return Script("\n".join(lines) + "\nexit $__utcp_code\n", names.variables(), guards, places=names.places())


def powershell_script(steps: Sequence[CommandStep], ok_exit_codes: Iterable[int] = (0,)) -> Script:
    """Return the same for Windows. Dot-sourced blocks keep the location and the variables of earlier steps.

    Windows PowerShell makes an error record of each line that a program writes to stderr. Such a record is a line of
    the output; any other is an error of a cmdlet, and then the exit code of the step is 1.

    :raises UnsafePlaceholder: a placeholder is in a place that cannot be filled.
    """
    names = _ScriptVariables()
    codes = ", ".join(str(code) for code in ok_exit_codes) or "0"
    lines: list[str] = ["$ErrorActionPreference = 'Continue'", _POWERSHELL_UTF8]
    findings: list[StepReading] = []
    _check_powershell(steps)
    for number, step in enumerate(steps):
        try:
            finding = read_powershell(step.command)
        except ConfigError as error:
            raise UnsafePlaceholder(f"In step {number + 1}: {error.message} {error.remedy}") from None
        _check_places(step.command, finding, number)
        findings.append(finding)
        command = "".join(
            _pieces(step.command, finding, lambda fill: f"${{env:{names.variable(fill.argument, fill.place)}}}")
        )
        lines += [
            "$global:LASTEXITCODE = 0",
            f"$__utcp_all = @(. {{\n{command}\n}} 2>&1)",
            "$__utcp_code = $global:LASTEXITCODE",
            f"if (-not $__utcp_code -and {_POWERSHELL_ERRORS}) {{ $__utcp_code = 1 }}",
            f"$CMD_{number}_OUTPUT = ({_POWERSHELL_LINES} | Out-String -Width 4096).TrimEnd()",
            f"if (@({codes}) -notcontains $__utcp_code)",
            f"{{ [Console]::Error.WriteLine($CMD_{number}_OUTPUT); exit $__utcp_code }}",
        ]
    lines += [f"Write-Output $CMD_{number}_OUTPUT" for number in _shown(steps)]
    guards = [guard for finding in findings for guard in finding.guards]
    commands = [command for finding in findings for command in finding.commands]
    text = "\n".join(lines) + "\nexit $__utcp_code\n"
    return Script(text, names.variables(), guards, commands, names.places())


def _check_powershell(steps: Sequence[CommandStep]) -> None:
    """Refuse placeholders in a script that evaluates text anywhere, which can be a value that a variable holds.

    :raises UnsafePlaceholder: it does.
    """
    used = [match[1] for step in steps for match in PLACEHOLDER.finditer(step.command)]
    evaluates = any(_POWERSHELL_EVALUATES.search(step.command) for step in steps)
    if used and evaluates:
        raise UnsafePlaceholder(f"The argument {used[0]!r} is in a script that evaluates text. {_REMEDY}")


def _shown(steps: Sequence[CommandStep]) -> list[int]:
    last = len(steps) - 1
    return [
        number
        for number, step in enumerate(steps)
        if (number == last if step.append_to_final_output is None else step.append_to_final_output)
    ]


def _findings(steps: Sequence[CommandStep]) -> list[StepReading]:
    """Return what each step contains, all of whose placeholders can be filled; nothing if no step has any.

    :raises UnsafePlaceholder: one cannot be filled.
    """
    used = [match[1] for step in steps for match in PLACEHOLDER.finditer(step.command)]
    if not used:
        return []
    found: list[StepReading] = []
    for number, step in enumerate(steps):
        try:
            found.append(read_bash(step.command))
        except ConfigError as error:
            raise UnsafePlaceholder(f"In step {number + 1}: {error.message} {error.remedy}") from None
        except Unreadable as error:
            what = f"In step {number + 1}, the place of the argument {used[0]!r} is not certain, because {error}."
            raise UnsafePlaceholder(f"{what} Simplify the step, or use `command` with `args`.") from None
        _check_places(step.command, found[-1], number)
    _check_variables(steps, found)
    return found


def _check_places(text: str, finding: StepReading, number: int) -> None:
    filled = {fill.start for fill in finding.fills}
    for match in PLACEHOLDER.finditer(text):
        around = [one for one in finding.refusals if one.start <= match.start() < one.end]
        if not around and match.start() in filled:
            continue
        reason = min(around, key=lambda one: one.end - one.start, default=None)
        place = reason.place if reason else "in a place that the bridge does not fill"
        remedy = (reason.remedy if reason else "") or _REMEDY
        raise UnsafePlaceholder(f"In step {number + 1}, the argument {match[1]!r} is {place}. {remedy}")


def _check_variables(steps: Sequence[CommandStep], findings: Sequence[StepReading]) -> None:
    """Refuse a script that evaluates a variable which holds a value.

    :raises UnsafePlaceholder: it does.
    """
    holders = _holders(steps, findings, {name for one in findings for name in one.read})
    for number, finding in enumerate(findings):
        for one in finding.evaluations:
            name = _mentioned(one.text, holders)
            if name is None and not (one.reads_input and PLACEHOLDER.search(one.text)):
                continue
            what = f"{name!r}, which can hold an argument," if name else "an argument"
            raise UnsafePlaceholder(f"In step {number + 1}, {what} is {one.place}. {_REMEDY}")
    direct = _holders(steps, findings, set())
    for number, finding in enumerate(findings):
        for part in finding.unquoted:
            if part.text in direct and not part.text.startswith("CMD_"):
                what = f"In step {number + 1}, ${part.text}, which holds an argument, is outside quotation marks."
                raise UnsafePlaceholder(f'{what} Write "${part.text}".')
        for part in finding.in_json:
            name = "@" if _POSITIONAL.match(f"${part.text}") else part.text
            if name in holders and not name.startswith("CMD_"):
                what = f"In step {number + 1}, ${part.text}, which holds an argument, is within a JSON text."
                raise UnsafePlaceholder(f"{what} Write the placeholder itself there: its value stays JSON.")


def _holders(steps: Sequence[CommandStep], findings: Sequence[StepReading], known: set[str]) -> set[str]:
    """Return the variables that can hold a value, or a part of one."""
    holders = {name for name in known if name.isidentifier()}
    assigned = [pair for finding in findings for pair in finding.assigned]
    assigned += [(f"CMD_{number}_OUTPUT", step.command) for number, step in enumerate(steps)]
    while True:
        more = {
            name
            for name, text in assigned
            if name not in holders and (PLACEHOLDER.search(text) or _mentioned(text, holders))
        }
        if "@" not in holders and any(name == "@" for name, _ in assigned):
            more.add("@")
        if not more:
            return holders
        holders |= more


def _mentioned(text: str, names: set[str]) -> str | None:
    """Return one of these variables that a text names, with or without a `$`; None if it names none of them."""
    named = next((word[0] for word in _WORD.finditer(text) if word[0] in names), None)
    if named is None and "@" in names and (found := _POSITIONAL.search(text)) is not None:
        return found[0]
    return named


def _filled(text: str, finding: StepReading, names: _ScriptVariables) -> str:
    """Replace placeholders by references, quoted for their position: bare, in double quotes or in single quotes."""

    def reference(fill: Fill) -> str:
        plain = f"${{{names.variable(fill.argument, fill.place)}}}"
        bare = f'"{plain}"'
        return {"": bare, '"': plain, "'": f"'{bare}'"}[fill.quote]

    return "".join(_pieces(text, finding, reference))


def _pieces(text: str, finding: StepReading, reference: Callable[[Fill], str]) -> Iterator[str]:
    position = 0
    for fill in sorted(set(finding.fills), key=lambda one: one.start):
        yield text[position : fill.start]
        yield reference(fill)
        position = fill.end
    yield text[position:]
