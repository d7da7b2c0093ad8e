"""The command `utcp-bridge` as on a system without uvloop."""

from __future__ import annotations

import sys
from typing import Any, cast

modules = cast("dict[str, Any]", sys.modules)
modules["uvloop"] = None  # importing it raises ImportError

if __name__ == "__main__":
    from utcp_bridge.cli import main

    main()
