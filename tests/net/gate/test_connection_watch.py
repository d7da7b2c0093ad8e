"""The watch behind the gate. Its strict form runs in a process of its own; here the tests may reach their servers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.own_machine import is_own_address
from tests.support.watch_program import WAYS

from utcp_bridge.errors import PolicyError
from utcp_bridge.model import Source
from utcp_bridge.net.gate.connection_watch import Issued, _watch
from utcp_bridge.net.guard import Guard
from utcp_bridge.net.http import HttpPool
from utcp_bridge.placement.request import RequestParts

ROOT = Path(__file__).parents[3]


def run(*arguments: str) -> Any:
    command = [sys.executable, "-m", "tests.support.watch_program", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_connections_and_look_ups_that_the_gate_did_not_issue_are_stopped(loop: str) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop", reason="the extra [fast] is not installed")
    report = run(loop)
    assert report == {"stopped": list(WAYS), "passed": [], "hits": 0, "datagrams": 0}


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_those_that_it_issued_pass(loop: str) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop", reason="the extra [fast] is not installed")
    report = run(loop, "issued")
    assert (report["stopped"], report["passed"]) == ([], list(WAYS))
    assert report["hits"] == 5


def test_an_address_is_issued_in_every_form_and_for_its_port_only() -> None:
    known = Issued()
    known.add("::ffff:192.0.2.1", 80)
    known.add("2001:DB8::0:1", 80)
    known.add("Names.Example.")
    assert known.has("192.0.2.1", 80)
    assert known.has("2001:db8::1", 80)
    assert known.has("names.example")
    assert not known.has("192.0.2.1", 81)
    assert not known.has("192.0.2.1")
    assert not known.has("names.example", 80)


def test_an_issued_address_is_forgotten_some_time_after_its_last_use() -> None:
    now = [0.0]
    known = Issued(lifetime=10, clock=lambda: now[0])
    known.add("192.0.2.1", 80)
    for moment in (9, 18, 27):
        now[0] = moment
        assert known.has("192.0.2.1", 80)
    now[0] = 38
    assert not known.has("192.0.2.1", 80)


@given(st.lists(st.integers(0, 20), max_size=60))
def test_the_number_of_issued_addresses_is_limited(ports: list[int]) -> None:
    known = Issued(most=5)
    for port in ports:
        known.add("192.0.2.1", port)
    latest = list(dict.fromkeys(reversed(ports)))
    assert [port for port in latest if known.has("192.0.2.1", port)] == latest[:5]


@pytest.mark.anyio
async def test_the_watch_is_on_in_tests_for_all_but_this_machine() -> None:
    assert is_own_address("127.0.0.1", 1)
    assert not is_own_address("93.184.216.35", 4321)
    assert not is_own_address("names.example", 80)
    with pytest.raises(PolicyError, match=r"stopped a connection to 93\.184\.216\.35:4321"):
        _watch.check("93.184.216.35", 4321)


@pytest.mark.anyio
async def test_an_address_in_a_url_is_checked_when_it_is_connected_long_after_its_url() -> None:
    pool = HttpPool(Guard())
    source = Source("shop")
    session = pool.session(source)
    try:
        # An old verdict; no other test uses this address, which would then be a checked one.
        session._targets["http", "127.9.8.7:9", False] = "http://127.9.8.7:9"
        with pytest.raises(PolicyError, match="loopback"):
            await session.request(RequestParts("GET", "http://127.9.8.7:9/", [], None))
    finally:
        await pool.aclose()
