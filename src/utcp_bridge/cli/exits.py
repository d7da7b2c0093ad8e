"""Exit codes: stable, one for each kind of failure that a script may need to distinguish (docs/cli.md)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from utcp_bridge.errors import (
    CallerError,
    ConfigError,
    DeadlineExceeded,
    InternalError,
    OperatorError,
    PolicyError,
    UnknownTool,
    UtcpError,
)

if TYPE_CHECKING:
    from utcp_bridge.model import Fault

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
    "fault_code",
    "first_fault_code",
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
    USAGE: "the command line is wrong; `validate`: a document has an error; `convert --prove`: a tool was left out;"
    " `health`: the bridge does not reply",
    CONFIGURATION: "the configuration is wrong: a file, an entry, a key, a variable, a missing extra",
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


def fault_code(fault: Fault, usual: type[UtcpError] = ConfigError) -> int:
    """Return the exit code of a fault; OK for a warning, unless a key of the configuration is misread.

    `usual` is the error of a fault that does not name one.
    """
    from utcp_bridge.model import MISREAD

    if fault.code == MISREAD:
        return CONFIGURATION
    if fault.severity != "error":
        return OK
    known = {kind.code: kind for kind in _kinds(UtcpError)}
    kind = known.get(fault.code, usual)
    return next((code for parent, code in _CODES if issubclass(kind, parent)), UPSTREAM)


def first_fault_code(faults: Iterable[Fault]) -> int:
    """Return the exit code of the first fault of a configuration that has one; OK if none has."""
    return next((code for fault in faults if (code := fault_code(fault))), OK)


def _kinds(kind: type[UtcpError]) -> Iterator[type[UtcpError]]:
    for child in kind.__subclasses__():
        yield from (child, *_kinds(child))


def exit_code(error: UtcpError) -> int:
    """Return the exit code of an error."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), UPSTREAM)
