"""`python -m utcp_bridge.quickstart` runs the sample service alone."""

import json
import os
import re
import runpy
import signal
import sys
import threading
import urllib.request

import pytest


def interrupt_after(reader, seen):
    """Read the address of the service, send one request, then interrupt it."""
    with os.fdopen(reader, encoding="utf-8") as stderr:
        try:
            base = re.search(r"http://\S+:\d+", stderr.readline())[0]
            with urllib.request.urlopen(f"{base}/openapi.json", timeout=60) as reply:
                seen.append(json.load(reply)["openapi"])
        finally:
            # To the main thread, which waits for events: a signal in another thread does not wake it.
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)


def test_the_service_prints_its_address_and_ends_on_an_interrupt(monkeypatch):
    reader, writer = os.pipe()
    seen = []
    watcher = threading.Thread(target=interrupt_after, args=(reader, seen))
    watcher.start()
    monkeypatch.setattr(sys, "argv", ["quickstart", "0"])
    with os.fdopen(writer, "w", buffering=1, encoding="utf-8") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        with pytest.raises(SystemExit) as caught:
            runpy.run_module("utcp_bridge.quickstart", run_name="__main__")
    watcher.join(60)
    assert caught.value.code == 130
    assert seen == ["3.1.0"]


def test_importing_the_module_starts_nothing():
    assert "__main__" not in runpy.run_module("utcp_bridge.quickstart.__main__", run_name="imported")["__name__"]
