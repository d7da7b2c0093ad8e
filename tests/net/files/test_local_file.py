"""Local files are read within limits for any path, and changes of files are reported."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from tests.support.own_task import in_its_own_task

from utcp_bridge.errors import ConfigError, InvalidArguments, PolicyError, ReplyTooLarge, Unreachable, UtcpError
from utcp_bridge.net.files import local_file
from utcp_bridge.net.files.local_file import FileRoots, FileWatcher, read_local_file, resolve_within

pytestmark = pytest.mark.anyio


async def _read(path: str | Path, root: Path, *, limit: int = 1000, confined: bool = False) -> bytes:
    with anyio.fail_after(60):
        _, data = await read_local_file(str(path), root, limit=limit, confined=confined)
    return data


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root.d"  # the dot: a path of other letters may also be base64, and would be content
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


@asynccontextmanager
async def watching(told):
    async with anyio.create_task_group() as group:

        def spawn(work):
            scope = anyio.CancelScope()

            async def run():
                with scope:
                    await work()

            group.start_soon(run)
            return scope.cancel

        yield FileWatcher(told, spawn, interval=0.01)
        group.cancel_scope.cancel()


@pytest.fixture
async def watcher(told):
    async with in_its_own_task(watching(told)) as made:
        yield made


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


async def test_a_file_that_is_watched_during_a_look_is_not_compared_with_the_one_before(
    watcher, told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, looks, goes_on = asyncio.get_running_loop(), anyio.Event(), threading.Event()
    look = local_file._stamps

    def held(paths: dict[str, Path]) -> object:
        stamps = look(paths)
        loop.call_soon_threadsafe(looks.set)
        assert goes_on.wait(60)
        return stamps

    monkeypatch.setattr(local_file, "_stamps", held)
    for name in ("before", "after", "other"):
        (tmp_path / name).write_text(name, encoding="utf-8")
    watcher.watch("a", tmp_path / "before")
    watcher.watch("b", tmp_path / "other")
    await looks.wait()
    watcher.watch("a", tmp_path / "after")
    (tmp_path / "other").write_text("changed", encoding="utf-8")
    goes_on.set()
    assert await told.next() == "b"


async def test_a_forgotten_file_is_not_reported_and_can_be_watched_again(watcher, told, tmp_path: Path) -> None:
    path = tmp_path / "a"
    watcher.watch("first", path)
    watcher.forget("first")
    watcher.watch("second", path)
    path.write_text("here", encoding="utf-8")
    assert await told.next() == "second"
    watcher.close()


# --- files that callers of tools name


@pytest.fixture
def roots(root: Path) -> FileRoots:
    """One folder, in which a few names lead out of it."""
    (root / "notes.txt").write_bytes(b"notes")
    (root / "sub").mkdir()
    (root / "sub" / "a b.txt").write_bytes(b"a b")
    (root / "sub" / "back.txt").symlink_to("../notes.txt")
    (root / "out.txt").symlink_to(root.parent / "secret")
    (root / "up").symlink_to(root.parent)
    return FileRoots([str(root)], base=root.parent, max_bytes=100)


async def found(roots: FileRoots, text: str) -> tuple[str, bytes] | None:
    with anyio.fail_after(60):
        return await roots.read(text.replace("ROOT", str(roots._roots[0])))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("notes.txt", ("notes.txt", b"notes")),
        ("./notes.txt", ("notes.txt", b"notes")),
        ("./inside", ("inside", b"in")),
        ("sub/a b.txt", ("a b.txt", b"a b")),
        ("ROOT/inside", ("inside", b"in")),
        ("ROOT/sub/../inside", ("inside", b"in")),
        ("file://ROOT/sub/a%20b.txt", ("a b.txt", b"a b")),
        ("file://localhostROOT/inside", ("inside", b"in")),
        ("FILE:ROOT/inside", ("inside", b"in")),
        ("sub/back.txt", ("notes.txt", b"notes")),
    ],
)
async def test_a_file_in_the_folders_is_read_by_its_path_or_uri(
    roots: FileRoots, text: str, expected: tuple[str, bytes]
) -> None:
    assert await found(roots, text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "words of a text", "YWJjZA==", "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBD", "abcd", "a\nb", "x" * 5000, "no.such.name",
     "data:text/plain;base64,YQ==", "https://shop.example/a.png", "nul\0"],
)  # fmt: skip
async def test_other_text_is_content_and_not_the_name_of_a_file(roots: FileRoots, text: str) -> None:
    assert await found(roots, text) is None


@pytest.mark.parametrize(
    "text",
    ["/etc/hostname", "../secret", "./../secret", "sub/../../secret", "sub/../../nothing", "out.txt", "./out.txt",
     "up/secret", "ROOT/up/secret", "file:///etc/hostname", "file://ROOT/../secret", "file://ROOT/%2e%2e/secret",
     "~/../../etc/hostname", "ROOT-beside/x"],
)  # fmt: skip
async def test_a_name_that_leads_out_of_the_folders_is_refused(roots: FileRoots, text: str) -> None:
    with pytest.raises(PolicyError, match="not inside the folders") as caught:
        await found(roots, text)
    assert str(roots._roots[0]) in str(caught.value.remedy)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("./missing.txt", "No such file"),
        ("ROOT/missing.txt", "No such file"),
        ("file://ROOT/missing.txt", "No such file"),
        ("ROOT", "Is a directory"),
        ("./sub", "not a regular file"),
        ("./notes.txt/x", "Not a directory"),
        ("./" + "n" * 300, "File name too long"),
        ("file://elsewhere.example/a", "not the URI of a local file"),
        ("file:relative", "not the URI of a local file"),
        ("file:///a%00b", "not the URI of a local file"),
    ],
)
async def test_a_name_that_cannot_be_read_is_refused_with_the_reason(roots: FileRoots, text: str, reason: str) -> None:
    with pytest.raises(InvalidArguments, match=reason):
        await found(roots, text)


async def test_pipes_sockets_and_devices_in_the_folders_are_refused_without_waiting(roots: FileRoots) -> None:
    folder = roots._roots[0]
    os.mkfifo(folder / "pipe")
    for text in ("./pipe", f"file://{folder}/pipe"):
        with pytest.raises(InvalidArguments, match="not a regular file"):
            await found(roots, text)
    devices = FileRoots(["/dev"], base=folder, max_bytes=100)
    with pytest.raises(InvalidArguments, match="not a regular file"):
        await found(devices, "/dev/zero")


async def test_a_file_above_the_limit_is_refused(roots: FileRoots) -> None:
    (roots._roots[0] / "large.bin").write_bytes(b"x" * 101)
    with pytest.raises(InvalidArguments, match="more than 100 bytes") as caught:
        await found(roots, "large.bin")
    assert "max_file_bytes" in str(caught.value.remedy)


async def test_several_folders_are_searched_in_order_and_may_be_relative_or_links(root: Path) -> None:
    second = root.parent / "second"
    second.mkdir()
    (second / "inside").write_bytes(b"second")
    (second / "only.txt").write_bytes(b"only")
    (root.parent / "alias").symlink_to(second)
    both = FileRoots([root.name, "alias"], base=root.parent, max_bytes=100)
    assert await found(both, "./inside") == ("inside", b"in")
    assert await found(both, "only.txt") == ("only.txt", b"only")
    assert await found(both, str(root.parent / "alias" / "inside")) == ("inside", b"second")


def content(path: str) -> bytes:
    return Path(path).read_bytes()


@pytest.mark.parametrize("text", ["new.bin", "deep/er/new.bin", "ROOT/new.bin", "file://ROOT/new.bin", "notes.txt"])
async def test_a_file_is_written_whole_in_the_folders(roots: FileRoots, text: str) -> None:
    text = text.replace("ROOT", str(roots._roots[0]))
    await roots.check(text)
    path = await roots.write(text, b"data")
    assert content(path) == b"data"
    assert Path(path).is_relative_to(roots._roots[0])
    assert not list(roots._roots[0].rglob("*.part"))


@pytest.mark.parametrize("text", ["../new.bin", "/etc/new.bin", "up/new.bin", "file:///tmp/new.bin", "sub/../../x"])
async def test_no_file_is_written_outside_the_folders(roots: FileRoots, text: str) -> None:
    before = sorted(roots._roots[0].parent.iterdir())
    for use in (roots.check(text), roots.write(text, b"data")):
        with pytest.raises(PolicyError, match="not inside the folders"):
            await use
    assert sorted(roots._roots[0].parent.iterdir()) == before


async def test_a_link_that_leads_out_is_replaced_and_its_target_stays(roots: FileRoots) -> None:
    path = await roots.write("out.txt", b"data")
    assert content(path) == b"data"
    assert (roots._roots[0].parent / "secret").read_bytes() == b"out"


@pytest.mark.parametrize("text", ["", ".", "..", "sub/..", "a\nb", "x" * 5000, "file:relative", "file://[x/y"])
async def test_a_name_under_which_nothing_can_be_written_is_refused(roots: FileRoots, text: str) -> None:
    with pytest.raises(InvalidArguments):
        await roots.check(text)


@pytest.mark.parametrize("text", ["sub", "notes.txt/x", "n" * 300])
async def test_a_file_that_cannot_be_written_is_refused_and_leaves_nothing(roots: FileRoots, text: str) -> None:
    with pytest.raises(InvalidArguments, match="cannot be written"):
        await roots.write(text, b"data")
    assert not list(roots._roots[0].rglob("*.part"))


async def test_without_folder_descriptors_files_are_read_and_written_by_their_paths(
    roots: FileRoots, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "supports_dir_fd", set())
    path = await roots.write("deep/new.bin", b"data")
    assert content(path) == b"data"
    assert await found(roots, "deep/new.bin") == ("new.bin", b"data")
    with pytest.raises(PolicyError):
        await found(roots, "up/secret")
    with pytest.raises(InvalidArguments):
        await roots.write("sub", b"data")
    assert not list(roots._roots[0].rglob("*.part"))
