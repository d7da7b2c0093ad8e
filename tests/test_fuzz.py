"""Each target of the fuzzer accepts the inputs of its corpus: its first ones, and each that once failed."""

import logging

import pytest
from tests.support.source import ROOT

CORPUS = ROOT / "fuzz" / "corpus"
SEEDS = sorted(CORPUS.glob("*/*"))


@pytest.fixture(scope="module")
def targets():
    before = logging.root.manager.disable
    from fuzz.targets import TARGETS

    yield TARGETS
    logging.disable(before)


@pytest.mark.parametrize("seed", SEEDS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_an_input_of_the_corpus_keeps_every_promise(targets, seed):
    targets[seed.parent.name](seed.read_bytes())


def test_each_target_has_a_small_corpus(targets):
    assert sorted(targets) == sorted(folder.name for folder in CORPUS.iterdir())
    assert sum(seed.stat().st_size for seed in SEEDS) < 200_000
