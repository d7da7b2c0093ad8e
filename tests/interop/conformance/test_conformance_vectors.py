"""The other implementations differ on the vectors of UTCP exactly as the kit declares."""

from __future__ import annotations

import pytest
from tests.interop.conformance.implementations import IMPLEMENTATIONS

from utcp_bridge.conformance.adapters import command_of
from utcp_bridge.conformance.running import outdated, run
from utcp_bridge.conformance.vectors import topics

pytestmark = [pytest.mark.timeout(400), pytest.mark.long]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.needs(software)) for name, software in IMPLEMENTATIONS.items()]
)
async def test_an_implementation_differs_as_declared(name: str) -> None:
    software = IMPLEMENTATIONS[name]
    command = command_of([name], software.command)
    implementation, outcomes = await run(command, topics(), environment=software.environment)
    assert implementation.name == name
    assert {one.vector.id: one.differences for one in outcomes if one.verdict == "differs"} == {}
    assert outdated(outcomes, name) == []
    assert sum(one.verdict == "passes" for one in outcomes) > 50
