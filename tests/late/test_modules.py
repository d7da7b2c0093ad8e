"""Modules that are found at once are those that Python would find, and are left to Python in every other case."""

from __future__ import annotations

import compileall
import marshal
import os
import py_compile
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

START = """
import importlib, sys
from utcp_bridge.late.modules import find_modules_at_once
sys.path.insert(0, {folder!r})
{before}
find_modules_at_once()
def at_once(name):
    return type(importlib.import_module(name).__spec__.loader).__module__ == "utcp_bridge.late.modules"
"""
pytestmark = pytest.mark.skipif(os.name != "posix", reason="other systems keep the finder of Python")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A compiled package with a module `one` and a package `two` in it."""
    folder = tmp_path / "pack"
    (folder / "two").mkdir(parents=True)
    for name, text in (("__init__", "VALUE = 0"), ("one", "VALUE = 1"), ("two/__init__", "VALUE = 2")):
        (folder / f"{name}.py").write_text(f"{text}\n", encoding="utf-8")
    assert compileall.compile_dir(folder, quiet=1)
    return folder


def run(package: Path, code: str, before: str = "", *options: str) -> None:
    """Run code in a fresh interpreter that finds modules at once."""
    command = [sys.executable, *options, "-c", START.format(folder=str(package.parent), before=before) + code]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60, encoding="utf-8")
    assert done.returncode == 0, done.stderr


def test_a_module_of_a_plain_package_is_found_at_once(package: Path) -> None:
    run(package, "assert at_once('pack.one') and at_once('pack.two') and not at_once('pack')")


def test_what_a_module_says_of_itself_is_what_python_says(package: Path) -> None:
    run(
        package,
        """
def told(name):
    module = importlib.import_module(name)
    spec = module.__spec__
    return [
        module.__file__, module.__cached__, module.__package__, getattr(module, "__path__", None), module.VALUE,
        spec.name, spec.origin, spec.parent, spec.has_location, spec.cached, spec.submodule_search_locations,
        spec.loader.get_source(name), spec.loader.is_package(name),
        spec.loader.get_code(name) == spec.loader.get_code(name),
        spec.loader.get_code(name).co_filename,
    ]
names = ["pack.one", "pack.two"]
assert all(map(at_once, names))
found = [told(name) for name in names]
sys.meta_path = [one for one in sys.meta_path if type(one).__module__ != "utcp_bridge.late.modules"]
for name in names:
    del sys.modules[name]
assert not any(map(at_once, names))
assert [told(name) for name in names] == found
""",
    )


def test_a_module_can_be_loaded_again(package: Path) -> None:
    run(
        package,
        f"""
import os, pathlib
assert at_once("pack.one")
import pack.one
pathlib.Path({str(package / "one.py")!r}).write_text("VALUE = 'changed'")
assert importlib.reload(pack.one).VALUE == "changed"
""",
    )


def test_a_source_that_changed_is_compiled_again(package: Path) -> None:
    (package / "one.py").write_text("VALUE = 'longer than before'\n", encoding="utf-8")
    run(package, "assert not at_once('pack.one')\nimport pack.one\nassert pack.one.VALUE == 'longer than before'")


def test_a_file_that_is_compiled_by_its_hash_is_left_to_python(package: Path) -> None:
    py_compile.compile(str(package / "one.py"), invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)
    run(package, "assert not at_once('pack.one') and sys.modules['pack.one'].VALUE == 1")


def test_a_folder_that_was_moved_is_left_to_python(package: Path) -> None:
    other = package.parent / "moved" / "pack"
    other.parent.mkdir()
    package.rename(other)
    run(
        other,
        "assert not at_once('pack.one')\nassert sys.modules['pack.one'].VALUE == 1\nassert not at_once('pack.two')",
    )


def test_a_damaged_file_is_left_to_python(package: Path) -> None:
    compiled = next((package / "__pycache__").glob("one.*"))
    compiled.write_bytes(compiled.read_bytes()[:-4])
    run(package, "try:\n    at_once('pack.one')\nexcept EOFError:\n    pass\nelse:\n    raise AssertionError")


def test_an_extension_module_comes_first(package: Path) -> None:
    (package / f"one{EXTENSION_SUFFIXES[-1]}").write_bytes(b"no library")
    run(package, "try:\n    at_once('pack.one')\nexcept ImportError:\n    pass\nelse:\n    raise AssertionError")


def test_a_module_without_a_compiled_file_is_found(package: Path) -> None:
    next((package / "__pycache__").glob("one.*")).unlink()
    run(package, "assert not at_once('pack.one') and sys.modules['pack.one'].VALUE == 1", "", "-B")


def test_a_module_that_comes_later_is_found(package: Path) -> None:
    late = package / "late.py"
    run(
        package,
        f"""
import pathlib
assert at_once("pack.one")
pathlib.Path({str(late)!r}).write_text("VALUE = 3")
importlib.invalidate_caches()
assert importlib.import_module("pack.late").VALUE == 3
""",
    )


def test_a_hook_of_others_keeps_its_place(package: Path) -> None:
    hook = """
class Hook:
    seen = []
    @classmethod
    def find_spec(cls, name, path, target=None):
        cls.seen.append(name)
sys.meta_path.insert(0, Hook)
"""
    run(package, "assert at_once('pack.one') and Hook.seen[-2:] == ['pack', 'pack.one']", hook)


FOLDER_HOOK = """
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, SourceFileLoader
class Loader(SourceFileLoader):
    def exec_module(self, module):
        super().exec_module(module)
        module.VALUE = "of the hook"
def add_hook():
    sys.path_hooks.insert(0, FileFinder.path_hook((Loader, SOURCE_SUFFIXES)))
    sys.path_importer_cache.clear()
"""


def test_a_hook_for_folders_keeps_its_place(package: Path) -> None:
    run(package, "import pack.one\nassert pack.one.VALUE == 'of the hook'", f"{FOLDER_HOOK}\nadd_hook()")


def test_a_hook_for_folders_may_come_later(package: Path) -> None:
    code = "assert at_once('pack.two')\nadd_hook()\nimport pack.one\nassert pack.one.VALUE == 'of the hook'"
    run(package, code, FOLDER_HOOK)


def test_the_file_of_a_package_under_its_own_name_is_left_to_python(package: Path) -> None:
    run(package, "import pack.__init__\nassert not hasattr(sys.modules['pack.__init__'], '__path__')")


def test_a_compiled_file_without_code_is_left_to_python(package: Path) -> None:
    compiled = next((package / "__pycache__").glob("one.*"))
    compiled.write_bytes(compiled.read_bytes()[:16] + marshal.dumps(5))
    run(package, "try:\n    at_once('pack.one')\nexcept ImportError:\n    pass\nelse:\n    raise AssertionError")


def test_compiled_files_in_another_folder_are_left_to_python(package: Path, tmp_path: Path) -> None:
    run(package, "assert not at_once('pack.one')", f"sys.pycache_prefix = {str(tmp_path / 'elsewhere')!r}")
