import pytest

from utcp_bridge.auth.redaction import Redactor
from utcp_bridge.net.preview import NativeRequest, names_credential


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
