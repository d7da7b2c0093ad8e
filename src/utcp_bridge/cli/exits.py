"""Exit codes: stable, one for each kind of failure that a script may need to distinguish (docs/cli.md)."""

from __future__ import annotations

from typing import Final

from utcp_bridge.errors import (
    CallerError,
    DeadlineExceeded,
    InternalError,
    OperatorError,
    PolicyError,
    UnknownTool,
    UtcpError,
)

__all__ = [
    "ARGUMENTS",
    "CONFIGURATION",
    "DEADLINE",
    "FAULTS",
    "INTERNAL",
    "INTERRUPTED",
    "MEANINGS",
    "NO_TOOL",
    "OK",
    "POLICY",
    "UPSTREAM",
    "USAGE",
    "exit_code",
    "listed",
]

OK: Final = 0
USAGE: Final = 1
FAULTS: Final = USAGE
CONFIGURATION: Final = 2
NO_TOOL: Final = 3
ARGUMENTS: Final = 4
UPSTREAM: Final = 5
POLICY: Final = 6
DEADLINE: Final = 7
INTERNAL: Final = 70
INTERRUPTED: Final = 130

MEANINGS: Final[dict[int, str]] = {
    OK: "done",
    USAGE: "the command line is wrong; `validate`: a document has an error",
    CONFIGURATION: "the configuration is wrong: a file, a key, a variable, a missing extra",
    NO_TOOL: "no tool has this name",
    ARGUMENTS: "the arguments do not fit the tool's schema",
    UPSTREAM: "the upstream service failed, or is busy",
    POLICY: "the security policy does not allow it",
    DEADLINE: "the time limit is over",
    INTERNAL: "an internal error in utcp-bridge",
    INTERRUPTED: "interrupted from the keyboard",
}

# The first class that matches decides, so a class is listed before its parents.
_CODES: Final[tuple[tuple[type[UtcpError], int], ...]] = (
    (PolicyError, POLICY),
    (OperatorError, CONFIGURATION),
    (UnknownTool, NO_TOOL),
    (CallerError, ARGUMENTS),
    (DeadlineExceeded, DEADLINE),
    (InternalError, INTERNAL),
)


def listed(*codes: int) -> str:
    """Return lines for the help of a verb that ends with these codes, or with any code if none is given."""
    return "\n".join(f"  {code:<4}{MEANINGS[code].partition(';')[0]}" for code in codes or MEANINGS)


def exit_code(error: UtcpError) -> int:
    """Return the exit code of an error."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), UPSTREAM)
