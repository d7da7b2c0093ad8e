"""A manual with several needs lives as long as one of them."""

from pathlib import Path

import pytest

from utcp_bridge.doctor.needs import Ways
from utcp_bridge.doctor.steps import Finding
from utcp_bridge.errors import Unreachable
from utcp_bridge.transport import Endpoint, Program

pytestmark = pytest.mark.anyio

FIRST, SECOND, TOOL = Endpoint("http://a/"), Endpoint("http://b/"), Program("git", Path())


async def well(need):
    return Finding(f"{need.url} is well.") if isinstance(need, Endpoint) else None


async def only_the_first(need):
    if need is SECOND:
        raise Unreachable("b is gone.")
    return await well(need)


async def test_nothing_to_look_at_is_skipped():
    assert await Ways([TOOL]).look(well, "No host.") == Finding("No host.", "skipped")


async def test_every_need_is_told():
    found = await Ways([FIRST, TOOL, SECOND]).look(well, "")
    assert found == Finding("http://a/ is well.", details=("http://b/ is well.",))


async def test_one_that_is_lost_is_a_warning_and_is_not_looked_at_again():
    ways = Ways([FIRST, SECOND])
    found = await ways.look(only_the_first, "", "Start it.")
    assert found == Finding("b is gone.", "warning", "Start it.", ("http://a/ is well.",))
    assert await ways.look(well, "") == Finding("http://a/ is well.")


async def test_when_none_is_left_the_step_fails():
    with pytest.raises(Unreachable, match="b is gone"):
        await Ways([SECOND]).look(only_the_first, "")
