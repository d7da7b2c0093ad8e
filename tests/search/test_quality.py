"""Guards the ranking: a fixed sample of public data, with room for changes that are not regressions."""

from pathlib import Path

import pytest
from benchmarks.search import evaluate, load_queries, load_tools, macro, misspell, ranker

_SAMPLE = Path(__file__).parents[1] / "data" / "search"
_WHOLE = Path(__file__).parents[2].parent / "shared" / "search-eval"


@pytest.fixture(scope="module")
def sample():
    return load_tools(_SAMPLE), load_queries(_SAMPLE)


def test_the_default_strategy_keeps_its_quality_on_the_sample(sample):
    tools, queries = sample
    found = macro(evaluate(ranker("bm25", tools), queries))
    assert found["R@5"] >= 0.70
    assert found["R@10"] >= 0.755
    assert found["nDCG"] >= 0.66


def test_it_ranks_twice_as_well_as_the_reference_algorithm(sample):
    tools, queries = sample
    ours = macro(evaluate(ranker("bm25", tools), queries))["nDCG"]
    reference = macro(evaluate(ranker("tag_and_description_word_match", tools), queries))["nDCG"]
    assert 0.25 < reference < ours / 2


def test_spelling_mistakes_cost_little(sample):
    tools, queries = sample
    rank = ranker("bm25", tools)
    clean, misspelt = (macro(evaluate(rank, asked))["nDCG"] for asked in (queries, misspell(queries)))
    assert misspelt >= 0.93 * clean


@pytest.mark.skipif(not _WHOLE.is_dir(), reason="the full evaluation data are not beside the repository")
def test_the_default_strategy_keeps_its_quality_on_the_whole_data():
    found = macro(evaluate(ranker("bm25", load_tools(_WHOLE)), load_queries(_WHOLE, 100)))
    assert found["R@5"] >= 0.485
    assert found["nDCG"] >= 0.45
