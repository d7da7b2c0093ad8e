"""A program that checks values against schemas, and that the kernel kills when it has used its CPU time or memory.

It reads one JSON list of `[schema, [values]]` from its input and prints one line for each schema that it has finished.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from contextlib import suppress
from typing import Any, Final

import anyio

CPU_SECONDS: Final = 90
MEMORY_BYTES: Final = 3 * 1024**3


def finished_by_killable_process(work: list[tuple[Any, list[Any]]]) -> int:
    """Return how many schemas a process of its own gets through before it is done or killed."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.bounded"],
        input=json.dumps(work).encode(),
        capture_output=True,
        check=False,
    )
    return done.stdout.count(b"finished")


def main() -> None:
    from tests.support.steps import Step, make_call, make_tool, run

    from utcp_bridge.catalogue.schemas.conforming import Conformer
    from utcp_bridge.catalogue.schemas.portable import portable_input, portable_output
    from utcp_bridge.errors import InvalidArguments
    from utcp_bridge.pipeline.validation import validation

    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))

    async def check(schema: Any, values: list[Any]) -> None:
        step = validation(make_tool(inputs=schema), Step())
        portable_input(schema, 16_384)
        conform = Conformer(portable_output(schema, 16_384).schema)
        for value in values:
            with suppress(InvalidArguments):
                await run(step, make_call(arguments=value))
            conform(value)

    for schema, values in json.load(sys.stdin):
        anyio.run(check, schema, values)
        sys.stdout.write("finished\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
