from array import array

from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.search.index import CLAUSE_SHARE, InvertedIndex, Postings, QueryTerm, best

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


def test_names_match_whole_or_by_prefix_without_punctuation(make_tool):
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


_LISTS = st.lists(
    st.tuples(
        st.dictionaries(st.integers(0, 400), st.sampled_from([0.125, 0.25, 0.5, 0.75]), min_size=1, max_size=60),
        st.sampled_from([0.25, 1.0, 4.0]),
        st.frozensets(st.integers(0, 2), max_size=2),
    ),
    min_size=1,
    max_size=6,
)


def query_term(weights, weight, clauses=frozenset()):
    postings = Postings()
    for slot, value in weights.items():
        postings.put(slot, value)
    return QueryTerm(postings, weight, clauses)


def exhaustive(terms):
    """Every slot's score, by the definition."""
    whole: dict[int, float] = {}
    clauses: dict[tuple[int, int], float] = {}
    for term in terms:
        for slot, weight in zip(term.postings.slots, term.postings.weights, strict=True):
            whole[slot] = whole.get(slot, 0.0) + term.weight * weight
            for clause in term.clauses:
                clauses[slot, clause] = clauses.get((slot, clause), 0.0) + term.weight * weight
    return {
        slot: score + CLAUSE_SHARE * max(clauses.get((slot, clause), 0.0) for clause in range(3))
        for slot, score in whole.items()
    }


@given(_LISTS, st.integers(1, 12))
def test_pruning_never_changes_the_best(eager_pruning, lists, k):
    terms = sorted((query_term(*entry) for entry in lists), key=lambda term: len(term.postings.slots))
    found = best(terms, k)
    scores = exhaustive(terms)
    least = sorted(scores.values(), reverse=True)[:k][-1]
    assert found == {slot: score for slot, score in scores.items() if score >= least}


@given(_LISTS, st.sets(st.integers(0, 400), max_size=100))
def test_a_search_within_slots_returns_only_those(eager_pruning, lists, within):
    terms = [query_term(*entry) for entry in lists]
    scores = {slot: score for slot, score in exhaustive(terms).items() if slot in within}
    assert best(terms, 500, within=within) == scores


def test_long_common_lists_are_not_read_once_they_cannot_matter(eager_pruning):
    read = []

    class Watched(Postings):
        __slots__ = ()

        def add_to(self, scores, factor):
            read.append(len(self.slots))
            super().add_to(scores, factor)

    rare = query_term(dict.fromkeys(range(20), 0.75), 8.0)
    common = Watched()
    for slot in range(5_000):
        common.put(slot, 0.5)
    found = best([rare, QueryTerm(common, 0.01)], 10)
    assert read == []
    assert set(found) == set(range(20))


def test_no_terms_find_nothing():
    assert best([], 10) == {}


def test_ties_with_the_last_are_all_kept():
    assert best([query_term(dict.fromkeys(range(7), 0.5), 1.0)], 3) == dict.fromkeys(range(7), 0.5)


def test_the_peak_of_a_list_is_its_largest_weight_whatever_was_put_and_dropped():
    postings = Postings()
    for slot, weight in ((3, 0.5), (1, 0.25), (2, 0.75), (2, 0.125), (3, 1.0)):
        postings.put(slot, weight)
        assert postings.peak == max(postings.weights)
    assert (list(postings.slots), list(postings.weights)) == ([1, 2, 3], [0.25, 0.125, 1.0])
    postings.drop(3)
    assert postings.peak == 0.25
    for slot in (1, 2):
        postings.drop(slot)
    assert postings.peak == 0.0


def test_the_work_of_replacing_a_tool_does_not_grow_with_the_number_of_tools(make_tool):
    def work(count):
        index = InvertedIndex()
        for number in range(count):
            index.add(make_tool(f"t{number}", description="Find the same words in every tool."))
        changed = [make_tool(f"t{number}", description="Look for the same words now.") for number in range(50)]
        read = 0

        class Counted(array):
            def __iter__(self):
                nonlocal read
                read += len(self)
                return super().__iter__()

        for postings in index.postings.values():
            object.__setattr__(postings, "weights", Counted("f", postings.weights))
        for tool in changed:
            index.add(tool)
        for tool in changed:
            index.remove(tool.qualified_name)
        return read

    assert work(400) == 0, "no list is read to change it"
