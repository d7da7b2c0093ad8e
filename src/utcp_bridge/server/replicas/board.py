"""The state of all processes behind one address, in memory that they share.

Each process has a slot, which it alone writes; only the parent notes in it that the process has ended. A reader may
see a summary that is half written: its checksum then does not fit, and the reader looks again.
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
from contextlib import suppress
from enum import IntEnum
from typing import Final
from zlib import crc32

import orjson

from utcp_bridge.model import JsonObject

__all__ = ["Board", "State"]

_SLOT: Final = 4_096
_HEAD: Final = struct.Struct("=BxxxIII")
"""State, connections, and length and checksum of the summary."""
_TRIES: Final = 20


class State(IntEnum):
    """What a process is doing."""

    STARTING = 0
    SERVING = 1
    LOST = 2
    """It has ended by itself, and is started again."""
    DRAINING = 3


class Board:
    """The slots of all processes."""

    def __init__(self, descriptor: int, count: int) -> None:
        """Map the memory behind a descriptor, which stays open."""
        self.count: Final = count
        self._memory = mmap.mmap(descriptor, count * _SLOT)

    @staticmethod
    def memory(count: int) -> int:
        """Return the descriptor of new memory for a number of processes.

        :raises OSError: there is none.
        """
        with tempfile.TemporaryFile() as file:
            file.truncate(count * _SLOT)
            return os.dup(file.fileno())

    def close(self) -> None:
        """Unmap the memory."""
        self._memory.close()

    def state(self, index: int) -> State:
        """Return what a process is doing."""
        return State(self._memory[index * _SLOT])

    def set_state(self, index: int, state: State) -> None:
        """Note what a process is doing."""
        self._memory[index * _SLOT] = state

    def connections(self, index: int) -> int:
        """Return how many connections a process has, about."""
        return int(_HEAD.unpack_from(self._memory, index * _SLOT)[1])

    def set_connections(self, index: int, number: int) -> None:
        """Note how many connections a process has."""
        struct.pack_into("=I", self._memory, index * _SLOT + 4, max(0, number))

    def publish(self, index: int, summary: JsonObject) -> None:
        """Set the summary that `/readyz` of this process would show alone."""
        data = orjson.dumps(summary)
        if len(data) <= _SLOT - _HEAD.size:
            start = index * _SLOT + _HEAD.size
            self._memory[start : start + len(data)] = data
            struct.pack_into("=II", self._memory, index * _SLOT + 8, len(data), crc32(data))

    def summary(self, index: int) -> JsonObject:
        """Return the summary of a process; empty if it has published none."""
        start = index * _SLOT + _HEAD.size
        for _ in range(_TRIES):
            _, _, length, checksum = _HEAD.unpack_from(self._memory, index * _SLOT)
            data = self._memory[start : start + min(length, _SLOT - _HEAD.size)]
            if crc32(data) == checksum:
                with suppress(ValueError):
                    found: JsonObject = orjson.loads(data)
                    return found
        return {}
