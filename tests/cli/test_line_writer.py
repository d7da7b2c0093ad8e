"""Lines that a thread writes: no caller waits, and what is lost is counted."""

import os
import subprocess
import sys
import threading

import pytest

from utcp_bridge.cli.line_writer import LineWriter


@pytest.fixture(autouse=True)
def patient_end(monkeypatch):
    """The end waits for a thread that a busy machine does not run."""
    monkeypatch.setattr("utcp_bridge.cli.line_writer._PIPE_SECONDS", 60)
    monkeypatch.setattr("utcp_bridge.cli.line_writer._FILE_SECONDS", 60)


def lost(number: int, why: str) -> bytes:
    return f"<{number} lost: {why}>\n".encode()


@pytest.mark.parametrize("pause", [0.0, 0.01])
def test_lines_reach_a_pipe_in_order(pause):
    read_end, write_end = os.pipe()
    writer = LineWriter(write_end, "stderr", lost, pause=pause)
    for number in range(500):
        assert writer.put(b"%d\n" % number)
    assert writer.close()
    with os.fdopen(read_end, "rb") as pipe:
        assert [int(line) for line in pipe] == list(range(500))


def test_lines_that_come_together_stay_in_order_and_each_lost_one_counts():
    read_end, write_end = os.pipe()
    writer = LineWriter(write_end, "stderr", lost)
    dropped = sum(
        writer.put_lines([b"%06d\n" % number for number in range(at, at + 500)]) for at in range(0, 50_000, 500)
    )
    assert writer.lost == dropped > 0
    with os.fdopen(read_end, "rb") as pipe:
        first = [int(next(pipe)) for _ in range(1_000)]
    assert first == list(range(1_000))
    assert writer.close()


@pytest.mark.parametrize("is_blocking", [True, False])
def test_a_pipe_that_nobody_reads_costs_lines_and_nothing_else(is_blocking):
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, is_blocking)
    writer = LineWriter(write_end, "stderr", lost)
    for number in range(20_000):
        writer.put(b"%06d %s\n" % (number, b"x" * 100))
    assert writer.lost > 10_000
    with os.fdopen(read_end, "rb") as pipe:
        first = pipe.readline()
        refused = 0
        while not writer.put(b"after\n"):  # the queue is full until its thread has written a line
            refused += 1
        assert first.startswith(b"000000 ")
        numbers, counts = [0], []
        for line in pipe:
            if line == b"after\n":
                break
            if line.startswith(b"<"):
                assert b"the reader of stderr does not read" in line
                counts.append(int(line[1:].split()[0]))
            else:
                numbers.append(int(line.split()[0]))
    assert sum(counts) == writer.lost
    assert len(numbers) == 20_000 + refused - writer.lost
    assert numbers == sorted(numbers)
    assert writer.close()


def test_the_end_does_not_wait_for_a_reader_that_reads_nothing():
    read_end, write_end = os.pipe()
    writer = LineWriter(write_end, "stderr", lost)
    for _ in range(2_000):
        writer.put(b"x" * 100 + b"\n")
    assert not writer.close()
    assert not writer.put(b"too late\n")
    with os.fdopen(read_end, "rb") as pipe:
        reader = threading.Thread(target=pipe.read)
        reader.start()
        writer._thread.join()
        os.close(write_end)
        reader.join()


def test_a_reader_that_left_costs_lines_alone():
    read_end, write_end = os.pipe()
    os.close(read_end)
    writer = LineWriter(write_end, "stderr", lost)
    writer.put(b"one\n")
    assert writer.close()
    assert writer.lost == 1


def test_a_file_that_was_renamed_is_opened_again(tmp_path):
    path = tmp_path / "log"
    writer = LineWriter(path, "log", lost)
    writer.put(b"one\n")
    path.rename(tmp_path / "log.1")
    writer.reopen()
    writer.put(b"two\n")
    assert writer.close()
    assert (tmp_path / "log.1").read_bytes() + path.read_bytes() == b"one\ntwo\n"
    assert path.exists()


def test_a_file_that_was_copied_and_cut_starts_at_its_beginning(tmp_path):
    path = tmp_path / "log"
    writer = LineWriter(path, "log", lost)
    writer.put(b"one\n")
    while path.read_bytes() != b"one\n":
        pass
    os.truncate(path, 0)
    writer.put(b"two\n")
    assert writer.close()
    assert path.read_bytes() == b"two\n"


def test_a_file_that_cannot_be_opened_again_is_reported_and_the_old_one_goes_on(tmp_path):
    path, said = tmp_path / "log", []
    writer = LineWriter(path, "log", lost, lambda number, why: said.append((number, why)))
    path.rename(tmp_path / "log.1")
    path.symlink_to(tmp_path / "elsewhere")
    writer.reopen()
    writer.put(b"one\n")
    assert writer.close()
    assert (tmp_path / "log.1").read_bytes() == b"one\n"
    assert said == [(0, "log cannot be opened again: it is a symbolic link")]


FULL = """
import resource, signal, sys
from pathlib import Path
from utcp_bridge.cli.line_writer import LineWriter

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
path, said = Path(sys.argv[1]), []
writer = LineWriter(path, "log", lambda number, why: b"lost %d\\n" % number, lambda *what: said.append(what))
for number in range(400):
    writer.put(b"line %d\\n" % number)
while writer.lost == 0 or len(path.read_text().splitlines()) + writer.lost < 400:
    pass
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
writer.put(b"after\\n")
writer.close()
print(writer.lost, said[-1])
"""


def test_a_full_disk_costs_whole_lines_which_are_counted(tmp_path):
    path = tmp_path / "log"
    done = subprocess.run([sys.executable, "-c", FULL, path], capture_output=True, timeout=200, check=True, text=True)
    number = int(done.stdout.split()[0])
    lines = path.read_text().splitlines()
    assert lines[-2:] == [f"lost {number}", "after"]
    assert lines[:-2] == [f"line {one}" for one in range(400 - number)]
    assert "log cannot be written: File too large" in done.stdout


def test_a_device_that_is_full_costs_lines_alone():
    writer = LineWriter(os.open("/dev/full", os.O_WRONLY), "stderr", lost)
    for _ in range(10):
        writer.put(b"x\n")
    assert writer.close()
    assert writer.lost == 10
