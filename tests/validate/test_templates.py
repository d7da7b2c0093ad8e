import pytest

from utcp_bridge.validate.findings import Findings
from utcp_bridge.validate.templates import check_template

HTTP = {"call_template_type": "http", "url": "https://api.example.com/{id}"}


def check(raw, **options):
    findings = Findings()
    template = check_template(raw, ("t",), findings, **options)
    return template, [(one.severity, one.pointer, one.what) for one in findings.faults]


@pytest.mark.parametrize(
    "raw",
    [
        HTTP,
        {"provider_type": "http_stream", "url": "https://api.example.com", "timeout": 500},
        {"call_template_type": "tcp", "host": "h", "port": "${PORT}"},
        {**HTTP, "url": "${BASE}/x"},
        {**HTTP, "auth": {"auth_type": "api_key", "api_key": "Bearer ${K}"}, "x-note": 1, "_meta": 2},
        {"call_template_type": "mcp", "config": {"mcpServers": {"s": {"command": "x"}}}, "tool_name": "t"},
        {"call_template_type": "cli", "command": "git", "args": ["log", "{{n}}"]},
    ],
)
def test_a_good_template_is_left_in_peace(raw):
    template, told = check(raw)
    assert template is not None
    assert told == []


@pytest.mark.parametrize(
    ("raw", "pointer", "words"),
    [
        (3, "/t", "a number, not an object"),
        ({"url": "https://x.example"}, "/t", "has no `call_template_type`"),
        ({"call_template_type": "htp"}, "/t/call_template_type", "no transport of type 'htp'"),
        ({"provider_type": "htp"}, "/t/provider_type", "no transport"),
        ({**HTTP, "url": "no address"}, "/t/url", "lacks its scheme or host"),
        ({**HTTP, "url": 3}, "/t/url", "valid string"),
        ({"call_template_type": "http"}, "/t", "`url` is missing"),
        ({**HTTP, "http_method": "FETCH"}, "/t/http_method", "must be one of DELETE"),
        ({**HTTP, "headers": {"X": "{{a|nope}}"}}, "/t", "nope"),
        ({**HTTP, "url": "${BASE}/x", "headers": {"X": "{{a|nope}}"}}, "/t", "nope"),
        ({**HTTP, "request_plan": {"parameters": 3}}, "/t", "request plan"),
        ({**HTTP, "auth": {"auth_type": "api_key"}}, "/t/auth", "no `api_key`"),
        ({**HTTP, "auth": "x"}, "/t/auth", "is text, not an object"),
        ({"call_template_type": "tcp", "host": "h", "port": "x"}, "/t/port", "valid integer"),
        (
            {"call_template_type": "mcp", "config": {"mcpServers": {"s": {}}}},
            "/t/config/mcpServers/s",
            "`command` or `url`",
        ),
    ],
)
def test_what_makes_a_template_useless_is_an_error_at_its_place(raw, pointer, words):
    _, told = check(raw)
    assert [(severity, place) for severity, place, _ in told] == [("error", pointer)]
    assert words in told[0][2]


def test_keys_that_nothing_reads_are_warned_of():
    assert check({**HTTP, "htpp_method": "GET"})[1] == [
        ("warning", "/t/htpp_method", "nothing reads the key 'htpp_method'.")
    ]
    [told] = check({**HTTP, "trusted": True})[1]
    assert told[:2] == ("warning", "/t/trusted")
    assert "means nothing in a manual" in told[2]
    assert check({**HTTP, "trusted": True}, configured=True)[1] == []


def test_secrets_in_a_manual_are_warned_of_and_never_shown():
    inner = {"auth_type": "basic", "username": "u", "password": "s3cret"}
    auth = {"auth_type": "any", "options": [{"auth_type": "api_key", "api_key": "s3cret"}, inner]}
    _, told = check({**HTTP, "auth": auth})
    assert [place for _, place, _ in told] == ["/t/auth/options/0/api_key", "/t/auth/options/1/password"]
    assert "s3cret" not in str(told)
    assert check({**HTTP, "auth": inner}, configured=True)[1] == []


def test_the_auth_beside_a_template_is_its_own():
    template, told = check(HTTP, beside={"auth": {"auth_type": "basic", "username": "${U}", "password": "${P}"}})
    assert told == []
    assert template["auth"]["username"] == "${U}"
