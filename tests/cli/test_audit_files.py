"""Audit lines in files: chains across restarts, processes, new files and full disks."""

import json
import resource
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager

import pytest

from utcp_bridge.access.audit_chain import audit_files, check_audit
from utcp_bridge.cli.audit_files import ChainedPut, ChainedWriter, Rotation, SyslogWriter


def line(number):
    return json.dumps({"call": number}).encode() + b"\n"


@contextmanager
def writing(path, **rotation):
    writer = ChainedWriter(path, lambda: Rotation(**rotation), None)
    yield writer
    assert writer.close()


def calls(path):
    records = [json.loads(one) for file in audit_files(path) for one in file.read_bytes().splitlines()]
    return [record["call"] for record in records if "call" in record]


def right(path):
    report = check_audit(audit_files(path), None)
    assert report.fault == ""
    return report


def test_a_chain_goes_on_from_start_to_start(tmp_path):
    path = tmp_path / "a.log"
    for number in range(3):
        with writing(path) as writer:
            writer.put(line(number))
    assert right(path).lines == 9
    assert calls(path) == [0, 1, 2]


def test_a_file_goes_on_in_new_ones_of_which_some_are_kept(tmp_path):
    path = tmp_path / "a.log"
    with writing(path, max_bytes=2_000, keep=3) as writer:
        for number in range(100):
            writer.put(line(number))
            writer.drained()
    assert [one.name for one in audit_files(path)] == ["a.log.3", "a.log.2", "a.log.1", "a.log"]
    assert all(one.stat().st_size <= 2_000 for one in audit_files(path))
    report = right(path)
    assert report.end.number > 100
    assert report.first > 1
    assert calls(path)[-1] == 99


def test_age_begins_a_new_file(tmp_path):
    path = tmp_path / "a.log"
    with writing(path) as writer:
        writer.put(line(1))
    old = path.read_bytes().replace(b'"time":"2', b'"time":"1')  # a thousand years ago
    path.write_bytes(old)
    with writing(path, max_age=3_600) as writer:
        writer.put(line(2))
    assert (tmp_path / "a.log.1").read_bytes() == old
    assert calls(path) == [1, 2]


PROGRAM = """
import sys
from pathlib import Path
from utcp_bridge.cli.audit_files import ChainedWriter, Rotation
name = sys.argv[2]
writer = ChainedWriter(Path(sys.argv[1]), lambda: Rotation(max_bytes=int(sys.argv[3]), keep=1000), None)
for number in range(200):
    writer.put(b'{"call":"%s-%d"}\\n' % (name.encode(), number))
    writer.drained()
print(writer.close(), writer.lost)
"""


@pytest.mark.parametrize("size", [0, 5_000])
def test_processes_share_a_file_and_its_chain(tmp_path, size):
    path = tmp_path / "a.log"
    command = [sys.executable, "-c", PROGRAM, str(path)]
    running = [
        subprocess.Popen([*command, name, str(size)], stdout=subprocess.PIPE, text=True)
        for name in ("one", "two", "three")
    ]
    assert [process.communicate(timeout=200)[0] for process in running] == ["True 0\n"] * 3
    assert right(path).notes == []
    assert sorted(calls(path)) == sorted(f"{name}-{one}" for name in ("one", "two", "three") for one in range(200))


def test_a_line_that_a_crash_cut_is_closed_and_named(tmp_path):
    path = tmp_path / "a.log"
    with writing(path) as writer:
        writer.put(line(1))
    with path.open("ab") as file:
        file.write(b'{"call": 2, "to')
    with writing(path) as writer:
        writer.put(line(3))
    assert "1 lines were cut by a crash, as the log itself says." in right(path).notes


def test_a_file_that_another_program_renamed_is_followed_by_a_new_one(tmp_path):
    path = tmp_path / "a.log"
    with writing(path) as writer:
        writer.put(line(1))
        writer.drained()
        path.rename(tmp_path / "a.log.1")
        writer.put(line(2))
        writer.drained()
        writer.reopen()
        writer.drained()
        assert json.loads(path.read_bytes())["log"] == "next file"
        writer.put(line(3))
    assert calls(path) == [1, 2, 3]
    assert right(path).notes == []


def test_an_empty_file_goes_on_with_the_chain_of_the_last_old_one(tmp_path):
    path = tmp_path / "a.log"
    with writing(path):
        pass
    path.rename(tmp_path / "a.log.1")
    with writing(path):
        pass
    assert right(path).lines == 5


@pytest.fixture
def small_files():
    """Let files grow to 2,000 bytes, as on a disk that is full."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, before[1]))
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, before)
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_costs_lines_which_the_chain_counts(tmp_path, small_files):
    path = tmp_path / "a.log"
    with writing(path) as writer:
        for number in range(30):
            writer.put(line(number))
            writer.drained()
        assert writer.lost
        small_files()
        writer.put(line("after"))
    lost = writer.lost
    assert f"{lost:,} lines were lost when they were written, as the log itself says." in right(path).notes
    assert len(calls(path)) == 31 - lost
    assert calls(path)[-1] == "after"


def test_a_lock_that_cannot_be_opened_is_an_error(tmp_path):
    (tmp_path / "a.log.lock").mkdir()
    with pytest.raises(OSError, match="directory"):
        ChainedWriter(tmp_path / "a.log", Rotation, None)


def test_a_place_that_refuses_lines_receives_their_number_and_a_whole_chain(tmp_path):
    taken, opens = [], True

    def put(one):
        if opens:
            taken.append(one)
        return opens

    chained = ChainedPut(put, None)
    chained(line(1))
    opens = False
    assert not chained(line(2))
    assert not chained(line(3))
    opens = True
    assert chained(line(4))
    chained.close()
    path = tmp_path / "a.log"
    path.write_bytes(b"".join(taken))
    assert right(path).notes == ["2 lines were lost when they were written, as the log itself says."]
    assert calls(path) == [1, 4]


def received(server, number):
    """Return the lines of this number of messages."""
    return [server.recv(65_536) for _ in range(number)]


@pytest.mark.parametrize("way", ["unix", "udp"])
def test_lines_reach_the_log_of_the_system_as_a_chain(tmp_path, way):
    family = socket.AF_UNIX if way == "unix" else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as server:
        server.settimeout(60)
        server.bind(str(tmp_path / "log") if way == "unix" else ("127.0.0.1", 0))
        place = str(tmp_path / "log") if way == "unix" else f"udp://127.0.0.1:{server.getsockname()[1]}"
        writer = SyslogWriter(place, None, lambda *_: None)
        writer.put(line(1))
        writer.close()
        messages = received(server, 3)
    assert {one.partition(b" ")[0] for one in messages} == {b"<38>utcp-bridge:"}
    path = tmp_path / "a.log"
    path.write_bytes(b"".join(one.partition(b" ")[2] + b"\n" for one in messages))
    assert right(path).notes == []
    assert calls(path) == [1]


def test_lines_reach_a_log_over_tcp(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        writer = SyslogWriter(f"tcp://127.0.0.1:{server.getsockname()[1]}", None, lambda *_: None)
        writer.put(line(1))
        writer.close()
        with server.accept()[0] as peer, peer.makefile("rb") as lines:
            path = tmp_path / "a.log"
            path.write_bytes(b"".join(one.partition(b" ")[2] for one in lines))
    assert calls(path) == [1]
    assert right(path).lines == 3


def test_a_log_that_is_away_costs_lines_which_are_counted(tmp_path):
    reports = []
    writer = SyslogWriter(str(tmp_path / "gone"), None, lambda number, why: reports.append((number, why)))
    writer.put(line(1))
    writer.close()
    assert writer.lost == 3
    assert reports[-1][1].startswith("the system's log cannot be reached: No such file")


@pytest.mark.parametrize("place", ["http://127.0.0.1", "udp://"])
def test_a_place_that_is_not_one_of_syslog_is_refused(place):
    with pytest.raises(ValueError, match="://"):
        SyslogWriter(place, None, lambda *_: None)
