import json
import math
import stat
import sys
from array import array
from contextlib import asynccontextmanager
from zlib import crc32

import anyio
import httpx2
import pytest
from tests.support.own_task import in_its_own_task

from utcp_bridge.errors import ConfigError, MalformedReply, Unreachable
from utcp_bridge.search.encoders import LocalScorer
from utcp_bridge.search.lexical import Bm25Strategy
from utcp_bridge.search.memory import Meaning, SearchMemory, remembering
from utcp_bridge.search.semantic import SHARE, EndpointScorer, SemanticStrategy, _text_of, read_semantic_options
from utcp_bridge.search.strategy import ToolSearchStrategy
from utcp_bridge.search.vectors import digest_of

pytestmark = pytest.mark.anyio

_DIMENSIONS = 64
_CONCEPTS = {"sloop": "boat", "yacht": "boat"}


def embed(text):
    """A deterministic embedder: words hashed into a vector, with a few words of one meaning."""
    vector = [0.0] * _DIMENSIONS
    for word in text.lower().replace(".", " ").split():
        vector[crc32(_CONCEPTS.get(word, word).encode()) % _DIMENSIONS] += 1.0
    return vector


class EmbeddingsServer:
    """A loopback HTTP server with the shape of `POST /v1/embeddings`."""

    def __init__(self):
        self.inputs = []
        self.answer = lambda texts: {
            "data": [{"index": number, "embedding": embed(text)} for number, text in enumerate(texts)][::-1]
        }
        self.gate = anyio.Event()
        self.gate.set()
        self.url = ""

    async def serve(self, *, task_status):
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        self.url = f"http://127.0.0.1:{port}/v1/embeddings"
        async with listener:
            task_status.started()
            await listener.serve(self._answer)

    async def _answer(self, stream):
        async with stream:
            received = b""
            while b"\r\n\r\n" not in received:
                received += await stream.receive()
            head, _, body = received.partition(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            while len(body) < length:
                body += await stream.receive()
            texts = json.loads(body)["input"]
            self.inputs.append(texts)
            await self.gate.wait()
            answer = json.dumps(self.answer(texts)).encode()
            head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(answer)}\r\n"
            await stream.send(head.encode() + b"connection: close\r\n\r\n" + answer)


@asynccontextmanager
async def embeddings_server():
    made = EmbeddingsServer()
    async with anyio.create_task_group() as tasks:
        await tasks.start(made.serve)
        yield made
        tasks.cancel_scope.cancel()


@pytest.fixture
async def server():
    async with in_its_own_task(embeddings_server()) as made:
        yield made


@pytest.fixture
async def scorer(server):
    async with httpx2.AsyncClient(trust_env=False) as client:

        async def post(url, body):
            try:
                return (await client.post(url, json=body, timeout=60)).json()
            except httpx2.TransportError as error:
                raise Unreachable("The embeddings endpoint cannot be reached.") from error

        yield EndpointScorer(server.url, "hashing", post)


@pytest.fixture
def tools(make_tool):
    return [
        make_tool("garage.rent_yacht", "Rent a yacht by the day."),
        make_tool("kitchen.bake_bread", "Bake a loaf of bread."),
        make_tool("garage.wash", "Washes what is dirty.", tags=("Cleaning",)),
    ]


@pytest.fixture
def strategy(scorer, tools):
    made = SemanticStrategy(Bm25Strategy(), scorer, seconds=60)
    made.add(tools)
    return made


def names(hits):
    return [hit.tool.name for hit in hits]


async def test_a_tool_that_shares_no_word_is_found_by_meaning(strategy):
    with anyio.fail_after(60):
        assert isinstance(strategy, ToolSearchStrategy)
        await strategy.index()
        assert strategy.search("sloop") == []
        assert await strategy.prepare(["sloop"]) is None
        assert names(strategy.search("sloop")) == ["rent_yacht"]


async def test_the_score_by_words_and_a_share_of_that_by_vectors_are_added(strategy):
    with anyio.fail_after(60):
        await strategy.index()
        await strategy.prepare(["bread for the sloop"])
        found = strategy.search("bread for the sloop")
    assert names(found)[:2] == ["bake_bread", "rent_yacht"]
    assert found[0].score == 1.0
    best, other = (
        _cosine("bread for the sloop", strategy, name) for name in ("kitchen.bake_bread", "garage.rent_yacht")
    )
    most = max(best, other)
    assert math.isclose(found[1].score, SHARE * other / most / (1.0 + SHARE * best / most), rel_tol=1e-5)


def _cosine(query, strategy, name):
    return _cosine_of(query, _text_of(strategy._tools[name][0]))


def _cosine_of(first, second):
    one, two = embed(first), embed(second)
    return sum(x * y for x, y in zip(one, two, strict=True)) / math.hypot(*one) / math.hypot(*two)


async def test_without_vectors_it_ranks_as_the_words_do(strategy, tools):
    plain = Bm25Strategy()
    plain.add(tools)
    assert strategy.search("rent bread") == plain.search("rent bread")
    assert strategy.search("rent bread", limit=0) == []
    with anyio.fail_after(60):
        await strategy.prepare(["rent bread"])
    assert names(strategy.search("rent bread")) == names(plain.search("rent bread"))


async def test_filters_hold_for_tools_found_by_meaning_too(strategy):
    query = "sloop bread dirty"
    with anyio.fail_after(60):
        await strategy.index()
        await strategy.prepare([query])
    assert {hit.tool.manual for hit in strategy.search(query, providers=["garage"])} == {"garage"}
    assert names(strategy.search(query, tags=["cleaning"])) == ["wash"]
    assert names(strategy.search(query, accept=lambda tool: tool.name == "rent_yacht")) == ["rent_yacht"]
    assert len(strategy.search(query, limit=1)) == 1


async def test_among_many_tools_scores_are_ordered_and_filters_hold(strategy, make_tool):
    words = [word for number in range(130) if _cosine_of(word := f"w{number}", "sloop (parts): []") == 0]
    strategy.add([make_tool(f"parts.{word}", f"{word} {word} {word}") for word in words])
    strategy.add([make_tool("parts.general", " ".join(words))])
    with anyio.fail_after(60):
        await strategy.index()
        await strategy.prepare(["sloop"])
    assert strategy._vectors.spread > 0
    found = strategy.search("sloop", limit=200)
    assert "rent_yacht" in names(found)
    assert [hit.score for hit in found] == sorted((hit.score for hit in found), reverse=True)
    assert all(0 < hit.score <= 1 for hit in found)
    assert {hit.tool.manual for hit in strategy.search("sloop", providers=["garage"])} == {"garage"}


async def test_an_exact_name_stays_first(strategy):
    with anyio.fail_after(60):
        await strategy.index()
        await strategy.prepare(["wash"])
    assert names(strategy.search("wash"))[0] == "wash"


async def test_a_tool_is_found_by_the_meaning_of_what_led_to_it_before(strategy, tools):
    with anyio.fail_after(60):
        await strategy.index()
        await strategy.prepare(["something for the picnic", "picnic"])
    memory = SearchMemory()
    assert names(strategy.search("picnic")) == []
    memory.learn("kitchen.bake_bread", (), 0.0, strategy.meaning_of("something for the picnic"))
    with remembering(memory):
        assert names(strategy.search("picnic")) == ["bake_bread"]
        assert strategy.search("picnic", providers=["garage"]) == []
        strategy.remove([tools[1]])
        assert strategy.search("picnic") == []
    assert strategy.meaning_of("never prepared") is None


async def test_a_wrong_lesson_does_not_lift_a_tool_above_the_best_by_words_and_meaning(strategy):
    with anyio.fail_after(60):
        await strategy.index()
        await strategy.prepare(["rent a yacht"])
    memory = SearchMemory()
    for _ in range(50):
        memory.learn("garage.wash", ("zebra",), 0.0, strategy.meaning_of("rent a yacht"))
    with remembering(memory):
        found = strategy.search("rent a yacht")
    assert names(found)[0] == "rent_yacht"
    assert found[1].score <= SHARE


async def test_lessons_of_another_model_do_not_count(strategy):
    query = "rent bread for the sloop"
    with anyio.fail_after(60):
        await strategy.index()
        await strategy.prepare([query])
    plain, memory = strategy.search(query), SearchMemory()
    memory.learn("garage.wash", (), 0.0, Meaning("another", array("f", strategy.meaning_of(query).vector)))
    with remembering(memory):
        assert strategy.search(query) == plain


async def test_vectors_are_kept_on_disk_and_damaged_files_are_made_anew(scorer, server, tools, tmp_path):
    def made():
        strategy = SemanticStrategy(Bm25Strategy(), scorer, seconds=60, cache=tmp_path / "kept")
        strategy.add(tools)
        return strategy

    async def found():
        strategy = made()
        await strategy.index()
        await strategy.prepare(["sloop"])
        return [(hit.tool.name, round(hit.score, 3)) for hit in strategy.search("sloop")]

    with anyio.fail_after(60):
        first = await found()
        embedded = len(server.inputs)
        assert await found() == first
        assert len(server.inputs) == embedded + 1  # the query alone
        (path,) = (tmp_path / "kept").iterdir()
        if sys.platform != "win32":
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        whole = path.read_bytes()
        for damage in (b"", b"{}", whole[:-1], b"[1]\n" + whole, whole.replace(b'"version": 1', b'"version": 2')):
            path.write_bytes(damage)
            assert await found() == first
            assert path.read_bytes() == whole


async def test_a_search_says_how_many_tools_have_no_vector_yet(strategy, server, make_tool):
    with anyio.fail_after(60):
        await strategy.index()
        strategy.add([make_tool(f"garage.part{number}", f"Part {number}.") for number in range(3)])
        server.answer = lambda texts: {"error": "overloaded"}
        with pytest.raises(MalformedReply):
            await strategy.index()
        server.answer = lambda texts: {"data": [{"index": n, "embedding": embed(t)} for n, t in enumerate(texts)]}
        assert await strategy.prepare(["sloop"]) == "3 tools have no embeddings yet, and are found by words alone."


async def test_texts_are_embedded_once_and_forgotten_with_their_tools(strategy, server, tools, make_tool):
    with anyio.fail_after(60):
        await strategy.index()
        await strategy.index()
        assert [len(texts) for texts in server.inputs] == [3]
        strategy.remove(tools[:1])
        strategy.remove_manual("kitchen")
        strategy.add([make_tool("garage.park", "Park it.")])
        await strategy.index()
        assert [len(texts) for texts in server.inputs] == [3, 1]
        assert len(strategy._vectors) == 2
        await strategy.prepare(["sloop", "sloop", " "])
        await strategy.prepare(["sloop"])
        assert server.inputs[2:] == [["sloop"]]
    assert names(strategy.search("sloop rent")) == []


async def test_a_slow_model_leads_to_words_only_with_a_note(scorer, server, tools):
    strategy = SemanticStrategy(Bm25Strategy(), scorer, seconds=0.05)
    strategy.add(tools)
    server.gate = anyio.Event()
    with anyio.fail_after(60):
        note = await strategy.prepare(["rent"])
    assert "words alone" in note
    assert names(strategy.search("rent")) == ["rent_yacht"]


async def test_a_failing_model_leads_to_words_only(strategy, server, make_tool):
    with anyio.fail_after(60):
        await strategy.index()
        strategy.add([make_tool("garage.park", "Park it.")])
        server.answer = lambda texts: {"error": "overloaded"}
        assert "words alone" in await strategy.prepare(["rent"])
        with pytest.raises(MalformedReply):
            await strategy.index()


async def test_a_missing_endpoint_leads_to_words_only(tools):
    async def post(url, body):
        raise Unreachable("The embeddings endpoint cannot be reached.")

    strategy = SemanticStrategy(Bm25Strategy(), EndpointScorer("http://127.0.0.1:9/", "m", post))
    with anyio.fail_after(60):
        assert "words alone" in await strategy.prepare(["rent"])


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        {"data": 5},
        {"data": []},
        {"data": [{"embedding": None}]},
        {"data": [{"embedding": ["a"]}]},
        {"data": [{"embedding": [10**400]}]},
        {"data": [{"index": "x", "embedding": [1]}, {"embedding": [2]}]},
    ],
)
async def test_an_answer_of_another_shape_is_malformed(scorer, server, answer):
    server.answer = lambda texts: answer
    with anyio.fail_after(60), pytest.raises(MalformedReply, match="one vector for each text"):
        await scorer.embed(["one"])


@pytest.mark.parametrize("vector", [[0.0, 0.0], [float("inf"), 1.0], []])
async def test_vectors_without_a_direction_count_for_nothing(strategy, server, vector):
    server.answer = lambda texts: {"data": [{"index": n, "embedding": vector} for n in range(len(texts))]}
    with anyio.fail_after(60):
        await strategy.index()
        await strategy.prepare(["rent"])
    assert names(strategy.search("rent")) == ["rent_yacht"]


async def test_before_any_tool_has_a_vector_no_query_is_embedded(strategy, server):
    with anyio.fail_after(60):
        assert "no embeddings yet" in await strategy.prepare(["sloop"])
    assert server.inputs == []


async def test_only_the_latest_queries_are_kept(strategy):
    with anyio.fail_after(60):
        await strategy.index()
        for start in range(0, 600, 100):
            await strategy.prepare([f"query {number}" for number in range(start, start + 100)])
    assert len(strategy._queries) == 256
    assert "query 599" in strategy._queries


@pytest.fixture
def encoder(monkeypatch, tmp_path):
    """Makes a small real package importable under an encoder's name."""
    installed = []

    def install(name, source):
        (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, name, raising=False)  # another test may have imported the real package
        installed.append(name)

    yield install
    for name in installed:
        sys.modules.pop(name, None)


_STATIC = """
class StaticModel:
    @classmethod
    def from_pretrained(cls, folder):
        {body}
    def encode(self, texts):
        return [[len(text), 1] for text in texts]
"""
_SENTENCES = """
class SentenceTransformer:
    def __init__(self, folder, local_files_only):
        assert local_files_only
    def encode(self, texts):
        return [[2, len(text)] for text in texts]
"""


async def test_a_local_folder_is_read_by_the_package_that_is_installed(encoder, tmp_path):
    encoder("model2vec", _STATIC.format(body="return cls()"))
    with anyio.fail_after(60):
        assert [list(row) for row in await LocalScorer(tmp_path).embed(["abc", ""])] == [[3, 1], [0, 1]]


async def test_a_folder_that_one_package_cannot_read_is_tried_with_the_next(encoder, tmp_path):
    encoder("model2vec", _STATIC.format(body="raise ValueError(folder)"))
    encoder("sentence_transformers", _SENTENCES)
    with anyio.fail_after(60):
        assert [list(row) for row in await LocalScorer(tmp_path).embed(["abc"])] == [[2, 3]]


async def test_without_a_package_for_it_the_folder_is_refused_with_the_install_line(tmp_path, monkeypatch):
    for package in ("model2vec", "sentence_transformers"):
        monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr("utcp_bridge.search.encoders.find_spec", lambda package: None)
    with pytest.raises(ConfigError, match=r"pip install .*\[semantic\]'"):
        LocalScorer(tmp_path)


async def test_an_unreadable_model_folder_is_an_error_when_used(encoder, tmp_path, monkeypatch):
    encoder("model2vec", _STATIC.format(body="raise ValueError(folder)"))
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with anyio.fail_after(60), pytest.raises(ConfigError, match="no installed package reads its folder"):
        await LocalScorer(tmp_path).embed(["abc"])


async def test_a_folder_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="does not exist"):
        LocalScorer(tmp_path / "nowhere")


async def test_vectors_of_different_models_are_never_mixed(tools):
    text = _text_of(tools[0])
    assert digest_of("hashing", text) != digest_of("other", text)
    ends = [
        EndpointScorer(url, "m", None, dimensions=size).model
        for url in ("http://a/", "http://b/")
        for size in (None, 3)
    ]
    assert len(set(ends)) == 4


ENDPOINT = {"url": "https://api.example.com/v1/embeddings", "model": "small"}


def test_an_api_key_goes_as_a_bearer_token():
    options = read_semantic_options({"endpoint": {**ENDPOINT, "api_key": "${KEY}"}})
    assert options.endpoint.credentials == {
        "auth_type": "api_key",
        "api_key": "Bearer ${KEY}",
        "var_name": "Authorization",
    }


def test_auth_is_used_unchanged():
    auth = {"auth_type": "basic", "username": "u", "password": "p"}
    assert read_semantic_options({"endpoint": {**ENDPOINT, "auth": auth}}).endpoint.credentials == auth


def test_words_are_ranked_by_bm25_unless_another_strategy_is_named():
    assert read_semantic_options({"endpoint": ENDPOINT}).words == {"tool_search_strategy_type": "bm25"}
    other = {"tool_search_strategy_type": "tag_and_description_word_match", "tag_weight": 2}
    assert read_semantic_options({"endpoint": ENDPOINT, "lexical": other}).words == other


@pytest.mark.parametrize(
    ("raw", "reported"),
    [
        ({}, "either endpoint or model_folder"),
        ({"endpoint": ENDPOINT, "model_folder": "m"}, "either endpoint or model_folder"),
        ({"endpoint": {**ENDPOINT, "api_key": "s3cret", "auth": {}}}, "api_key or auth, not both"),
        ({"endpoint": {"url": "ftp://x", "model": "m"}}, "endpoint.url"),
        ({"endpoint": ENDPOINT, "tiemout": 3}, "tiemout"),
        ({"endpoint": ENDPOINT, "query_timeout": 0}, "query_timeout"),
    ],
)
def test_a_fault_names_its_field_and_not_its_value(raw, reported):
    with pytest.raises(ConfigError, match=reported) as caught:
        read_semantic_options(raw)
    assert "s3cret" not in str(caught.value)


def test_a_key_is_not_shown():
    assert "s3cret" not in repr(read_semantic_options({"endpoint": {**ENDPOINT, "api_key": "s3cret"}}))
