"""Check that every Python snippet of README.md and docs/ passes mypy and pyright, both strict. Run by `scripts/check`.

Each ```python block becomes a module. A fragment that awaits outside a function is wrapped into one. HTML comments
before a block tell more:

    <!-- snippet: my_package/carrier.py -->      the module's path, so that other snippets can import it
    <!-- context: client: UtcpClient -->         declarations that the fragment takes for granted, one a comment
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
_BLOCK = re.compile(r"(?P<comments>(?:^<!-- .* -->\n\s*)*)^```python\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"^<!-- (?P<key>snippet|context): (?P<value>.*) -->$", re.MULTILINE)
STUBS = {
    "my_program.py": "from langchain_core.language_models import BaseChatModel, FakeListChatModel\n"
    "model: BaseChatModel = FakeListChatModel(responses=[])\n"
}
"""Modules of a reader's own program that snippets import."""


@dataclass(frozen=True, slots=True)
class Snippet:
    """One block of Python: the page and line where it starts, its module's path, its code as a module."""

    place: str
    path: str
    code: str


def pages() -> list[Path]:
    """Return README.md and the pages of docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def snippets_in(page: Path) -> Iterator[Snippet]:
    """Yield the Python blocks of a page."""
    text = page.read_text(encoding="utf-8")
    name = page.relative_to(ROOT).with_suffix("").as_posix()
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("code"))
        found = [(comment["key"], comment["value"]) for comment in _COMMENT.finditer(match["comments"])]
        paths = [value for key, value in found if key == "snippet"]
        context = [value for key, value in found if key == "context"]
        path = paths[0] if paths else f"{re.sub(r'[^0-9A-Za-z]', '_', name)}_{line}.py"
        yield Snippet(f"{name}.md:{line}", path, as_module(match["code"], context))


def snippet_named(path: str) -> str:
    """Return the code of the block that is marked with this path."""
    return next(one.code for page in pages() for one in snippets_in(page) if one.path == path)


def as_module(code: str, context: list[str]) -> str:
    """Return a block as a module: a fragment goes into a coroutine function, with its context before it."""
    if not context and not _is_fragment(code):
        return code
    imports = [ast.get_source_segment(code, node) or "" for node in ast.parse(code).body if _is_import(node)]
    rest = code
    for line in imports:
        rest = rest.replace(line, "", 1)
    declared = [one for one in context if one.startswith(("from ", "import "))]
    body = textwrap.indent("\n".join([*(one for one in context if one not in declared), rest]), "    ")
    return "\n".join([*declared, *imports, "", "", "async def snippet() -> None:", body])


def _is_import(node: ast.stmt) -> bool:
    return isinstance(node, ast.Import | ast.ImportFrom)


def _is_fragment(code: str) -> bool:
    try:
        compile(code, "snippet", "exec", dont_inherit=True)
    except SyntaxError:
        return True
    return False


def check() -> int:
    """Write all snippets into a folder and run both checkers there; return the number of checkers that fail."""
    found = [one for page in pages() for one in snippets_in(page)]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name, stub in STUBS.items():
            (folder / name).write_text(stub, encoding="utf-8")
        for one in found:
            path = folder / one.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(one.code, encoding="utf-8")
        failures = sum(not ok for ok in (_mypy(folder), _pyright(folder)))
        if failures:
            print("Modules and where they come from:")
            print("\n".join(f"  {one.path}  {one.place}" for one in found))
    print(f"{len(found)} snippets were checked.")
    return failures


def _mypy(folder: Path) -> bool:
    config = ["--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(ROOT / ".mypy_cache")]
    command = [sys.executable, "-m", "mypy", "--strict", "--explicit-package-bases", *config, "."]
    return subprocess.run(command, cwd=folder, check=False).returncode == 0


def _pyright(folder: Path) -> bool:
    config = {
        "include": ["."],
        "extraPaths": [str(ROOT / "src")],
        "pythonVersion": "3.11",
        "typeCheckingMode": "strict",
        "venvPath": str(BIN.parents[1]),
        "venv": BIN.parent.name,
    }
    (folder / "pyrightconfig.json").write_text(json.dumps(config), encoding="utf-8")
    return subprocess.run([str(BIN / "pyright"), "--project", str(folder)], cwd=folder, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(bool(check()))
