"""`python -m utcp_bridge`."""

import subprocess
import sys

from utcp_bridge import __version__


def test_the_module_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "utcp_bridge", "--version"], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == f"utcp-bridge {__version__}\n"
