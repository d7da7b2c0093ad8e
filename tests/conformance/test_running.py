"""The runner: this library against every vector, and adapters that differ, end, hang or say nonsense."""

import os

import pytest

from utcp_bridge.conformance.adapters import command_of
from utcp_bridge.conformance.running import run
from utcp_bridge.conformance.vectors import topics


@pytest.mark.parametrize("topic", topics(), ids=lambda topic: topic.name.replace(" ", ""))
async def test_this_library_passes_every_vector(topic):
    implementation, outcomes = await run(command_of(["utcp-bridge"]), [topic], environment=dict(os.environ))
    assert implementation.name == "utcp-bridge"
    assert [one.vector.id for one in outcomes] == [one.id for one in topic.vectors]
    assert {one.vector.id: one.differences for one in outcomes if one.verdict != "passes"} == {}
