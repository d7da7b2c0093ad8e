"""The project's own files as data, for tests about the project itself."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "utcp_bridge"
TESTS = ROOT / "tests"
DOCS = ROOT / "docs"

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def parsed(path: Path) -> ast.Module:
    """The syntax tree of a Python file."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def python_files(*folders: Path) -> list[Path]:
    """Every Python file below the folders, in order."""
    return sorted(path for folder in folders for path in folder.rglob("*.py"))


def functions(path: Path) -> Iterator[Function]:
    """Every function and method of a file, nested ones included."""
    return (node for node in ast.walk(parsed(path)) if isinstance(node, Function))


def transport_modules() -> list[Path]:
    """One module per transport: a file of its own, or `transport.py` of a package."""
    folder = SOURCE / "transports"
    files = [path for path in folder.glob("*.py") if path.stem not in {"__init__", "registry"}]
    return sorted([*files, *folder.glob("*/transport.py")], key=transport_name)


def transport_name(module: Path) -> str:
    """`http` for `http.py`, `grpc` for `grpc/transport.py`."""
    return module.parent.name if module.stem == "transport" else module.stem


def kinds(module: Path) -> tuple[str, ...]:
    """The `kinds` that a transport module declares, read without importing it (extras may be missing)."""
    for node in ast.walk(parsed(module)):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if isinstance(node, ast.Assign | ast.AnnAssign) and any(
            isinstance(target, ast.Name) and target.id == "kinds" for target in targets
        ):
            return tuple(ast.literal_eval(node.value)) if node.value else ()
    return ()


def tracked_files() -> list[Path]:
    """What is in the repository, and what is about to be: tracked files and new ones that are not ignored."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        encoding="utf-8",
        timeout=20,
    ).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]
