import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.auth.redaction import Redactor
from utcp_bridge.model import Source, Tool
from utcp_bridge.net.preview import NativeRequest, Visible, names_credential
from utcp_bridge.placement.encoding import compact_json


def masked(**parts):
    redactor = Redactor()
    redactor.learn(["hunter2-secret"])
    return NativeRequest(**{"line": "GET https://h/", **parts}).masked(redactor)


@pytest.mark.parametrize(
    "name", ["Authorization", "X-Api-Key", "cookie", "client_secret", "accessToken", "PASSWORD", "X-Auth"]
)
def test_names_of_credentials_are_recognised(name):
    assert names_credential(name)


@pytest.mark.parametrize("name", ["Accept", "Author", "token_url", "keyword", "var_name", "city"])
def test_other_names_are_not_credentials(name):
    assert not names_credential(name)


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("GET https://h/p?a=1&api_key=abc&b=2", "GET https://h/p?a=1&api_key=***&b=2"),
        ("GET https://h/p?q=hunter2-secret", "GET https://h/p?q=***"),
        ("GET https://user:pass@h/p", "GET https://***@h/p"),
        ("GET https://h/p?a=%20b&c", "GET https://h/p?a=%20b&c"),
        ("curl -s https://h/?token=abc", "curl -s https://h/?token=***"),
        ("GET https://[bad/", "GET https://[bad/"),
    ],
)
def test_only_credentials_in_the_request_line_are_masked(line, shown):
    assert masked(line=line).line == shown


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("Authorization", "Bearer abc", "Bearer ***"),
        ("Authorization", "abc", "***"),
        ("Cookie", "sid=1; theme=dark", "sid=***; theme=***"),
        ("X-Api-Key", "abc", "***"),
        ("X-Trace", "of hunter2-secret", "of ***"),
        ("Accept", "text/csv", "text/csv"),
        ("X-Key", "", ""),
    ],
)
def test_credentials_in_fields_are_masked_by_name_and_by_value(name, value, shown):
    assert masked(fields=((name, value),)).fields == ((name, shown),)


def test_known_secrets_are_masked_in_messages_of_any_bytes():
    request = masked(messages=(b'{"key": "hunter2-secret"}', b"\xff hunter2-secret \xfe"))
    assert request.messages == (b'{"key": "***"}', b"\xff *** \xfe")


def test_the_text_has_line_fields_and_messages():
    request = NativeRequest("POST https://h/", (("A", "b"),), (b'{"n": 1}', b"\x00\x01"), ("Twice.",))
    assert request.as_text() == 'POST https://h/\nA: b\n\n{"n": 1}\n\n00 01 (hexadecimal)'


def test_the_json_form_is_complete():
    request = NativeRequest("POST https://h/", (("A", "b"),), (b"hello", b"\xff\x00"), ("Twice.",))
    assert request.as_json() == {
        "request": "POST https://h/",
        "fields": [["A", "b"]],
        "messages": ["hello", {"hex": "ff 00"}],
        "notes": ["Twice."],
    }


def test_the_repr_shows_nothing_that_may_be_secret():
    assert (
        repr(NativeRequest("GET https://h/?k=hunter2", (("A", "hunter2"),), (b"hunter2",))) == "NativeRequest(notes=())"
    )


# --- what an explanation shows of the operator's template ----------------------------------------

TOOL = Tool(
    Source("shop"),
    "addItem",
    "http",
    {},
    description="Add an item to a shelf.",
    inputs={"type": "object", "properties": {"shelf": {}, "item": {}}},
)
SECRET = st.text(st.sampled_from("ABCXYZabcxyz0123456789_-"), min_size=6, max_size=20).map(lambda text: f"q7{text}9")


def hidden(request, arguments, *, is_command=False):
    told = request.hidden(Visible.of(TOOL, arguments), is_command=is_command)
    return told, f"{told.as_text()}{told.as_json()}"


@given(SECRET)
def test_a_literal_of_the_operator_is_shown_in_no_place_of_a_request(secret):
    places = [
        NativeRequest(f"POST https://user:{secret}@h/{secret}/items?{'q'}={secret}#{secret}"),
        NativeRequest("POST https://h/", (("X-Acme", secret), ("Cookie", f"sid={secret}"), ("Authorization", secret))),
        NativeRequest("POST https://h/", messages=(json.dumps({"pass": secret, "deep": [{"n": secret}]}).encode(),)),
        NativeRequest("POST https://h/", messages=(f"a={secret}&b=1".encode(),)),
        NativeRequest("tcp://h:1", messages=(b"\x00\x00\x00\x09" + secret.encode(),)),
        NativeRequest("tcp://h:1", messages=(f"LOGIN {secret}\n".encode(),)),
    ]
    for request in places:
        assert secret not in hidden(request, {"shelf": "a b", "item": 4})[1]
    for line in (
        f"curl -u me:{secret}",
        f"tool --key={secret} --key {secret}",
        f"sh -c 'echo {secret}'",
        f"x -p{secret}",
    ):
        assert secret not in hidden(NativeRequest(line), {}, is_command=True)[1]


def test_arguments_names_and_the_host_are_shown():
    request = NativeRequest(
        "POST https://api.example:8443/v1/shelf/a%20b/items?item=4&region=eu",
        (("Content-Type", "application/json"), ("Authorization", "Bearer abc")),
        (b'{"shelf":"a b","note":"fixed","item":4,"dry":true}',),
    )
    told, _ = hidden(request, {"shelf": "a b", "item": 4})
    assert told.line == "POST https://api.example:8443/v1/shelf/a%20b/items?item=4&region=***"
    assert told.fields == (("Content-Type", "application/json"), ("Authorization", "Bearer ***"))
    assert told.messages == (b'{"shelf":"a b","note":"***","item":4,"dry":true}',)
    assert "--show-values" in told.notes[-1]


PARTS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda one: st.lists(one) | st.dictionaries(st.text(), one),
).filter(lambda value: isinstance(value, dict | list))


@given(PARTS)
def test_an_argument_with_parts_is_shown_as_the_json_of_the_request(value):
    line = f"GET http://127.0.0.1:9/items?item={quote(compact_json(value), safe='')}"
    assert hidden(NativeRequest(line), {"item": value})[0].line == line


def test_a_command_is_shown_with_its_program_options_and_arguments():
    told, _ = hidden(NativeRequest("grep -n --item=4 'a b' --format=x"), {"shelf": "a b", "item": 4}, is_command=True)
    assert told.line.startswith("grep -n --item=4 'a b' ")
    assert "=x" not in told.line
