"""What searches led to: words that may be kept, counts, fading, and the bounded gain in the ranking."""

import json
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.search import lexical
from utcp_bridge.search.lexical import MEMORY_SHARE, Bm25Strategy
from utcp_bridge.search.memory import (
    MAX_TERMS,
    Meaning,
    SearchMemory,
    examples_of,
    has_only_words,
    remembering,
    terms_to_learn,
)

WORDS = st.lists(st.sampled_from(["sunny", "weather", "mail", "send", "invoice", "letter", "zebra"]), min_size=1)


@pytest.fixture(scope="module")
def shallow():
    """Lets few tools be taken by text, so that small examples look up others."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lexical, "_DEEPER", 0)
        yield


def strategy_of(tools):
    strategy = Bm25Strategy()
    strategy.add(tools)
    return strategy


def names(hits):
    return [hit.tool.qualified_name for hit in hits]


def taught(tool, query, times=1):
    memory = SearchMemory()
    for _ in range(times):
        memory.learn(tool, terms_to_learn(query), 0.0)
    return memory


def test_a_tool_is_found_by_the_words_that_led_to_it(mail_tools):
    strategy = strategy_of(mail_tools)
    assert names(strategy.search("will I need an umbrella")) == []
    with remembering(taught("weather.get_forecast", "should I take my umbrella today")):
        assert names(strategy.search("will I need an umbrella")) == ["weather.get_forecast"]
    assert names(strategy.search("will I need an umbrella")) == []


def test_synonyms_of_remembered_words_count_too(mail_tools):
    with remembering(taught("files.readFile", "show the picture")):
        assert names(strategy_of(mail_tools).search("an image")) == ["files.readFile"]


def test_what_is_remembered_is_filtered_like_everything_else(mail_tools):
    strategy = strategy_of(mail_tools)
    with remembering(taught("weather.get_forecast", "umbrella")):
        assert strategy.search("umbrella", providers=["mail"]) == []
        assert strategy.search("umbrella", accept=lambda tool: tool.manual != "weather") == []
    with remembering(taught("gone.tool", "umbrella")):
        assert strategy.search("umbrella") == []


def test_an_exact_name_stays_first(mail_tools):
    with remembering(taught("weather.get_alerts", "send email", times=500)):
        found = names(strategy_of(mail_tools).search("send email"))
    assert found[0] == "mail.send_email"


@given(st.lists(st.tuples(st.sampled_from(["mail.send_email", "weather.get_alerts", "files.readFile"]), WORDS)), WORDS)
def test_no_lesson_lifts_a_tool_by_more_than_its_share_of_the_best_text_match(mail_tools_of_session, lessons, query):
    strategy = strategy_of(mail_tools_of_session)
    asked = " ".join(query)
    memory = SearchMemory()
    for tool, words in lessons:
        memory.learn(tool, words, 0.0)
    plain = strategy.search(asked, limit=50)
    text = {hit.tool.qualified_name: hit.score for hit in plain}
    with remembering(memory):
        found = strategy.search(asked, limit=50)
    if not plain or not found or strategy._index.named(asked)[0]:
        return
    # Scores are relative to the best. A tool with the best text that nobody learned keeps its score by text, so all
    # others are below (1 + share) times that score.
    best_text = plain[0].tool.qualified_name
    relative = {hit.tool.qualified_name: hit.score for hit in found}
    assert relative[best_text] >= 1 / (1 + MEMORY_SHARE) - 1e-6
    for name, score in relative.items():
        assert score / relative[best_text] <= text.get(name, 0.0) + MEMORY_SHARE + 1e-6


@given(WORDS)
def test_without_lessons_the_ranking_is_that_of_the_words(mail_tools_of_session, query):
    strategy = strategy_of(mail_tools_of_session)
    plain = strategy.search(" ".join(query))
    with remembering(SearchMemory()):
        assert strategy.search(" ".join(query)) == plain


@given(
    st.lists(st.tuples(st.sampled_from(["mail.send", "weather.find", "files.find", "mail.find"]), WORDS), max_size=9),
    WORDS,
    st.integers(1, 4),
)
def test_a_short_list_is_the_beginning_of_a_long_one(shallow, mail_tools_of_session, lessons, query, limit):
    strategy, memory, asked = strategy_of(mail_tools_of_session), SearchMemory(max_tools=3), " ".join(query)
    for tool, words in lessons:
        memory.learn(tool, words, 0.0)
        with remembering(memory):  # what was prepared for the lessons before does not stay
            found = strategy.search(asked, limit=50)
            short = strategy.search(asked, limit=limit)
        stored = SearchMemory.from_json(memory.as_json(), 0.0)
        with remembering(stored):
            fresh = strategy_of(mail_tools_of_session).search(asked, limit=50)
        assert [(hit.tool, round(hit.score, 6)) for hit in short] == [
            (hit.tool, round(hit.score, 6)) for hit in found[:limit]
        ]
        assert {hit.tool.name: hit.score for hit in found} == pytest.approx(
            {hit.tool.name: hit.score for hit in fresh}, abs=0.02
        )


def test_a_tool_that_changes_is_found_by_its_lessons_still(make_tool):
    strategy = strategy_of([make_tool("m.one", "Umbrella."), make_tool("m.two", "Umbrella.")])
    with remembering(taught("m.two", "umbrella picnic")):
        assert names(strategy.search("umbrella")) == ["m.two", "m.one"]
        strategy.add([make_tool("m.two", "Picnic.")])
        assert names(strategy.search("umbrella picnic"))[0] == "m.two"
        strategy.remove_manual("m")
        assert strategy.search("umbrella") == []


def test_the_words_of_a_short_search_weigh_more_than_those_of_a_long_one(mail_tools):
    memory = SearchMemory()
    memory.learn("weather.get_alerts", terms_to_learn("sunny picnic beside the lake with music cake bread cheese"), 0.0)
    memory.learn("weather.get_forecast", terms_to_learn("sunny picnic"), 0.0)
    with remembering(memory):
        assert names(strategy_of(mail_tools).search("picnic")) == ["weather.get_forecast", "weather.get_alerts"]


def test_many_lessons_weigh_as_much_as_one_of_the_same_length():
    one, many = taught("m.one", "umbrella picnic"), SearchMemory()
    for place in ("lake", "forest", "garden", "river"):
        many.learn("m.many", terms_to_learn(f"umbrella {place}"), 0.0)
    assert many.strengths("umbrella")["m.many"] > one.strengths("umbrella")["m.one"]
    assert many.strengths("river")["m.many"] == pytest.approx(one.strengths("umbrella")["m.one"], rel=0.1)


def test_a_word_of_nearly_all_searches_says_little(make_tool):
    tools = [make_tool(f"m.tool_{number}") for number in range(60)]
    memory = SearchMemory()
    for number in range(40):
        memory.learn(f"m.tool_{number}", ("ticket", "picnic" if number == 7 else f"word{'x' * number}"), 0.0)
    with remembering(memory):
        found = strategy_of(tools).search("ticket picnic", limit=60)
    assert found[0].tool.name == "tool_7"
    assert found[1].score < 0.5


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Send an invoice to the customer", {"send", "invoic", "customer"}),
        ("resize an image in s3 or ec2", {"resiz", "imag", "s3", "ec", "ec2"}),
        ("use sk-Ab3dEfGh12345678 for the upload", {"upload"}),
        ("mail john.doe@example.com the report", {"mail", "report"}),
        ("my password is hunter and I upload", {"upload"}),
        ("api key: abcdef upload", {"upload"}),
        ("Authorization: Bearer abcdef upload", {"upload", "authorization"}),
        ("call 4915112345678 about 2024-11-02", {"call"}),
        ("open https://example.com/a?token=abc now", {"open", "now"}),
        ("a3f09bc1d2e4f5a6b7c8d9e0 upload", {"upload"}),
        ("xK9vQ2mZ upload", {"upload"}),
        ("", set()),
    ],
)
def test_words_stay_and_what_looks_like_a_secret_does_not(text, kept):
    assert set(terms_to_learn(text)) == kept


@given(st.text(max_size=300))
def test_every_kept_term_is_a_short_word(text):
    for term in terms_to_learn(text):
        assert len(term) <= 24
        assert not any(character.isspace() or character in "@/=:" for character in term)
        assert sum(character.isdigit() for character in term) <= 2


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.lists(st.from_regex("[a-z]{2,8}", fullmatch=True))), max_size=40))
def test_a_memory_is_bounded_and_survives_its_store(lessons):
    memory = SearchMemory(max_tools=3)
    for day, (tool, words) in enumerate(lessons):
        memory.learn(tool, words, float(day))
    assert len(memory) <= 3
    assert all(len(words) <= MAX_TERMS for words in memory.words().values())
    day = float(len(lessons))
    again = SearchMemory.from_json(json.loads(json.dumps(memory.as_json())), day)
    known = memory.words()
    assert all(set(words) <= set(known[tool]) for tool, words in again.words().items())


def test_a_store_of_an_earlier_version_has_no_numbers_of_lessons():
    stored = taught("m.t", "sunny picnic", times=3).as_json()
    known = SearchMemory.from_json(stored, 0.0).strengths("picnic")["m.t"]
    del stored["tools"]["m.t"]["lessons"]
    assert SearchMemory.from_json(stored, 0.0).strengths("picnic")["m.t"] == pytest.approx(known, rel=0.01)


def test_old_lessons_fade_and_are_forgotten():
    memory = taught("m.old", "umbrella", times=3)
    stored = memory.as_json()
    fresh = SearchMemory.from_json(stored, 1.0).strengths("umbrella")["m.old"]
    later = SearchMemory.from_json(stored, 60.0).strengths("umbrella")["m.old"]
    assert 0 < later < fresh
    assert len(SearchMemory.from_json(stored, 400.0)) == 0


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {"version": 2, "tools": {"m.t": {"day": 1, "words": {"rain": 1}}}},
        {"version": 1, "tools": []},
        {"version": 1, "tools": {"m.t": None, "m.u": {"day": "x", "words": {}}, "m.v": {"day": 1, "words": [1]}}},
        {"version": 1, "tools": {"m.t": {"day": 1, "words": {"a b": 1, "rain": "x", "sk-123456": 2, "hail": -1}}}},
    ],
)
def test_a_damaged_store_gives_an_empty_memory(value):
    assert len(SearchMemory.from_json(value, 1.0)) == 0


def meaning(*vector, model="small"):
    return Meaning(model, array("f", vector))


def test_a_tool_has_the_mean_of_the_vectors_of_its_searches_also_from_a_store():
    memory = SearchMemory()
    memory.learn("m.t", ("picnic",), 0.0, meaning(1.0, 0.0))
    memory.learn("m.t", ("picnic",), 0.0, meaning(0.0, 1.0))
    memory.learn("m.words_only", ("picnic",), 0.0)
    found = memory.meanings("small")
    assert found.tools == ("m.t",)
    assert list(found.vectors) == pytest.approx([0.5, 0.5], abs=0.02)
    again = SearchMemory.from_json(json.loads(json.dumps(memory.as_json())), 0.0).meanings("small")
    assert list(again.vectors) == pytest.approx([0.5**0.5, 0.5**0.5], abs=0.02)
    assert again.lessons == pytest.approx(found.lessons, abs=0.01)


def test_vectors_of_another_model_are_forgotten():
    memory = SearchMemory()
    memory.learn("m.t", ("picnic",), 0.0, meaning(1.0, 0.0))
    assert memory.meanings("large") is None
    memory.learn("m.u", ("picnic",), 0.0, meaning(1.0, 0.0, 0.0, model="large"))
    assert memory.meanings("small") is None
    assert memory.meanings("large").tools == ("m.u",)
    assert "picnic" in memory.words()["m.t"]


def test_the_tools_that_were_learned_last_keep_their_vectors():
    memory = SearchMemory(max_tools=3)
    long = meaning(*[1.0] * 700)
    for name in ("m.a", "m.b", "m.c"):
        memory.learn(name, ("picnic",), 0.0, long)
    assert memory.meanings("small").tools == ("m.b", "m.c")
    assert len(memory) == 3


@pytest.mark.parametrize("vector", [None, 3, "", "!", "AAAA", "fw==x", "fw" * 20_000])
def test_a_damaged_vector_is_left_out(vector):
    stored = taught("m.t", "picnic").as_json() | {"model": "small"}
    stored["tools"]["m.t"]["vector"] = vector
    memory = SearchMemory.from_json(stored, 0.0)
    assert memory.meanings("small") is None
    assert len(memory) == 1


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("What's the weather in Paris, at 9 or 10?", True),
        ("events of 2024", True),
        ("account 4915112345", False),
        ("mail ann@example.com", False),
        ("open https://example.com", False),
        ("my password is hunter", False),
        ("use sk-Ab3dEfGh12345678", False),
    ],
)
def test_a_search_with_anything_that_may_be_private_gives_no_vector(text, plain):
    assert has_only_words(text) is plain


def test_examples_have_each_word_as_often_as_the_lessons_of_all_clients():
    first, second = taught("m.t", "umbrella", times=2), taught("m.t", "umbrella picnic", times=2)
    texts = examples_of([first, second])["m.t"]
    assert len(texts) == 4
    assert sum("umbrella" in text for text in texts) == 4
    assert sum("picnic" in text for text in texts) == 2


@given(st.lists(st.tuples(st.sampled_from("ab"), st.lists(st.from_regex("[a-z]{2,24}", fullmatch=True))), max_size=40))
def test_examples_are_short_and_name_every_word_that_has_room(lessons):
    memory = SearchMemory()
    for tool, words in lessons:
        memory.learn(tool, words, 0.0)
    known = memory.words()
    for tool, texts in examples_of([memory]).items():
        assert len(texts) <= 5
        assert all(0 < len(text) <= 200 for text in texts)
        assert {word for text in texts for word in text.split()} <= set(known[tool])
        if sum(len(word) + 1 for word in known[tool]) <= 150:
            assert set(" ".join(texts).split()) == set(known[tool])
