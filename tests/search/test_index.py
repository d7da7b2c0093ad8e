from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.search.index import InvertedIndex, Postings

_WORDS = st.sampled_from(["alpha", "beta", "gamma", "delta", "send", "email", "read"])
_TOOLS = st.tuples(st.sampled_from("mn"), _WORDS, st.lists(_WORDS, max_size=4))
_STEPS = st.lists(st.tuples(st.booleans(), _TOOLS), max_size=25)


def state(index):
    """All that an index knows, by name instead of by slot."""
    name = {slot: tool.qualified_name for slot, tool in enumerate(index.tools) if tool}
    return {
        "postings": {
            term: (
                sorted((name[slot], weight) for slot, weight in zip(found.slots, found.weights, strict=True)),
                found.peak,
            )
            for term, found in index.postings.items()
        },
        "names": sorted((key, name[slot]) for key, slot in index._names),
        "manuals": {manual: {name[slot] for slot in slots} for manual, slots in index._manuals.items()},
        "speller": {key: sorted(words) for key, words in index.speller._words.items()},
    }


@given(_STEPS)
def test_any_history_of_changes_ends_in_the_index_that_a_rebuild_gives(make_tool, steps):
    index, live = InvertedIndex(), {}
    for added, (manual, name, words) in steps:
        tool = make_tool(f"{manual}.{name}", " ".join(words))
        if added:
            index.add(tool)
            live[tool.qualified_name] = tool
        else:
            index.remove(tool.qualified_name)
            live.pop(tool.qualified_name, None)
    rebuilt = InvertedIndex()
    for tool in live.values():
        rebuilt.add(tool)
    assert state(index) == state(rebuilt)
    assert len(index) == len(live)
    assert all(list(found.slots) == sorted(set(found.slots)) for found in index.postings.values())


def test_slots_are_used_again(make_tool):
    index = InvertedIndex()
    for _ in range(50):
        index.add(make_tool("m.a", "words"))
        index.add(make_tool("m.b", "words"))
        index.remove("m.a")
    assert len(index.tools) == 2


def test_a_tool_whose_schema_changed_after_it_was_added_is_forgotten_whole(make_tool):
    inputs = {"properties": {"colour": {}}}
    index = InvertedIndex()
    index.add(make_tool("m.paint", inputs=inputs))
    inputs["properties"]["size"] = inputs["properties"].pop("colour")
    index.remove("m.paint")
    assert index.postings == {}


def test_names_match_exactly_or_by_their_beginning_whatever_the_punctuation(make_tool):
    index = InvertedIndex()
    for name in ("hub.create_issue", "hub.create_issue_comment", "hub.get_issue"):
        index.add(make_tool(name))
    assert index.named("Create Issue") == ({0}, {1})
    assert index.named("hub.createIssue") == ({0}, {1})
    assert index.named("hub")[1] == {0, 1, 2}
    assert index.named("cr") == (set(), set())
    assert index.named("issue") == (set(), set())


def test_frequency_and_rarity_of_a_term(make_tool):
    index = InvertedIndex()
    for name in ("m.red", "m.blue", "m.green"):
        index.add(make_tool(name, "paint"))
    assert (index.frequency("paint"), index.frequency("red"), index.frequency("black")) == (3, 1, 0)
    assert index.idf(index.postings["red"]) > index.idf(index.postings["paint"]) > 0


def test_slots_and_names_of_manuals(make_tool):
    index = InvertedIndex()
    for name in ("a.x", "b.y", "a.z"):
        index.add(make_tool(name))
    assert index.slots_of(["a", "nowhere"]) == {0, 2}
    assert sorted(index.names_of("a")) == ["a.x", "a.z"]
    assert index.names_of("nowhere") == []


@given(st.sets(st.integers(0, 60)), st.sets(st.integers(0, 60), max_size=8))
def test_adding_within_a_few_slots_equals_adding_everywhere_and_choosing(slots, wanted):
    postings, everywhere = Postings(), {}
    for slot in slots:
        postings.put(slot, slot / 64)
    postings.add_to(everywhere, 2.0)
    chosen: dict[int, float] = {}
    postings.add_within(chosen, 2.0, wanted)
    assert chosen == {slot: score for slot, score in everywhere.items() if slot in wanted}
