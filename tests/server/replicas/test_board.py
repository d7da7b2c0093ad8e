"""The memory that processes share: a slot for each, read while it is written."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.model import JsonObject
from utcp_bridge.server.replicas.board import Board, State

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="descriptors are passed on")
WRITER = """
import sys
from utcp_bridge.server.replicas.board import Board, State
board = Board(int(sys.argv[1]), 2)
for number in range(20_000):
    board.publish(1, {"number": number, "text": "x" * (number % 3_000)})
board.set_connections(1, 7)
board.set_state(1, State.SERVING)
"""


@contextmanager
def opened(count: int) -> Generator[tuple[Board, int]]:
    memory = Board.memory(count)
    board = Board(memory, count)
    try:
        yield board, memory
    finally:
        board.close()
        os.close(memory)


def test_another_process_is_read_while_it_writes() -> None:
    with opened(2) as (board, memory):
        command = [sys.executable, "-c", WRITER, str(memory)]
        with subprocess.Popen(command, pass_fds=[memory]) as writer:
            last = -1
            while board.state(1) != State.SERVING:
                assert writer.poll() in {None, 0}
                found = board.summary(1)
                if found:
                    assert found["text"] == "x" * (found["number"] % 3_000)
                    assert found["number"] >= last
                    last = found["number"]
        assert board.summary(1)["number"] == 19_999
        assert board.connections(1) == 7
        assert (board.state(0), board.connections(0), board.summary(0)) == (State.STARTING, 0, {})


@given(st.dictionaries(st.text(max_size=9), st.integers(0, 9) | st.text(max_size=9), max_size=5), st.integers(-5, 9))
def test_slots_do_not_disturb_each_other(summary: JsonObject, connections: int) -> None:
    with opened(3) as (board, _):
        board.publish(1, summary)
        board.set_state(1, State.DRAINING)
        board.set_connections(1, connections)
        assert board.summary(1) == summary
        assert (board.state(1), board.connections(1)) == (State.DRAINING, max(0, connections))
        for other in (0, 2):
            assert (board.state(other), board.connections(other), board.summary(other)) == (State.STARTING, 0, {})


def test_a_summary_without_room_keeps_the_one_before() -> None:
    with opened(2) as (board, _):
        board.publish(0, {"ready": True})
        board.publish(0, {"text": "x" * 5_000})
        assert board.summary(0) == {"ready": True}
        assert board.summary(1) == {}
