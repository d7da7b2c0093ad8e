from pathlib import Path

import pytest
from tests.upstreams.http_service import HttpService

from utcp_bridge.configuration.places import MAX_BYTES, fetch_url, hint_of, is_url, read_file, read_place
from utcp_bridge.errors import ConfigError, ManualError, UtcpError

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", '{"a": 1}'),
        ("a.json", '// a comment\n{"a": 1,}'),
        ("a.yaml", "a: 1"),
        ("manual", '{"a": 1 /* a comment */}'),
        ("manual", "a: 1"),
    ],
)
async def test_the_form_of_a_file_follows_from_its_suffix_or_its_content(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    placed = await read_place(str(path))
    assert (placed.document, placed.url, placed.shown, placed.data) == ({"a": 1}, str(path), str(path), text.encode())


async def test_a_relative_path_becomes_absolute(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "a.yaml").write_text("a: 1")
    monkeypatch.chdir(tmp_path)
    placed = await read_place("a.yaml")
    assert (placed.shown, placed.url) == ("a.yaml", str(tmp_path / "a.yaml"))


async def test_stdin_is_json_with_comments_or_yaml() -> None:
    placed = await read_place("-", read_stdin=lambda: b'{"a": 1, // one\n}')
    assert (placed.document, placed.url, placed.shown) == ({"a": 1}, None, "stdin")
    assert (await read_place("-", read_stdin=lambda: b"a: 1")).document == {"a": 1}
    with pytest.raises(ManualError, match="stdin is empty"):
        await read_place("-", read_stdin=lambda: b"")


async def test_a_url_is_fetched() -> None:
    async with HttpService() as service:
        placed = await read_place(f"{service.base}/utcp.yaml")
        assert placed.url == f"{service.base}/utcp.yaml"
        assert placed.document["tools"]
        assert (await fetch_url(f"{service.base}/text")).media_type == "text/plain"
        with pytest.raises(UtcpError, match="404"):
            await read_place(f"{service.base}/status/404")
        with pytest.raises(UtcpError, match="connection"):
            await read_place(service.refusing)


async def test_a_missing_file_a_folder_or_a_huge_file_is_refused(tmp_path: Path) -> None:
    for path, words in ((tmp_path / "gone", "no such file"), (tmp_path, "not a regular file")):
        with pytest.raises(ConfigError, match=words):
            await read_file(path)
    with (tmp_path / "big.json").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(ConfigError, match=f"has {MAX_BYTES + 1:,} bytes; a configuration may have {MAX_BYTES:,}"):
        await read_file(tmp_path / "big.json")


def test_urls_and_suffixes_are_recognised() -> None:
    assert is_url("HTTPS://api.example.com")
    assert not is_url("file.json")
    assert hint_of(Path("a.YAML")) == ".yaml"
    assert hint_of(Path("a.txt")) == ""


@pytest.mark.parametrize(
    ("place", "is_url"),
    [
        ("api.example.com/openapi.json", True),
        ("127.0.0.1:8000/utcp", True),
        ("localhost:8000/utcp", True),
        ("nope.yaml", False),
        ("./folder/nope.yaml", False),
        ("folder/nope.yaml", False),
    ],
)
async def test_a_url_without_its_scheme_is_not_only_a_missing_file(place: str, is_url: bool) -> None:
    with pytest.raises(ConfigError, match="There is no such file") as caught:
        await read_place(place)
    assert ("write https://" in str(caught.value)) is is_url
