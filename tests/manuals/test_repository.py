import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.tools import make_tool

from utcp_bridge.manuals.repository import Change, InMemoryToolRepository, unknown_tool
from utcp_bridge.tasks import at_once


def test_tools_are_found_by_their_utcp_name() -> None:
    repository = InMemoryToolRepository()
    tool = make_tool("now", manual="clock")
    repository.replace("clock", [tool])
    assert repository.get("clock.now") is tool
    assert repository.get("now") is None


@given(st.permutations(["b", "a", "c"]))
def test_tools_are_ordered_by_name_in_any_order_of_their_manuals(order: list[str]) -> None:
    repository = InMemoryToolRepository()
    for manual in order:
        repository.replace(manual, [make_tool("z", manual=manual), make_tool("y", manual=manual)])
    assert [tool.qualified_name for tool in repository.tools()] == ["a.y", "a.z", "b.y", "b.z", "c.y", "c.z"]


def test_a_replacement_keeps_unchanged_tools_and_reports_the_others() -> None:
    repository = InMemoryToolRepository()
    kept, gone, old = make_tool("kept"), make_tool("gone"), make_tool("changed", description="old")
    repository.replace("peer", [kept, gone, old])
    changes: list[Change] = []
    repository.subscribe(changes.append)
    new = make_tool("changed", description="new")
    repository.replace("peer", [make_tool("kept"), new])
    assert repository.get("peer.kept") is kept
    assert repository.get("peer.changed") is new
    assert repository.get("peer.gone") is None
    assert changes == [Change("peer", added=(new,), removed=(gone, old))]


def test_a_replacement_by_the_same_tools_changes_nothing() -> None:
    repository = InMemoryToolRepository()
    repository.replace("peer", [make_tool()])
    generation = repository.generation
    repository.subscribe(lambda change: pytest.fail(f"told of {change}"))
    repository.replace("peer", [make_tool()])
    assert repository.generation == generation


def test_removing_a_manual_removes_its_tools_only() -> None:
    repository = InMemoryToolRepository()
    repository.replace("one", [make_tool(manual="one")])
    repository.replace("two", [make_tool(manual="two")])
    before = repository.generation
    repository.remove("one")
    assert [tool.manual for tool in repository.tools()] == ["two"]
    assert repository.generation == before + 1
    repository.remove("unknown")
    assert repository.generation == before + 1


def test_a_listener_is_not_called_after_it_unsubscribed() -> None:
    repository = InMemoryToolRepository()
    unsubscribe = repository.subscribe(lambda change: pytest.fail(f"told of {change}"))
    unsubscribe()
    unsubscribe()
    repository.replace("peer", [make_tool()])
    assert len(repository.tools()) == 1


def test_an_unknown_tool_is_compared_with_a_limited_number_of_names() -> None:
    names = [f"{manual}.tool_{number}" for manual in ("shop", "bank") for number in range(2_000)]
    assert "Did you mean bank.tool_7" in str(unknown_tool("bank.tol_7", names))


def test_an_unknown_tool_without_a_near_name_has_the_remedy_alone() -> None:
    error = unknown_tool("x" * 1_000, ["shop.status"], remedy="Look at the list.")
    assert str(error) == f"There is no tool {'x' * 128!r}. Look at the list."
    assert unknown_tool("x", []).remedy is None
    assert unknown_tool("x", [], related=["a.b"]).remedy == "Did you mean a.b?"


def test_a_large_replacement_is_made_in_parts_and_ends_the_same() -> None:
    names = [f"t{number}" for number in range(100)]
    new = [make_tool(name, description="new") for name in names[10:]] + [make_tool("more")]
    one, other = InMemoryToolRepository(), InMemoryToolRepository()
    old = [make_tool(name, description="old") for name in names]
    for repository in (one, other):
        repository.replace("peer", old)
    parts: list[Change] = []
    other.subscribe(parts.append)
    change = at_once(other.replace_in_steps("peer", new, most=30))
    assert change == one.replace("peer", new)
    assert other.tools() == one.tools()
    assert [(len(part.added), len(part.removed)) for part in parts] == [(30, 30)] * 3 + [(1, 10)]
    assert str(change) == "tools 1 added, 10 removed, 90 changed"
    assert str(other.replace("peer", new)) == "no tool changed"


def test_a_manual_that_is_removed_in_the_middle_of_a_replacement_stays_away() -> None:
    repository = InMemoryToolRepository()
    repository.replace("peer", [make_tool(f"t{number}", description="old") for number in range(10)])
    steps = repository.replace_in_steps("peer", [make_tool(f"t{number}") for number in range(10)], most=2)
    for _ in range(13):
        next(steps)
    repository.remove("peer")
    at_once(steps)
    assert repository.tools() == ()
