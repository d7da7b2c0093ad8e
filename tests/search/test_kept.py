"""The index on disk: read again for the same tools, and for no others; damaged and foreign files are made anew."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.search.test_index import state
from tests.support.tools import make_tool

from utcp_bridge.model import Tool
from utcp_bridge.search.kept import KEPT_FROM, KeptIndex
from utcp_bridge.search.lexical import Bm25Strategy
from utcp_bridge.tasks import at_once

_THINGS = ("invoice", "forecast", "parcel", "message", "appointment")


def tools_of(count: int = KEPT_FROM, **changed: str) -> list[Tool]:
    """Return tools, of which those in `changed` have another description."""
    return [
        make_tool(
            name := f"get_{number}",
            description=changed.get(name, f"Return {_THINGS[number % 5]} number {number}."),
            tags=(_THINGS[number % 3],),
            inputs={"type": "object", "properties": {"place": {"type": "string", "description": "Wo? Köln."}}},
        )
        for number in range(count)
    ]


def built(tools: list[Tool]) -> Bm25Strategy:
    strategy = Bm25Strategy()
    strategy.add(tools)
    return strategy


def keep(folder: Path, tools: list[Tool]) -> Path:
    """Keep the index of tools and return its file."""
    kept = KeptIndex(folder)
    packed = at_once(kept.pack(built(tools)))
    assert packed is not None
    kept.write(*packed)
    return packed[0]


def filled(folder: Path, tools: list[Tool]) -> Bm25Strategy | None:
    """Return a strategy with the index of these tools from the folder, if it is there."""
    strategy = Bm25Strategy()
    return strategy if at_once(KeptIndex(folder).fill(strategy, tools, lambda: True)) else None


def state_of(strategy: Any) -> Any:
    return state(strategy._index)


def found(strategy: Bm25Strategy, query: str) -> list[tuple[str, float]]:
    return [(hit.tool.name, hit.score) for hit in strategy.search(query, limit=20)]


def test_an_index_that_was_kept_is_the_one_that_a_rebuild_gives(tmp_path: Path) -> None:
    keep(tmp_path, tools_of())
    again = tools_of()[::-1]  # manuals load in any order

    strategy = filled(tmp_path, again)

    assert strategy is not None
    assert state_of(strategy) == state_of(built(again))
    for query in ("parcel 12", "invoces", "köln place", "get_77"):
        assert found(strategy, query) == found(built(again), query)
    assert {id(hit.tool) for hit in strategy.search("forecast")} <= {*map(id, again)}


def test_an_index_that_was_kept_takes_changes_as_any_other(tmp_path: Path) -> None:
    keep(tmp_path, tools_of())
    tools = tools_of()
    strategy = filled(tmp_path, tools)
    assert strategy is not None

    other = tools_of(get_3="Brew an espresso.")
    strategy.remove(tools[5:9])
    strategy.add([other[3], make_tool("bake", description="Bake bread.")])

    live = [*tools[:3], other[3], tools[4], *tools[9:], make_tool("bake", description="Bake bread.")]
    assert state_of(strategy) == state_of(built(live))


@pytest.mark.parametrize(
    "others",
    [tools_of(get_3="Brew an espresso."), tools_of(KEPT_FROM + 1), [*tools_of()[1:], make_tool("get_0")]],
    ids=["a description", "one more", "one other"],
)
def test_other_tools_have_another_index(tmp_path: Path, others: list[Tool]) -> None:
    keep(tmp_path, tools_of())
    assert filled(tmp_path, others) is None
    assert filled(tmp_path, tools_of()) is not None


def _cut(data: bytes) -> bytes:
    return data[:-4]


def _flipped(data: bytes) -> bytes:
    return data[:-5] + bytes([data[-5] ^ 1]) + data[-4:]


def _empty(_: bytes) -> bytes:
    return b""


def _other_json(_: bytes) -> bytes:
    return b"[1]\n"


def _pickle(_: bytes) -> bytes:
    return b"\x80\x04N." * 99


def _of_another_version(data: bytes) -> bytes:
    return data.replace(b'"version": 2', b'"version": 9', 1)


@pytest.mark.parametrize(
    "damage",
    [_cut, _flipped, _of_another_version, _empty, _other_json, _pickle],
    ids=["cut", "one bit", "another version", "empty", "other JSON", "a pickle"],
)
def test_a_damaged_or_foreign_file_is_ignored_and_made_anew(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    file = keep(tmp_path, tools_of())
    whole = file.read_bytes()
    file.write_bytes(damage(whole))

    assert filled(tmp_path, tools_of()) is None

    assert keep(tmp_path, tools_of()) == file
    assert file.read_bytes() == whole
    assert filled(tmp_path, tools_of()) is not None


@pytest.mark.skipif(sys.platform == "win32", reason="permissions are others there")
def test_only_the_user_may_read_or_write(tmp_path: Path) -> None:
    file = keep(tmp_path / "a" / "index", tools_of())
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(sys.platform == "win32", reason="permissions are others there")
@pytest.mark.parametrize("place", ["file", "folder"])
def test_what_others_may_write_is_not_read(tmp_path: Path, place: str) -> None:
    file = keep(tmp_path / "index", tools_of())
    shared = file if place == "file" else file.parent
    shared.chmod(0o777)
    assert filled(file.parent, tools_of()) is None


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_a_link_is_not_followed_and_a_shared_folder_gets_no_file(tmp_path: Path) -> None:
    file = keep(tmp_path / "index", tools_of())
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    assert filled(file.parent, tools_of()) is None

    file.unlink()
    file.parent.chmod(0o777)
    assert not keep(file.parent, tools_of()).exists()


def test_few_files_are_kept_those_that_were_used_last(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    old = [tmp_path / f"{number}.index" for number in range(9)]
    for number, file in enumerate(old):
        file.write_bytes(b"")
        os.utime(file, (number, number))

    new = keep(tmp_path, tools_of())

    assert {one.name for one in tmp_path.iterdir()} == {new.name, "notes.txt", *(one.name for one in old[2:])}


def test_an_index_of_few_tools_or_in_a_folder_without_a_place_is_not_kept(tmp_path: Path) -> None:
    assert at_once(KeptIndex(tmp_path).pack(built(tools_of(KEPT_FROM - 1)))) is None
    assert at_once(KeptIndex(Path("index")).pack(built(tools_of()))) is None


def test_a_folder_that_cannot_be_written_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert not keep(tmp_path / "file" / "index", tools_of()).exists()


def test_an_index_is_not_taken_where_tools_came_meanwhile(tmp_path: Path) -> None:
    keep(tmp_path, tools_of())
    tools, strategy = tools_of(), Bm25Strategy()

    assert not at_once(KeptIndex(tmp_path).fill(strategy, tools, lambda: False))
    steps = KeptIndex(tmp_path).fill(strategy, tools, lambda: True)
    next(steps)
    strategy.add([make_tool("first")])
    assert not at_once(steps)
    assert strategy.size == 1


def test_an_index_that_changes_while_it_is_packed_is_not_kept(tmp_path: Path) -> None:
    strategy = built(tools_of())
    steps = KeptIndex(tmp_path).pack(strategy)
    next(steps)
    strategy.add([make_tool("late")])
    assert at_once(steps) is None


def test_the_weights_of_words_belong_to_a_version() -> None:
    """If this fails because the same text gets other postings, raise `_VERSION` in `search/kept.py`."""
    tool = make_tool(
        "list_orders", description="Lists the open orders of a customer.", tags=("shop",), inputs={"type": "object"}
    )
    postings = built([tool]).content()[1]
    assert {term: round(found.weights[0], 3) for term, found in postings.items()} == {
        "list": 0.835,
        "order": 0.835,
        "listorder": 0.702,
        "peer": 0.426,
        "shop": 0.308,
        "open": 0.729,
        "customer": 0.574,
    }
