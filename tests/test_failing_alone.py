"""A test that ends the task in which anyio runs all tests fails alone, and its cause is reported. What it sets for the
request of a client ends with it.
"""

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import anyio, asyncio, pytest
from collections.abc import AsyncIterator
from utcp_bridge.client_request import CLIENT_REQUEST, KnownClientRequest

pytestmark = pytest.mark.anyio

@pytest.fixture
async def server_that_fails() -> AsyncIterator[None]:
    async def serve() -> None:
        raise ValueError("the port is lost")

    async with anyio.create_task_group() as group:
        group.start_soon(serve)
        yield

async def test_beside_a_server(server_that_fails: None) -> None:
    await anyio.sleep_forever()

async def test_after_a_server() -> None: ...

async def test_fails_in_a_group() -> None:
    async def expect() -> None:
        with pytest.raises(ValueError):
            pass

    async with anyio.create_task_group() as group:
        group.start_soon(expect)

async def test_after_a_group() -> None: ...

async def test_is_cancelled() -> None:
    raise asyncio.CancelledError

async def test_after_a_cancellation() -> None: ...

async def test_serves_a_request() -> None:
    CLIENT_REQUEST.set(KnownClientRequest("someone"))

async def test_after_a_request() -> None:
    assert CLIENT_REQUEST.get().caller == ""
"""


def test_the_tests_after_one_that_ends_their_task_run(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text("from tests.conftest import *")
    (tmp_path / "test_some.py").write_text(PROGRAM)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-v", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    results = dict(line.split("::")[1].split()[:2] for line in ended.stdout.splitlines() if "%]" in line)
    passed = {name for name, result in results.items() if result == "PASSED"}
    fine = {"test_after_a_server", "test_after_a_group", "test_after_a_cancellation"}
    assert passed == fine | {"test_serves_a_request", "test_after_a_request"}, ended.stdout
    assert "the port is lost" in ended.stdout
