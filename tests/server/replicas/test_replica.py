"""Where a request belongs, by its head: to the process that has its session, its task or its kept result."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from utcp_bridge.catalogue.fitting import RESULT_SCHEME
from utcp_bridge.server.replicas.board import Board, State
from utcp_bridge.server.replicas.place import ProcessPlace, be_at, new_ident
from utcp_bridge.server.replicas.replica import Links, Replica

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="descriptors are passed on")
COUNT = 3


@contextmanager
def opened() -> Generator[tuple[Replica, Board]]:
    """Yield the first of three processes that serve."""
    with ExitStack() as stack:
        memory = Board.memory(COUNT)
        stack.callback(os.close, memory)
        board = Board(memory, COUNT)
        stack.callback(board.close)
        own, other = (stack.enter_context(one) for one in socket.socketpair())
        for place in range(COUNT):
            board.set_state(place, State.SERVING)
        stack.callback(be_at, ProcessPlace())
        yield Replica(ProcessPlace(0, COUNT), Links(board, own, [other] * COUNT, [[own]])), board


def scope(method: str = "POST", **headers: str) -> Any:
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"method": method, "headers": [(b"host", b"127.0.0.1"), *pairs]}


def of(place: int) -> str:
    return new_ident(ProcessPlace(place, COUNT))


@pytest.mark.parametrize("is_first", [False, True])
def test_a_request_belongs_where_its_session_task_or_result_is(is_first: bool) -> None:
    with opened() as (replica, _):
        for place in range(COUNT):
            expected = place or None
            for request in (
                scope(mcp_session_id=of(place)),
                scope("GET", mcp_session_id=f"{of(place)}.e30"),
                scope(mcp_method="tasks/get", mcp_name=of(place)),
                scope(mcp_method="resources/read", mcp_name=f"{RESULT_SCHEME}{of(place)}?offset=3"),
            ):
                assert replica.place_of(request, is_first=is_first) == expected
        for request in (scope(), scope(mcp_session_id="-"), scope(mcp_method="tools/call", mcp_name=of(1))):
            assert replica.place_of(request, is_first=is_first) is None


@pytest.mark.parametrize("state", [State.STARTING, State.LOST, State.DRAINING])
def test_nothing_goes_to_a_process_that_does_not_serve(state: State) -> None:
    with opened() as (replica, board):
        board.set_state(1, state)
        assert replica.place_of(scope(mcp_session_id=of(1)), is_first=True) is None
        assert replica.place_of(scope(mcp_session_id=of(2)), is_first=True) == 2


def test_a_process_that_ends_keeps_what_it_has() -> None:
    with opened() as (replica, board):
        board.set_state(0, State.DRAINING)
        assert replica.place_of(scope(mcp_session_id=of(1)), is_first=True) is None


def test_a_new_connection_goes_to_the_process_with_fewest() -> None:
    with opened() as (replica, board):
        replica._count = lambda: 4
        board.set_connections(1, 3)
        board.set_connections(2, 2)
        assert replica.place_of(scope(), is_first=True) == 2
        assert replica.place_of(scope(), is_first=False) is None
        assert replica.place_of(scope("GET"), is_first=True) is None
        board.set_connections(2, 3)
        assert replica.place_of(scope(), is_first=True) is None


def test_a_suspended_call_is_not_looked_for_without_a_connection() -> None:
    with opened() as (replica, _):
        assert not replica.pass_on({**scope(), "raw_path": b"/mcp", "query_string": b""}, b"{}", 1)
