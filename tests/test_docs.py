"""The documentation is complete and true: settings, options, error codes, links, examples."""

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import click
import pytest
from scripts.api_page import MODULES
from tests.support.source import DOCS, ROOT, SOURCE, tracked_files

import utcp_bridge
from utcp_bridge import errors
from utcp_bridge.cli.command import every_command
from utcp_bridge.configuration.loading import load_config
from utcp_bridge.settings import BridgeSettings, ManualOptions

PAGES = [path for path in tracked_files() if path.suffix == ".md"]
CONFIGS = [
    path
    for path in tracked_files()
    if path.is_relative_to(ROOT / "configs") and path.suffix in {".json", ".yaml", ".yml"}
]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE_BLOCK = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def first_column(text: str) -> set[str]:
    """Names in backticks that open a table's row."""
    return set(re.findall(r"^\| *`([^`]+)`", text, re.MULTILINE))


def codes() -> set[str]:
    return {vars(errors)[name].code for name in errors.__all__}


def test_every_setting_has_a_row_and_every_row_is_a_setting() -> None:
    rows = first_column(page("settings.md"))
    assert set(BridgeSettings.model_fields) - rows == set()
    assert rows - set(BridgeSettings.model_fields) - set(ManualOptions.model_fields) == set()


def test_every_key_of_a_manuals_entry_is_documented() -> None:
    everything = "\n".join(path.read_text(encoding="utf-8") for path in PAGES)
    keys = ManualOptions.model_fields.keys() - {"registry_namespace"}  # the bridge sets it, for manuals of a registry
    assert [key for key in keys if f"`{key}`" not in everything] == []


def test_defaults_in_the_settings_page_are_the_real_ones() -> None:
    wrong = {}
    for key, default in re.findall(r"^\| `([^`]+)` \| `[^`]+` \| `([^`|]+)` \|", page("settings.md"), re.MULTILINE):
        field = BridgeSettings.model_fields.get(key)
        if (
            field is not None
            and isinstance(field.default, bool | int | float)
            and default not in spellings(field.default)
        ):
            wrong[key] = default
    assert wrong == {}


def spellings(value: float) -> set[str]:
    """How a number or truth value may be written in a table."""
    return {str(value), str(value).lower(), f"{value:g}", f"{value:,}", f"{value:_}"}


def test_every_error_code_is_documented_and_no_other() -> None:
    rows = first_column(page("errors.md"))
    assert codes() - rows == set()
    assert {row for row in rows if re.fullmatch(r"[a-z_]+", row)} - codes() - {"cancelled", "internal"} == set()


@pytest.mark.parametrize(
    ("name", "verb"), list(every_command()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_verb_and_option_is_documented(name: str, verb: click.Command) -> None:
    text = page("cli.md")
    options = {
        max(parameter.opts, key=len)
        for parameter in verb.params
        if isinstance(parameter, click.Option) and not parameter.hidden
    }
    assert sorted(option for option in options - {"--help"} if option not in text) == []
    assert f"utcp-bridge {name}".strip() in text


def test_generated_pages_are_current() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "generate_docs.py", "--check"],
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("module", MODULES)
def test_the_api_page_describes_every_public_name_of_a_module(module: str) -> None:
    section = page("api.md").partition(f"\n## {module}\n")[2].partition("\n## ")[0]
    described = re.findall(r"^### (\w+)$", section, re.MULTILINE)
    exported = re.findall(r"\[`(\w+)`\]\(#\w+\)", section.partition("Also exported here: ")[2])
    assert sorted([*described, *exported]) == sorted(import_module(module).__all__)


def test_the_documented_public_modules_are_those_of_the_api_page() -> None:
    public = {name for name in MODULES if name.count(".") < 2 or name.startswith("utcp_bridge.adapters")}
    for text in (utcp_bridge.__doc__ or "", page("library.md")):
        listed = re.search(r"public modules are (.+?)[:.](?:\s|$)", text, re.DOTALL)
        assert listed is not None
        assert set(re.findall(r"`(utcp_bridge[\w.]*)`", listed[1])) <= public
        assert public <= set(re.findall(r"`(utcp_bridge[\w.]*)`", text))


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    pending = [ROOT / "README.md"]
    while pending:
        current = pending.pop()
        if current not in reached:
            reached.add(current)
            pending += [target for target in linked_files(current) if target.suffix == ".md" and target.is_file()]
    pages = {path for path in PAGES if path.is_relative_to(DOCS)}
    assert sorted(str(path.relative_to(ROOT)) for path in pages - reached) == []


def linked_files(path: Path) -> list[Path]:
    text = CODE_BLOCK.sub("", path.read_text(encoding="utf-8"))
    targets = [target.partition("#")[0] for target in LINK.findall(text) if "://" not in target]
    return [(path.parent / target).resolve() for target in targets if target and not target.startswith("mailto:")]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_within_the_project_lead_somewhere(path: Path) -> None:
    assert [str(target) for target in linked_files(path) if not target.exists()] == []


def promises() -> list[list[str]]:
    """Return the rows of the table in the page about security: promise, places, tests."""
    _, _, table = page("security.md").partition("## Promises, places and tests")
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def test_every_promise_has_a_place_in_the_code_and_a_file_with_tests() -> None:
    wrong = []
    for promise, places, tests in promises():
        named = re.findall(r"`([^`]+)`", tests)
        wrong += [f"{promise}: no test"] if not named else []
        wrong += [f"{promise}: {name}" for name in re.findall(r"`([^`]+)`", places) if not (SOURCE / name).exists()]
        for name in named:
            path = ROOT / name
            if not path.is_file() or not re.search(
                r"^(async )?def test_", path.read_text(encoding="utf-8"), re.MULTILINE
            ):
                wrong.append(f"{promise}: {name} has no test")
    assert wrong == []
    assert len(promises()) > 50


def test_every_test_of_access_keeps_a_promise() -> None:
    named = {name for *_, tests in promises() for name in re.findall(r"`([^`]+)`", tests)}
    folders = (ROOT / "tests" / "access", ROOT / "tests" / "server" / "profiles")
    kept = {path.relative_to(ROOT).as_posix() for folder in folders for path in folder.glob("test_*.py")}
    assert kept - named == set()


def test_there_are_pages_and_examples_to_check() -> None:
    assert {"README.md", "docs/architecture.md", "docs/benchmarks.md", "docs/security.md"} <= {
        str(path.relative_to(ROOT)) for path in PAGES
    }
    assert CONFIGS


@pytest.mark.anyio
@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT)))
async def test_an_example_configuration_loads_without_a_fault(path: Path) -> None:
    loaded = await load_config([path], environ={})
    assert [str(fault) for fault in loaded.faults] == []
    assert loaded.config.manual_call_templates
