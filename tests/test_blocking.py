import threading
from functools import partial

import anyio
import pytest

from utcp_bridge.blocking import run_blocking


async def doubled(number: int) -> tuple[int, int]:
    await anyio.lowlevel.checkpoint()
    return number * 2, threading.get_ident()


def test_without_a_loop_it_runs_here() -> None:
    assert run_blocking(partial(doubled, 2)) == (4, threading.get_ident())


@pytest.mark.anyio
async def test_within_a_loop_it_runs_in_a_thread_of_its_own() -> None:
    result, thread = run_blocking(partial(doubled, 3))
    assert result == 6
    assert thread != threading.get_ident()


@pytest.mark.anyio
async def test_errors_come_through() -> None:
    async def fail() -> None:
        raise ValueError("as it is")

    with pytest.raises(ValueError, match="as it is"):
        run_blocking(fail)
