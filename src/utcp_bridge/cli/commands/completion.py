"""`utcp-bridge completion`: the script that lets a shell complete the command under each of its names."""

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
Examples, with the file to put each line into:
  eval "$(utcp-bridge completion bash)"        ~/.bashrc
  eval "$(utcp-bridge completion zsh)"         ~/.zshrc, after compinit
  utcp-bridge completion fish | source         ~/.config/fish/config.fish
"""
)
@click.argument("shell", metavar=f"[{'|'.join(_SHELLS)}]", envvar="SHELL", shell_complete=_shells)
@debug_option
def completion(shell: str) -> None:
    """Print the script that lets a shell complete the command. The default shell is $SHELL.

    The script completes `utcp-bridge`, `utcp` and `utcp-registry`: verbs, options, topics of the help, the manuals of
    the configuration (CONFIG, or the default one), and the tools of those manuals that are local files or text.
    Completion uses no network and starts no program.
    """
    from click.shell_completion import BashComplete, FishComplete, ZshComplete

    kinds: dict[str, type[ShellComplete]] = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}
    kind = kinds.get(PurePath(shell).stem)  # $SHELL is a path
    if kind is None:
        raise click.UsageError(
            f"There is no completion for {shell or 'an unnamed shell'}. Choose one of {', '.join(_SHELLS)}."
        )
    for name in NAMES:
        click.echo(_script(kind, name))


def _script(kind: type[ShellComplete], name: str) -> str:
    """Return the script for one name of the program; click reads the variable of this name."""
    variable = f"_{name.replace('-', '_')}_COMPLETE".upper()
    return kind(click.Command(name), {}, name, variable).source()
