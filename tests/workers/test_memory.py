"""Giving memory back."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

from utcp_bridge.workers import memory


@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")
def test_a_large_block_goes_back_to_the_system_as_soon_as_it_is_free() -> None:
    memory.return_large_blocks()

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096

    for _ in range(2):  # by default, the second block would come from the heap, and a small one would hold it
        before = resident()
        block = bytearray(b"x") * 100_000_000
        small = [bytes(1000) for _ in range(1000)]
        assert resident() - before > 90_000_000
        del block
        memory.give_back()
        assert resident() - before < 50_000_000
        del small


THREADS = """
import ctypes, os, sys, threading
from utcp_bridge.workers import memory

if sys.argv[1] == "shared":
    memory.share_one_heap()
gate = threading.Barrier(4)

def work():
    blocks = [bytearray(5000) for _ in range(100)]
    gate.wait()

threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads:
    thread.start()
gate.wait()
for thread in threads:
    thread.join()
library = ctypes.CDLL(None)
library.fdopen.restype = ctypes.c_void_p
library.malloc_info(0, ctypes.c_void_p(library.fdopen(1, b"w")))
library.fflush(None)
"""


@pytest.mark.skipif(sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_info"), reason="needs glibc")
@pytest.mark.parametrize("mode", ["shared", "own"])
def test_threads_share_one_heap(mode: str) -> None:
    done = subprocess.run([sys.executable, "-c", THREADS, mode], capture_output=True, text=True, check=True)
    assert (done.stdout.count("<heap nr=") == 1) == (mode == "shared")


FAULTS = """
import ctypes, resource, sys
from utcp_bridge.workers import memory

if "server" in sys.argv:
    memory.return_large_blocks()
memory.keep_room()
allocate, free = ctypes.CDLL(None).malloc, ctypes.CDLL(None).free
allocate.restype, free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]

def use():
    blocks = [allocate(50_000) for _ in range(32)]
    for block in blocks:
        ctypes.memset(block, 1, 50_000)
    for block in blocks:
        free(block)

use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    use()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 20)
"""


@pytest.mark.skipif(sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_info"), reason="needs glibc")
@pytest.mark.parametrize("who", ["server", "library"])
def test_results_of_some_size_take_the_memory_of_those_before_them(who: str) -> None:
    """Only in a server: the memory of a program that embeds the client is its own affair."""
    done = subprocess.run([sys.executable, "-c", FAULTS, who], capture_output=True, text=True, check=True)
    assert (int(done.stdout) < 20) == (who == "server")  # pages that were taken from the system, of 390


def test_nothing_happens_where_the_library_is_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_library", lambda: None)
    memory.give_back()
    memory.share_one_heap()
    memory.return_large_blocks.__wrapped__()
    memory._keep_room.__wrapped__()
    monkeypatch.setattr(memory, "_library", object)
    memory.give_back()
    memory.share_one_heap()
    memory.return_large_blocks.__wrapped__()
    memory._keep_room.__wrapped__()
