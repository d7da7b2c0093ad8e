"""`utcp-bridge completion`: the script with which a shell completes the command under each of its names."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Final

import click

from utcp_bridge.cli.options import debug_option
from utcp_bridge.cli.program import NAMES

if TYPE_CHECKING:
    from click.shell_completion import ShellComplete

__all__ = ["completion"]

_SHELLS: Final = ("bash", "zsh", "fish")


def _shells(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    del ctx, param
    return [shell for shell in _SHELLS if shell.startswith(incomplete)]


@click.command(
    epilog="""\b
Examples, each with the file that the line belongs in:
  eval "$(utcp-bridge completion bash)"        ~/.bashrc
  eval "$(utcp-bridge completion zsh)"         ~/.zshrc, after compinit
  utcp-bridge completion fish | source         ~/.config/fish/config.fish
"""
)
@click.argument("shell", metavar=f"[{'|'.join(_SHELLS)}]", envvar="SHELL", shell_complete=_shells)
@debug_option
def completion(shell: str) -> None:
    """Print the script with which a shell, by default $SHELL, completes the command.

    It is for `utcp-bridge`, `utcp` and `utcp-registry`. Manuals are completed by the configuration (-c, or the default
    one), tools by those manuals that are local files or text: completing reaches no network and starts no program.
    """
    from click.shell_completion import BashComplete, FishComplete, ZshComplete

    kinds: dict[str, type[ShellComplete]] = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}
    kind = kinds.get(PurePath(shell).stem)  # $SHELL is a path
    if kind is None:
        raise click.UsageError(f"There is no completion for {shell}, only for {', '.join(_SHELLS)}.")
    for name in NAMES:
        click.echo(_script(kind, name))


def _script(kind: type[ShellComplete], name: str) -> str:
    """The script for one name; the variable is the one that click looks for."""
    variable = f"_{name.replace('-', '_')}_COMPLETE".upper()
    return kind(click.Command(name), {}, name, variable).source()
