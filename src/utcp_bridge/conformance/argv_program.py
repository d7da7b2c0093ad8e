"""A program that records how it was started, and writes what the vector says. It stands alone: it is copied and run.

With --read-stdin as its first word it reads stdin; without it stdin is left alone, because it may be the pipe of a
program above.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any


def main() -> int:
    """Record one start in `record.jsonl` next to this file, and write the reply of `given.json`."""
    folder = Path(__file__).parent
    given = json.loads((folder / "given.json").read_text(encoding="utf-8"))
    argv = sys.argv[1:]
    record: dict[str, Any] = {}
    if argv[:1] == ["--read-stdin"]:
        argv = argv[1:]
        record["stdin"] = sys.stdin.read()
    record |= {
        "argv": argv,
        "folder": str(Path.cwd()),
        "environment": {name: os.environ.get(name) for name in given["see"]},  # noqa: TID251 - a program by itself
    }
    with (folder / "record.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")
    reply = given["reply"]
    sys.stderr.write(reply.get("stderr", ""))
    sys.stdout.write(json.dumps(reply["json"]) if "json" in reply else reply.get("text", ""))
    return int(reply.get("exit", 0))


if __name__ == "__main__":
    sys.exit(main())
