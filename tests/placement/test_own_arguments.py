"""Arguments of the manual's own template in schemas that discovery makes."""

import pytest

from utcp_bridge.model import JsonObject
from utcp_bridge.placement.own_arguments import with_own_arguments

SHARED: JsonObject = {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": False}


def test_the_schema_of_a_service_stays_and_is_not_changed_in_place() -> None:
    [tool] = with_own_arguments([{"name": "t", "inputs": SHARED}], header_fields=("X-Tenant", "a"), named={"region"})
    assert tool["inputs"]["properties"].keys() == {"a", "X-Tenant", "region"}
    assert tool["inputs"]["properties"]["a"] == {"type": "integer"}
    assert tool["inputs"]["properties"]["X-Tenant"]["type"] == "string"
    assert tool["inputs"]["additionalProperties"] is False
    assert SHARED["properties"].keys() == {"a"}


@pytest.mark.parametrize("inputs", [{"type": "object"}, {"type": "object", "properties": {}}])
def test_a_schema_that_takes_any_argument_still_does(inputs: JsonObject) -> None:
    [tool] = with_own_arguments([{"name": "t", "inputs": inputs}], header_fields=("X",))
    assert tool["inputs"]["additionalProperties"] is True
    assert with_own_arguments([{"name": "t", "inputs": inputs}]) == [{"name": "t", "inputs": inputs}]
