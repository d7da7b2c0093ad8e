import sys
from importlib.metadata import EntryPoint

import pytest

from utcp_bridge import search
from utcp_bridge.errors import ConfigError
from utcp_bridge.search import ToolSearchStrategy, create_strategy
from utcp_bridge.search.lexical import Bm25Strategy, TagStrategy


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """Makes a real module importable and registers its entry points."""

    def install(source: str, **entries: str) -> None:
        (tmp_path / "third_party_search.py").write_text(source, encoding="utf-8")
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, "third_party_search", raising=False)
        found = [EntryPoint(name, value, search.ENTRY_POINT_GROUP) for name, value in entries.items()]
        monkeypatch.setattr(
            "utcp_bridge.search.entry_points", lambda group: found if group == search.ENTRY_POINT_GROUP else []
        )

    return install


def test_the_default_strategy_is_bm25():
    assert isinstance(create_strategy(), Bm25Strategy)


def test_the_reference_strategy_takes_its_weights_from_the_options():
    strategy = create_strategy("tag_and_description_word_match", {"tag_weight": 7, "description_weight": 2})
    assert isinstance(strategy, TagStrategy)
    assert strategy._tag_weight == 7
    assert strategy._description_weight == 2


def test_both_built_in_strategies_keep_to_the_protocol():
    assert isinstance(create_strategy(), ToolSearchStrategy)
    assert isinstance(create_strategy("tag_and_description_word_match"), ToolSearchStrategy)


def test_an_unknown_strategy_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"'nonsense'.*bm25, semantic, tag_and_description_word_match"):
        create_strategy("nonsense")


@pytest.mark.parametrize("options", [{"colour": "red"}, {"tag_weight": "heavy"}])
def test_options_that_a_strategy_does_not_take_are_refused(options):
    with pytest.raises(ConfigError, match="cannot be created with these options"):
        create_strategy("tag_and_description_word_match", options)


def test_a_third_party_strategy_comes_from_its_entry_point(installed):
    installed(
        "from utcp_bridge.search.lexical import TagStrategy\nclass Mine(TagStrategy):\n    pass\n",
        other="third_party_search:Missing",
        mine="third_party_search:Mine",
    )
    strategy = create_strategy("mine", {"tag_weight": 1})
    assert type(strategy).__name__ == "Mine"


def test_a_built_in_id_wins_over_an_entry_point(installed):
    installed("Mine = dict\n", bm25="third_party_search:Mine")
    assert isinstance(create_strategy("bm25"), Bm25Strategy)


def test_an_entry_point_that_cannot_be_loaded_is_named(installed):
    installed("", broken="third_party_search:Missing")
    with pytest.raises(ConfigError, match=r"'broken' cannot be loaded.*third_party_search:Missing"):
        create_strategy("broken")


def test_an_entry_point_that_does_not_return_a_strategy_is_refused(installed):
    installed("", other="builtins:dict")
    with pytest.raises(ConfigError, match="does not return a search strategy"):
        create_strategy("other")


def test_only_a_client_can_create_the_semantic_strategy():
    with pytest.raises(ConfigError, match="needs a client"):
        create_strategy("semantic")
