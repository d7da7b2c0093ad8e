"""Every message over stdio gets a reply: a real process, pipes, and lines of every kind."""

import itertools
import json
import subprocess
import sys
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

INITIALIZE = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
MANUAL = {
    "utcp_version": "1.0.1",
    "tools": [{"name": "t", "inputs": {}, "tool_call_template": {"call_template_type": "text", "content": "fine"}}],
}
CONFIG = {"manual_call_templates": [{"name": "m", "call_template_type": "text", "content": json.dumps(MANUAL)}]}
NOBODY = None
"""The id of an error for a message without an id that can be read."""
MAX_SECONDS = 60


class Bridge:
    """A bridge process, and the replies that it has written."""

    def __init__(self, folder):
        path = folder / "utcp.json"
        path.write_text(json.dumps(CONFIG))
        command = [sys.executable, "-m", "utcp_bridge", "serve", str(path), "--log-level", "error"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen(command, cwd=folder, **pipes)
        self.arrived = threading.Condition()
        self.replies = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        message = {"jsonrpc": "2.0", "id": "first", "method": "initialize", "params": INITIALIZE}
        self.exchange([json.dumps(message).encode()], ["first"])
        self.send(b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n')

    def _read(self):
        for line in self.process.stdout:
            message = json.loads(line)
            assert message["jsonrpc"] == "2.0"
            if "method" not in message:
                with self.arrived:
                    self.replies.append(message)
                    self.arrived.notify_all()

    def send(self, data):
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def exchange(self, lines, identifiers):
        """Send lines, and return the replies once there is one for each of these ids."""
        self.replies.clear()
        self.send(b"".join(line + b"\n" for line in lines))

        def is_complete():
            found = [reply["id"] for reply in self.replies]
            return all(found.count(one) >= identifiers.count(one) for one in identifiers)

        with self.arrived:
            assert self.arrived.wait_for(is_complete, timeout=MAX_SECONDS), (lines, identifiers, self.replies)
            return list(self.replies)


@pytest.fixture(scope="module")
def bridge(tmp_path_factory):
    one = Bridge(tmp_path_factory.mktemp("bridge"))
    yield one
    one.process.stdin.close()
    assert one.process.wait(timeout=MAX_SECONDS) == 0
    one.reader.join()
    one.process.stdout.close()


numbers = itertools.count(1)


def request(params, *, method="ping", version='"2.0"', ident=None):
    """Return the text of a request, and its id."""
    number = next(numbers) if ident is None else ident
    return f'{{"jsonrpc":{version},"id":{json.dumps(number)},"method":"{method}","params":{params}}}', number


def call(arguments):
    return request(f'{{"name":"m_t","arguments":{arguments}}}', method="tools/call")


def known(made):
    """Return a line and the id that must be answered."""
    text, number = made
    return text.encode(), number


VALUES = st.sampled_from(
    [
        "{}",
        '{"v":"\\ud83d"}',
        '{"\\udc00":1}',
        '{"v":NaN}',
        '{"v":' + "9" * 5000 + "}",
        '{"v":1e999}',
        '{"v":' + "[" * 300 + "]" * 300 + "}",
        '{"v":' + '{"a":' * 9000 + "1" + "}" * 9000 + "}",
        '{"v":"\\u0000"}',
        '{"v":"\u2028"}',
        '{"v":1,"v":2}',
        "[1]",
        '"text"',
        "null",
        "7",
        "true",
        "",
        "{",
        "{bad}",
        "{'a':1}",
    ]
)
ANSWERED = st.one_of(
    VALUES.map(call),
    st.builds(
        request, VALUES, method=st.sampled_from(["ping", "tools/list", "nope", "", "initialize", "é", "a\\u0000"])
    ),
    st.builds(request, st.just("{}"), version=st.sampled_from(['"1.0"', "2", "null", '"2.0 "', "[]"])),
    st.builds(request, st.just("{}"), ident=st.uuids().map(str)),
).map(known)
MANGLED = st.builds(
    lambda made, junk: (made[0].replace(b'"params"', b'"x":"' + junk + b'","params"', 1), made[1]),
    ANSWERED,
    st.sampled_from([b"\xff", b"\xed\xa0\x80", b"\xc3", b"\xf8\x88\x80", b"\x80\x80"]),
)
ENDED = st.builds(
    lambda made, before, after: (before + made[0] + after, made[1]),
    st.one_of(ANSWERED, MANGLED),
    st.sampled_from([b"", b" ", b"\t", b"\r", b"\xef\xbb\xbf", b"\n", b"\r\n \n"]),
    st.sampled_from([b"", b"\r", b"  ", b"\n", b"\n\n\r"]),
)
UNKNOWN = st.sampled_from(
    [
        b"hello",
        b"\x00",
        b"\x00{}",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b"7",
        b'"text"',
        b"null",
        b'{"jsonrpc":"2.0","id":null,"method":"ping"}',
        b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}',
        b'{"jsonrpc":"2.0","id":true,"method":"ping"}',
        b'{"jsonrpc":"2.0","id":{},"method":"ping"}',
        b'{"jsonrpc":"2.0","method":"ping","params":[1]}',
        b'[{"jsonrpc":"2.0","method":"notifications/x"}]',
        b'{"jsonrpc":"2.0","id":1',
    ]
).map(lambda line: (line, NOBODY))
SILENT = st.sampled_from(
    [
        b"",
        b" \t\r",
        b'{"jsonrpc":"2.0","method":"notifications/unknown","params":{"a":1}}',
        b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"nobody"}}',
        b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":[]}}',
        b'{"jsonrpc":"2.0","id":"nobody","result":{}}',
        b'{"jsonrpc":"2.0","id":"nobody","error":{"code":1,"message":""}}',
        b'{"jsonrpc":"2.0","id":"nobody","result":' + b"[" * 300 + b"]" * 300 + b"}",
    ]
).map(lambda line: (line, ()))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(ENDED, UNKNOWN, SILENT), min_size=1, max_size=12))
def test_each_message_gets_one_reply(bridge, made):
    last, number = known(request("{}"))
    expected = [ident for _, ident in made if ident != ()]
    replies = bridge.exchange([*(line for line, _ in made), last], [*expected, number])
    assert sorted(map(str, (reply["id"] for reply in replies))) == sorted(map(str, [*expected, number]))


@pytest.mark.parametrize("place", ["head", "tail"])
def test_a_line_above_the_limit_is_refused_with_its_id(bridge, place):
    number = next(numbers)
    ident, rest = f'"id":{number}', f'"method":"ping","params":{{"x":"{"y" * 34_000_000}"}}'
    line = f'{{"jsonrpc":"2.0",{f"{ident},{rest}" if place == "head" else f"{rest},{ident}"}}}'
    [reply] = bridge.exchange([line.encode()], [number])
    assert reply["error"]["message"] == "Parse error: it is longer than a message may be."


def test_a_batch_gets_an_error_for_each_request(bridge):
    first, second = (request("{}") for _ in range(2))
    replies = bridge.exchange([f"[{first[0]},7,{second[0]}]".encode()], [first[1], second[1]])
    assert {reply["error"]["code"] for reply in replies} == {-32600}
