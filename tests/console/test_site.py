"""The page and the admin API of a running bridge: what they show, and whom they refuse."""

import json
from urllib.parse import urlsplit

import anyio
import pytest
from tests.console.conftest import WEATHER, text_manual

from utcp_bridge.access.approvals import ApprovalDesk, ApprovalOptions, ApprovalRecords, Pending
from utcp_bridge.access.rules import open_rules
from utcp_bridge.access.tokens import TokenFile
from utcp_bridge.auth.redaction import Redactor
from utcp_bridge.client.extensions import Extensions
from utcp_bridge.settings import BridgeSettings
from utcp_bridge.stores.opening import open_store

pytestmark = pytest.mark.anyio
TOKEN = "a-token-of-some-length"


async def test_the_page_shows_manuals_and_tools_and_writes_foreign_text_as_text(serving):
    async def work(served):
        page = await served.ask("/?tool=weather.get")
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page.text
        assert "<script>alert" not in page.text
        assert 'data-field="city"' in page.text
        assert "<b>weather" not in (await served.ask("/console/tool?name=weather.get")).text
        tried = await served.act("/console/try", {"tool": "weather.get", "what": "call", "fields": {"city": "Paris"}})
        assert "&lt;img src=x onerror=alert(2)&gt;" in tried.text
        assert "<img" not in tried.text
        assert "Nothing is sent" in tried.text

    await serving(work, text_manual("weather", WEATHER))


async def test_a_name_cannot_turn_the_direction_of_the_text_or_have_invisible_letters(serving):
    odd = {**WEATHER, "name": "rtl_\u202egnp\u200b", "description": "From \u2066left\u2069"}

    async def work(served):
        page = await served.ask("/?tool=weather.rtl_%E2%80%AEgnp%E2%80%8B")
        assert page.text.count("weather.rtl_gnp<") == 2
        assert "From left" in page.text
        # What is sent names the tool as it is.
        tried = {"tool": "weather.rtl_\u202egnp\u200b", "what": "call", "fields": {"city": "Paris"}}
        assert "onerror=alert(2)" in (await served.act("/console/try", tried)).text

    await serving(work, text_manual("weather", odd))


async def test_every_reply_forbids_scripts_of_others_frames_and_stores(serving):
    async def work(served):
        replies = [
            await served.ask(path)
            for path in (
                "/",
                "/console/parts/tools",
                "/admin/api/status",
                "/admin/api/none",
                "/console/assets/console.js",
            )
        ]
        assert [one.status_code for one in replies] == [200, 200, 200, 404, 200]
        for reply in replies:
            policy = reply.headers["content-security-policy"]
            assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
            assert "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy
            assert reply.headers["x-frame-options"] == "DENY"
            assert reply.headers["referrer-policy"] == "no-referrer"
            assert reply.headers["x-content-type-options"] == "nosniff"
            assert reply.headers["cache-control"] in {"no-store", "no-cache"}
        assert "style=" not in replies[0].text
        assert "<style" not in replies[0].text
        assert "onclick" not in replies[0].text

    await serving(work, text_manual("weather", WEATHER))


async def test_a_page_of_another_site_reads_nothing_and_changes_nothing(serving):
    body = {"tool": "weather.get", "arguments": {"city": "x"}}

    async def work(served):
        own = served.url
        assert (await served.ask("/", host="evil.example")).status_code == 421
        assert (await served.ask("/admin/api/status", host="evil.example:80")).status_code == 421
        for origin in ("https://evil.example", "http://127.0.0.1:1", "null"):
            assert (await served.ask("/admin/api/status", origin=origin)).status_code == 403
            assert (await served.act("/admin/api/call", body, origin=origin)).status_code == 403
        assert (await served.ask("/admin/api/call", body, origin=own)).status_code == 403
        assert (await served.ask("/admin/api/call", body)).status_code == 403
        assert (await served.act("/admin/api/call", body, sec_fetch_site="same-site")).status_code == 403
        assert (await served.ask("/admin/api/status", sec_fetch_site="cross-site")).status_code == 403
        assert (await served.act("/admin/api/call", body, content_type="text/plain")).status_code == 415
        assert (await served.ask("/", sec_fetch_site="cross-site")).status_code == 200
        done = await served.act("/admin/api/call", body, origin=own, sec_fetch_site="same-origin")
        assert (done.status_code, done.json()["result"]["content"][0]["text"]) == (200, "<img src=x onerror=alert(2)>")

    await serving(work, text_manual("weather", WEATHER), allowed_browser_origins=["https://evil.example"])


@pytest.mark.parametrize("header", ["x_forwarded_for", "x_forwarded_host", "x_real_ip"])
async def test_a_program_behind_a_proxy_is_not_on_this_machine(serving, header):
    async def work(served):
        reply = await served.ask("/admin/api/status", **{header: "192.0.2.7"})
        assert (reply.status_code, "telemetry.console" in reply.json()["remedy"]) == (403, True)

    await serving(work, text_manual("weather", WEATHER))


async def test_a_bridge_with_a_token_shows_nothing_until_it_is_given(serving):
    async def work(served):
        page = await served.ask("/")
        assert (page.status_code, "weather" in page.text, "bearer token" in page.text) == (401, False, True)
        for path in ("/admin/api/status", "/admin/api/openapi.json", "/console/parts/manuals", "/console/events"):
            assert (await served.ask(path)).status_code == 401
        assert (await served.act("/admin/api/retry", {"manual": "weather"})).status_code == 401
        wrong = await served.act("/console/session", {"secret": "wrong"})
        assert (wrong.status_code, "--scope console" in wrong.json()["message"]) == (401, True)
        assert (await served.ask("/console/session", {"secret": TOKEN})).status_code == 403
        assert (await served.ask("/admin/api/status", authorization=f"Bearer {TOKEN}")).status_code == 200
        entered = await served.act("/console/session", {"secret": TOKEN})
        cookie = entered.headers["set-cookie"]
        assert (entered.status_code, "HttpOnly; SameSite=Strict" in cookie, TOKEN in cookie) == (204, True, False)
        assert "weather" in (await served.ask("/")).text  # the client keeps the cookie, as a browser does
        assert (await served.ask("/admin/api/status", origin="https://evil.example")).status_code == 403
        left = await served._http.request("DELETE", "/console/session", headers={"x-utcp-console": "1"})
        assert left.status_code == 204
        assert (await served.ask("/admin/api/status")).status_code == 401

    await serving(work, text_manual("weather", WEATHER), bearer_token=TOKEN)


async def test_behind_a_proxy_with_https_the_page_names_that_address_and_its_cookie_is_for_https(serving):
    async def work(served):
        outside = {"x_forwarded_proto": "https", "x_forwarded_for": "192.0.2.7"}
        for headers, scheme in ((outside, "https"), ({}, "http")):
            entered = await served.act("/console/session", {"secret": TOKEN}, **headers)
            assert (entered.status_code, "; Secure" in entered.headers["set-cookie"]) == (204, scheme == "https")
            shown = await served.ask("/console/parts/hosts", authorization=f"Bearer {TOKEN}", **headers)
            assert f"{scheme}://127.0.0.1" in shown.text

    await serving(work, text_manual("weather", WEATHER), bearer_token=TOKEN, console="on")


async def test_a_tool_that_is_gone_is_named_with_what_to_do(serving):
    async def work(served):
        page = await served.ask("/?tool=weather.%3Cb%3Egone")
        assert "The bridge has no tool weather.&lt;b&gt;gone." in page.text
        tried = await served.act("/console/try", {"tool": "weather.gone", "what": "call", "fields": {}})
        assert (tried.status_code, "Not called" in tried.text) == (200, True)
        assert "Search the tools again." in tried.text

    await serving(work, text_manual("weather", WEATHER))


async def test_a_console_that_is_off_leaves_the_start_page(serving):
    async def work(served):
        assert (await served.ask("/")).headers["content-type"] == "text/plain; charset=utf-8"
        assert (await served.ask("/admin/api/status")).status_code == 404

    await serving(work, text_manual("weather", WEATHER), console="off")


async def test_a_bridge_without_jinja_says_what_to_install(serving, monkeypatch):
    monkeypatch.setattr("utcp_bridge.server.web.console_door.find_spec", lambda _name: None)

    async def work(served):
        page = await served.ask("/")
        assert (page.status_code, "[console]" in page.text) == (200, True)
        assert (await served.ask("/admin/api/status")).status_code == 501

    await serving(work, text_manual("weather", WEATHER))


async def test_a_broken_manual_shows_its_cause_and_is_ready_after_repair_and_retry(serving, tmp_path):
    file = tmp_path / "late.json"

    async def work(served):
        part = (await served.ask("/console/parts/manuals")).text
        assert "failed" in part
        assert "late.json" in part
        assert (await served.act("/admin/api/retry", {"manual": "late"})).json()["state"] == "failed"
        file.write_text(json.dumps({"utcp_version": "1.0.1", "tools": [WEATHER]}))
        assert (await served.act("/admin/api/retry", {"manual": "late"})).json()["state"] == "ready"
        assert (await served.ask("/admin/api/tool?name=late.get")).json()["name"] == "late.get"

    await serving(work, {"name": "late", "call_template_type": "text", "file_path": "late.json"})


async def test_changes_of_the_state_are_events(serving, tmp_path):
    file = tmp_path / "late.json"

    async def work(served):
        async with served._http.stream("GET", "/console/events") as events:
            lines = events.aiter_lines()
            assert await anext(lines) == ": here"
            file.write_text(json.dumps({"utcp_version": "1.0.1", "tools": [WEATHER]}))
            await served.client.refresh("late")
            with anyio.fail_after(200):
                async for line in lines:
                    if line.startswith("data: "):
                        assert set(json.loads(line.removeprefix("data: "))) == {"manuals", "tools"}
                        break

    await serving(work, {"name": "late", "call_template_type": "text", "file_path": "late.json"})


async def test_wrong_requests_get_one_sentence(serving):
    async def work(served):
        cases = [
            (await served.act("/admin/api/call", {"tool": "none.at_all"}), 404, "There is no tool"),
            (await served.act("/admin/api/call", {"tool": "weather.get", "arguments": []}), 400, "must be an object"),
            (await served.act("/admin/api/retry", {}), 400, "`manual`"),
            (await served.act("/admin/api/retry", {"manual": "none"}), 400, "No manual is named 'none'"),
            (await served.act("/admin/api/retry", [1]), 400, "JSON object"),
            (await served.act("/admin/api/status", {}), 405, "Use GET"),
            (await served.ask("/admin/api/tools?limit=x"), 400, "`limit`"),
            (await served.ask("/console/parts/none"), 404, "no such part"),
            (await served.act("/admin/api/call", {"tool": "x" * 1_100_000}), 413, "more than"),
        ]
        for reply, status, words in cases:
            assert (reply.status_code, words in reply.json()["message"]) == (status, True), reply.text
        tried = await served.act("/console/try", {"tool": "weather.get", "fields": {"city": "x", "days": "many"}})
        assert "days: write a whole number" in tried.text
        tried = await served.act("/console/try", {"tool": "weather.get", "json": "[1]"})
        assert "must be a JSON object" in tried.text

    await serving(work, text_manual("weather", WEATHER))


async def test_decisions_need_a_visitor_whom_the_bridge_knows(serving, tmp_path):
    access = {"rules": [{"do": "ask"}], "approvals": {"store": "file:approvals", "ways": ["operator"]}}
    rules = open_rules(access["rules"], seconds=60, profiles=[])
    options = ApprovalOptions.read(access["approvals"])
    rules.asker = ApprovalDesk(options, options.open_store(tmp_path, BridgeSettings()), Redactor())
    body = {"tool": "weather.get", "arguments": {"city": "<b>Paris"}}

    async def unknown(served):
        refused = (await served.act("/admin/api/call", body)).json()["result"]
        assert (refused["isError"], "needs an approval" in refused["content"][0]["text"]) == (True, True)
        [waiting] = (await served.ask("/admin/api/approvals")).json()["approvals"]
        assert "&lt;b&gt;Paris" in (await served.ask("/console/parts/approvals")).text
        for decision in ("/admin/api/decide", {"id": waiting["id"], "decision": "approve"}), ("/admin/api/approve", {}):
            reply = await served.act(*decision)
            assert (reply.status_code, "bearer_token" in reply.json()["remedy"]) == (403, True)

    async def known(served):
        [waiting] = (await served.ask("/admin/api/approvals", authorization=f"Bearer {TOKEN}")).json()["approvals"]
        for decision, status in (("maybe", 400), ("approve", 200), ("approve", 400)):
            asked = {"id": waiting["id"], "decision": decision}
            reply = await served.act("/admin/api/decide", asked, authorization=f"Bearer {TOKEN}")
            assert reply.status_code == status
        decided = (await served.ask("/admin/api/approvals", authorization=f"Bearer {TOKEN}")).json()["approvals"]
        assert [(one["state"], one["by"]) for one in decided] == [("approved", "console (shared)")]

    manual, extensions = text_manual("weather", WEATHER), Extensions(ruling=rules)
    await serving(unknown, manual, extensions=extensions, access=access)
    await serving(known, manual, extensions=extensions, access=access, bearer_token=TOKEN)


async def test_a_token_cannot_approve_a_call_that_was_made_with_it(serving, tmp_path):
    access = {"rules": [{"do": "ask"}], "approvals": {"store": "file:approvals", "ways": ["operator"]}}
    rules = open_rules(access["rules"], seconds=60, profiles=[])
    options = ApprovalOptions.read(access["approvals"])
    rules.asker = ApprovalDesk(options, options.open_store(tmp_path, BridgeSettings()), Redactor())
    file = TokenFile(tmp_path / "tokens.json")
    agent, operator = (f"Bearer {file.add(name, scopes=['console']).value}" for name in ("agent", "operator"))

    async def work(served):
        shared = f"Bearer {TOKEN}"
        for city, asker, decider in (("Paris", agent, operator), ("Rome", shared, agent)):
            body = {"tool": "weather.get", "arguments": {"city": city}}
            await served.act("/admin/api/call", body, authorization=asker)
            waiting = (await served.ask("/admin/api/approvals", authorization=asker)).json()["approvals"]
            [ident] = [one["id"] for one in waiting if city in one["shown"]]
            entered = await served.act("/console/session", {"secret": asker.removeprefix("Bearer ")})
            cookie = entered.headers["set-cookie"].partition(";")[0]
            served.forget_cookies()
            for own in ({"authorization": asker}, {"cookie": cookie}, {"cookie": cookie, "authorization": decider}):
                reply = await served.act("/admin/api/decide", {"id": ident[:6], "decision": "approve"}, **own)
                assert (reply.status_code, ident in reply.json()["remedy"]) == (403, True), reply.text
            again = await served.act("/admin/api/call", body, authorization=asker)
            assert "needs an approval" in again.json()["result"]["content"][0]["text"]
            decision = {"id": ident, "decision": "approve"}
            reply = await served.act("/admin/api/decide", decision, authorization=decider)
            assert (reply.status_code, reply.json()["state"]) == (200, "approved")
            called = await served.act("/admin/api/call", body, authorization=asker)
            assert not called.json()["result"].get("isError")

    manual, extensions = text_manual("weather", WEATHER), Extensions(ruling=rules)
    options = {"extensions": extensions, "access": {**access, "tokens_file": str(file.path)}, "bearer_token": TOKEN}
    await serving(work, manual, **options)


async def test_approvals_are_those_of_rules_that_came_later_and_bad_records_are_not_shown(serving, tmp_path):
    folder = tmp_path / "approvals"
    records = ApprovalRecords(open_store("file:approvals", folder=folder, root=tmp_path))
    pending = dict.fromkeys(Pending.__slots__, "x") | {"asked": 1, "ends": 250_000_000_000}

    async def work(served):
        assert (await served.ask("/admin/api/approvals")).json()["approvals"] == []
        settings = served.client.settings
        fresh = BridgeSettings(access_rules=[{"do": "ask"}], approvals={"store": "file:approvals"})
        settings.take_over(fresh, ("access_rules", "approvals"))
        await records.add("a", Pending(**pending))
        for number, bad in enumerate([{"id": "y"}, {**pending, "why": 1}, {**pending, "ends": 1e300}]):
            await records._store.put(f"bad {number}", {"state": "pending", "ends": 250_000_000_000, **bad})
        assert [one["id"] for one in (await served.ask("/admin/api/approvals")).json()["approvals"]] == ["x"]
        assert "<h3>x</h3>" in (await served.ask("/console/parts/approvals")).text

    await serving(work, text_manual("weather", WEATHER))


async def test_a_store_of_approvals_that_is_away_leaves_the_rest_of_the_page(serving):
    async def work(served):
        page = (await served.ask("/")).text
        assert "cannot be used" in page
        assert "weather" in page
        assert (await served.ask("/admin/api/approvals")).status_code == 400
        async with served._http.stream("GET", "/console/events") as events:
            lines = events.aiter_lines()
            assert await anext(lines) == ": here"
            await served.act("/admin/api/call", {"tool": "weather.get", "arguments": {"city": "x"}})
            with anyio.fail_after(200):
                while "calls" not in await anext(lines):
                    pass

    access = {"approvals": {"store": "redis://127.0.0.1:1/0"}}
    await serving(work, text_manual("weather", WEATHER), access=access)


async def test_a_client_that_leaves_in_its_body_is_not_an_error(serving, caplog):
    async def work(served):
        address = urlsplit(served.url)
        head = f"POST /admin/api/call HTTP/1.1\r\nhost: {address.netloc}\r\ncontent-type: application/json\r\n"
        async with await anyio.connect_tcp("127.0.0.1", address.port) as stream:
            await stream.send(f"{head}x-utcp-console: 1\r\ncontent-length: 9\r\n\r\n{{".encode())
        assert (await served.ask("/admin/api/status")).status_code == 200

    await serving(work, text_manual("weather", WEATHER))
    assert not [one for one in caplog.records if one.levelname == "ERROR"]


async def test_calls_and_entries_of_hosts_are_shown(serving):
    async def work(served):
        assert "No call yet" in (await served.ask("/console/parts/calls")).text
        await served.act("/admin/api/call", {"tool": "weather.get", "arguments": {"city": "x"}})
        await served.act("/admin/api/call", {"tool": "weather.get", "arguments": {"city": 1, "no": 2}})
        found = (await served.ask("/admin/api/calls?limit=5")).json()
        assert [one["outcome"] for one in found["calls"]] == ["invalid_arguments", "ok"]
        assert "1 of 2 calls failed" in (await served.ask("/console/parts/calls")).text
        hosts = {one["host"]: one["text"] for one in (await served.ask("/admin/api/hosts")).json()["hosts"]}
        assert f"{served.url}/mcp" in hosts["cursor"]
        assert "does not compare" in (await served.ask("/admin/api/drift")).json()["message"]

    await serving(work, text_manual("weather", WEATHER))


async def test_a_browser_at_an_address_that_is_refused_gets_a_page_that_says_what_to_do(serving):
    async def work(served):
        port = served.url.rpartition(":")[2]
        host = f"x&y.example:{port}"
        page = await served.ask("/", host=host)
        assert (page.status_code, page.headers["content-type"]) == (421, "text/html; charset=utf-8")
        assert "does not accept the Host header" in page.text
        assert "add it to the setting `allowed_hosts`" in page.text
        assert "x&amp;y.example" in page.text
        assert "default-src 'none'" in page.headers["content-security-policy"]
        elsewhere = await served.ask("/", x_forwarded_for="192.0.2.1")
        assert (elsewhere.status_code, "Set `telemetry.console` to `on`" in elsewhere.text) == (403, True)
        program = await served.ask("/admin/api/status", accept="application/json", host=host)
        assert (program.status_code, program.json()["setting"]) == (421, "allowed_hosts")
        assert program.headers["cache-control"] == page.headers["cache-control"] == "no-store"

    await serving(work)
