"""Two bridges with one store, as real processes: calls that wait for their host, and tasks of MCP servers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from subprocess import Popen
from typing import Any
from urllib.request import urlopen

import anyio
import pytest
from tests.cli.test_replicas import ASKER, META, Connection
from tests.interop.serving import free_port, serving
from tests.support.asking_bridge import ROOT
from tests.support.measured import measured
from tests.support.redis_server import opened_store, redis_server, until
from tests.upstreams import task_server

from utcp_bridge.errors import ConfigError
from utcp_bridge.model import JsonObject, discard
from utcp_bridge.server.relay.tasks import TASKS
from utcp_bridge.server.replicas.requests import ReplicaGone, RequestsAcross, outcome_of, result_of
from utcp_bridge.stores.replicas import SharedStore
from utcp_bridge.upstream import InputRequired, ProtocolError

ABLE = {**META, "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}, "extensions": {TASKS: {}}}}
CONFIRM = "asker_server_confirm"


class Bridges:
    """Two bridges."""

    def __init__(self, processes: list[Popen[bytes]], ports: list[int]) -> None:
        self.processes = processes
        self.ports = ports
        self._opened: list[Connection] = []

    def pair(self) -> tuple[Connection, Connection]:
        """Return a new connection to each. A bridge closes idle connections after a while."""
        first, second = (Connection(port) for port in self.ports)
        self._opened += [first, second]
        return first, second

    def close(self) -> None:
        for one in self._opened:
            one.close()


@contextmanager
def bridges(folder: Path, era: str = "legacy", more: Sequence[Any] = (), **settings: Any) -> Iterator[Bridges]:
    program = {"command": sys.executable, "args": [str(Path(str(task_server.__file__))), era]}
    tasks = {"name": "t", "call_template_type": "mcp", "config": {"mcpServers": {"s": program}}}
    bridge = {"state_key": "the same key for both of these replicas", "exposure": "all", **settings}
    config = folder / "config.json"
    config.write_text(json.dumps({"manual_call_templates": [ASKER, tasks, *more], "bridge": bridge}), encoding="utf-8")
    ports = [free_port(), free_port()]
    with ExitStack() as stack:
        processes = []
        for port in ports:
            command = [sys.executable, "-m", "utcp_bridge", "serve", str(config), "--http", "--port", str(port)]
            environment = {**os.environ, **measured(), "PYTHONPATH": str(ROOT)}
            one = serving(command, ready=lambda port=port: is_ready(port), environment=environment)  # type: ignore[misc]
            processes.append(stack.enter_context(one))
        found = Bridges(processes, ports)
        yield found
        found.close()


@contextmanager
def sharing(folder: Path, era: str = "legacy") -> Iterator[Bridges]:
    with redis_server(folder) as redis, bridges(folder, era, store=redis.url, store_timeout=5.0) as found:
        yield found


@pytest.fixture(scope="module")
def legacy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bridges]:
    with sharing(tmp_path_factory.mktemp("legacy")) as found:
        yield found


@pytest.fixture(scope="module")
def modern(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bridges]:
    with sharing(tmp_path_factory.mktemp("modern"), "modern") as found:
        yield found


@pytest.fixture(params=["legacy", "modern"])
def either(request: pytest.FixtureRequest) -> Bridges:
    """Return bridges whose MCP server with tasks speaks the one or the other version."""
    found: Bridges = request.getfixturevalue(request.param)
    return found


def is_ready(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=100) as reply:
            found = json.loads(reply.read())
    except (OSError, ValueError):
        return False
    return bool(found["ready"]) and found.get("store") in {None, "ready"}


def ask(one: Connection) -> JsonObject:
    """Begin a call, and return what it asks."""
    asked = one.modern("tools/call", {"name": CONFIRM, "arguments": {}, "_meta": ABLE}, CONFIRM)["result"]
    assert asked["resultType"] == "input_required"
    return dict(asked)


def answer(one: Connection, asked: JsonObject) -> JsonObject:
    answers = {key: {"action": "accept", "content": {"name": "Ada"}} for key in asked["inputRequests"]}
    params = {"name": CONFIRM, "arguments": {}, "_meta": ABLE}
    return one.modern(
        "tools/call", {**params, "requestState": asked["requestState"], "inputResponses": answers}, CONFIRM
    )


def test_the_answer_for_a_suspended_call_reaches_its_bridge(legacy: Bridges) -> None:
    pair = legacy.pair()
    for here, there in (pair, pair[::-1]):
        asked = ask(here)
        result = answer(there, asked)["result"]
        assert "Ada" in json.dumps(result["content"])
        again = answer(there, asked)["error"]
        assert "has ended: the server waits for answers" in again["message"]


def test_a_request_without_answers_is_asked_again(legacy: Bridges) -> None:
    here, there = legacy.pair()
    asked = ask(here)
    unanswered = {**asked, "inputRequests": {}}
    repeated = answer(there, unanswered)["result"]
    assert (repeated["resultType"], repeated["inputRequests"]) == ("input_required", asked["inputRequests"])
    assert "Ada" in json.dumps(answer(there, repeated)["result"]["content"])


def test_the_end_of_the_bridge_of_a_suspended_call_is_reported(tmp_path: Path) -> None:
    with sharing(tmp_path) as found:
        here, there = found.pair()
        asked = ask(here)
        found.processes[0].kill()
        found.processes[0].wait(60)
        error = answer(there, asked)["error"]
        assert error["message"].startswith("The replica of the bridge in which the call")
        assert "Call again" in error["message"]


def test_without_a_store_the_error_names_the_remedy(tmp_path: Path) -> None:
    with bridges(tmp_path) as found:
        here, there = found.pair()
        error = answer(there, ask(here))["error"]
        assert "waits in another replica of the bridge" in error["message"]
        assert "set `store`, or let the balancer send each client to one replica" in error["message"]
        task = begin(here, "slow")
        error = told(there, "tasks/get", task)["error"]
        assert "set `store`, or let the balancer send each client to one replica" in error["message"]


def begin(one: Connection, tool: str) -> JsonObject:
    name = f"t_s_{tool}"
    task = one.modern("tools/call", {"name": name, "arguments": {}, "_meta": ABLE}, name)["result"]
    assert task["resultType"] == "task"
    return dict(task)


def told(one: Connection, method: str, task: JsonObject, **more: Any) -> JsonObject:
    return one.modern(method, {"taskId": task["taskId"], "_meta": ABLE, **more}, task["taskId"])


def test_a_task_of_another_bridge_is_read_and_cancelled(either: Bridges) -> None:
    here, there = either.pair()
    task = begin(here, "slow")
    while (state := told(there, "tasks/get", task)["result"])["status"] == "working":
        pass
    assert (state["status"], state["taskId"]) == ("completed", task["taskId"])
    assert state == told(here, "tasks/get", task)["result"]
    endless = begin(here, "endless")
    assert told(there, "tasks/cancel", endless)["result"]["resultType"] == "complete"
    assert told(here, "tasks/get", endless)["result"]["status"] == "cancelled"
    unknown = {"taskId": "f" * 32 + task["taskId"][32:]}
    assert "is unknown or has ended" in told(there, "tasks/get", unknown)["error"]["message"]


def test_input_for_a_task_reaches_its_bridge(modern: Bridges) -> None:
    here, there = modern.pair()
    task = begin(here, "ask")
    while (state := told(there, "tasks/get", task)["result"])["status"] == "working":
        pass
    assert state["status"] == "input_required"
    answers = {key: {"action": "accept", "content": {"name": "Ada"}} for key in state["inputRequests"]}
    told(there, "tasks/update", task, inputResponses=answers)
    while (state := told(there, "tasks/get", task)["result"])["status"] != "completed":
        assert state["status"] in {"working", "input_required"}
    assert "Ada" in json.dumps(state["result"])


def test_a_session_waits_for_the_result_of_a_task_of_another_bridge(either: Bridges) -> None:
    here, there = either.pair()
    session = here.initialize()

    def in_session(one: Connection, method: str, **params: Any) -> JsonObject:
        return one.in_session(session, {"id": 5, "method": method, "params": params})

    def start(tool: str) -> str:
        begun = in_session(here, "tools/call", name=f"t_s_{tool}", arguments={}, task={"ttl": 60_000})
        return str(begun["result"]["task"]["taskId"])

    slow, asks, ended = start("slow"), start("ask"), start("endless")
    result = in_session(there, "tasks/result", taskId=slow)["result"]
    assert result == in_session(here, "tasks/result", taskId=slow)["result"]
    refused = in_session(there, "tasks/result", taskId=asks)["error"]
    assert refused["message"].startswith("The task needs an answer of the client")
    assert in_session(there, "tasks/cancel", taskId=ended)["result"]["status"] == "cancelled"
    assert "was cancelled" in in_session(there, "tasks/result", taskId=ended)["error"]["message"]


def test_a_session_lists_its_tasks_of_all_bridges_page_by_page(legacy: Bridges) -> None:
    pair = legacy.pair()
    here, there = pair
    session, other = here.initialize(), there.initialize()

    def start(one: Connection, session: str) -> str:
        params = {"name": "t_s_endless", "arguments": {}, "task": {"ttl": 600_000}}
        begun = one.in_session(session, {"id": 6, "method": "tools/call", "params": params})
        return str(begun["result"]["task"]["taskId"])

    def page(one: Connection, session: str, **params: str) -> JsonObject:
        return one.in_session(session, {"id": 7, "method": "tasks/list", "params": params})

    strange = start(here, other)
    begun = [start(pair[number % 2], session) for number in range(104)]
    first = page(here, session)["result"]
    assert [one["taskId"] for one in first["tasks"]] == begun[:100]
    later = start(there, session)
    second = page(there, session, cursor=first["nextCursor"])["result"]
    assert [one["taskId"] for one in second["tasks"]] == [*begun[100:], later]
    assert "nextCursor" not in second
    assert [one["taskId"] for one in page(here, other)["result"]["tasks"]] == [strange]
    for cursor in ("x", "YQ", first["nextCursor"] + "\u00e9"):
        assert page(here, session, cursor=cursor)["error"]["code"] == -32602


def replicas_at(one: Connection) -> JsonObject:
    """Return what a bridge shows of both, as soon as the other one has told it that it is ready."""
    while True:
        found: JsonObject = json.loads(one.ask("GET", "/admin/api/replicas").read())
        if found["ready"] == 2:
            return found


def test_the_console_of_each_bridge_shows_both(legacy: Bridges) -> None:
    pair = legacy.pair()
    found = [replicas_at(one) for one in pair]
    assert found[0]["seen"] != found[1]["seen"]
    for one in found:
        assert (one["ready"], one["store"]) == (2, "ready")
        assert [each["state"] for each in one["replicas"]] == ["ready", "ready"]
        assert [each["name"] for each in one["replicas"] if each["is_seen"]] == [one["seen"]]
    assert {each["name"] for each in found[0]["replicas"]} == {one["seen"] for one in found}
    page = pair[0].ask("GET", "/", Accept="text/html").read().decode()
    assert f"<b>{found[0]['seen']}</b> made this page" in page
    assert found[1]["seen"] in page


def test_the_terminal_shows_both_bridges_and_where_each_call_ran(legacy: Bridges) -> None:
    command = [sys.executable, "-m", "utcp_bridge", "top", f"http://127.0.0.1:{legacy.ports[0]}"]
    pair = legacy.pair()
    names = [replicas_at(one)["seen"] for one in pair]
    for one in pair:
        one.modern("tools/call", {"name": "t_s_seen", "arguments": {}, "_meta": ABLE}, "t_s_seen")
    done = subprocess.run([*command, "--once"], capture_output=True, text=True, timeout=200, check=True)
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    assert f"Replicas (2 of 2 ready, seen from {names[0]})" in lines
    for name in names:
        assert [line for line in lines if line.startswith("ready") and name in line]
        assert [line for line in lines if line.startswith("ok") and "seen" in line and line.endswith(name)]


# --- the way itself ---


@pytest.mark.anyio
async def test_outcomes_partial_results_and_errors_come_back(tmp_path: Path) -> None:
    with redis_server(tmp_path) as redis:
        async with opened_store(redis) as one, opened_store(redis) as two:
            here, there = RequestsAcross(one, ""), RequestsAcross(two, "")
            other_part = RequestsAcross(two, "profile")

            async def work(asked: JsonObject) -> JsonObject:
                if asked["how"] == "input":
                    raise InputRequired({"a": {}}, "state", "origin")
                if asked["how"] == "refused":
                    raise ProtocolError(-7, "no", {"b": 1})
                if asked["how"] == "broken":
                    raise ConfigError("canary")
                return {"text": asked["text"]}

            async def answer(asked: JsonObject, emit: Any) -> JsonObject:
                await emit({"partial": 1})
                return await outcome_of(work(asked))

            there.answer("kind", answer)
            other_part.answer("kind", answer)
            await until_alive(one, there.name)
            heard: list[Any] = []

            async def hear(value: Any) -> None:
                heard.append(value)

            with anyio.fail_after(60):
                for size in (1, 2_000_000):  # the larger one goes through the store, there and back
                    outcome = await here.ask(there.name, "kind", {"how": "", "text": "x" * size}, hear)
                    assert result_of(outcome) == {"text": "x" * size}
                assert heard == [{"partial": 1}] * 2
                with pytest.raises(InputRequired) as required:
                    result_of(await here.ask(there.name, "kind", {"how": "input"}, discard))
                assert (required.value.requests, required.value.state) == ({"a": {}}, "state")
                with pytest.raises(ProtocolError, match="no") as refused:
                    result_of(await here.ask(there.name, "kind", {"how": "refused"}, discard))
                assert (refused.value.code, refused.value.data) == (-7, {"b": 1})
                broken = await here.ask(there.name, "kind", {"how": "broken"}, discard)
                assert "Internal error" in broken["refused"][1]
                assert "canary" not in json.dumps(broken)
            assert await one.run(lambda client: client.keys("utcp-replicas:request*")) == []
            with pytest.raises(ReplicaGone):
                await here.ask("00000000", "kind", {}, discard)


@pytest.mark.anyio
async def test_a_request_that_is_cancelled_is_cancelled_there(tmp_path: Path) -> None:
    with redis_server(tmp_path) as redis:
        async with opened_store(redis) as one, opened_store(redis) as two:
            here, there = RequestsAcross(one, ""), RequestsAcross(two, "")
            began, ended = anyio.Event(), anyio.Event()

            async def endless(_asked: JsonObject, _emit: Any) -> JsonObject:
                began.set()
                try:
                    await anyio.sleep_forever()
                finally:
                    ended.set()
                return {}

            there.answer("kind", endless)
            await until_alive(one, there.name)
            with anyio.fail_after(60):
                async with anyio.create_task_group() as group:
                    group.start_soon(here.ask, there.name, "kind", {}, discard)
                    await began.wait()
                    group.cancel_scope.cancel()
                await ended.wait()


async def until_alive(store: SharedStore, name: str) -> None:
    await until(lambda: store.is_alive(name))


@pytest.mark.anyio
async def test_a_bridge_that_ends_says_so(tmp_path: Path) -> None:
    with redis_server(tmp_path) as redis:
        async with opened_store(redis) as one:
            async with opened_store(redis) as two:
                await until_alive(one, two.name)
            assert not await one.is_alive(two.name)
