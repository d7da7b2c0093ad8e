"""The first load of the manuals and its time limit."""

from math import inf

import anyio
import pytest
from tests.support.server_client import Manual, StandIn

from utcp_bridge.model import Outage
from utcp_bridge.server.readiness import Readiness
from utcp_bridge.settings import BridgeSettings
from utcp_bridge.upstream import ServerState

pytestmark = pytest.mark.anyio
JUST_NOW = inf
"""The time of an arrival that nothing comes after."""


def loading_client(startup_wait):
    client = StandIn(BridgeSettings(startup_wait=startup_wait))
    client.manuals = [Manual("up", "ready", 3), Manual("down", "failed"), Manual("slow", "loading")]
    return client


def test_the_bridge_is_ready_when_no_manual_is_loading_and_stays_ready():
    client = loading_client(60)
    readiness = Readiness(client)
    assert not readiness.is_ready()
    client.manuals[2].status = "failed"
    assert readiness.is_ready()
    client.manuals[2].status = "loading"
    assert readiness.is_ready()


def test_the_bridge_is_ready_after_the_startup_wait():
    assert Readiness(loading_client(0)).is_ready()


async def test_waiting_ends_with_the_load():
    client = loading_client(60)
    readiness = Readiness(client)
    done = []

    async def wait():
        await readiness.wait()
        done.append(True)

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            assert not done
            client.manuals[2].status = "ready"
            client.loaded.set()
    assert done


async def test_waiting_ends_with_the_time():
    readiness = Readiness(loading_client(0.05))
    with anyio.fail_after(60):
        await readiness.wait()
    assert readiness.is_ready()


def test_the_summary_has_counts_and_no_names():
    client = loading_client(60)
    client.manuals[1].next_try = 7.0
    client.upstreams_away = [Outage("up", "http://a", 5, 2.5), Outage("up", "http://b", 9, 0.0)]
    assert Readiness(client).summary() == {
        "ready": False,
        "manuals": {"total": 3, "ready": 1, "loading": 1, "failed": 1},
        "retrying": 1,
        "breakers": {"open": 1, "half_open": 1},
        "tools": 3,
    }


def test_the_summary_counts_lost_audit_lines_if_there_is_an_audit_log():
    client = loading_client(60)
    client.audit_lost = 2
    assert Readiness(client).summary()["audit"] == {"lost": 2}


async def test_the_first_list_does_not_wait_for_a_slow_manual_once_others_have_arrived():
    client = StandIn(BridgeSettings(startup_wait=3_600, startup_settle=0.05))
    client.manuals = [Manual("up", "ready", 3), Manual("slow", "loading")]
    readiness = Readiness(client)
    with anyio.fail_after(60):
        await readiness.settle()
    assert not readiness.is_ready()


async def test_only_the_first_list_waits_for_others_to_arrive():
    client = StandIn(BridgeSettings(startup_wait=3_600, startup_settle=0.05))
    client.manuals = [Manual("up", "ready", 3, awaited=("slow server",))]
    readiness = Readiness(client)
    with anyio.fail_after(60):
        await readiness.settle()
        client.settings = BridgeSettings(startup_wait=3_600, startup_settle=3_600)
        client.manuals[0].arrived = JUST_NOW
        await readiness.settle()
    assert not readiness.is_ready(), "a part of the manual is on its way"


def test_the_summary_counts_the_states_of_mcp_servers():
    client = loading_client(60)
    states = ["ready", "ready", "needs login"]
    client.server_states = [ServerState("up", str(number), status) for number, status in enumerate(states)]
    assert Readiness(client).summary()["servers"] == {"ready": 2, "needs_login": 1}


async def test_the_first_list_waits_while_nothing_has_arrived_and_after_each_arrival():
    client = StandIn(BridgeSettings(startup_wait=3_600, startup_settle=600))
    client.manuals = [Manual("down", "failed", 0, JUST_NOW), Manual("next", "loading"), Manual("slow", "loading")]
    readiness = Readiness(client)
    done = []

    async def wait():
        await readiness.settle()
        done.append(True)

    async def arrive(manual):
        manual.status, manual.tools, manual.arrived = "ready", 1, JUST_NOW
        moved, client.moved = client.moved, anyio.Event()
        moved.set()
        await anyio.wait_all_tasks_blocked()

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            assert not done
            await arrive(client.manuals[1])
            assert not done, "another one may follow"
            await arrive(client.manuals[2])
    assert done
