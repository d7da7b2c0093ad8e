"""Run the conformance kit against each implementation in its own environment. `scripts/conformance` runs this."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.interop.conformance.implementations import IMPLEMENTATIONS  # noqa: E402 - the checkout's own folder

from utcp_bridge.conformance.adapters import command_of  # noqa: E402
from utcp_bridge.conformance.running import (  # noqa: E402
    as_json,
    matrix,
    outdated,
    run,
    tables,
)
from utcp_bridge.conformance.vectors import Topic, topics  # noqa: E402

PAGE = ROOT / "docs" / "conformance.md"
DATA = ROOT / "docs" / "conformance.json"
BEGIN = "<!-- scripts/conformance writes everything below this line. -->"
NAMES = ("utcp-bridge", *IMPLEMENTATIONS)


def main(arguments: Sequence[str]) -> int:
    """Run the implementations that are named, or all. Return 1 if a difference is not declared."""
    names = [one for one in arguments if not one.startswith("-")] or list(NAMES)
    found, results, failed = topics(), [], False
    for name in names:
        result, complaints = anyio.run(tested, name, found)
        results.append(result)
        failed = failed or bool(complaints)
        for complaint in complaints:
            print(f"{name}: {complaint}", file=sys.stderr)
    if "--check" not in arguments and len(results) == len(NAMES):
        above, _, _ = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        PAGE.write_text(f"{above}{BEGIN}\n\n{tables(found, results)}\n", encoding="utf-8")
        DATA.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"Wrote {PAGE.relative_to(ROOT)} and {DATA.relative_to(ROOT)}.")
    return int(failed)


async def tested(name: str, found: Sequence[Topic]) -> tuple[dict[str, Any], list[str]]:
    """Return the results of one implementation, and a line for each difference that does not fit the declarations."""
    software, environment, program = IMPLEMENTATIONS.get(name), dict(os.environ), None  # noqa: TID251 - the adapters' environment
    if software is not None:
        if not software.present:
            print(f"Installing {software.package} ({software.origin}) …")
            software.install()
        environment, program = software.environment, software.command
    implementation, outcomes = await run(command_of([name], program), found, environment=environment)
    print(f"{implementation.name} {implementation.version}: {' '.join(matrix(outcomes)[-1][1:])}")
    complaints = [
        f"{one.vector.id} differs, and no divergence says so: {'; '.join(one.differences)}"
        for one in outcomes
        if one.verdict == "differs"
    ]
    complaints += [
        f"{identity} passes now; remove {name} from its divergence." for identity in outdated(outcomes, name)
    ]
    return as_json(implementation, outcomes), complaints


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
