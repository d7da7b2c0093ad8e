"""Text of other programs on a real pseudo-terminal: no verb writes their sequences; a pipe receives all bytes."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from utcp_bridge.cli.command import run
from utcp_bridge.cli.output import heading, note, print_json, print_line, print_text

HOSTILE = "\x1b]0;title\x07\x1b[1;31m\x1b[2J\x1b[1mbold\x9b3J\x9d0;x\x9c\x1bPq\x1b\\\u202e\x7f\x08\x1b(0"
FORBIDDEN = ("\x1b]", "\x1b[2J", "\x1b[1;31m", "\x9b", "\x9d", "\x1bP", "\u202e", "\x7f", "\x08", "\x1b(0")


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        host = f"http://127.0.0.1:{self.server.server_address[1]}"
        status, kind, body = {
            "/text": (200, "text/plain; charset=utf-8", f"plain {HOSTILE}"),
            "/json": (200, "application/json", json.dumps({f"key {HOSTILE}": [HOSTILE]}, ensure_ascii=False)),
            "/error": (400, "text/plain; charset=utf-8", f"bad {HOSTILE}"),
            "/manual": (200, "application/json", json.dumps(manual(host))),
        }[self.path]
        self.send_response(status)
        self.send_header("content-type", kind)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_arguments) -> None:
        pass


def manual(host: str) -> dict:
    def tool(name: str, **fields) -> dict:
        template = {"call_template_type": "http", "http_method": "GET", "url": f"{host}/{name}"}
        return {"name": name, "tool_call_template": template, **fields}

    inputs = {"type": "object", "properties": {f"p{HOSTILE}": {"type": HOSTILE, "enum": [HOSTILE], "default": HOSTILE}}}
    described = tool("text", description=f"about {HOSTILE}", title=HOSTILE, tags=[HOSTILE], inputs=inputs)
    broken = {"name": f"odd{HOSTILE}", "tool_call_template": {"call_template_type": f"none{HOSTILE}"}}
    info = {"title": f"I{HOSTILE}", "description": HOSTILE}
    return {"utcp_version": "1.0.1", "info": info, "tools": [described, tool("json"), tool("error"), broken]}


@pytest.fixture(scope="module")
def host():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def configuration(host, tmp_path):
    template = {"name": "m", "call_template_type": "http", "http_method": "GET", "url": f"{host}/manual"}
    path = tmp_path / "utcp.json"
    path.write_text(json.dumps({"manual_call_templates": [template]}))
    return str(path)


VERBS = [
    ["call", "CONFIG", "m.text"],
    ["call", "CONFIG", "m.text", "--stream"],
    ["call", "CONFIG", "m.json"],
    ["call", "CONFIG", "m.error"],
    ["tools", "CONFIG"],
    ["search", "CONFIG", "about"],
    ["describe", "CONFIG", "m.text"],
    ["explain", "CONFIG", "m.text"],
    ["check", "CONFIG"],
    ["doctor", "CONFIG"],
    ["validate", "URL"],
    ["convert", "URL"],
]


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: "-".join(verb[::2]))
def test_no_verb_writes_the_sequences_of_others_to_a_terminal(terminal, configuration, host, verb, as_json):
    words = [{"CONFIG": configuration, "URL": f"{host}/manual"}.get(word, word) for word in verb]
    with terminal:
        run([*words, *(["--json"] if as_json and verb[0] != "convert" else [])])
    shown = terminal.shown()
    assert shown
    assert [sequence for sequence in FORBIDDEN if sequence in shown] == []


def test_json_on_a_terminal_is_the_same_value_in_ascii_escapes(terminal):
    value = {HOSTILE: [HOSTILE, "\u65e5\u3000\u672c", "\U000e0041"]}
    with terminal:
        print_json(value)
    shown = terminal.shown()
    assert json.loads(shown) == value
    assert [sequence for sequence in FORBIDDEN if sequence in shown] == []
    assert "\u65e5\u3000\u672c" in shown


def test_lines_on_a_terminal_have_no_style_but_that_of_headings(terminal):
    with terminal:
        print_line(f"{heading(HOSTILE)} {HOSTILE}")
        print_text(HOSTILE)
        note(HOSTILE)
    shown = terminal.shown()
    assert [sequence for sequence in FORBIDDEN if sequence in shown] == []
    assert shown.startswith("\x1b[1m")


def test_a_pipe_receives_text_as_it_is(capsys):
    print_text(HOSTILE)
    assert capsys.readouterr().out == f"{HOSTILE}\n"
