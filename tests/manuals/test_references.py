from pathlib import Path

import pytest

from utcp_bridge.errors import ManualError
from utcp_bridge.manuals.references import gather_references, read_local_reference

pytestmark = pytest.mark.anyio


def referring(*places: str) -> dict[str, object]:
    return {"openapi": "3.0.3", "paths": {f"/{number}": {"$ref": place} for number, place in enumerate(places)}}


async def gathered(
    document: dict[str, object], url: str | None, files: dict[str, str]
) -> tuple[dict[str, object], list[str]]:
    asked: list[str] = []

    async def fetch(place: str) -> bytes:
        asked.append(place)
        if place not in files:
            raise ManualError("There is no such file.")
        return files[place].encode()

    found, faults = await gather_references(document, url, fetch, where="m")
    assert len(asked) == len(set(asked))
    return found, [str(fault) for fault in faults]


async def test_files_are_followed_through_files() -> None:
    files = {
        "https://a.example/x.yaml": "p: {$ref: 'y.json#/q'}",
        "https://a.example/y.json": '{"q": {"$ref": "x.yaml"}}',
    }
    found, faults = await gathered(referring("x.yaml#/p"), "https://a.example/api.yaml", files)
    assert found.keys() == files.keys()
    assert faults == []


async def test_another_origin_or_folder_is_not_asked(tmp_path: Path) -> None:
    away = [
        "https://b.example/x.yaml",
        "http://a.example/x.yaml",
        "https://a.example:8443/x.yaml",
        "file:///etc/passwd",
    ]
    assert await gathered(referring(*away), "https://a.example/api.yaml", {}) == ({}, [])
    folder = tmp_path / "spec"
    folder.mkdir()
    local = ["../outside.yaml", "/etc/hostname", "https://a.example/x.yaml"]
    assert await gathered(referring(*local), str(folder / "api.yaml"), {}) == ({}, [])
    assert await gathered(referring("x.yaml"), None, {}) == ({}, [])


async def test_a_missing_file_is_a_warning_that_names_it() -> None:
    found, faults = await gathered(referring("gone.yaml"), "https://a.example/api.yaml", {})
    assert found == {"https://a.example/gone.yaml": None}
    assert faults == ["m, reference https://a.example/gone.yaml: There is no such file."]


async def test_a_local_reference_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    assert await read_local_reference(str(tmp_path / "a")) == b"x"
    with pytest.raises(ManualError, match="no such file"):
        await read_local_reference(str(tmp_path))
