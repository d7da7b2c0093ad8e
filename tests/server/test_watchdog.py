"""The watchdog: an event loop that stands still is reported with the stacks of all threads."""

import asyncio
import importlib
import logging
import os
import signal
import subprocess
import sys
import threading
from importlib.util import find_spec

import pytest

from utcp_bridge.server import watchdog
from utcp_bridge.server.watchdog import watching


class Log(logging.Handler):
    """Collects messages, and says when there are some."""

    def __init__(self):
        super().__init__()
        self.messages = []
        self.arrived = threading.Condition()

    def emit(self, record):
        with self.arrived:
            self.messages.append(record.getMessage())
            self.arrived.notify_all()

    def wait_for(self, number):
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.messages) >= number, timeout=60)


@pytest.fixture
def log():
    handler = Log()
    logger = logging.getLogger("utcp_bridge.server.watchdog")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


def run(work, loop):
    if loop == "uvloop":
        if find_spec("uvloop") is None:
            pytest.skip("uvloop is not installed")
        import uvloop

        uvloop.run(work())
    else:
        asyncio.run(work())


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_loop_that_stands_still_is_reported_with_all_stacks_and_when_it_goes_on(log, loop):
    others = threading.Event()

    def in_another_thread():
        others.wait()

    threads = [threading.Thread(target=in_another_thread, name=f"worker {number}") for number in range(3)]
    for thread in threads:
        thread.start()

    def hold_the_loop():
        log.wait_for(1)

    async def main():
        with watching(0.05):
            hold_the_loop()
            await asyncio.to_thread(log.wait_for, 2)

    try:
        run(main, loop)
    finally:
        others.set()
        for thread in threads:
            thread.join()
    said, after = log.messages
    assert said.startswith("The event loop has stood still for ")
    assert said.index("hold_the_loop") < said.index("in_another_thread")
    assert said.count("in_another_thread") == 1
    assert " and 2 more:" in said
    assert after.startswith("The event loop goes on.")


def test_stacks_are_bounded(log):
    def deep(left):
        if left:
            deep(left - 1)
        else:
            log.wait_for(1)

    async def main():
        with watching(0.05):
            deep(500)

    asyncio.run(main())
    assert log.messages[0].count(" in ") < 40 * watchdog._MAX_FRAMES
    assert log.messages[0].count(".deep\n") < watchdog._MAX_FRAMES


def test_the_stacks_are_logged_once_a_minute(log, monkeypatch):
    monkeypatch.setattr(watchdog, "_BETWEEN_SIGNS", 0.01)
    asked = threading.Semaphore(0)

    class Loop:
        """A loop that never runs, and then does."""

        def call_soon_threadsafe(self, callback):
            asked.release()
            timer = threading.Timer(0.05, callback)
            timer.start()

    dog = watchdog._Watchdog(Loop(), threading.get_ident(), 0.01)
    thread = threading.Thread(target=dog.watch)
    thread.start()
    log.wait_for(1)  # on a busy machine, some of the first signs are excused
    while asked.acquire(blocking=False):
        pass
    for _ in range(5):
        asked.acquire()
    dog.ended.set()
    thread.join()
    assert len([text for text in log.messages if "stood still for" in text and "threads" in text]) == 1


def test_zero_seconds_watch_nothing():
    async def main():
        before = threading.active_count()
        with watching(0):
            assert threading.active_count() == before

    asyncio.run(main())


def test_a_loop_that_runs_is_not_reported(log, monkeypatch):
    monkeypatch.setattr(watchdog, "_BETWEEN_SIGNS", 0.001)

    async def main():
        with watching(60):
            for _ in range(50):
                await asyncio.sleep(0.001)

    asyncio.run(main())
    assert log.messages == []


SLOW_MODULE = """
import threading
from utcp_bridge.server import watchdog

looked = threading.Semaphore(0)
is_importing = watchdog._is_importing

def counted(ident):
    looked.release()
    return is_importing(ident)

watchdog._is_importing = counted
for _ in range(5):
    assert looked.acquire(timeout=60)
watchdog._is_importing = is_importing
"""
ENDLESS_MODULE = """
import logging

logging.getLogger("utcp_bridge.server.watchdog").handlers[-1].wait_for(1)
"""


@pytest.mark.parametrize(("name", "source", "reports"), [("slow", SLOW_MODULE, 0), ("endless", ENDLESS_MODULE, 1)])
def test_only_an_import_that_does_not_end_is_reported(log, tmp_path, monkeypatch, name, source, reports):
    (tmp_path / f"module_{name}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(watchdog, "_MAX_IMPORT_SECONDS", 60.0 if name == "slow" else 0.06)

    async def main():
        with watching(0.02):
            importlib.import_module(f"module_{name}")

    asyncio.run(main())
    assert [f"module_{name}.py" in text for text in log.messages if "The threads" in text] == [True] * reports


STOPPED = """
import logging, os, signal, sys, threading
from utcp_bridge.server import watchdog

class Sign(threading.Event):
    def wait(self, timeout):
        os.kill(os.getpid(), signal.SIGSTOP)
        return len(waits) > 1 or waits.append(timeout)

class Loop:
    def call_soon_threadsafe(self, callback):
        pass

waits = []
logging.basicConfig(stream=sys.stderr, level=logging.INFO)
dog = watchdog._Watchdog(Loop(), threading.get_ident(), 0.001)
threading.Event = Sign
dog._ask()
print(waits)
"""
"""The process stops while the watchdog waits for a sign, and its loop gives none."""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGSTOP")
def test_a_process_that_was_stopped_as_a_whole_is_not_reported():
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", STOPPED], text=True, **pipes) as process:
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        for _ in range(5):  # time passes
            subprocess.run([sys.executable, "-c", ""], check=True)
        process.send_signal(signal.SIGCONT)
        told, noise = process.communicate(timeout=60)
    assert (told, noise) == ("[0.001]\n", "")
