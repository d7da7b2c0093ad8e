"""How this process gives memory back to the system (glibc; elsewhere nothing happens)."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from typing import Any, Final

__all__ = ["give_back", "return_large_blocks", "share_one_heap"]

_MMAP_THRESHOLD: Final = -3
_ARENA_MAX: Final = -8
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


def share_one_heap() -> None:
    """Let all threads that start from now on allocate from one heap.

    By default, glibc makes a heap for each thread, and what is left in them adds up. Threads that wait for Python's
    interpreter lock do not wait for the heap.
    """
    if (library := _library()) is not None:
        with suppress(AttributeError):
            library.mallopt(_ARENA_MAX, 1)


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
