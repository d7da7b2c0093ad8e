"""A process without descriptors says so, for every kind of transport."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest

from utcp_bridge.net.gate.shortage import descriptor_shortage

ROOT = Path(__file__).parents[3]


def test_the_cause_is_found_in_chains_and_groups() -> None:
    shortage = OSError(errno.EMFILE, "Too many open files")
    around = OSError("All connection attempts failed")
    around.__cause__ = shortage
    for error in (shortage, around, ExceptionGroup("", [ValueError(), around]), OSError(errno.ENFILE, "")):
        found = descriptor_shortage(error)
        assert found is not None
        assert "ulimit -n" in str(found)
    for other in (OSError(errno.ECONNREFUSED, "refused"), ValueError()):
        assert descriptor_shortage(other) is None
        assert descriptor_shortage(other, probe=True) is None


def test_causes_in_a_circle_end_the_search() -> None:
    one, other = ValueError(), ValueError()
    one.__context__, other.__context__ = other, one
    assert descriptor_shortage(one) is None


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_every_kind_of_transport_names_the_limit_and_what_to_do(loop: str) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop", reason="uvloop is not installed")
    command = [sys.executable, "-m", "tests.support.descriptors_program", loop]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert len(said) == 10
    for kind, text in said.items():
        assert text.startswith("busy: The bridge uses all the file descriptors that it may have. Raise the limit"), (
            kind,
            text,
        )
