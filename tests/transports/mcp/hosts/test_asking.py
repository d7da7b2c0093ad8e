"""MCP servers ask the hosts of their calls: each pair of protocol eras, each pair of transports, with real hosts."""

import os
import sys
from functools import partial

import anyio
import mcp_types as types
import pytest
from mcp import MCPError
from tests.support.asking_bridge import (
    ERAS,
    ROOT,
    Person,
    asking_server,
    bridge,
    bridge_over_http,
    command,
    configuration,
    serving_bridge,
)
from tests.support.loop_clock import later
from tests.upstreams.mcp_asking import PAGE, AskingServer, asking_http

from utcp_bridge.server.hosts import suspended

pytestmark = pytest.mark.anyio
WAYS = ("stdio", "http")
ADA = {"action": "accept", "content": {"name": "ada"}}
ROOTS = {"roots": [{"uri": "file:///home/ada"}]}


@pytest.mark.parametrize("host_way", WAYS)
@pytest.mark.parametrize("host_era", ERAS)
@pytest.mark.parametrize("server_way", WAYS)
@pytest.mark.parametrize("server_era", ERAS)
async def test_a_server_asks_the_host_of_a_call_in_either_era(server_era, server_way, host_era, host_way, tmp_path):
    async with (
        asking_server(server_era, server_way) as server,
        bridge(configuration(server), host_way, tmp_path) as target,
        Person("ada").connected(target, host_era) as ada,
    ):
        assert await ada.call("confirm") == ADA
        assert (await ada.call("sample"))["content"]["text"] == "ada"
        assert await ada.call("roots") == ROOTS
        assert await ada.call("consent") == {"action": "accept"}
        assert await ada.call("twice") == [ADA, ADA]
        assert await ada.call("both") == {"one": ADA, "two": ROOTS}
        able = await ada.call("able")
        assert (able["sampling"], able["elicitation"], able["roots"]) == (
            {},
            {"form": {}, "url": {}},
            {"listChanged": True},
        )
        prompt = await ada.client.get_prompt("letter")
        assert "ada" in prompt.messages[0].content.text
        assert ada.asked.count("elicitation form") == 5
        assert ada.asked.count("sampling 7") == 1


@pytest.mark.parametrize("action", ["decline", "cancel"])
@pytest.mark.parametrize("host_era", ERAS)
@pytest.mark.parametrize("server_era", ERAS)
async def test_a_refusal_of_the_person_passes_as_it_is(server_era, host_era, action):
    async with (
        asking_server(server_era, "http") as server,
        bridge_over_http(configuration(server)) as url,
        Person("ada", action=action).connected(url, host_era) as ada,
    ):
        assert await ada.call("confirm") == {"action": action}


@pytest.mark.parametrize("host_era", ERAS)
@pytest.mark.parametrize("server_way", WAYS)
async def test_a_host_without_the_capability_is_not_asked(server_way, host_era):
    async with (
        asking_server("handshake", server_way) as server,
        bridge_over_http(configuration(server)) as url,
        Person("bob", abilities=("roots",)).connected(url, host_era) as bob,
    ):
        refused = await bob.call("failing")
        assert refused["code"] == -32601
        assert "does not support sampling" in refused["message"]
        assert await bob.call("roots") == {"roots": [{"uri": "file:///home/bob"}]}
        assert "sampling" not in await bob.call("able")


@pytest.mark.parametrize("host_era", ERAS)
@pytest.mark.parametrize("server_way", WAYS)
async def test_a_server_of_both_eras_is_met_in_the_era_of_a_host_over_http(server_way, host_era):
    """Over stdio, hosts over HTTP share its one process, so only a setting gives them their own."""
    async with asking_server("both", server_way) as server:
        config = configuration({**server, **({"sessions": "per_host"} if server_way == "stdio" else {})})
        async with bridge_over_http(config) as url, Person("ada").connected(url, host_era) as ada:
            assert await ada.call("confirm") == ADA
            assert await ada.call("twice") == [ADA, ADA]


@pytest.mark.parametrize("host_era", ERAS)
async def test_a_server_that_asks_for_roots_at_once_learns_those_of_its_one_host(host_era, tmp_path):
    config = configuration(command("handshake-roots"))
    async with bridge(config, "stdio", tmp_path) as target, Person("ada").connected(target, host_era) as ada:
        known = await ada.call("known", {"uri": "file:///home/ada"})
        assert ROOTS in known
        assert {"roots": [{"uri": "file:///home/bob"}]} not in known


@pytest.mark.parametrize("eras", [("handshake", "modern"), ("handshake", "handshake")])
async def test_a_server_that_asks_for_roots_at_once_has_a_process_for_each_host(eras):
    async with (
        bridge_over_http(configuration(command("handshake-roots"))) as url,
        Person("ada").connected(url, eras[0]) as ada,
        Person("bob").connected(url, eras[1]) as bob,
    ):
        known = (
            await ada.call("known", {"uri": "file:///home/ada"}),
            await bob.call("known", {"uri": "file:///home/bob"}),
        )
        assert known == ([ROOTS], [{"roots": [{"uri": "file:///home/bob"}]}])


@pytest.mark.parametrize("host_era", ERAS)
async def test_a_tool_that_is_called_through_a_meta_tool_asks_too(host_era):
    async with (
        asking_server("handshake", "http") as server,
        bridge_over_http(configuration(server)) as url,
        Person("ada").connected(url, host_era) as ada,
    ):
        result = await ada.client.call_tool("call_tool", {"name": "up_s_confirm", "arguments": {}})
        assert result.content[0].text == '{"action": "accept", "content": {"name": "ada"}}'


@pytest.mark.parametrize("host_era", ERAS)
async def test_a_server_over_stdio_starts_once_for_a_host_over_stdio(host_era, tmp_path):
    record = tmp_path / "starts"
    config = configuration(command("handshake", record))
    async with bridge(config, "stdio", tmp_path) as target, Person("ada").connected(target, host_era) as ada:
        assert await ada.call("confirm") == ADA
        assert await ada.call("roots") == ROOTS
        assert len(record.read_text().split()) == 1


async def test_hosts_share_a_server_over_stdio_that_never_asks(tmp_path):
    record = tmp_path / "starts"
    async with (
        bridge_over_http(configuration(command("handshake", record))) as url,
        Person("ada").connected(url, "handshake") as ada,
        Person("bob").connected(url, "modern") as bob,
    ):
        assert await ada.call("quiet") == await bob.call("quiet") == await ada.call("quiet")
        assert len(record.read_text().split()) == 1


@pytest.mark.parametrize("setting", [None, "per_host"])
@pytest.mark.parametrize("eras", [("handshake", "handshake"), ("modern", "modern"), ("handshake", "modern")])
async def test_two_hosts_at_a_server_over_stdio_never_receive_what_is_for_the_other(eras, setting):
    server = command("handshake") if setting is None else command("handshake", sessions=setting)
    people = [Person("ada"), Person("bob")]
    async with (
        bridge_over_http(configuration(server)) as url,
        people[0].connected(url, eras[0]) as ada,
        people[1].connected(url, eras[1]) as bob,
    ):
        if setting is None:
            assert await ada.call("confirm") == ADA
        said = {"ada": [], "bob": []}

        async def talk(person):
            for _ in range(5):
                answer = await person.call("both")
                assert "one" in answer, (person.name, answer)
                said[person.name].append((answer["one"]["content"]["name"], answer["two"]["roots"][0]["uri"]))

        async with anyio.create_task_group() as group:
            for person in (ada, bob, ada, bob):
                group.start_soon(talk, person)
        for name, answers in said.items():
            assert answers == [(name, f"file:///home/{name}")] * 10


async def test_a_request_that_could_be_for_either_of_two_hosts_is_refused():
    """Before the server has asked anything, both hosts use one process, and stdio does not say whom it asks."""
    asked = {}
    async with (
        bridge_over_http(configuration(command("handshake", sessions="shared"))) as url,
        Person("ada").connected(url, "handshake") as ada,
        Person("bob").connected(url, "handshake") as bob,
    ):
        ada.waits = anyio.Event()

        async def first():
            asked["ada"] = await ada.call("confirm")

        async with anyio.create_task_group() as group:
            group.start_soon(first)
            await ada.is_asked.wait()
            asked["bob"] = await bob.call("failing")
            ada.waits.set()
        assert asked["ada"] == ADA
        assert "Several clients have calls in flight" in asked["bob"]["message"]
        assert bob.asked == []


async def test_a_question_that_may_be_for_either_of_two_calls_outlives_the_first_that_ends():
    """Outside of the stream of a call, the server does not say which of the calls of one host it asks for."""
    asking, said = AskingServer("handshake"), {}
    async with (
        asking_http(asking) as server,
        bridge_over_http(configuration({"url": server, "sessions": "shared"})) as url,
        Person("ada", waits=anyio.Event()).connected(url, "handshake") as ada,
        anyio.create_task_group() as group,
    ):

        async def call(tool, **arguments):
            said[tool] = await ada.call(tool, arguments)

        with anyio.fail_after(60):
            await asking.until("GET")
            group.start_soon(partial(call, "aside", after="go"))
            await asking.until("aside")
            async with anyio.create_task_group() as later:
                later.start_soon(call, "stay")
                await asking.until("staying")
                asking.note("go")
                await ada.is_asked.wait()
                asking.note("leave")
            assert said == {"stay": "left"}
            ada.waits.set()
    assert said["aside"] == ADA


async def test_progress_of_a_suspended_call_reaches_its_own_host_alone():
    asking = AskingServer("handshake")
    heard = {"ada": [], "bob": []}
    async with (
        asking_http(asking) as server,
        bridge_over_http(configuration({"url": server})) as url,
        Person("ada").connected(url, "modern") as ada,
        Person("bob").connected(url, "handshake"),
    ):

        async def hold(person):
            async def progress(done, total, message):
                heard[person.name].append((done, total, message))

            answer = await person.call("hold", {"who": person.name}, progress_callback=progress)
            assert answer["content"]["name"] == person.name

        async with anyio.create_task_group() as group:
            group.start_soon(hold, ada)
            await asking.until("holding")
            asking.note("go ada")
        assert heard == {"ada": [(1, 2, "before")], "bob": []}


async def test_changed_roots_reach_the_session_of_their_host():
    asking = AskingServer("handshake")
    async with (
        asking_http(asking) as server,
        bridge_over_http(configuration({"url": server, "sessions": "per_host"})) as url,
        Person("ada").connected(url, "handshake") as ada,
        Person("bob").connected(url, "handshake") as bob,
    ):
        assert await ada.call("roots") == ROOTS
        assert await bob.call("roots") == {"roots": [{"uri": "file:///home/bob"}]}
        with anyio.fail_after(60):
            await ada.client.session.send_notification(types.RootsListChangedNotification())
            await asking.until(ROOTS)
        assert [one for one in asking.seen if one != "GET"] == ["roots changed", ROOTS]


async def test_a_page_that_a_call_requires_is_opened_by_each_host_in_its_own_way():
    asking = AskingServer("handshake")
    async with asking_http(asking) as server, bridge_over_http(configuration({"url": server})) as url:
        async with Person("ada").connected(url, "handshake") as ada:
            with pytest.raises(MCPError) as refused:
                await ada.call("page")
            assert refused.value.code == -32042
            assert refused.value.data["elicitations"][0]["url"] == PAGE
            assert await ada.call("page") == "welcome"
        asking.opened.clear()
        async with Person("ada").connected(url, "modern") as ada:
            assert await ada.call("page") == "welcome"
            assert ada.asked == ["elicitation url"]
        asking.opened.clear()
        async with Person("eve", action="decline").connected(url, "modern") as eve:
            assert "did not open the page" in (await eve.call("page"))["error"]
        asking.opened.clear()
        async with Person("bob", abilities=()).connected(url, "handshake") as bob:
            error = (await bob.call("page"))["error"]
            assert PAGE in error
            assert "opens a page first" in error


async def test_the_end_of_a_page_reaches_the_host_that_was_asked_to_open_it():
    asking = AskingServer("handshake")
    async with (
        asking_http(asking) as server,
        bridge_over_http(configuration({"url": server})) as url,
        Person("ada").connected(url, "handshake") as ada,
        Person("bob").connected(url, "handshake") as bob,
    ):
        assert await ada.call("complete") == {"action": "accept"}
        with anyio.fail_after(60):
            while "ElicitCompleteNotification" not in ada.heard:
                await anyio.lowlevel.checkpoint()
        assert "ElicitCompleteNotification" not in bob.heard


async def test_a_server_that_never_has_enough_ends_with_an_error():
    async with (
        asking_server("modern", "http") as server,
        bridge_over_http(configuration(server)) as url,
        Person("ada").connected(url, "handshake") as ada,
    ):
        assert "asked for input 10 times" in (await ada.call("endless"))["error"]
        assert ada.asked == ["elicitation form"] * 10


@pytest.mark.parametrize("host_era", ERAS)
async def test_a_host_that_never_answers_ends_the_question(host_era):
    server = AskingServer("handshake")
    async with (
        asking_http(server) as upstream,
        serving_bridge(configuration({"url": upstream}, ask_timeout=40)) as (url, served),
        Person("ada").connected(url, host_era) as ada,
    ):
        ada.waits = anyio.Event()
        ended = []

        async def call():
            try:
                ended.append(await ada.call("failing", {"ask": "confirm"}))
            except MCPError as error:
                ended.append(error)

        async with anyio.create_task_group() as group:
            group.start_soon(call)
            await ada.is_asked.wait()
            await later(40)
            await server.until("refused -32001")
            while served.interaction.calls:
                await anyio.lowlevel.checkpoint()
            ada.waits.set()
        if host_era == "modern":
            assert ended[0].code == types.INVALID_PARAMS
            assert "waits for answers for at most 40 seconds. Call again, without `requestState`" in ended[0].message
        else:
            assert "did not answer elicitation/create within 40 seconds" in ended[0]["message"]


async def test_a_cancelled_call_ends_at_the_server_too():
    """A host of 2026-07-28 gives up while its call is not suspended."""
    server = AskingServer("handshake")
    async with (
        asking_http(server) as upstream,
        serving_bridge(configuration({"url": upstream})) as (url, served),
        Person("ada").connected(url, "modern") as ada,
    ):
        async with anyio.create_task_group() as group:
            group.start_soon(ada.call, "hold")
            await server.until("holding")
            assert served.interaction.calls == 1
            group.cancel_scope.cancel()
        with anyio.fail_after(60):
            await server.until("cancelled")
            while served.interaction.calls:
                await anyio.lowlevel.checkpoint()


async def test_a_changed_or_foreign_state_is_refused():
    async with (
        asking_server("handshake", "http") as server,
        bridge_over_http(configuration(server)) as url,
        Person("ada").connected(url, "modern") as ada,
    ):
        session = ada.client.session
        first = await session.call_tool("up_s_confirm", {}, allow_input_required=True)
        (key,) = first.input_requests
        answer = {key: types.ElicitResult(action="accept", content={"name": "ada"})}

        async def retry(tool="up_s_confirm", arguments=None, state=first.request_state):
            return await session.call_tool(tool, arguments or {}, input_responses=answer, request_state=state)

        for wrong in (
            {"tool": "up_s_sample"},
            {"arguments": {"x": 1}},
            {"state": first.request_state[:-2] + "AA"},
            {"state": "made up"},
            {"state": ""},
        ):
            with pytest.raises(MCPError) as refused:
                await retry(**wrong)
            assert (refused.value.code, refused.value.data) == (-32602, {"reason": "invalid_request_state"})
        assert (await retry()).content[0].text == '{"action": "accept", "content": {"name": "ada"}}'
        with pytest.raises(MCPError, match="has ended"):
            await retry()


async def test_replicas_that_share_a_key_accept_the_states_of_servers_of_2026():
    key = "k" * 32
    async with (
        asking_server("modern", "http") as server,
        bridge_over_http(configuration(server, state_key=key)) as here,
        bridge_over_http(configuration(server, state_key=key)) as there,
        bridge_over_http(configuration(server)) as strange,
        Person("ada").connected(here, "modern") as one,
        Person("ada").connected(there, "modern") as two,
        Person("ada").connected(strange, "modern") as three,
    ):
        first = await one.client.session.call_tool("up_s_confirm", {}, allow_input_required=True)
        assert "mine" not in first.request_state
        answer = {"q": types.ElicitResult(action="accept", content={"name": "ada"})}
        given = {"input_responses": answer, "request_state": first.request_state}
        done = await two.client.session.call_tool("up_s_confirm", {}, **given)
        assert "ada" in done.content[0].text
        with pytest.raises(MCPError, match="requestState"):
            await three.client.session.call_tool("up_s_confirm", {}, **given)


async def test_a_caller_has_a_limited_number_of_suspended_calls(monkeypatch):
    monkeypatch.setattr(suspended, "MAX_SUSPENDED_PER_OWNER", 2)
    async with (
        asking_server("handshake", "http") as server,
        serving_bridge(configuration(server)) as (url, served),
        Person("ada").connected(url, "modern") as ada,
    ):
        session = ada.client.session
        for _ in range(2):
            await session.call_tool("up_s_confirm", {}, allow_input_required=True)
        assert served.interaction.calls == 2
        refused = await ada.call("failing", {"ask": "confirm"})
        assert "2 calls of this client wait for its answers already" in refused["message"]


@pytest.mark.parametrize("host_era", ERAS)
async def test_a_call_that_waits_for_its_host_takes_no_slot_of_its_manual(host_era):
    server = AskingServer("handshake")
    async with (
        asking_http(server) as upstream,
        bridge_over_http(configuration({"url": upstream}, concurrency=1)) as url,
        Person("ada").connected(url, host_era) as ada,
        Person("bob").connected(url, host_era) as bob,
        anyio.create_task_group() as group,
    ):
        ada.waits, answers = anyio.Event(), []

        async def call():
            answers.append(await ada.call("confirm"))

        for _ in range(3):
            group.start_soon(call)
        with anyio.fail_after(60):
            while len(ada.asked) < 3:
                await anyio.lowlevel.checkpoint()
        assert isinstance(await bob.call("quiet"), int)
        assert answers == []
        ada.waits.set()
        with anyio.fail_after(60):
            while len(answers) < 3:
                await anyio.lowlevel.checkpoint()
        assert answers == [ADA] * 3
        assert isinstance(await bob.call("quiet"), int)


@pytest.mark.parametrize(
    ("ids", "refused"),
    [
        (["same"] * 100, 99),
        ([7] * 3 + ["7"] * 3, 4),
        ([*range(100)], 36),
        ([*range(64), *range(64)], 64),
        (["a", "b", "a", "c", "b"], 2),
    ],
)
async def test_the_questions_of_a_server_that_wait_are_limited_whatever_ids_they_have(ids, refused):
    flood = {"command": sys.executable, "args": ["-m", "tests.upstreams.mcp_flood"], "cwd": str(ROOT)}
    async with (
        bridge_over_http(configuration(flood)) as url,
        Person("ada", waits=anyio.Event()).connected(url, "handshake") as ada,
    ):
        for _ in range(2):  # the end of a call ends its questions, so the next one may send as many
            assert await ada.call("ask", {"ids": ids, "refused": refused}) == refused


async def test_the_session_of_a_host_at_a_server_ends_with_the_host(tmp_path):
    record = tmp_path / "starts"
    async with bridge_over_http(configuration(command("handshake", record, sessions="per_host"))) as url:
        async with Person("ada").connected(url, "handshake") as ada:
            pid = await ada.call("quiet")
            assert ada.client.session.protocol_version < "2026"
        with anyio.fail_after(60):
            while _is_running(pid):
                await anyio.lowlevel.checkpoint()


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
