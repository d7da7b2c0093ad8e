"""How this process gives memory back to the system (glibc; elsewhere nothing happens)."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from typing import Any, Final

__all__ = ["give_back", "keep_room", "return_large_blocks", "share_one_heap"]

_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
_ARENA_MAX: Final = -8
_BLOCK: Final = 1024 * 1024
_ROOM: Final = 4 * 1024 * 1024
"""Free bytes at the end of the heap that stay for the next results: several of 50 KB are made at once."""


@cache
def return_large_blocks() -> None:
    """Let the system have each block of a megabyte or more as soon as it is free.

    By default, glibc takes such blocks from its heap after the first one was freed, and a heap full of smaller blocks
    does not shrink.
    """
    if (library := _library()) is not None:
        with suppress(AttributeError):
            library.mallopt(_MMAP_THRESHOLD, _BLOCK)


def keep_room() -> None:
    """Keep some free memory for results of some size, from now on and after `return_large_blocks`.

    By default, glibc gives the end of its heap back from 128 KB on. Each result would take those pages from the system
    again, which costs a fifth of its call. A process that never has such a result keeps nothing.
    """
    if return_large_blocks.cache_info().currsize:  # else it is another program's process, or still starts
        _keep_room()


@cache
def _keep_room() -> None:
    if (library := _library()) is not None:
        with suppress(AttributeError):
            library.mallopt(_TRIM_THRESHOLD, _ROOM)


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
