"""Python's garbage collector while serving: off while manuals load, then blind to what loading left behind.

Ten thousand tools are a million objects that live as long as the process. A full collection walks them all: a fifth
of a second in which no call moves, again and again. Frozen, they cost nothing. So are, for the first minute, those that
survive a full collection: the catalogue and the index that the first requests build. What comes later is collected as
usual.
"""

from __future__ import annotations

import gc
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Final

import anyio

if TYPE_CHECKING:
    from utcp_bridge.client.client import UtcpClient

__all__ = ["frozen_when_loaded", "paused"]

_SETTLING: Final = 60.0
_OLDEST: Final = 2


@contextmanager
def paused() -> Generator[None]:
    """Collect nothing, until `frozen_when_loaded` says otherwise; at the end the collector is as usual."""
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        gc.enable()


@asynccontextmanager
async def frozen_when_loaded(client: UtcpClient) -> AsyncGenerator[None]:
    """Collect again once the manuals are there or `startup_wait` is over, but none of what is there by then."""
    async with anyio.create_task_group() as group:
        group.start_soon(_freeze_when_loaded, client)
        yield
        group.cancel_scope.cancel()


async def _freeze_when_loaded(client: UtcpClient) -> None:
    await client.wait_loaded(client.settings.startup_wait)
    gc.freeze()
    gc.enable()
    gc.callbacks.append(_freeze_survivors)
    try:
        await anyio.sleep(_SETTLING)
    finally:
        gc.callbacks.remove(_freeze_survivors)


def _freeze_survivors(phase: str, details: dict[str, Any]) -> None:
    if phase == "stop" and details["generation"] == _OLDEST:
        gc.freeze()
