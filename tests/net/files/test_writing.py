"""Files are written whole or not at all, and no prepared link, pipe or folder changes where the bytes go."""

import os
import signal
import socket
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from utcp_bridge.errors import ConfigError
from utcp_bridge.net.files.writing import exclusive, open_log, resolve_target, write_file

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has other links and permissions.")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@given(contents=st.lists(st.binary(max_size=200), min_size=1, max_size=6), permissions=st.integers(0o600, 0o777))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_each_different_content_stays_in_a_backup_and_the_permissions_stay(tmp_path_factory, contents, permissions):
    folder = tmp_path_factory.mktemp("written")
    path = folder / "host.json"
    path.write_bytes(b"first")
    path.chmod(permissions)
    for content in contents:
        backup = write_file(path, content, backup=True)
        assert backup is not None
        assert mode(backup) == 0o600
        assert path.read_bytes() == content
        assert mode(path) == permissions
    kept = {one.read_bytes() for one in folder.glob("*.bak*")}
    assert kept == {b"first", *contents[:-1]}
    assert len(names(folder)) == len(kept) + 1


def test_a_new_file_has_the_usual_permissions_and_a_private_one_is_its_owners(tmp_path):
    before = os.umask(0o027)
    try:
        write_file(tmp_path / "open", b"a")
    finally:
        os.umask(before)
    assert mode(tmp_path / "open") == 0o640
    (tmp_path / "open").chmod(0o666)
    write_file(tmp_path / "open", b"b", private=True)
    assert mode(tmp_path / "open") == 0o600


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="Only root can give files away.")
def test_permissions_that_another_user_gave_do_not_let_others_write(tmp_path):
    path = tmp_path / "out"
    path.write_bytes(b"planted")
    os.chown(path, 12_345, 12_345)
    path.chmod(0o666)
    write_file(path, b"mine")
    assert mode(path) == 0o644
    assert path.stat().st_uid == os.geteuid()


def test_a_link_stays_and_its_target_is_written(tmp_path):
    target = tmp_path / "dotfiles" / "mcp.json"
    target.parent.mkdir()
    target.write_bytes(b"old")
    middle, link = tmp_path / "middle", tmp_path / "home.json"
    middle.symlink_to("dotfiles/mcp.json")
    link.symlink_to(middle)
    backup = write_file(link, b"new", backup=True)
    assert link.is_symlink()
    assert middle.is_symlink()
    assert target.read_bytes() == b"new"
    assert backup is not None
    assert backup.read_bytes() == b"old"


@pytest.mark.parametrize("planted", ["folder", "file", "dangling", "above"])
def test_a_link_out_of_a_folder_that_is_not_trusted_is_refused(tmp_path, planted):
    outside, project = tmp_path / "outside", tmp_path / "project"
    outside.mkdir()
    (outside / "mcp.json").write_bytes(b"mine")
    project.mkdir()
    path = project / ".host" / "deep" / "mcp.json"
    if planted == "above":
        (project / ".host").symlink_to("..")
    elif planted == "folder":
        (project / ".host").mkdir()
        (project / ".host" / "deep").symlink_to(outside)
    else:
        path.parent.mkdir(parents=True)
        path.symlink_to(outside / ("mcp.json" if planted == "file" else "new.json"))
    with pytest.raises(ConfigError, match="leads out of the folder"):
        write_file(path, b"theirs", within=project)
    assert names(outside) == ["mcp.json"]
    assert (outside / "mcp.json").read_bytes() == b"mine"
    assert not (tmp_path / "deep").exists()


def test_a_link_within_that_folder_is_followed_and_missing_folders_are_made(tmp_path):
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "real").mkdir()
    write_file(tmp_path / "link" / "a" / "b" / "file", b"x", within=tmp_path)
    assert (tmp_path / "real" / "a" / "b" / "file").read_bytes() == b"x"


def test_prepared_names_of_temporary_files_and_backups_are_never_followed(tmp_path):
    path, victim = tmp_path / "mcp.json", tmp_path / "victim"
    path.write_bytes(b"old")
    victim.write_bytes(b"mine")
    for name in (".mcp.json.part", "mcp.json.part", "mcp.json.tmp", "mcp.json.bak"):
        (tmp_path / name).symlink_to(victim)
    (tmp_path / "mcp.json.bak2").symlink_to(tmp_path / "nowhere")
    (tmp_path / "mcp.json.bak3").mkdir()
    backup = write_file(path, b"new", backup=True)
    assert backup == tmp_path / "mcp.json.bak4"
    assert victim.read_bytes() == b"mine"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "socket", "hard link"])
def test_what_is_not_one_regular_file_is_refused_without_waiting(tmp_path, kind, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "t"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path = Path("/dev/null")
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("t")
    else:
        (tmp_path / "other").write_bytes(b"mine")
        os.link(tmp_path / "other", path)
    before = path.lstat().st_mode
    with pytest.raises(ConfigError, match=r"cannot be written: it (is a folder, pipe|has a second name)") as caught:
        write_file(path, b"new", backup=True)
    assert str(caught.value).count("\n") == 0
    assert path.lstat().st_mode == before
    assert [name for name in names(tmp_path) if name.endswith(".part")] == []
    with pytest.raises(OSError, match=r"it is a folder|second name"):
        open_log(path)


def test_a_loop_of_links_is_refused(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(ConfigError, match="cannot be resolved"):
        resolve_target(tmp_path / "a")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="Only root can give links away.")
def test_a_link_of_another_user_in_a_shared_folder_is_refused(tmp_path):
    shared, victim = tmp_path / "shared", tmp_path / "victim"
    shared.mkdir()
    shared.chmod(0o1777)
    victim.write_bytes(b"mine")
    (shared / "out").symlink_to(victim)
    write_file(shared / "out", b"own link")
    os.lchown(shared / "out", 12_345, 12_345)
    with pytest.raises(ConfigError, match="link of another user"):
        write_file(shared / "out", b"theirs")
    assert victim.read_bytes() == b"own link"


def test_while_a_thread_swaps_links_no_byte_leaves_the_folder(tmp_path):
    project, outside = tmp_path / "project", tmp_path / "outside"
    for folder in (project / "real", outside):
        folder.mkdir(parents=True)
        (folder / "mcp.json").write_bytes(b"mine")
    swapped = project / "dir"
    (project / "dir").mkdir()
    stop = Event()

    def swap() -> None:
        steps = (
            lambda: swapped.rename(project / "aside"),
            lambda: swapped.symlink_to(outside),
            swapped.unlink,
            lambda: (project / "aside").rename(swapped),
            (swapped / "mcp.json").unlink,
            lambda: (swapped / "mcp.json").symlink_to(outside / "mcp.json"),
        )
        while not stop.is_set():
            for step in steps:
                with suppress(OSError):  # the writer made the folder or the file again
                    step()

    thread = Thread(target=swap)
    thread.start()
    refused = written = 0
    try:
        for _ in range(300):
            try:
                write_file(swapped / "mcp.json", b"theirs", within=project)
                written += 1
            except ConfigError:
                refused += 1
    finally:
        stop.set()
        thread.join()
    assert names(outside) == ["mcp.json"]
    assert (outside / "mcp.json").read_bytes() == b"mine"
    assert written + refused == 300


def test_content_that_another_program_changed_is_not_overwritten(tmp_path):
    path = tmp_path / "mcp.json"
    for before in (b"other", b""):
        with pytest.raises(ConfigError, match=r"another program changed it meanwhile\. Run the command again"):
            write_file(path, b"new", before=before)
    write_file(path, b"one", before=None)
    with pytest.raises(ConfigError, match="another program changed"):
        write_file(path, b"two", before=None)
    assert path.read_bytes() == b"one"
    assert names(tmp_path) == ["mcp.json"]


def test_writers_that_take_turns_lose_no_entry(tmp_path):
    path = tmp_path / "list"
    path.write_bytes(b"")

    def add(number: int) -> None:
        with exclusive(path):
            before = path.read_bytes()
            write_file(path, before + b"%d\n" % number, before=before)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(80)))
    assert sorted(map(int, path.read_bytes().split())) == list(range(80))


CRASH = """
import os, resource, signal, sys
from pathlib import Path
from utcp_bridge.net.files.writing import write_file
path, how = Path(sys.argv[1]), sys.argv[2]
if how == "full":
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
elif how == "killed":
    os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
elif how == "interrupted":
    def stop(descriptor): raise KeyboardInterrupt
    os.fsync = stop
write_file(path, b"x" * 100_000, backup=True)
"""


@pytest.mark.parametrize("how", ["full", "killed", "interrupted"])
def test_a_crash_in_the_middle_leaves_the_old_file_whole(tmp_path, how):
    path = tmp_path / "mcp.json"
    path.write_bytes(b"old")
    done = subprocess.run([sys.executable, "-c", CRASH, str(path), how], capture_output=True, text=True, check=False)
    assert done.returncode == (-signal.SIGKILL if how == "killed" else -signal.SIGINT if how == "interrupted" else 1)
    assert path.read_bytes() == b"old"
    if how != "killed":
        assert [name for name in names(tmp_path) if name.endswith(".part")] == []
    if how == "full":
        assert "cannot be written: File too large" in done.stderr
    write_file(path, b"new", backup=True)
    assert path.read_bytes() == b"new"


def test_a_log_is_appended_to_by_its_owner_and_a_link_is_refused(tmp_path):
    for line in (b"a\n", b"b\n"):
        with open_log(tmp_path / "log") as file:
            file.write(line)
    assert (tmp_path / "log").read_bytes() == b"a\nb\n"
    assert mode(tmp_path / "log") == 0o600
    (tmp_path / "link").symlink_to(tmp_path / "log")
    (tmp_path / "dangling").symlink_to(tmp_path / "new")
    for name in ("link", "dangling"):
        with pytest.raises(OSError, match="it is a symbolic link"):
            open_log(tmp_path / name)
    assert not (tmp_path / "new").exists()
