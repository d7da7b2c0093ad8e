"""How this process gives memory back to the system (glibc; elsewhere nothing happens)."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from typing import Any, Final

__all__ = ["give_back", "return_large_blocks"]

_MMAP_THRESHOLD: Final = -3
_BLOCK: Final = 1024 * 1024


@cache
def return_large_blocks() -> None:
    """Let the system have each block of a megabyte or more as soon as it is free.

    By default, glibc takes such blocks from its heap after the first one was freed, and a heap full of smaller blocks
    does not shrink.
    """
    if (library := _library()) is not None:
        with suppress(AttributeError):
            library.mallopt(_MMAP_THRESHOLD, _BLOCK)


def give_back() -> None:
    """Give all free memory back, in some milliseconds."""
    if (library := _library()) is not None:
        with suppress(AttributeError):
            library.malloc_trim(0)


@cache
def _library() -> Any:
    try:
        import ctypes

        return ctypes.CDLL(None)
    except (ImportError, OSError, TypeError):
        return None
