"""Log messages of upstreams reach the client of their call, at the level that it asked for."""

from __future__ import annotations

from typing import Any

import anyio
import mcp_types as types
import pytest
from mcp import Client
from tests.support.server_client import StandIn

from utcp_bridge.model import LogMessage, log_receiver
from utcp_bridge.server.app import BridgeServer

pytestmark = pytest.mark.anyio

MESSAGES = [
    LogMessage("debug", "fine"),
    LogMessage("info", {"step": 1}, "shop"),
    LogMessage("error", "bad"),
    LogMessage("odd", "no such level"),
]


def server_that_logs() -> BridgeServer:
    client: Any = StandIn()

    async def log(_arguments: Any, _emit: Any) -> str:
        receive = log_receiver.get()
        assert receive is not None
        for message in MESSAGES:
            await receive(message)
        return "done"

    client.add("m", "t", log)
    return BridgeServer(client)


async def heard(*, mode: Any, level: types.LoggingLevel | None = None, meta: Any = None) -> list[tuple[str, Any, Any]]:
    found: list[tuple[str, Any, Any]] = []

    async def keep(params: types.LoggingMessageNotificationParams) -> None:
        found.append((params.level, params.data, params.logger))

    with anyio.fail_after(60):
        async with Client(server_that_logs(), logging_callback=keep, mode=mode) as client:
            if level is not None:
                await client.session.send_request(
                    types.SetLevelRequest(params=types.SetLevelRequestParams(level=level)), types.EmptyResult
                )
            result = await client.call_tool("m_t", {}, meta=meta)
            assert result.content[0].model_dump()["text"] == "done"
    return found


async def test_a_session_gets_the_level_that_it_set() -> None:
    assert await heard(mode="legacy", level="debug") == [
        ("debug", "fine", None),
        ("info", {"step": 1}, "shop"),
        ("error", "bad", None),
        ("info", "no such level", None),
    ]
    assert await heard(mode="legacy", level="warning") == [("error", "bad", None)]


async def test_a_session_without_a_level_gets_info_and_above() -> None:
    assert [level for level, _, _ in await heard(mode="legacy")] == ["info", "error", "info"]


async def test_since_2026_a_request_gets_the_level_that_it_states_and_otherwise_nothing() -> None:
    meta = {"io.modelcontextprotocol/logLevel": "error"}
    assert await heard(mode="2026-07-28", meta=meta) == [("error", "bad", None)]
    assert await heard(mode="2026-07-28") == []
