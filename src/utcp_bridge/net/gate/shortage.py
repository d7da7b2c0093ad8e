"""The lack of file descriptors: it is the bridge's own, so messages do not blame the upstream or the command."""

from __future__ import annotations

import errno
import os
from typing import Any, Final, cast

from utcp_bridge.errors import Busy

__all__ = ["check_descriptors", "descriptor_shortage"]

_SHORTAGES: Final = frozenset({errno.EMFILE, errno.ENFILE})
_MAX_CAUSES: Final = 20


def descriptor_shortage(error: BaseException, *, probe: bool = False) -> Busy | None:
    """Return the error to raise instead of `error`, if it or one of its causes is a lack of descriptors.

    With `probe` also if a file cannot be opened now, for libraries that do not say why they failed.
    """
    if _is_shortage(error) or (probe and _cannot_open(1)):
        return _shortage()
    return None


def check_descriptors(count: int) -> None:
    """Check that the process can open some more descriptors, for libraries that end the process if they cannot.

    :raises Busy: it cannot.
    """
    if _cannot_open(count):
        raise _shortage()


def _shortage() -> Busy:
    return Busy(
        "The bridge uses all the file descriptors that it may have.",
        remedy="Raise the limit on open files (`ulimit -n 4096`, LimitNOFILE of a service), or lower `concurrency`.",
    )


def _is_shortage(error: BaseException) -> bool:
    waiting, seen = [error], 0
    while waiting and seen < _MAX_CAUSES:
        seen += 1
        one = waiting.pop()
        if isinstance(one, OSError) and one.errno in _SHORTAGES:
            return True
        if isinstance(one, BaseExceptionGroup):
            waiting += cast("Any", one).exceptions
        waiting += [cause for cause in (one.__cause__, one.__context__) if cause is not None]
    return False


def _cannot_open(count: int) -> bool:
    opened: list[int] = []
    try:
        for _ in range(count):
            opened.append(os.open(os.devnull, os.O_RDONLY))  # noqa: PERF401 - those before a failure are closed
    except OSError as error:
        return error.errno in _SHORTAGES
    finally:
        for one in opened:
            os.close(one)
    return False
