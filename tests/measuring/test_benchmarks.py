"""The parts of the benchmark that a table could be wrong by: what is resumed, what is read, and what a page gets."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from benchmarks.harness.clients import _unchunked
from benchmarks.harness.goals import Goal, goals
from benchmarks.harness.journal import Journal
from benchmarks.harness.measurements import Samples
from benchmarks.harness.peers import PEERS, _toolbox_file
from benchmarks.harness.processes import ROOT, catalogue
from benchmarks.harness.report import BEGIN, END, Results, write_page
from hypothesis import given
from hypothesis import strategies as st

yaml = pytest.importorskip("yaml")


def counted() -> tuple[Callable[[], Awaitable[Any]], list[int]]:
    calls: list[int] = []

    async def measure() -> Any:
        calls.append(1)
        return {"value": len(calls)}

    return measure, calls


@pytest.mark.anyio
async def test_a_run_goes_on_where_it_was(tmp_path: Path) -> None:
    measure, calls = counted()
    file = tmp_path / "run.json"
    assert await Journal(file, "a").group("one", measure) == {"value": 1}
    again = Journal(file, "a")
    assert await again.group("one", measure) == {"value": 1}
    assert await again.group("two", measure) == {"value": 2}
    assert await Journal(file, "other servers").group("one", measure) == {"value": 3}
    assert len(calls) == 3


@pytest.mark.anyio
async def test_no_group_begins_after_the_time_but_what_was_measured_is_there(tmp_path: Path) -> None:
    measure, calls = counted()
    file = tmp_path / "run.json"
    await Journal(file).group("one", measure)
    late = Journal(file, minutes=-1)
    assert await late.group("one", measure) == {"value": 1}
    assert await late.group("two", measure) is None
    assert (late.left_out, len(calls)) == (["two"], 1)


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=5))
def test_a_chunked_reply_is_read_without_its_framing(pieces: list[bytes]) -> None:
    framed = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    assert _unchunked(framed + b"0\r\n\r\n") == b"".join(pieces)


def test_a_page_gets_the_tables_between_its_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n\n{BEGIN}\nold\n{END}\n\nafter\n", encoding="utf-8")
    for _ in range(2):
        write_page(page, ["| a |", "| --- |"])
        assert page.read_text(encoding="utf-8") == f"before\n\n{BEGIN}\n\n| a |\n| --- |\n\n{END}\n\nafter\n"
    page.write_text("no marks", encoding="utf-8")
    with pytest.raises(ValueError, match="does not have the lines"):
        write_page(page, [])
    with pytest.raises(ValueError, match="cannot be read"):
        write_page(tmp_path / "none.md", [])


def test_a_goal_compares_rounds_of_one_run() -> None:
    floor = Samples("floor", "http", "2026-07-28", 16, rate=[100, 200, 400], cpu=[1, 2, 4], p50=[1], p99=[1])
    bridge = Samples("bridge", "http", "2026-07-28", 16, rate=[1_300, 2_600, 4_000], cpu=[0.1] * 3, p50=[1], p99=[1])
    found = {goal.name: goal for goal in goals(Results({}, throughput=[floor, bridge]))}
    rate = found["calls/s, x floor, http 2026-07-28, 16 in flight"]
    assert (rate.value, rate.met) == (13, True)
    assert found["CPU a call, x floor, http 2026-07-28, 16 in flight"].value == 0.05
    assert "**missed**" in str(Goal("g", 2, 1))
    assert "| reached |" in str(Goal("g", 2, 1, at_least=True))


def test_a_run_with_absent_servers_says_why_and_ends() -> None:
    results = Results({"cores": 2}, absent={"toolbox": "It is not installed."}, left_out=["growth, http"])
    text = "\n".join(results.lines())
    assert "* toolbox: It is not installed." in text
    assert "growth, http" in text
    json.dumps(results.as_json())


def test_every_peer_has_pinned_versions() -> None:
    for name in PEERS:
        if name != "plain":
            lines = (ROOT / "benchmarks" / "peers" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
            assert lines
            assert all("==" in line for line in lines), name


def test_the_go_server_gets_the_same_tools() -> None:
    whole = catalogue(3, 8_000)
    document = yaml.safe_load(_toolbox_file(whole["tools"]))
    assert document["sources"]["up"]["baseUrl"] == "http://127.0.0.1:8000"
    assert list(document["tools"]) == [tool["name"] for tool in whole["tools"]]
    parameters = document["tools"]["find_0"]["queryParams"]
    assert [(one["name"], one["required"]) for one in parameters] == [("q", True), ("limit", False), ("sort", False)]
