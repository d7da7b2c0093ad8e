"""Read lists of pinned packages.

keep FILE                      copy the packages of FILE, with their hashes, from stdin
plain FILE                     print the pins of FILE without hashes
audited REPORT FILE STATUS     say what pip-audit found: 0 nothing, 1 something, 3 not every package was looked up
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

PIN = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<rest>[^\\]+?) *\\?$")


def name_of(line: str) -> str | None:
    """Return the normalised name of the package that a line pins."""
    found = PIN.match(line)
    return re.sub(r"[-_.]+", "-", found["name"]).lower() if found else None


def kept(lines: Iterator[str], wanted: set[str | None]) -> Iterator[str]:
    """Yield the blocks of the wanted packages, with their hashes."""
    keeping = False
    for line in lines:
        if not line.startswith(" "):
            keeping = name_of(line) in wanted
        if keeping:
            yield line


def audited(report: str, file: str, status: str) -> int:
    """Print what a report of pip-audit says of a list. A package that was not looked up is not a good one."""
    text = Path(report).read_text(encoding="utf-8")
    if not text.strip():
        print(f"NOT AUDITED  {file}: the vulnerability data cannot be reached (pip-audit ended with {status}).")
        return 3
    packages = json.loads(text)["dependencies"]
    found = [(one, flaw) for one in packages for flaw in one.get("vulns", ())]
    missed = sum("skip_reason" in one for one in packages)
    for one, flaw in found:
        mended = ", ".join(flaw["fix_versions"]) or "no version yet"
        print(f"VULNERABLE   {one['name']} {one['version']}: {flaw['id']}, mended in {mended}")
    if missed:
        print(f"NOT AUDITED  {file}: {missed} of {len(packages)} packages are not in the data that can be reached.")
    elif not found:
        print(f"ok           {file}: {len(packages)} packages without known vulnerabilities.")
    return 1 if found else 3 if missed else 0


def main(arguments: list[str]) -> int:
    """Carry out one of the commands."""
    command, file, *rest = arguments
    if command == "audited":
        return audited(file, *rest)
    lines = Path(file).read_text(encoding="utf-8").splitlines()
    if command == "plain":
        pins = filter(None, map(PIN.match, lines))
        print("\n".join(f"{pin['name']}=={pin['rest']}" for pin in pins))
    else:
        print("\n".join(kept(iter(sys.stdin.read().splitlines()), set(map(name_of, lines)))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
