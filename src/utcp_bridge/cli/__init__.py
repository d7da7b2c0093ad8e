"""The `utcp-bridge` command: one file per verb.

The only part that configures logging, prints and exits. Modules here import nothing heavy before a verb runs, so
that `--help` and `--version` answer at once.
"""

from utcp_bridge.cli.command import main

__all__ = ["main"]
