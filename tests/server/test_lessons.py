"""Lessons from use: which calls are lessons, whose they are, and how they are kept on disk."""

import json
import stat
import sys
from array import array

import anyio
import pytest
from tests.support.redis_server import redis_server
from tests.support.server_client import StandIn

from utcp_bridge.errors import ConfigError, UpstreamError
from utcp_bridge.model import discard
from utcp_bridge.search.memory import Meaning
from utcp_bridge.server.app import BridgeServer
from utcp_bridge.server.lessons import Lessons, examples_of_all, store_key
from utcp_bridge.server.meta_tools import Caller
from utcp_bridge.settings import BridgeSettings
from utcp_bridge.stores.file import FileStore

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("own_home")]

ANN, BEN = (
    Caller(owner="session ann", lasting_owner="token ann"),
    Caller(owner="session ben", lasting_owner="token ben"),
)
NEW_ANN = Caller(owner="session ann 2", lasting_owner="token ann")
UMBRELLA = "shall I take my umbrella"


def server_of(root, **settings):
    client = StandIn(BridgeSettings(**settings), root=root)

    async def fails(_arguments, _emit):
        raise UpstreamError("It rains.")

    client.add("weather", "forecast", description="Tomorrow's weather in a city.")
    client.add("weather", "umbrella_shop", fails, description="Where to buy one.")
    return BridgeServer(client)


async def search(server, query, caller=ANN):
    found = await server.meta_tools.call("search_tools", {"query": query}, discard, caller)
    return found["content"][0]["text"]


async def call(server, name, caller=ANN):
    return await server.meta_tools.call("call_tool", {"name": name}, discard, caller)


async def teach(server, caller=ANN):
    await search(server, f"weather umbrella: {UMBRELLA}", caller)
    await call(server, "weather_forecast", caller)


async def finds(server, caller=ANN):
    return (await search(server, "take it", caller)).startswith("1. weather_forecast")


@pytest.mark.parametrize(("memory", "learns"), [("off", False), ("session", True), ("disk", True)])
async def test_a_successful_call_after_a_search_is_a_lesson_for_this_client_alone(tmp_path, memory, learns):
    server = server_of(tmp_path, search_memory=memory, search_store="file:kept")
    await teach(server)
    assert await finds(server) is learns
    assert not await finds(server, BEN)
    assert await finds(server, NEW_ANN) is (memory == "disk")


async def test_calls_that_fail_or_that_no_search_returned_teach_nothing(tmp_path):
    server = server_of(tmp_path)
    await search(server, "take umbrella")
    failed = await call(server, "weather_umbrella_shop")
    assert failed["isError"]
    await call(server, "weather_forecast")  # this search did not return it
    assert await server.meta_tools.lessons.memory_of(ANN.owner, ANN.lasting_owner) is None


async def test_ten_calls_after_one_search_are_one_lesson(tmp_path):
    server = server_of(tmp_path)
    await teach(server)
    memory = await server.meta_tools.lessons.memory_of(ANN.owner, "")
    before = memory.as_json()
    for _ in range(10):
        await call(server, "weather_forecast")
    assert memory.as_json() == before


async def test_lessons_are_on_disk_as_words_for_the_owner_only_and_outlive_the_process(tmp_path):
    server = server_of(tmp_path, search_memory="disk", search_store="file:kept")
    async with server.meta_tools.lessons.open():
        await teach(server)
    (path,) = (tmp_path / "kept").glob("*.json")
    assert UMBRELLA not in path.read_text()
    assert '"umbrella"' in path.read_text()
    if sys.platform != "win32":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = server_of(tmp_path, search_memory="disk", search_store="file:kept")
    assert await finds(again)
    assert not await finds(again, BEN)


async def test_replicas_add_to_one_memory(tmp_path):
    first, second = (server_of(tmp_path, search_memory="disk", search_store="file:kept") for _ in range(2))
    for server, words in ((first, "umbrella"), (second, "raincoat")):
        await search(server, f"weather {words}")
        await call(server, "weather_forecast")
    for server in (first, second):
        await server.meta_tools.lessons.write()
    third = server_of(tmp_path, search_memory="disk", search_store="file:kept")
    memory = await third.meta_tools.lessons.memory_of("", ANN.lasting_owner)
    assert {"umbrella", "raincoat"} <= set(memory.words()["weather.forecast"])


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"key": 3}', b"\xff" * 100])
async def test_a_damaged_file_is_replaced(tmp_path, damage, caplog):
    def bridge():
        return server_of(tmp_path, search_memory="disk", search_store="file:kept")

    server = bridge()
    await teach(server)
    await server.meta_tools.lessons.write()
    (path,) = (tmp_path / "kept").glob("*.json")
    path.write_bytes(damage)
    server = bridge()
    assert not await finds(server)
    assert "starts anew" in caplog.text
    await teach(server)
    await server.meta_tools.lessons.write()
    assert await finds(bridge())


async def test_what_a_later_version_learned_is_neither_used_nor_changed(tmp_path, caplog):
    def bridge():
        return server_of(tmp_path, search_memory="disk", search_store="file:kept")

    server = bridge()
    await teach(server)
    await server.meta_tools.lessons.write()
    (path,) = (tmp_path / "kept").glob("*.json")
    entry = json.loads(path.read_bytes())
    entry["value"]["version"] = 2
    path.write_text(json.dumps(entry))
    path.chmod(0o600)
    before = path.read_bytes()
    server = bridge()
    assert not await finds(server)
    await teach(server)
    assert await finds(server)
    await server.meta_tools.lessons.write()
    assert path.read_bytes() == before
    assert caplog.text.count("a later version of utcp-bridge") == 1
    with pytest.raises(ConfigError, match="a later version of utcp-bridge"):
        await examples_of_all(FileStore(tmp_path / "kept"))


async def test_a_client_without_a_token_is_not_kept_on_disk(tmp_path):
    server = server_of(tmp_path, search_memory="disk", search_store="file:kept")
    nobody = Caller(owner="session x")
    await teach(server, nobody)
    await server.meta_tools.lessons.write()
    assert await finds(server, nobody)
    assert not (tmp_path / "kept").exists()


async def test_a_known_secret_is_not_learned(tmp_path):
    server = server_of(tmp_path)
    server.client.redactor.learn(["correcthorse"])
    await search(server, "weather correcthorse umbrella")
    await call(server, "weather_forecast")
    memory = await server.meta_tools.lessons.memory_of(ANN.owner, "")
    assert "correcthors" not in str(memory.as_json())
    assert "umbrella" in memory.words()["weather.forecast"]


async def test_the_store_has_at_most_sixty_four_clients(tmp_path):
    server = server_of(tmp_path, search_memory="disk", search_store="file:kept")
    lessons = server.meta_tools.lessons
    for number in range(66):
        lessons.searched("", f"token {number}", "umbrella", ["weather.forecast"])
        lessons.called("", f"token {number}", "weather.forecast")
    with anyio.fail_after(100):
        await lessons.write()
    assert len(await FileStore(tmp_path / "kept").keys()) == 64
    assert await FileStore(tmp_path / "kept").get(store_key("token 65")) is not None


def test_a_store_that_does_not_exist_is_an_error_that_names_the_setting(tmp_path):
    with pytest.raises(ConfigError, match="`search_store` does not name a store"):
        Lessons(BridgeSettings(search_memory="disk", search_store="nowhere"), tmp_path, str)


async def test_replicas_learn_from_one_another_in_their_store(tmp_path, monkeypatch):
    monkeypatch.setattr("utcp_bridge.server.lessons._READ_SECONDS", 60)  # the first reading connects to the store
    with redis_server(tmp_path) as redis:
        first, second = (server_of(tmp_path, search_memory="disk", store=redis.url) for _ in range(2))
        async with first.meta_tools.lessons.open():
            await teach(first)
        async with second.meta_tools.lessons.open():
            assert await finds(second)
            assert not await finds(second, BEN)


def lessons_of(root, **settings):
    return Lessons(BridgeSettings(search_memory="disk", search_store="file:kept", **settings), root, lambda text: text)


def taught_once(lessons, query, tool="weather.forecast", meaning=None):
    lessons.searched("", ANN.lasting_owner, query, [tool], meaning)
    lessons.called("", ANN.lasting_owner, tool)


async def test_lessons_of_replicas_in_turns_are_those_of_one_bridge(tmp_path):
    replicas = lessons_of(tmp_path / "many"), lessons_of(tmp_path / "many")
    alone = lessons_of(tmp_path / "one")
    for number in range(12):
        query = ("umbrella picnic", "umbrella lake", "raincoat")[number % 3]
        replica = replicas[number % 2]
        for lessons in (replica, alone):
            taught_once(lessons, query)
            await lessons.write()
    found, expected = [
        (await FileStore(tmp_path / folder / "kept").get(store_key(ANN.lasting_owner)))["tools"]["weather.forecast"]
        for folder in ("many", "one")
    ]
    assert found["words"] == pytest.approx(expected["words"], abs=0.05)
    assert found["lessons"] == pytest.approx(expected["lessons"], abs=0.05)


async def test_lessons_wait_while_the_store_fails(tmp_path, caplog):
    (tmp_path / "kept").write_text("in the way of the folder")
    lessons = lessons_of(tmp_path)
    taught_once(lessons, "umbrella")
    await lessons.write()
    assert "cannot be written" in caplog.text
    taught_once(lessons, "raincoat")
    (tmp_path / "kept").unlink()
    await lessons.write()
    memory = await lessons_of(tmp_path).memory_of("", ANN.lasting_owner)
    assert {"umbrella", "raincoat"} == set(memory.words()["weather.forecast"])


async def test_vectors_of_searches_are_kept_unless_the_search_has_something_private(tmp_path):
    lessons = lessons_of(tmp_path)
    meaning = Meaning("small", array("f", [0.6, 0.8]))
    taught_once(lessons, "umbrella for ann@example.com", "weather.private", meaning)
    taught_once(lessons, "umbrella", meaning=meaning)
    await lessons.write()
    memory = await lessons_of(tmp_path).memory_of("", ANN.lasting_owner)
    found = memory.meanings("small")
    assert found.tools == ("weather.forecast",)
    assert list(found.vectors) == pytest.approx([0.6, 0.8], abs=0.02)
