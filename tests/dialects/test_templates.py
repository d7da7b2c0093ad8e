"""One call template of any dialect in v1 names, units and auth fields."""

import pytest

from utcp_bridge.dialects.readings import Notes
from utcp_bridge.dialects.templates import read_protocols, read_template, warn_of_unknown_fields


def read(raw, **options):
    notes = Notes()
    return read_template(raw, "here", notes, **options), notes


@pytest.mark.parametrize(
    ("raw", "seconds"),
    [
        ({"provider_type": "http_stream", "timeout": 60000}, 60.0),
        ({"call_template_type": "streamable_http", "timeout": 500}, 0.5),
        ({"call_template_type": "tcp", "timeout": 30000}, 30.0),
        ({"provider_type": "udp", "timeout": 30000}, 30.0),
        ({"provider_type": "grpc", "timeout": 2000}, 2.0),
        ({"call_template_type": "websocket", "timeout": 30}, 30.0),
        ({"call_template_type": "websocket", "timeout": 30000}, 30.0),
        ({"call_template_type": "http", "timeout": 10}, 10.0),
    ],
)
def test_a_timeout_is_in_seconds_for_every_type(raw, seconds):
    template, notes = read(raw)

    assert template["timeout"] == seconds
    assert notes.faults == []


def test_a_timeout_that_looks_like_the_wrong_unit_is_warned_of():
    _, notes = read({"call_template_type": "tcp", "timeout": 30})

    assert str(notes.faults[0]) == ("here: `timeout` is only 0.03 seconds. Write it in milliseconds for this type.")


def test_an_invalid_timeout_is_replaced_by_the_default():
    template, notes = read({"call_template_type": "tcp", "timeout": "soon"})

    assert "timeout" not in template
    assert [fault.severity for fault in notes.faults] == ["warning"]
    assert read({"call_template_type": "tcp", "timeout": None})[1].faults == []


def test_reading_does_not_change_the_document():
    raw = {"provider_type": "http_stream", "timeout": 5000, "auth": {"type": "token", "token": "t"}}
    before = {**raw, "auth": dict(raw["auth"])}

    template, _ = read(raw)

    assert raw == before
    assert template["call_template_type"] == "streamable_http"
    assert template["auth"]["api_key"] == "Bearer t"


def test_the_auth_next_to_a_template_is_used_unless_the_template_has_its_own():
    beside = {"auth": {"auth_type": "basic", "username": "u", "password": "p"}}
    own = {"auth_type": "api_key", "api_key": "k"}

    assert read({"call_template_type": "http"}, beside=beside)[0]["auth"] == beside["auth"]
    assert read({"call_template_type": "http", "auth": own}, beside=beside)[0]["auth"] == own
    assert "auth" not in read({"call_template_type": "http", "auth": None}, beside={})[0]


def test_the_auth_of_generated_tools_is_rewritten_too():
    template, _ = read({"call_template_type": "http", "auth_tools": {"type": "token", "token_var": "T"}})

    assert template["auth_tools"]["api_key"] == "Bearer ${T}"


def test_an_auth_that_only_declares_a_variable_leaves_none():
    template, notes = read({"call_template_type": "http", "auth": {"auth_type": "api_key", "var_name": "K"}})

    assert "auth" not in template
    assert notes.declared == {"K": ""}


def test_allowed_types_get_their_v1_names():
    template, _ = read({"call_template_type": "text", "allowed_communication_protocols": ["http_stream", "cli"]})

    assert template["allowed_communication_protocols"] == ["streamable_http", "cli"]


@pytest.mark.parametrize("allowed", ["http", [1], {}])
def test_allowed_types_that_are_not_a_list_are_ignored_with_a_warning(allowed):
    template, notes = read({"call_template_type": "text", "allowed_communication_protocols": allowed})

    assert "allowed_communication_protocols" not in template
    assert "is not a list of types" in notes.faults[0].what
    assert read_protocols({}, "here", notes) is None


@pytest.mark.parametrize(
    ("raw", "what"),
    [
        (None, "the call template is null, not an object"),
        ("s3cret", "the call template is text, not an object"),
        ({"url": "u"}, 'Did you mean "call_template_type": "http"?'),
        ({"signaling_server": "u", "peer_id": "p"}, 'Did you mean "call_template_type": "webrtc"?'),
        ({"headers": {}}, "Add one, such as"),
        ({"call_template_type": 5}, "has no `call_template_type`"),
        ({"call_template_type": "http", "auth": "s3cret"}, "auth: `auth` is text"),
    ],
)
def test_a_template_that_cannot_be_read_is_one_fault(raw, what):
    template, notes = read(raw)

    assert template is None
    assert len(notes.faults) == 1
    assert what in str(notes.faults[0])
    assert "s3cret" not in str(notes.faults[0])


@pytest.mark.parametrize(
    ("raw", "dialects"),
    [
        ({"provider_type": "http"}, {"v0"}),
        ({"type": "http"}, {"v0"}),
        ({"call_template_type": "http"}, {"v1"}),
        ({"call_template_type": "http", "query_params": {}}, {"v1", "extended"}),
        ({"call_template_type": "cli", "command": "curl", "args": []}, {"v1", "extended"}),
        ({"call_template_type": "mcp", "server_url": "u"}, {"v1", "extended"}),
        ({"call_template_type": "websocket", "message_template": {}}, {"v1", "extended"}),
    ],
)
def test_the_dialect_of_a_template_is_detected(raw, dialects):
    assert read(raw)[1].dialects == dialects


def test_an_unknown_key_of_a_template_is_warned_of_with_the_nearest_one():
    notes = Notes()
    template = {"name": "n", "call_template_type": "http", "htpp_method": "GET", "trusted": True, "x-note": 1, "$id": 2}

    warn_of_unknown_fields(template, frozenset({"url", "http_method"}), "here", notes)

    assert [str(fault) for fault in notes.faults] == [
        "here: nothing reads the key 'htpp_method'. Did you mean 'http_method'?"
    ]
    assert notes.faults[0].severity == "warning"
