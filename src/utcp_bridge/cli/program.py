"""The program: its names, and how it ends. Help, completion and messages show the name that the user typed."""

from __future__ import annotations

import os
import re
import sys
from typing import Final

import click

from utcp_bridge.late.patterns import late_pattern

__all__ = [
    "CONTEXT",
    "DEFAULT",
    "NAMES",
    "REGISTRY",
    "NamedGroup",
    "Session",
    "command_line",
    "renamed",
    "started_as",
    "under_name",
]

DEFAULT: Final = "utcp-bridge"
REGISTRY: Final = "utcp-registry"
NAMES: Final = (DEFAULT, "utcp", REGISTRY)
_COMMAND: Final = late_pattern(rf"(?<![\w./-]){DEFAULT}(?= )(?: registry\b)?")


CONTEXT: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
"""Settings of the groups that are programs."""


class Session:
    """How to report an error (with a traceback or without, as text or as JSON), and whose process this is.

    With `is_program`, this process is the command, and not a program that runs it.
    """

    __slots__ = ("as_json", "debug", "is_program")

    def __init__(self, *, is_program: bool = False) -> None:
        self.debug = False
        self.as_json = False
        self.is_program = is_program


class NamedGroup(click.Group):
    """A group whose help texts show the program's name that the user typed."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command, with the program's name in its texts."""
        found = super().get_command(ctx, cmd_name)
        return None if found is None else under_name(found, ctx.find_root().info_name or DEFAULT)


def started_as() -> str:
    """Return the program's name from `sys.argv`: the default for `python -m utcp_bridge` and for other programs."""
    name = os.path.basename(sys.argv[0] if sys.argv else "").removesuffix(".exe")  # noqa: PTH119 - for --help, pathlib is slow to import
    return name if name in NAMES else DEFAULT


def command_line(*words: str) -> str:
    """Return a command for a shell, with the program's name before its words. Words with blanks are quoted."""
    from utcp_bridge.processes.systems import join_command

    return join_command([started_as(), *words])


def under_name(command: click.Command, program: str) -> click.Command:
    """Return the command with another program's name in its texts, or the command itself for the default name."""
    if program == DEFAULT:
        return command
    import copy  # another name is rare

    named = copy.copy(command)
    named.help, named.epilog = (text and renamed(text, program) for text in (command.help, command.epilog))
    return named


def renamed(text: str, program: str) -> str:
    """Return a text with another program's name. `utcp-bridge registry serve` is `utcp-registry serve`, which has no
    other verbs.
    """

    def replacement(match: re.Match[str]) -> str:
        is_registry = match[0] != DEFAULT
        if program == REGISTRY:
            return REGISTRY if is_registry else match[0]
        return program + match[0].removeprefix(DEFAULT)

    return text if program == DEFAULT else _COMMAND.sub(replacement, text)
