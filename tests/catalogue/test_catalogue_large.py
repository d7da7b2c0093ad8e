"""Listing tools with large schemas: the work is in small steps, and bounded for each tool and each manual."""

from typing import Any

import pytest
from tests.support.server_client import StandIn
from tests.support.work import calls_made_by

from utcp_bridge.catalogue import catalogue
from utcp_bridge.catalogue.catalogue import Catalogue
from utcp_bridge.settings import BridgeSettings

GRAPH = {
    f"A{i}": {"type": "object", "properties": {f"a{j}": {"$ref": f"#/$defs/A{(i * 11 + j) % 200}"} for j in range(15)}}
    for i in range(200)
}


def catalogue_of(tools: int, **settings: Any) -> Catalogue:
    """Tools that all lead into one graph of 200 definitions."""
    client = StandIn(BridgeSettings(**settings))
    for number in range(tools):
        body = {"$ref": f"#/$defs/A{number % 200}"}
        inputs = {"type": "object", "properties": {"body": body, "id": {"type": "integer"}}, "$defs": GRAPH}
        client.add("api", f"op{number}", inputs=inputs)
    return Catalogue(client)


def test_no_step_of_a_list_is_as_long_as_a_tool() -> None:
    steps = catalogue_of(3, exposure="all").view().steps_at(0)
    longest = 0
    while True:
        made = calls_made_by(lambda: next(steps, None))
        longest = max(longest, made)
        if next(steps, True):
            break
    whole = calls_made_by(lambda: catalogue_of(1, exposure="all").view().page_at(0))
    assert longest < whole / 4


def test_the_list_is_the_same_in_steps_and_at_once() -> None:
    in_steps, at_once = catalogue_of(4, exposure="all").view(), catalogue_of(4, exposure="all").view()
    for _ in in_steps.steps_at(0):
        pass
    assert in_steps.page_at(0).digest == at_once.page().digest


def test_what_schemas_have_in_common_is_kept_for_the_next_page_until_it_is_forgotten() -> None:
    def work_for_second_page(*, forgets: bool) -> int:
        view = catalogue_of(6, exposure="all", page_size=3).view()
        for _ in view.steps_at(0):
            pass
        assert view.has_parts
        if forgets:
            for _ in view.forget_parts():
                pass
            assert not view.has_parts
        return calls_made_by(lambda: view.page_at(3))

    assert work_for_second_page(forgets=False) < work_for_second_page(forgets=True) / 1.5


def test_a_page_that_is_made_at_once_leaves_nothing_in_memory_but_itself() -> None:
    view = catalogue_of(6, exposure="all", page_size=3).view()
    view.page()
    assert not view.has_parts
    assert not any(entry.parts.prepared for entry in view.listed)


def test_the_size_of_a_list_is_found_without_making_what_is_not_listed() -> None:
    many = catalogue_of(100, exposure="auto", exposure_limits={"tools": 128, "tokens": 400})
    assert calls_made_by(lambda: many.view().listed) < 3_000_000
    assert list(many.view().listed) == []


def test_tools_beyond_the_bound_of_a_manual_are_listed_by_their_outline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "_MAX_MANUAL_NODES", 10_000)
    entries = [entry.input for entry in catalogue_of(12, exposure="all").listed]
    assert entries[0].nodes > 2_000
    assert entries[-1].nodes < 300
    assert entries[-1].schema["properties"]["id"] == {"type": "integer"}
    assert sum(entry.nodes for entry in entries) < 15_000
