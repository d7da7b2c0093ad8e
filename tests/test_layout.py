"""The shape of the project: tests mirror source, files and functions are small, transports are complete."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.source import (
    DOCS,
    ROOT,
    SOURCE,
    TESTS,
    functions,
    kinds,
    parsed,
    python_files,
    transport_modules,
    transport_name,
)

from utcp_bridge.settings import BridgeSettings

MOST_LINES_OF_A_FILE = 400
MOST_LINES_OF_A_FUNCTION = 50
MOST_SETTINGS = 40

HOUSE_RULES = {"test_docs.py", "test_imports.py", "test_layout.py", "test_text_hygiene.py"}
"""Tests about the project, not about one module."""

ACROSS_MODULES = {"dialects/test_seed_examples.py", "dialects/test_seed_manuals.py", "search/test_quality.py"}
"""Tests of a whole package over many samples."""

NO_MIRROR = {"interop", "interaction", "openapi_oracle", "support", "upstreams"}
"""Folders of tests/ that follow behaviour, not modules."""

TRANSPORTS = transport_modules()


def has_code(path: Path) -> bool:
    """Whether a module does something: data and re-exports need no test of their own."""
    passive = (ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign)
    return not all(
        isinstance(node, passive) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        for node in parsed(path).body
    )


def test_name(module: Path) -> str:
    """`a/b.py` → `a/test_b.py`; `a/__init__.py` → `a/test_init.py`."""
    return str(module.relative_to(SOURCE).with_name(f"test_{module.stem.strip('_')}.py"))


test_name.__test__ = False  # type: ignore[attr-defined]


def mirrored_tests() -> list[str]:
    names = [str(path.relative_to(TESTS)) for path in python_files(TESTS) if path.name.startswith("test_")]
    return [name for name in names if name not in HOUSE_RULES and Path(name).parts[0] not in NO_MIRROR]


def test_every_module_with_code_has_a_test_file_at_the_mirrored_path() -> None:
    present = set(mirrored_tests())
    missing = [name for name in map(test_name, filter(has_code, python_files(SOURCE))) if name not in present]
    assert not missing, "no test for: " + " ".join(missing)


def test_every_test_file_belongs_to_a_module() -> None:
    """`test_x.py` tests `x.py`; where that grew too long, `test_x_topic.py` does too."""
    modules = {test_name(path).removesuffix(".py") for path in python_files(SOURCE)}
    strays = [
        name
        for name in mirrored_tests()
        if name not in ACROSS_MODULES
        and not any(name == f"{module}.py" or name.startswith(f"{module}_") for module in modules)
    ]
    assert not strays, "no module for: " + " ".join(strays)


def test_test_folders_are_no_packages_and_tests_are_functions() -> None:
    assert [path for path in python_files(TESTS) if path.name == "__init__.py"] == []
    classes = [
        f"{path.name}: {node.name}"
        for path in python_files(TESTS)
        for node in parsed(path).body
        if isinstance(node, ast.ClassDef) and node.name.startswith("Test")
    ]
    assert classes == []


def test_files_are_short() -> None:
    files = python_files(SOURCE, TESTS, ROOT / "benchmarks")
    lengths = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert {name: length for name, length in lengths.items() if length > MOST_LINES_OF_A_FILE} == {}


def test_functions_are_short() -> None:
    long = {
        f"{path.relative_to(ROOT)}:{node.name}": length
        for path in python_files(SOURCE, TESTS)
        for node in functions(path)
        if (length := (node.end_lineno or node.lineno) - node.lineno + 1) > MOST_LINES_OF_A_FUNCTION
    }
    assert long == {}


def test_every_module_says_what_it_is() -> None:
    files = python_files(SOURCE, TESTS / "support", ROOT / "benchmarks")
    assert [str(path.relative_to(ROOT)) for path in files if not ast.get_docstring(parsed(path))] == []


def test_settings_can_be_counted_on_the_fingers_of_eight_hands() -> None:
    assert len(BridgeSettings.model_fields) <= MOST_SETTINGS


def test_the_transports_are_those_that_the_documentation_lists() -> None:
    page = (DOCS / "transports" / "index.md").read_text(encoding="utf-8")
    assert [transport_name(module) for module in TRANSPORTS] == sorted(
        re.findall(r"^\| `(\w+)` \| \[", page, re.MULTILINE)
    )


@pytest.mark.parametrize("module", TRANSPORTS, ids=transport_name)
def test_a_transport_module_holds_exactly_one_transport(module: Path) -> None:
    body = parsed(module).body
    assigned = [
        target.id
        for node in body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    ]
    assert assigned.count("TRANSPORT") == 1
    assert transport_name(module) in kinds(module), "the module is named after a kind that it serves"


@pytest.mark.parametrize("module", TRANSPORTS, ids=transport_name)
def test_a_transport_passes_the_shared_suite(module: Path) -> None:
    test = TESTS / test_name(module)
    assert "from utcp_bridge.testing.contract import *" in test.read_text(encoding="utf-8")


@pytest.mark.parametrize("module", TRANSPORTS, ids=transport_name)
def test_a_transport_has_a_page_that_names_its_kinds(module: Path) -> None:
    page = (DOCS / "transports" / f"{transport_name(module)}.md").read_text(encoding="utf-8")
    assert [kind for kind in kinds(module) if f"`{kind}`" not in page and f'"{kind}"' not in page] == []


@pytest.mark.parametrize("module", TRANSPORTS, ids=transport_name)
def test_a_transport_has_an_example_configuration(module: Path) -> None:
    assert set(kinds(module)) & configured_kinds(), f"no file in configs/ uses {transport_name(module)}"


def configured_kinds() -> set[str]:
    files = [path for path in (ROOT / "configs").rglob("*") if path.suffix in {".json", ".yaml", ".yml"}]
    return {kind for path in files for kind in kinds_in(yaml.safe_load(path.read_text(encoding="utf-8")))}


def kinds_in(value: Any) -> Iterator[str]:
    """Every transport type named anywhere in a configuration, of either dialect."""
    if isinstance(value, dict):
        for key in ("call_template_type", "provider_type"):
            if isinstance(value.get(key), str):
                yield value[key]
        if isinstance(value.get("mcpServers"), dict):
            yield "mcp"
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for child in children:
        yield from kinds_in(child)
