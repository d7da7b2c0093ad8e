"""Every store keeps the same promises."""

from __future__ import annotations

import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.redis_server import redis_server

from utcp_bridge.errors import ConfigError
from utcp_bridge.foreign import write_json
from utcp_bridge.settings import ReplicaSettings
from utcp_bridge.stores.file import FileStore, file_lock
from utcp_bridge.stores.opening import open_replica_store, open_store
from utcp_bridge.stores.port import MemoryStore, Store

pytestmark = pytest.mark.anyio
KEYS = ["login https://a.example/mcp", "login ü/\n../../etc", "x" * 5000, "login a\0b"]


@pytest.fixture
def keyring_in_memory(monkeypatch: pytest.MonkeyPatch):
    """A keyring of the library's own kind, which keeps its entries in memory and is as strict as Windows."""
    import keyring
    from keyring.backend import KeyringBackend
    from keyring.errors import PasswordDeleteError, PasswordSetError

    class InMemory(KeyringBackend):
        priority = 1

        def __init__(self):
            super().__init__()
            self.entries: dict[tuple[str, str], str] = {}

        def get_password(self, service, username):
            return self.entries.get((service, username))

        def set_password(self, service, username, password):
            if len(password) > 1280:
                raise PasswordSetError("too long")
            self.entries[service, username] = password

        def delete_password(self, service, username):
            if self.entries.pop((service, username), None) is None:
                raise PasswordDeleteError

    before, mine = keyring.get_keyring(), InMemory()
    keyring.set_keyring(mine)
    yield mine
    keyring.set_keyring(before)


def _files(folder: Path) -> list[Path]:
    return list(folder.glob("*.json"))


@pytest.fixture(params=["memory", "file", "keyring"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    if request.param == "keyring":
        request.getfixturevalue("keyring_in_memory")
    made = open_store(request.param, folder=tmp_path / "deep" / "logins", root=tmp_path)
    yield made
    await made.aclose()


@pytest.mark.parametrize("key", KEYS)
async def test_an_object_comes_back_as_it_was_until_it_is_deleted(store: Store, key: str) -> None:
    value = {"text": "é\U0001f600", "long": "t" * 10_000, "none": None, "list": [1, 2.5, {"a": True}]}
    assert await store.get(key) is None
    await store.put(key, {"short": 1})
    await store.put(key, value)
    assert await store.get(key) == value
    assert await store.keys() == [key]
    assert await store.delete(key)
    assert not await store.delete(key)
    assert await store.get(key) is None
    assert await store.keys() == []


async def test_values_that_a_strict_writer_refuses_are_kept(store: Store) -> None:
    await store.put("odd", {"number": 2**70, "half": "\ud800", "\udfff": 1})
    found = await store.get("odd")
    found = orjson.loads(write_json(found))  # memory keeps the object itself
    assert (int(found["number"]), found["half"], found["\ufffd"]) == (2**70, "\ufffd", 1)


async def test_keys_are_listed_in_order(store: Store) -> None:
    for key in reversed(KEYS):
        await store.put(key, {"key": key})
    assert await store.keys() == sorted(KEYS)
    assert [await store.get(key) for key in KEYS] == [{"key": key} for key in KEYS]


async def test_one_task_at_a_time_holds_the_lock_of_a_key(store: Store) -> None:
    inside, most = 0, 0

    async def work() -> None:
        nonlocal inside, most
        async with store.lock("a"):
            inside += 1
            most = max(most, inside)
            count = (await store.get("a") or {"n": 0})["n"]
            await anyio.lowlevel.checkpoint()
            await store.put("a", {"n": count + 1})
            inside -= 1

    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(work)
    assert most == 1
    assert await store.get("a") == {"n": 10}


async def test_locks_of_two_keys_do_not_wait_for_each_other(store: Store) -> None:
    async with store.lock("a"), store.lock("b"):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other permissions")
async def test_only_the_owner_can_read_the_files(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "logins")
    async with store.lock("a"):
        await store.put("a", {"token": "t"})
    for path in [tmp_path / "logins", *(tmp_path / "logins").iterdir()]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other permissions")
async def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    await store.put("a", {"token": "canary"})
    [path] = _files(tmp_path)
    path.chmod(0o644)
    with pytest.raises(ConfigError, match=rf"Others may read {path}, .* Run `chmod 600") as caught:
        await store.get("a")
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff\xfe", b'{"key": 1, "value": {}}', b'{"key": "a", "value": 3}']
)
async def test_a_file_that_is_not_of_the_store_is_reported(tmp_path: Path, content: bytes) -> None:
    store = FileStore(tmp_path)
    await store.put("a", {"token": "t"})
    [path] = _files(tmp_path)
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"Remove it, and log in again\."):
        await store.get("a")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows asks for a right to make links")
async def test_a_link_in_the_folder_is_not_written_through(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "kept")
    await store.put("a", {"token": "t"})
    [path] = _files(tmp_path / "kept")
    other = tmp_path / "other"
    other.write_text("mine")
    path.unlink()
    path.symlink_to(other)
    with pytest.raises(ConfigError, match="is a link that leads out of the folder"):
        await store.put("a", {"token": "canary"})
    assert other.read_text() == "mine"
    assert await store.delete("a")
    await store.put("a", {"token": "t"})
    assert await store.get("a") == {"token": "t"}


async def test_a_file_that_is_too_large_is_reported_by_its_size(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    await store.put("a", {"token": "t"})
    [path] = _files(tmp_path)
    path.write_bytes(b'{"key": "a", "value": {"token": "' + b"t" * 1_048_576 + b'"}}')
    with pytest.raises(ConfigError, match="has more than 1,048,576 bytes"):
        await store.get("a")


async def test_messages_of_what_searches_learned_say_nothing_of_logins(tmp_path: Path) -> None:
    store = open_store("file", folder=tmp_path, root=tmp_path, setting="search_store")
    await store.put("a", {"version": 1})
    [path] = _files(tmp_path)
    path.write_bytes(b"{")
    with pytest.raises(ConfigError, match=r"Remove it, and the search learns anew\."):
        await store.get("a")


async def test_a_folder_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = FileStore(tmp_path / "file" / "logins")
    with pytest.raises(ConfigError, match="cannot be made"):
        await store.put("a", {})
    with pytest.raises(ConfigError, match="cannot be opened"):
        async with store.lock("a"):
            pass


HOLDER = """
import anyio, pathlib, sys
from utcp_bridge.stores.file import file_lock

async def main():
    async with file_lock(pathlib.Path(sys.argv[1])):
        print("held", flush=True)
        sys.stdin.read()

anyio.run(main)
"""


async def test_a_lock_holds_among_processes_and_ends_with_its_owner(tmp_path: Path) -> None:
    lock = tmp_path / "a.lock"
    async with await anyio.open_process([sys.executable, "-c", HOLDER, str(lock)]) as process:
        assert process.stdout is not None
        assert (await process.stdout.receive()).startswith(b"held")
        entered = anyio.Event()

        async def enter() -> None:
            async with file_lock(lock):
                entered.set()

        async with anyio.create_task_group() as group:
            group.start_soon(enter)
            for _ in range(20):
                await anyio.lowlevel.checkpoint()
            assert not entered.is_set()
            process.kill()
    assert entered.is_set()


def test_a_repr_shows_no_value() -> None:
    store = MemoryStore()
    store._values["a"] = {"token": "canary"}
    assert "canary" not in repr(store)


@given(st.text(max_size=40))
def test_a_name_without_a_store_is_one_sentence(name: str) -> None:
    if name == "memory" or name.startswith(("file", "keyring", "redis", "unix")):
        return
    with pytest.raises(ConfigError, match="does not name a store"):
        open_store(name, folder=Path("a"), root=Path("b"))


def test_a_folder_of_the_operator_starts_at_the_configuration(tmp_path: Path) -> None:
    store = open_store("file:logins", folder=Path("elsewhere"), root=tmp_path)
    assert store.place == str(tmp_path / "logins")


async def test_redis_that_cannot_be_reached_is_reported_without_its_password(tmp_path: Path) -> None:
    store = open_store("redis://user:canary@127.0.0.1:1/0", folder=tmp_path, root=tmp_path)
    with pytest.raises(ConfigError, match=r"The store redis://127\.0\.0\.1:1/0 cannot be used") as caught:
        await store.get("a")
    assert "canary" not in f"{caught.value} {store.place}"
    await store.aclose()


@pytest.mark.parametrize("name", ["keyring", "redis://127.0.0.1/0"])
def test_a_store_whose_package_is_missing_names_its_extra(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("keyring", "redis.asyncio"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=rf"pip install .*\[{name.partition(':')[0]}\]'"):
        open_store(name, folder=Path("a"), root=Path("b"))


async def test_replicas_keep_each_part_apart_in_their_store(tmp_path: Path) -> None:
    assert open_replica_store(ReplicaSettings(), "approvals") is None
    with redis_server(tmp_path) as redis:
        settings = ReplicaSettings(store=redis.url)
        parts = [open_replica_store(settings, name) for name in ("approvals", "approvals", "search")]
        one, same, other = (part for part in parts if part is not None)
        async with one.lock("a"):
            await one.put("a", {"state": "pending"})
        assert (await same.get("a"), await other.get("a")) == ({"state": "pending"}, None)
        assert (await same.keys(), await other.keys()) == (["a"], [])
        prefix = other._prefix.encode()  # what other programs write there
        await other._redis.rpush(prefix + b"list", "x")
        await other._redis.set(prefix + b"\xff", b"\xff")
        await other._redis.set(prefix + b"deep", b"[" * 9_999)
        assert [await other.get(key) for key in await other.keys()] == [None] * 3
        for store in (one, same, other):
            await store.aclose()
