"""The pool of HTTP sessions."""

import subprocess
import sys

import pytest

from utcp_bridge.errors import Unreachable
from utcp_bridge.model import Source
from utcp_bridge.net.guard import Guard
from utcp_bridge.net.http import HttpPool
from utcp_bridge.placement.request import RequestParts

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("deadline")]


def test_importing_the_pool_loads_no_client_library():
    program = (
        "import sys, utcp_bridge.net.http, utcp_bridge.net.guard, utcp_bridge.net.reply, utcp_bridge.auth.models;"
        "print(sorted({'aiohttp', 'httpx2', 'yarl', 'authlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


async def test_the_pool_keeps_one_session_per_source_and_closes_them_by_name(server):
    pool = HttpPool(Guard())
    source = Source("shop", exempt=frozenset({server.endpoint}))
    session = pool.session(source)
    assert pool.session(source) is session
    await session.request(RequestParts("GET", f"{server.url}/ok", []))
    await pool.close_session("other")
    assert pool.session(source) is session
    await pool.close_session("shop")
    with pytest.raises(Unreachable, match="closed"):
        await session.request(RequestParts("GET", f"{server.url}/ok", []))
    assert pool.session(source) is not session
    await pool.aclose()
