"""What the soak counts as memory in use."""

import ctypes
import json
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
from benchmarks.harness.probed import used_bytes
import json
used_bytes()
before = used_bytes()
small = [bytes(200) for _ in range(10_000)]
leak = used_bytes() - before
large = bytes(3_000_000)
more = used_bytes() - before - leak
del small, large
print(json.dumps([leak, more, used_bytes() - before]))
"""


@pytest.mark.skipif(
    sys.platform == "win32" or not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="the soak needs glibc 2.33 or later"
)
def test_a_leak_of_200_bytes_a_call_shows_in_the_soak():
    root = Path(__file__).parents[2]
    run = subprocess.run([sys.executable, "-c", CODE], cwd=root, capture_output=True, text=True, check=True, timeout=60)
    leak, more, rest = json.loads(run.stdout)
    assert 2_000_000 <= leak < 3_000_000
    assert 3_000_000 <= more < 3_100_000
    assert abs(rest) < 100_000, "what is free does not count"
