"""The project's own files as data, for tests about the project itself."""

from __future__ import annotations

import ast
import io
import subprocess
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of text that a person reads, and its place."""

    path: Path
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}"


def literals(path: Path) -> Iterator[Passage]:
    """Return every string of a Python file, docstrings included. In an f-string, `{}` takes the place of a value."""
    inner: set[int] = set()
    for node in ast.walk(parsed(path)):  # an f-string comes before its parts
        if isinstance(node, ast.JoinedStr):
            inner.update(id(part) for part in node.values)
            parts = (part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
            yield Passage(path, node.lineno, "".join(map(str, parts)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner:
            yield Passage(path, node.lineno, node.value)


def comments(path: Path) -> Iterator[Passage]:
    """Return the comments of a Python file; comments on lines of their own that follow each other are one passage."""
    block: list[str] = []
    start = last = 0
    text = path.read_text(encoding="utf-8")
    lines = io.StringIO(text if "#" in text else "")
    for token in tokenize.generate_tokens(lines.readline):
        if token.type != tokenize.COMMENT:
            continue
        alone = not token.line[: token.start[1]].strip()
        if block and not (alone and token.start[0] == last + 1):
            yield Passage(path, start, " ".join(block))
            block = []
        start = start if block else token.start[0]
        last = token.start[0]
        block.append(token.string.lstrip("# "))
    if block:
        yield Passage(path, start, " ".join(block))


def pages() -> list[Path]:
    """Return every Markdown page of the repository, except samples that others wrote."""
    return [path for path in tracked_files() if path.suffix == ".md" and not path.is_relative_to(TESTS / "data")]


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


@cache
def tracked_files() -> list[Path]:
    """What is in the repository, and what is about to be: tracked files and new ones that are not ignored."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        encoding="utf-8",
        timeout=60,
    ).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]
