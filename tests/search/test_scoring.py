from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.search.index import Postings
from utcp_bridge.search.scoring import CLAUSE_SHARE, QueryTerm, best

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
def test_a_search_within_slots_gives_those_alone(eager_pruning, lists, within):
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
