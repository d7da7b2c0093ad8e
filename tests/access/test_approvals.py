"""Approvals: bound to a principal, a tool and its arguments, used once, and refused if anything goes wrong."""

import json
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.steps import Step, make_call, make_tool

from utcp_bridge.access.approvals import ApprovalDesk, ApprovalOptions, ApprovalRecords, binding_of, signature
from utcp_bridge.access.principals import Principal
from utcp_bridge.access.rules import open_rules
from utcp_bridge.auth.redaction import Redactor
from utcp_bridge.errors import ConfigError, PolicyError
from utcp_bridge.model import discard
from utcp_bridge.pipeline.ruling import Rulings
from utcp_bridge.stores.file import FileStore
from utcp_bridge.stores.port import MemoryStore
from utcp_bridge.tasks import setting
from utcp_bridge.upstream import HOST, CallingHost, InputRequired, ProtocolError

pytestmark = pytest.mark.anyio
ANN = Principal("ann")
KEY = "k" * 32


def desk(store=None, redactor=None, **options):
    return ApprovalDesk(ApprovalOptions.read(options), store or MemoryStore(), redactor or Redactor())


async def approve(at, arguments=None, *, principal=ANN, tool=None):
    return await at.approve(make_call(tool or make_tool(), arguments or {}), principal, "careful", "It deletes.")


async def refused(at, arguments=None, **more):
    with pytest.raises(PolicyError) as caught:
        await approve(at, arguments, **more)
    return str(caught.value)


class Host(CallingHost):
    """A client whose person replies with this, or raises it."""

    def __init__(self, reply):
        self.capabilities = {"elicitation": {"form": {}}}
        self.reply, self.asked = reply, []

    async def ask(self, method, params):
        self.asked.append((method, params))
        if self.reply is None:
            await anyio.sleep_forever()
        if isinstance(self.reply, Exception):
            raise self.reply
        return self.reply


YES = {"action": "accept", "content": {"approve": True}}


async def test_the_person_at_the_host_sees_who_calls_what_with_which_arguments():
    redactor, host = Redactor(), Host(YES)
    redactor.learn(["s3cret-value"])
    with setting(HOST, host):
        approval = await approve(desk(redactor=redactor), {"a": "x s3cret-value\u202e\n", "password": "p"})
    assert approval["by"] == "host"
    [(method, params)] = host.asked
    assert (method, params["mode"]) == ("elicitation/create", "form")
    assert params["message"] == (
        "ann asks to call shop.search.\nThe rule 'careful' requires an approval.\nIt deletes.\n"
        'Arguments:\n{\n  "a": "x ***\\n",\n  "password": "***"\n}'
    )


async def test_what_is_shown_is_bounded_and_says_so():
    host = Host(YES)
    with setting(HOST, host):
        await approve(desk(), {"a": "x" * 100_000})
    message = host.asked[0][1]["message"]
    assert len(message) < 5_000
    assert "more characters are not shown. SHA-256 of all arguments: " in message


@pytest.mark.parametrize(
    "reply",
    [
        {"action": "decline"},
        {"action": "cancel"},
        {"action": "accept"},
        {"action": "accept", "content": {"approve": False}},
        {"action": "accept", "content": {"approve": "true"}},
        {"action": "accept", "content": {"approve": 1}},
        {"action": "accept", "content": []},
        {"action": "perhaps", "content": {"approve": True}},
        {},
        ProtocolError(-32600, "no"),
        None,
    ],
)
async def test_any_other_reply_of_a_host_refuses(reply):
    store = MemoryStore()
    with setting(HOST, Host(reply)):
        text = await refused(desk(store, timeout=0.05))
    assert "approve" in text or "did not decide" in text
    assert await store.keys() == []


async def test_without_a_host_the_operator_decides_and_the_approval_is_used_once():
    store = MemoryStore()
    at, records = desk(store), ApprovalRecords(store)
    text = await refused(at, {"a": 1})
    [waiting] = await records.waiting()
    assert f"utcp-bridge approvals approve {waiting['id']}" in text
    assert waiting["id"] in await refused(at, {"a": 1}), "the same request"
    assert (await records.decide(waiting["id"][:6], "approved", "bob", 60))["by"] == "bob"
    assert (await approve(at, {"a": 1}))["by"] == "bob"
    assert waiting["id"] not in await refused(at, {"a": 1})


async def test_a_denial_holds_until_it_ends():
    store = MemoryStore()
    at, records = desk(store), ApprovalRecords(store)
    await refused(at)
    [waiting] = await records.waiting()
    await records.decide(waiting["id"], "denied", "bob", 60)
    assert "bob did not approve" in await refused(at)
    assert await records.decide(waiting["id"], "approved", "bob", 60) is None
    assert "bob did not approve" in await refused(at)


async def test_approvals_end():
    store = MemoryStore()
    at, records = desk(store), ApprovalRecords(store)
    await refused(at)
    [waiting] = await records.waiting()
    await records.decide(waiting["id"], "approved", "bob", -1)
    assert "waits for the operator" in await refused(at)
    assert [one["state"] for one in await records.waiting()] == ["pending"]


async def test_requests_that_wait_are_bounded(monkeypatch):
    monkeypatch.setattr("utcp_bridge.access.approvals._MAX_PENDING", 2)
    at = desk()
    for number in range(2):
        await refused(at, {"n": number})
    assert "Too many calls wait" in await refused(at, {"n": 3})


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
ARGUMENTS = st.dictionaries(st.text(), VALUES, max_size=4)


@settings(deadline=None)
@given(ARGUMENTS, ARGUMENTS)
def test_an_approval_for_other_arguments_never_applies(approved, sent):
    async def take():
        store = MemoryStore()
        at, records = desk(store), ApprovalRecords(store)
        await refused(at, approved)
        [waiting] = await records.waiting()
        await records.decide(waiting["id"], "approved", "bob", 60)
        try:
            await approve(at, sent)
        except PolicyError:
            return False
        return True

    is_same = json.dumps(approved, sort_keys=True) == json.dumps(sent, sort_keys=True)
    assert anyio.run(take) is is_same


def test_a_binding_has_principal_tool_definition_and_arguments():
    tool, arguments = make_tool(), {"a": 1}
    bindings = [
        binding_of("ann", tool, arguments),
        binding_of("bob", tool, arguments),
        binding_of("ann", make_tool(name="other"), arguments),
        binding_of("ann", make_tool(template={"url": "https://elsewhere"}), arguments),
        binding_of("ann", tool, {"a": 1.0}),
        binding_of("ann", tool, {"a": True}),
        binding_of("ann", tool, {"a": "1"}),
        binding_of("ann", tool, {"a": 2**70}),
        binding_of("ann", tool, {"a": "\ud800"}),
    ]
    assert len(set(bindings)) == len(bindings)
    assert binding_of("ann", make_tool(), {"a": 1}) == bindings[0]
    with pytest.raises(ValueError, match="not JSON"):
        binding_of("ann", tool, {"a": b"bytes"})


@pytest.mark.parametrize("kind", ["memory", "file"])
async def test_concurrent_calls_use_an_approval_at_most_once(kind, tmp_path):
    store = MemoryStore() if kind == "memory" else FileStore(tmp_path / "approvals")
    at, records, used = desk(store), ApprovalRecords(store), []
    await refused(at)
    [waiting] = await records.waiting()
    await records.decide(waiting["id"], "approved", "bob", 60)

    async def call():
        with suppress(PolicyError):
            used.append(await approve(at))

    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(call)
    assert len(used) == 1


async def test_a_call_that_needs_input_gives_its_approval_back():
    host, rules = Host(YES), open_rules([{"do": "ask"}], asker=desk())
    step = Step(faults=[InputRequired({})])
    chain = Rulings(rules)(make_tool(), step)
    with setting(HOST, host):
        with pytest.raises(InputRequired):
            await chain(make_call(), discard)
        assert (await chain(make_call(), discard)).value == "done"
        assert len(host.asked) == 1
        await chain(make_call(), discard)
    assert len(host.asked) == 2


# --- the webhook ---------------------------------------------------------------------------------


@contextmanager
def webhook(reply):
    """Serve a webhook on loopback; `reply` makes status, body and signature of a request."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            seen.append((self.headers, body))
            status, data, signed = reply(self.headers["X-Utcp-Timestamp"], json.loads(body))
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("X-Utcp-Signature", signed)
            self.end_headers()
            with suppress(OSError):  # the bridge does not wait any more
                self.wfile.write(data)

        def log_message(self, *_arguments):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/hook", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def deciding(decision="approve", *, status=200, key=KEY, ident=None, about=None):
    def reply(timestamp, request):
        data = json.dumps({"id": ident or request["id"], "decision": decision, "by": "bob"}).encode()
        return status, data, signature(key, f"{timestamp}.{about or request['id']}", data)

    return reply


async def test_a_webhook_approves_with_a_signed_reply_to_a_signed_request():
    with webhook(deciding()) as (url, seen):
        approval = await approve(desk(webhook=url, key=KEY), {"a": 1})
    assert approval["by"] == "bob"
    [(headers, body)] = seen
    assert headers["X-Utcp-Signature"] == signature(KEY, headers["X-Utcp-Timestamp"], body)
    assert abs(int(headers["X-Utcp-Timestamp"]) - time.time()) < 3_600
    request = json.loads(body)
    assert (request["principal"], request["tool"], request["shown"]) == ("ann", "shop.search", '{\n  "a": 1\n}')


@pytest.mark.parametrize(
    "reply",
    [
        deciding("deny"),
        deciding("perhaps"),
        deciding(status=500),
        deciding(status=302),
        deciding(key="l" * 32),
        deciding(ident="another"),
        deciding(about="another"),
        lambda *_: (200, b"not JSON", ""),
    ],
)
async def test_any_other_reply_of_a_webhook_refuses(reply):
    with webhook(reply) as (url, _):
        text = await refused(desk(webhook=url, key=KEY, ways=["webhook", "operator"]))
    assert "did not approve" in text or "the webhook did not decide" in text


async def test_a_webhook_that_is_away_or_silent_refuses():
    released = threading.Event()

    def wait(*_):
        released.wait(60)
        return 500, b"", ""

    with webhook(wait) as (url, _):
        text = await refused(desk(webhook=url, key=KEY, timeout=0.1))
        released.set()
    assert "the webhook did not decide" in text
    assert "the webhook did not decide" in await refused(desk(webhook=url, key=KEY))


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"webhook": "http://example.com"}, "must begin with https://"),
        ({"webhook": "https://example.com"}, "`webhook` needs a `key`"),
        ({"way": ["host"]}, "way: Extra inputs"),
        ({"ways": ["mail"]}, "ways.0: Input should be"),
        ({"key": "short"}, "key:"),
    ],
)
def test_wrong_options_are_named(written, message):
    with pytest.raises(ConfigError) as caught:
        ApprovalOptions.read(written)
    assert message in str(caught.value)
    assert "short" not in str(caught.value)


def test_the_key_is_in_a_file_and_in_no_repr(tmp_path):
    (tmp_path / "key").write_text(KEY)
    options = ApprovalOptions.read({"key_file": str(tmp_path / "key"), "webhook": "https://example.com"})
    assert options.key.get_secret_value() == KEY
    assert KEY not in repr(options)


async def test_nobody_to_ask_is_a_refusal():
    assert "nobody can be asked" in await refused(desk(ways=["host", "webhook"]))
