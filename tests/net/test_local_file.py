"""Local files are read within limits for any path, and changes of files are reported."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import anyio
import pytest

from utcp_bridge.errors import ConfigError, PolicyError, ReplyTooLarge, Unreachable, UtcpError
from utcp_bridge.net.local_file import FileWatcher, read_local_file, resolve_within

pytestmark = pytest.mark.anyio


async def _read(path: str | Path, root: Path, *, limit: int = 1000, confined: bool = False) -> bytes:
    with anyio.fail_after(60):
        _, data = await read_local_file(str(path), root, limit=limit, confined=confined)
    return data


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    (root / "inside").write_bytes(b"in")
    (tmp_path / "secret").write_bytes(b"out")
    return root


async def test_a_file_is_read_by_its_path_from_the_root_or_from_anywhere(root: Path) -> None:
    assert await _read("inside", root) == b"in"
    assert await _read("./x/../inside", root) == b"in"
    assert await _read("../secret", root) == b"out"
    assert await _read(root.parent / "secret", root) == b"out"


async def test_a_path_may_start_at_the_operators_home(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(root))
    assert await _read("~/inside", root.parent) == b"in"
    with pytest.raises(Unreachable):
        await _read("~/inside", root.parent, confined=True)


@pytest.mark.parametrize("path", ["../secret", "x/../../secret", "link", "folder-link/secret", "/etc/hostname"])
async def test_a_confined_path_never_leads_out_of_the_root(root: Path, path: str) -> None:
    (root / "link").symlink_to(root.parent / "secret")
    (root / "folder-link").symlink_to(root.parent)
    with pytest.raises(PolicyError, match="leads out"):
        await _read(path, root, confined=True)


async def test_a_link_within_the_root_is_followed(root: Path) -> None:
    (root / "link").symlink_to("inside")
    assert await _read("link", root, confined=True) == b"in"


async def test_a_pipe_is_refused_without_waiting(root: Path) -> None:
    os.mkfifo(root / "pipe")
    with pytest.raises(ConfigError, match="not a regular file"):
        await _read("pipe", root)


@pytest.mark.parametrize("path", [".", "/dev/zero", "socket"])
async def test_folders_devices_and_sockets_are_refused(root: Path, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        with pytest.raises(ConfigError, match="not a regular file"):
            await _read(path, root)


async def test_a_file_above_the_limit_is_refused_before_it_is_read(root: Path) -> None:
    with (root / "sparse").open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(ReplyTooLarge, match="1000 bytes"):
        await _read("sparse", root)


async def test_a_file_without_a_stated_size_is_cut_at_the_limit(root: Path) -> None:
    with pytest.raises(ReplyTooLarge):
        await _read("/proc/self/status", root, limit=10)


@pytest.mark.parametrize("path", ["missing", "inside/below", "x" * 5000])
async def test_the_error_of_an_unreadable_file_says_why(root: Path, path: str) -> None:
    with pytest.raises(UtcpError) as caught:
        await _read(path, root)
    assert "cannot be" in str(caught.value)


@pytest.mark.parametrize("path", ["", "a\0b"])
async def test_an_invalid_path_is_a_configuration_error(root: Path, path: str) -> None:
    with pytest.raises(ConfigError):
        await _read(path, root)


async def test_a_loop_of_links_is_reported(root: Path) -> None:
    (root / "a").symlink_to("b")
    (root / "b").symlink_to("a")
    with pytest.raises(UtcpError, match="'a'"):
        resolve_within("a", root, confined=True)


class Told:
    """The names that the watcher reported; `next()` waits for the next one."""

    def __init__(self) -> None:
        self._send, self._receive = anyio.create_memory_object_stream[str](16)

    def __call__(self, name: str) -> None:
        self._send.send_nowait(name)

    async def next(self) -> str:
        with anyio.fail_after(60):
            return await self._receive.receive()

    def close(self) -> None:
        self._send.close()
        self._receive.close()


@pytest.fixture
async def told():
    told = Told()
    yield told
    told.close()


@pytest.fixture
async def watcher(told):
    scopes = []
    async with anyio.create_task_group() as group:

        def spawn(work):
            scope = anyio.CancelScope()
            scopes.append(scope)

            async def run():
                with scope:
                    await work()

            group.start_soon(run)
            return scope.cancel

        yield FileWatcher(told, spawn, interval=0.01)
        group.cancel_scope.cancel()


async def test_a_changed_file_is_reported_by_its_name(watcher, told, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text("old", encoding="utf-8")
        watcher.watch(name, tmp_path / name)
    (tmp_path / "b").write_text("newer", encoding="utf-8")
    assert await told.next() == "b"
    (tmp_path / "a").write_text("newer", encoding="utf-8")
    assert await told.next() == "a"


async def test_a_replaced_file_is_reported_when_it_is_back(watcher, told, tmp_path: Path) -> None:
    path, other = tmp_path / "a", tmp_path / "a.new"
    path.write_text("old", encoding="utf-8")
    stamp = path.stat().st_mtime_ns
    watcher.watch("a", path)
    other.write_text("new", encoding="utf-8")
    os.utime(other, ns=(stamp, stamp))
    path.unlink()
    other.rename(path)
    assert await told.next() == "a"


async def test_a_missing_file_is_reported_when_it_appears(watcher, told, tmp_path: Path) -> None:
    watcher.watch("late", tmp_path / "late")
    (tmp_path / "late").write_text("here", encoding="utf-8")
    assert await told.next() == "late"


async def test_a_forgotten_file_is_not_reported_and_can_be_watched_again(watcher, told, tmp_path: Path) -> None:
    path = tmp_path / "a"
    watcher.watch("first", path)
    watcher.forget("first")
    watcher.watch("second", path)
    path.write_text("here", encoding="utf-8")
    assert await told.next() == "second"
    watcher.close()
