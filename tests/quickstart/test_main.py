"""`python -m utcp_bridge.quickstart` runs the sample service alone."""

import json
import re
import signal
import subprocess
import sys
import urllib.request

import pytest


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_the_service_prints_its_address_and_ends_on_an_interrupt():
    command = [sys.executable, "-m", "utcp_bridge.quickstart", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as service:
        try:
            line = service.stderr.readline()
            base = re.search(r"http://\S+:\d+", line)
            assert base, line + service.stderr.read()
            with urllib.request.urlopen(f"{base[0]}/openapi.json", timeout=60) as reply:
                assert json.load(reply)["openapi"] == "3.1.0"
        finally:
            service.send_signal(signal.SIGINT)
        assert service.wait(60) == 130


def test_importing_the_module_starts_nothing():
    # In a process of its own: another test of this process may have imported the package already.
    run = subprocess.run(
        [sys.executable, "-c", "import utcp_bridge.quickstart.__main__"],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
