"""The names under which the command is installed: help, completion and messages show the one it was started by."""

from __future__ import annotations

import copy
import re
import sys
from pathlib import Path
from typing import Final

import click

__all__ = ["CONTEXT", "DEFAULT", "NAMES", "REGISTRY", "NamedGroup", "started_as", "under_name"]

DEFAULT: Final = "utcp-bridge"
REGISTRY: Final = "utcp-registry"
NAMES: Final = (DEFAULT, "utcp", REGISTRY)
_COMMAND: Final = re.compile(rf"(?<![\w./-]){DEFAULT}(?= )(?: registry\b)?")


CONTEXT: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
"""Of every group that may be a program of its own."""


class NamedGroup(click.Group):
    """A group whose commands' texts name the program that was started."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command as it reads under the program's name."""
        found = super().get_command(ctx, cmd_name)
        return None if found is None else under_name(found, str(ctx.find_root().info_name))


def started_as() -> str:
    """The program's name by `sys.argv`; the default for `python -m utcp_bridge` and for embedding programs."""
    name = Path(sys.argv[0] if sys.argv else "").name.removesuffix(".exe")
    return name if name in NAMES else DEFAULT


def under_name(command: click.Command, program: str) -> click.Command:
    """The command with its own texts as they read under another name; the same one under the default."""
    if program == DEFAULT:
        return command
    named = copy.copy(command)
    named.help, named.epilog = (_renamed(text, program) for text in (command.help, command.epilog))
    return named


def _renamed(text: str | None, program: str) -> str | None:
    """`utcp-bridge registry serve` is `utcp-registry serve`; whatever else that name has not stays as it is."""

    def replacement(match: re.Match[str]) -> str:
        is_registry = match[0] != DEFAULT
        if program == REGISTRY:
            return REGISTRY if is_registry else match[0]
        return program + match[0].removeprefix(DEFAULT)

    return None if text is None else _COMMAND.sub(replacement, text)
