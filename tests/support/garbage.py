"""What a test leaves behind is found at its end, so that it fails this test and does not reach the next one."""

from __future__ import annotations

import gc
import logging
import re
from collections.abc import Callable

from utcp_bridge.processes.children import _Link

_LATE = re.compile(r"destroyed but it is pending|never retrieved|^Unclosed")
"""What asyncio and aiohttp log when the collector finds an object that was not closed."""

_SERVERS_LOGGERS = ("uvicorn", "uvicorn.error")
"""uvicorn sets their levels for the whole process unless its `log_config` is None. Later tests look at their lines."""

_MANY = 10_000
"""Objects that a test keeps, such as a cache of syntax trees, and that would make each later `collect` slow."""


def left_by(work: Callable[[], object]) -> int:
    """Return how many objects this work leaves that only the collector frees, because they keep each other."""
    gc.collect()
    gc.disable()
    try:
        work()
        return gc.collect()
    finally:
        gc.enable()


class Leftovers(logging.Filter):
    """Takes the messages about objects that were not closed out of the log of asyncio. Use `install` once."""

    def __init__(self) -> None:
        super().__init__()
        self._found: list[str] = []

    def install(self) -> None:
        """Watch the log. The modules that exist now are never garbage, so `collect` does not look at them."""
        logging.getLogger("asyncio").addFilter(self)
        gc.collect()
        gc.freeze()

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        late = _LATE.search(message) is not None
        if late:
            self._found.append(message)
        return not late

    def collect(self) -> list[str]:
        """Collect garbage now. Return what was logged about it and about earlier garbage, and what else was left."""
        gc.collect()
        objects = gc.get_objects()
        guardians = [one for one in objects if type(one) is _Link and one._loop.is_closed()]
        if len(objects) > _MANY:
            gc.freeze()
        found, self._found = self._found, []
        for one in guardians:
            if one._process.returncode is None:
                found.append("a guardian of children, after the end of its event loop")
                one._socket.close()
                one._process.wait()
        for logger in map(logging.getLogger, _SERVERS_LOGGERS):
            if logger.level or not logger.propagate:
                found.append(f"the level of the logger {logger.name} or its own handlers")
                logger.setLevel(logging.NOTSET)
                logger.propagate = True
        return found
