"""Entry points are those that `importlib.metadata` finds, in folders, archives and eggs."""

import importlib
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from utcp_bridge.late.entry_points import entry_points

POINTS = "[own.group]\nfirst = json:loads\nsecond = json:dumps\n\n[other]\nthird = os\n"
NAMED = "Metadata-Version: 2.1\nName: {}\nVersion: 1\n"


def installed(place: Path, name: str, points: str | None) -> None:
    folder = place / name
    folder.mkdir(parents=True)
    kind = "PKG-INFO" if name.endswith("egg-info") else "METADATA"
    (folder / kind).write_text(NAMED.format(name.partition("-")[0]), encoding="utf-8")
    if points is not None:
        (folder / "entry_points.txt").write_text(points, encoding="utf-8")


def both(group: str) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """What is found, and what `importlib.metadata` finds."""
    ours, theirs = entry_points(group=group), metadata.entry_points(group=group)
    return sorted((one.name, one.value) for one in ours), sorted((one.name, one.value) for one in theirs)


@pytest.mark.parametrize("name", ["own-1.dist-info", "Own-1.DIST-INFO", "own.egg-info"])
def test_a_package_in_a_folder_is_found(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    installed(tmp_path, "silent-1.dist-info", None)
    assert both("own.group") == ([], [])
    installed(tmp_path, name, POINTS)
    importlib.invalidate_caches()
    ours, theirs = both("own.group")
    assert ours == theirs == [("first", "json:loads"), ("second", "json:dumps")]
    assert both("own") == ([], [])


def test_a_package_in_an_archive_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "packages.zip", "w") as archive:
        archive.writestr("own-1.dist-info/METADATA", NAMED.format("own"))
        archive.writestr("own-1.dist-info/entry_points.txt", POINTS)
    monkeypatch.syspath_prepend(tmp_path / "packages.zip")
    ours, theirs = both("own.group")
    assert ours == theirs != []


def test_a_package_in_an_egg_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(tmp_path / "own-1.egg", "EGG-INFO", POINTS)
    monkeypatch.syspath_prepend(tmp_path / "own-1.egg")
    ours, theirs = both("own.group")
    assert ours == theirs != []


def test_a_package_of_another_finder_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Elsewhere(metadata.DistributionFinder):
        def find_distributions(
            self, context: metadata.DistributionFinder.Context | None = None
        ) -> list[metadata.Distribution]:
            return [metadata.Distribution.at(tmp_path / "own-1.dist-info")]

    installed(tmp_path, "own-1.dist-info", POINTS)
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Elsewhere()])
    ours, theirs = both("own.group")
    assert ours == theirs != []


def test_where_nobody_offers_any_the_slow_module_is_not_imported() -> None:
    code = """
import sys
from utcp_bridge.late.entry_points import entry_points
assert not list(entry_points(group="nobody.offers.this"))
assert "importlib.metadata" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=200)
