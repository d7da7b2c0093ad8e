"""The search of a client: indexed ahead, by words or by meaning, with the live tools."""

import asyncio
import json
import logging
import re
from dataclasses import replace
from functools import partial

import anyio
import anyio.lowlevel
import pytest
from tests.support.tools import make_tool
from tests.upstreams.editions_service import EditionsService
from tests.upstreams.embeddings_service import KEY, EmbeddingsService

from utcp_bridge.client.client import UtcpClient
from utcp_bridge.client.extensions import Extensions
from utcp_bridge.client.search import _Backlog
from utcp_bridge.manuals.repository import Change
from utcp_bridge.search.kept import KEPT_FROM, KeptIndex
from utcp_bridge.search.lexical import Bm25Strategy

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("own_home")]

TOOLS = {"rent_yacht": "Rent a yacht by the day.", "bake_bread": "Bake a loaf of bread."}


def manual(name, tools):
    template = {"call_template_type": "text", "content": "done"}
    listed = [{"name": key, "description": text, "tool_call_template": template} for key, text in tools.items()]
    return {"name": name, "call_template_type": "text", "content": {"utcp_version": "1.0.1", "tools": listed}}


def by_meaning(service, **options):
    endpoint = {"url": service.url, "model": "hashing", "api_key": "${EMBEDDINGS_KEY}"}
    return {
        "manual_call_templates": [manual("shop", TOOLS)],
        "variables": {"EMBEDDINGS_KEY": KEY},
        "tool_search_strategy": {
            "tool_search_strategy_type": "semantic",
            "endpoint": endpoint,
            "query_timeout": 10,
            **options,
        },
    }


@pytest.fixture
async def service():
    async with EmbeddingsService() as running:
        yield running


def parcels(count=KEPT_FROM):
    return [manual("post", {f"tool_{number}": f"Find parcel number {number}." for number in range(count)})]


async def test_a_program_keeps_the_index_of_many_tools_and_reads_it_again(tmp_path, monkeypatch):
    added = []

    class Counting(Bm25Strategy):
        def add(self, tools):
            tools = [*tools]
            added.extend(tools)
            super().add(tools)

    async def searched(config):
        added.clear()
        extensions = Extensions(search_strategy=Counting(), index_folder=tmp_path / "index")
        async with await UtcpClient.create(config, extensions=extensions) as client:
            assert await client.prepare_search(["parcel"], patient=True) is None
            return [hit.tool.name for hit in client.search("parcel 17", limit=1)]

    assert await searched(parcels()) == ["tool_17"]
    assert len(added) == KEPT_FROM
    (file,) = (tmp_path / "index").iterdir()

    assert await searched(parcels()) == ["tool_17"]
    assert added == []

    assert await searched(parcels(KEPT_FROM + 1)) == ["tool_17"]
    assert len(added) == KEPT_FROM + 1

    file.write_bytes(b"damaged")
    assert await searched(parcels()) == ["tool_17"]
    assert len(added) == KEPT_FROM
    assert file.stat().st_size > KEPT_FROM


async def test_a_server_keeps_the_index_that_it_builds_after_the_start(tmp_path, monkeypatch):
    monkeypatch.setattr("utcp_bridge.client.search._INDEX_AFTER", 0.01)
    written = anyio.Event()
    loop = asyncio.get_running_loop()
    write = KeptIndex.write

    def noting(kept, path, data):
        write(kept, path, data)
        loop.call_soon_threadsafe(written.set)

    monkeypatch.setattr(KeptIndex, "write", noting)
    async with await UtcpClient.create(parcels(), extensions=Extensions(index_folder=tmp_path)):
        with anyio.fail_after(60):
            await written.wait()
    assert len([*tmp_path.iterdir()]) == 1


async def test_a_patient_search_waits_until_the_index_that_is_being_kept_is_written(tmp_path, monkeypatch):
    """A program searches once and ends, and its end would stop the writing that the client has begun by itself."""
    monkeypatch.setattr("utcp_bridge.client.search._INDEX_AFTER", 0.0)
    begun, goes_on = anyio.Event(), anyio.Event()
    pack = KeptIndex.pack

    def slow_pack(kept, strategy):
        packed = yield from pack(kept, strategy)
        if packed is not None:
            begun.set()
            while not goes_on.is_set():
                yield
        return packed

    monkeypatch.setattr(KeptIndex, "pack", slow_pack)
    async with await UtcpClient.create(parcels(), extensions=Extensions(index_folder=tmp_path)) as client:
        with anyio.fail_after(60):
            await begun.wait()
            async with anyio.create_task_group() as group:
                group.start_soon(partial(client.prepare_search, ["parcel"], patient=True))
                await anyio.lowlevel.checkpoint()
                goes_on.set()
    assert len([*tmp_path.iterdir()]) == 1


async def test_a_library_keeps_no_index_by_itself(own_home):
    async with await UtcpClient.create(parcels()) as client:
        await client.prepare_search(["parcel"], patient=True)
    assert [*own_home.rglob("*.index")] == []


async def names(client, query):
    return [tool.name for tool in await client.search_tools(query)]


async def ready(client, query):
    """Search until the tools have vectors. The caller limits the time."""
    while await client.prepare_search([query]):
        await anyio.lowlevel.checkpoint()
    return await names(client, query)


async def test_a_large_catalogue_is_indexed_before_the_first_search(monkeypatch):
    monkeypatch.setattr("utcp_bridge.client.search._INDEX_AFTER", 0.01)
    indexed = anyio.Event()
    loop = asyncio.get_running_loop()
    tools = [{"name": f"tool_{number}", "description": "one of many"} for number in range(600)]
    content = {"utcp_version": "1.0.1", "tools": tools}
    config = [{"name": "many", "call_template_type": "text", "content": content}]

    class Noting(Bm25Strategy):
        def add(self, tools):
            super().add(tools)
            loop.call_soon_threadsafe(indexed.set)

    async with await UtcpClient.create(config, extensions=Extensions(search_strategy=Noting())) as client:
        with anyio.fail_after(60):
            await indexed.wait()
        assert [tool.name for tool in await client.search_tools("tool_599", limit=1)] == ["tool_599"]


def many(name, count, word="one"):
    tools = [{"name": f"tool_{number}", "description": f"{word} of many"} for number in range(count)]
    return {"name": name, "call_template_type": "text", "content": {"utcp_version": "1.0.1", "tools": tools}}


def document(count, word):
    return json.dumps(many("many", count, word)["content"]).encode()


class Turns:
    """Counts how often another task gets its turn while work is done."""

    async def __aenter__(self):
        self.count = 0
        self._group = await anyio.create_task_group().__aenter__()
        self._group.start_soon(self._run)
        return self

    async def __aexit__(self, *error):
        self._group.cancel_scope.cancel()
        return await self._group.__aexit__(*error)

    async def _run(self):
        while True:
            self.count += 1
            await anyio.lowlevel.checkpoint()


@pytest.fixture
def short_slices(monkeypatch):
    monkeypatch.setattr("utcp_bridge.tasks._SLICE_SECONDS", 0.0)


@pytest.mark.usefixtures("short_slices")
async def test_other_calls_run_while_the_first_search_makes_the_index():
    async with await UtcpClient.create([many("many", 640)]) as client, Turns() as turns:
        await client.prepare_search(["tool_599"])
        assert turns.count >= 640 / 8 - 2
        before = turns.count
        assert [hit.tool.name for hit in client.search("tool_599", limit=1)] == ["tool_599"]
        await client.prepare_search(["tool_599"])
        assert turns.count - before <= 16, "the index is made once"


@pytest.mark.usefixtures("short_slices")
async def test_other_calls_run_while_a_large_manual_is_loaded():
    async with EditionsService() as service, await UtcpClient.create() as client, Turns() as turns:
        service.files["/utcp"] = document(640, "one")
        await client.register_manual({"name": "many", "call_template_type": "http", "url": f"{service.base}/utcp"})
        assert turns.count >= 640
        before = turns.count
        service.files["/utcp"] = document(640, "other")
        await client.refresh("many")
        assert turns.count - before >= 4 * 640
        before = turns.count
        await client.refresh("many")
        assert turns.count - before < 640, "an unchanged document is not built again"
        assert len(client.tools()) == 640


@pytest.mark.usefixtures("short_slices")
async def test_searches_are_answered_while_tools_change_without_an_end(monkeypatch):
    monkeypatch.setattr("utcp_bridge.client.search._PATIENCE", 0.0)
    monkeypatch.setattr("utcp_bridge.client.search._INDEX_AFTER", 3_600.0)
    async with await UtcpClient.create([many("many", 640)]) as client:
        await client.prepare_search(["tool_599"])
        strategy, tools = client.search_strategy, list(client.tools())
        for number in range(5):
            tools = [replace(tool, description=f"edition {number}") for tool in tools]
            client.repository.replace("many", tools[number:])
            await client.prepare_search(["tool_599"])
            found = client.prepared_search.search("tool_599", limit=1)
            assert [(hit.tool.name, hit.tool.description) for hit in found] == [("tool_599", f"edition {number}")]
            assert client.prepared_search.search("tool_0", limit=1)[0].tool.name != "tool_0" or number == 0
        assert strategy.search("edition", limit=1) == [], "the index is not up to date yet"
        assert client.search("edition 4", limit=1)[0].tool.description == "edition 4"
        assert len(strategy.search("tool", limit=1_000)) == 636


async def test_a_search_before_the_index_is_whole_says_how_many_tools_it_lacks(monkeypatch):
    monkeypatch.setattr("utcp_bridge.client.search._FIRST_PATIENCE", 0.0)
    monkeypatch.setattr("utcp_bridge.client.search._INDEX_AFTER", 3_600.0)
    async with await UtcpClient.create([many("many", 640)]) as client:
        note = await client.prepare_search(["tool_599"]) or ""
        lacks = re.fullmatch(r"The index of the search lacks (\d+) new tools\. Search again in some seconds\.", note)
        assert lacks is not None
        assert int(lacks[1]) == 640 - len(client.prepared_search.search("tool", limit=1_000))
        assert await client.prepare_search(["tool_599"], patient=True) is None
        assert [hit.tool.name for hit in client.prepared_search.search("tool_599", limit=1)] == ["tool_599"]


async def test_what_waits_for_the_index_does_not_grow_with_the_changes():
    backlog = _Backlog()
    old = [make_tool(f"t{number}") for number in range(10)]
    backlog.note(Change("m", added=tuple(old)))
    for _ in range(100):
        new = [replace(tool) for tool in old]
        backlog.note(Change("m", added=tuple(new), removed=tuple(old)))
        old = new
    assert len(backlog) == 10
    assert [backlog.pop() for _ in range(4)] == [(True, tool) for tool in old[:4]]
    newest = [replace(tool) for tool in old]
    backlog.note(Change("m", added=tuple(newest[:5]), removed=tuple(old)))
    assert backlog.number_of_missing
    popped = [backlog.pop() for _ in range(len(backlog))]
    assert popped == [(True, newest[4]), *((True, tool) for tool in newest[:4])]


async def test_a_tool_that_goes_and_comes_back_before_it_is_indexed_is_one_change():
    backlog = _Backlog()
    tool, newer = make_tool("t"), make_tool("t")
    backlog.note(Change("m", removed=(tool,)))
    backlog.note(Change("m", added=(newer,)))
    assert [backlog.pop() for _ in range(len(backlog))] == [(True, newer)]
    backlog.note(Change("m", removed=(newer,)))
    assert [backlog.pop() for _ in range(len(backlog))] == [(False, newer)]


@pytest.mark.usefixtures("short_slices")
async def test_two_searches_at_once_share_the_work_of_the_index():
    added = []

    class Noting(Bm25Strategy):
        def add(self, tools):
            tools = [*tools]
            added.extend(tool.name for tool in tools)
            super().add(tools)

    async with await UtcpClient.create([many("many", 320)], extensions=Extensions(search_strategy=Noting())) as client:
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(client.prepare_search, ["tool_1"])
            await anyio.lowlevel.checkpoint()
            client.search("tool_1")
        assert sorted(added) == sorted(tool.name for tool in client.tools())


async def test_a_tool_without_a_common_word_is_found_by_its_meaning(service):
    async with await UtcpClient.create(by_meaning(service)) as client:
        with anyio.fail_after(60):
            assert await ready(client, "sloop") == ["rent_yacht"]
        assert client.search_strategy.search("unheard") == []


async def test_new_tools_get_vectors_and_removed_tools_lose_theirs(service):
    async with await UtcpClient.create(by_meaning(service)) as client:
        with anyio.fail_after(60):
            await ready(client, "sloop")
            await client.register_manual(manual("harbour", {"book_ferry": "Book a ferry."}))
            while not await names(client, "cross ocean"):
                await anyio.lowlevel.checkpoint()
            await client.deregister_manual("harbour")
            assert await names(client, "cross ocean") == []
    assert sum(len(texts) for texts in service.inputs if len(texts[0]) > len("cross ocean")) == 3


async def test_the_start_does_not_wait_for_the_model(service):
    service.open = anyio.Event()
    with anyio.fail_after(60):
        async with await UtcpClient.create(by_meaning(service)) as client:
            assert [state.status for state in client.report()] == ["ready"]
            assert "no embeddings yet" in await client.prepare_search(["bread"])
            assert await names(client, "bread") == ["bake_bread"]


async def test_a_failing_model_is_logged_once_and_tried_again(service, caplog):
    service.failures = 1
    with caplog.at_level(logging.INFO, "utcp_bridge.client.search"), anyio.fail_after(60):
        async with await UtcpClient.create(by_meaning(service)) as client:
            assert await ready(client, "sloop") == ["rent_yacht"]
            while len(caplog.records) < 2:  # the vectors are used a moment before the log says so
                await anyio.lowlevel.checkpoint()
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2
    assert "words alone for now" in told[0]
    assert "503" in told[0]
    assert "meaning again" in told[1]


async def test_a_patient_search_waits_for_vectors_and_reports_why_they_are_missing(service):
    with anyio.fail_after(60):
        async with await UtcpClient.create(by_meaning(service)) as client:
            assert await client.prepare_search(["sloop"], patient=True) is None
            assert [hit.tool.name for hit in client.search("sloop")] == ["rent_yacht"]
        config = {**by_meaning(service, cache=False), "variables": {"EMBEDDINGS_KEY": "wrong-key-of-mine"}}
        async with await UtcpClient.create(config) as client:
            note = await client.prepare_search(["sloop"], patient=True)
    assert "401" in note
    assert "wrong-key-of-mine" not in note


async def test_the_ranking_by_words_next_to_the_vectors_can_be_chosen(service):
    config = by_meaning(service, lexical="tag_and_description_word_match")
    async with await UtcpClient.create(config) as client:
        assert type(client.search_strategy._lexical).__name__ == "TagStrategy"


@pytest.mark.parametrize(
    ("strategy", "told"),
    [
        ({"tool_search_strategy_type": "semantic"}, "give either endpoint or model_folder"),
        ({"tool_search_strategy_type": "semantic", "model_folder": "nowhere"}, "nowhere, does not exist"),
        ({"tool_search_strategy_type": "semantic", "endpoint": {"url": "http://127.0.0.1:9/"}}, "endpoint.model"),
        ({"tool_search_strategy_type": "semantics"}, "Known strategies: bm25, semantic"),
        (
            {
                "tool_search_strategy_type": "semantic",
                "endpoint": {"url": "http://127.0.0.1:9/", "model": "m", "api_key": "${NOT_SET_ANYWHERE}"},
            },
            "NOT_SET_ANYWHERE",
        ),
        (
            {
                "tool_search_strategy_type": "semantic",
                "endpoint": {"url": "http://127.0.0.1:9/", "model": "m"},
                "lexical": "semantic",
            },
            "must not be the strategy 'semantic' itself",
        ),
        (
            {
                "tool_search_strategy_type": "semantic",
                "endpoint": {"url": "http://127.0.0.1:9/", "model": "m", "auth": {"auth_type": "api_key"}},
            },
            "tool_search_strategy",
        ),
    ],
)
async def test_a_strategy_that_cannot_be_made_is_logged_and_the_default_is_used(strategy, told, caplog, tmp_path):
    config = {"manual_call_templates": [manual("shop", TOOLS)], "tool_search_strategy": strategy}
    async with await UtcpClient.create(config, root=tmp_path) as client:
        assert await names(client, "bread") == ["bake_bread"]
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert told in warnings[0]
    assert "ranked by words" in warnings[0]


async def test_a_local_model_of_model2vec_finds_by_meaning(tmp_path):
    make_model(tmp_path / "model")
    config = {
        "manual_call_templates": [manual("shop", TOOLS)],
        "tool_search_strategy": {"tool_search_strategy_type": "semantic", "model_folder": "model", "query_timeout": 10},
    }
    with anyio.fail_after(60):
        async with await UtcpClient.create(config, root=tmp_path) as client:
            assert await ready(client, "sloop") == ["rent_yacht"]


def make_model(folder):
    """A real model of three words. Two have the same meaning."""
    import numpy as np
    from model2vec import StaticModel
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {"[UNK]": 0, "[PAD]": 1, "yacht": 2, "sloop": 3, "bread": 4}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    vectors = np.array([[0, 0], [0, 0], [1, 0], [1, 0], [0, 1]], dtype=np.float32)
    StaticModel(vectors, tokenizer).save_pretrained(str(folder))
    assert json.loads((folder / "config.json").read_text())


async def test_tools_are_found_with_and_without_await():
    async with await UtcpClient.create({"manual_call_templates": [manual("shop", TOOLS)]}) as client:
        found = client.search_tools("rent a yacht")
        assert [tool.name for tool in found] == ["rent_yacht"]
        assert await found == found
        assert await found is found


async def test_awaiting_waits_for_vectors_and_the_list_does_not(service):
    async with await UtcpClient.create(by_meaning(service)) as client:
        with anyio.fail_after(60):
            await ready(client, "bread")
        assert client.search_tools("sloop") == []
        assert [tool.name for tool in await client.search_tools("sloop")] == ["rent_yacht"]
