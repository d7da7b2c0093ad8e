"""The shape of the project: the rules of the house that docs/architecture.md names under "Size"."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import grimp
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

from utcp_bridge.settings import GROUPS

PACKAGE = "utcp_bridge"
MAX_LINES_OF_A_FILE = 700
MAX_LINES_OF_A_FUNCTION = 50
MAX_FILES_IN_A_FOLDER = 20
MAX_MODULES_AT_THE_TOP = 10
MAX_SINGLE_IMPORTER_SHARE = 0.25
MAX_SETTINGS_OF_A_GROUP = 12
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "shared", "lib"}

HOUSE_RULES = {
    "test_any_machine.py",
    "test_docs.py",
    "test_failing_alone.py",
    "test_fuzz.py",
    "test_imports.py",
    "test_language.py",
    "test_layout.py",
    "test_left_processes.py",
    "test_references.py",
    "test_text_hygiene.py",
}
"""Tests of the project as a whole."""

ACROSS_MODULES = {
    "dialects/test_seed_examples.py",
    "dialects/test_seed_manuals.py",
    "search/test_quality.py",
    "test_hostile_kinds.py",
}
"""Tests of a whole package, or with many samples."""

NO_MIRROR = {
    "data", "deploy", "interop", "interaction", "measuring", "openapi_oracle", "statements", "support", "upstreams"
}  # fmt: skip
"""Folders of tests/ that follow behaviour, not modules."""

TRANSPORTS = transport_modules()


# --- files, functions, names ---------------------------------------------------------------------


def test_files_have_at_most_700_lines() -> None:
    files = python_files(SOURCE, TESTS, ROOT / "benchmarks", ROOT / "scripts")
    lengths = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert {name: length for name, length in lengths.items() if length > MAX_LINES_OF_A_FILE} == {}


def test_functions_have_at_most_50_lines() -> None:
    long = {
        f"{path.relative_to(ROOT)}:{node.name}": length
        for path in python_files(SOURCE, TESTS)
        for node in functions(path)
        if (length := (node.end_lineno or node.lineno) - node.lineno + 1) > MAX_LINES_OF_A_FUNCTION
    }
    assert long == {}


def test_folders_have_at_most_20_files() -> None:
    """In tests, files of fixtures and of samples do not count."""
    counts: dict[Path, int] = defaultdict(int)
    for path in python_files(SOURCE, TESTS):
        counts[path.parent] += path.is_relative_to(SOURCE) or path.name.startswith("test_")
    found = {str(folder.relative_to(ROOT)): count for folder, count in counts.items() if count > MAX_FILES_IN_A_FOLDER}
    assert found == {}


def test_the_top_of_the_package_has_at_most_10_modules() -> None:
    modules = sorted(path.name for path in SOURCE.glob("*.py") if not path.stem.startswith("_"))
    assert len(modules) <= MAX_MODULES_AT_THE_TOP, modules


def test_no_class_name_is_used_twice() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path in python_files(SOURCE):
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(str(path.relative_to(SOURCE)))
    assert {name: files for name, files in places.items() if len(files) > 1} == {}


def test_every_name_says_what_is_inside() -> None:
    paths = [path for path in SOURCE.rglob("*") if path.is_dir() or path.suffix == ".py"]
    assert [str(path.relative_to(SOURCE)) for path in paths if path.stem in VAGUE_NAMES] == []


def test_every_module_has_a_docstring() -> None:
    files = python_files(SOURCE, TESTS / "support", ROOT / "benchmarks")
    assert [str(path.relative_to(ROOT)) for path in files if not ast.get_docstring(parsed(path))] == []


def test_a_group_of_settings_has_at_most_twelve() -> None:
    sizes = {group: len(model.model_fields) for group, model in GROUPS.items()}
    assert {group: size for group, size in sizes.items() if size > MAX_SETTINGS_OF_A_GROUP} == {}


# --- imports -------------------------------------------------------------------------------------


@cache
def imports(*, type_checking: bool) -> Mapping[str, frozenset[str]]:
    """Return what each module imports from the package; with or without imports that only type checkers follow."""
    graph = grimp.build_graph(PACKAGE, exclude_type_checking_imports=not type_checking, cache_dir=None)
    return {module: frozenset(graph.find_modules_directly_imported_by(module)) for module in sorted(graph.modules)}


def packages() -> list[str]:
    return [".".join((PACKAGE, *path.parent.relative_to(SOURCE).parts)) for path in sorted(SOURCE.rglob("__init__.py"))]


def circles(arrows: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Return each group of names that reach one another (Tarjan's strongly connected components)."""
    numbers: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        numbers[name] = lowest[name] = len(numbers)
        stack.append(name)
        for target in arrows.get(name, ()):
            if target not in numbers:
                visit(target)
            if target in stack:
                lowest[name] = min(lowest[name], lowest[target])
        if lowest[name] == numbers[name]:
            at = stack.index(name)
            if len(stack) - at > 1:
                found.append(sorted(stack[at:]))
            del stack[at:]

    for name in arrows:
        if name not in numbers:
            visit(name)
    return found


def test_no_modules_import_one_another() -> None:
    assert circles(imports(type_checking=False)) == []


@pytest.mark.parametrize("package", packages())
def test_no_rooms_import_one_another(package: str) -> None:
    """Within a package, imports between its modules and folders go one way, also imports for type checkers."""

    def room(module: str) -> str | None:
        return module.removeprefix(f"{package}.").partition(".")[0] if module.startswith(f"{package}.") else None

    arrows: dict[str, set[str]] = defaultdict(set)
    for module, targets in imports(type_checking=True).items():
        for target in targets:
            source, goal = room(module), room(target)
            if source and goal and source != goal:
                arrows[source].add(goal)
    assert circles({source: sorted(goals) for source, goals in sorted(arrows.items())}) == []


def test_a_circle_is_found() -> None:
    assert circles({"a": ["b"], "b": ["c", "d"], "c": ["a"], "d": []}) == [["a", "b", "c"]]
    assert circles({"a": ["b"], "b": ["c"]}) == []


def test_fewer_than_a_quarter_of_the_modules_have_a_single_importer() -> None:
    """A module that one other module imports is often a part of it. Merge modules of one topic."""
    importers: dict[str, int] = defaultdict(int)
    for targets in imports(type_checking=False).values():
        for target in targets:
            importers[target] += 1
    modules = set(imports(type_checking=False)) - set(packages())
    single = sorted(module.removeprefix(f"{PACKAGE}.") for module in modules if importers[module] == 1)
    share = len(single) / len(modules)
    assert share < MAX_SINGLE_IMPORTER_SHARE, f"{len(single)} of {len(modules)}: {' '.join(single)}"


# --- tests ---------------------------------------------------------------------------------------


def test_name(module: Path) -> str:
    """`a/b.py` → `a/test_b.py`; `a/__init__.py` → `a/test_init.py`."""
    return str(module.relative_to(SOURCE).with_name(f"test_{module.stem.strip('_')}.py"))


test_name.__test__ = False  # type: ignore[attr-defined]


def mirrored_tests() -> list[Path]:
    """Return the test files that mirror the package, relative to tests/."""
    names = [path.relative_to(TESTS) for path in python_files(TESTS) if path.name.startswith("test_")]
    return [name for name in names if str(name) not in HOUSE_RULES and name.parts[0] not in NO_MIRROR]


def test_every_room_has_a_folder_of_tests_and_every_folder_of_tests_a_room() -> None:
    """Data and re-exports alone need no test."""
    rooms = {path.parent.relative_to(SOURCE) for path in python_files(SOURCE) if has_code(path)}
    folders = {name.parent for name in mirrored_tests()}
    packages = {path.parent.relative_to(SOURCE) for path in SOURCE.rglob("__init__.py")}
    assert sorted(map(str, rooms - folders)) == []
    assert sorted(map(str, folders - packages)) == []


def has_code(path: Path) -> bool:
    """Return whether a module does something."""
    passive = (ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign)
    return not all(
        isinstance(node, passive) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        for node in parsed(path).body
    )


def test_every_test_file_has_the_name_of_a_module() -> None:
    """`test_x.py` tests `x.py`; where that became too long, `test_x_topic.py` does too."""
    modules = {test_name(path).removesuffix(".py") for path in python_files(SOURCE)}
    strays = [
        name
        for name in map(str, mirrored_tests())
        if name not in ACROSS_MODULES
        and not any(name == f"{module}.py" or name.startswith(f"{module}_") for module in modules)
    ]
    assert not strays, "no module for: " + " ".join(strays)


def test_folders_of_tests_are_not_packages_and_tests_are_functions() -> None:
    assert [path for path in python_files(TESTS) if path.name == "__init__.py"] == []
    classes = [
        f"{path.name}: {node.name}"
        for path in python_files(TESTS)
        for node in parsed(path).body
        if isinstance(node, ast.ClassDef) and node.name.startswith("Test")
    ]
    assert classes == []


# --- transports ----------------------------------------------------------------------------------


def test_the_documentation_lists_every_transport() -> None:
    page = (DOCS / "transports" / "index.md").read_text(encoding="utf-8")
    assert [transport_name(module) for module in TRANSPORTS] == sorted(
        re.findall(r"^\| `(\w+)` \| \[", page, re.MULTILINE)
    )


@pytest.mark.parametrize("module", TRANSPORTS, ids=transport_name)
def test_a_transport_module_contains_exactly_one_transport(module: Path) -> None:
    body = parsed(module).body
    assigned = [
        target.id
        for node in body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    ]
    assert assigned.count("TRANSPORT") == 1
    assert transport_name(module) in kinds(module), "the module has the name of a kind that it serves"


@pytest.mark.parametrize("module", TRANSPORTS, ids=transport_name)
def test_a_transport_passes_the_shared_suite(module: Path) -> None:
    test = TESTS / test_name(module)
    assert re.search(r"^PEER = \w+$", test.read_text(encoding="utf-8"), re.MULTILINE)


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
    """Return every transport type that a configuration of either dialect names."""
    if isinstance(value, dict):
        for key in ("call_template_type", "provider_type"):
            if isinstance(value.get(key), str):
                yield value[key]
        if isinstance(value.get("mcpServers"), dict):
            yield "mcp"
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for child in children:
        yield from kinds_in(child)
