from typing import Any

import pytest
from pydantic import ValidationError

from utcp_bridge.errors import InvalidArguments, MalformedReply
from utcp_bridge.model import Binary, JsonObject
from utcp_bridge.placement.message import SocketTemplate, decode_reply, encode_request
from utcp_bridge.testing.services import make_call


def template(**fields: Any) -> SocketTemplate:
    return SocketTemplate.model_validate({"call_template_type": "tcp", "host": "h", "port": 7, **fields})


@pytest.mark.parametrize(
    ("fields", "arguments", "sent"),
    [
        ({}, {"a": 1, "b": None}, b'{"a":1,"b":null}'),
        ({"request_data_format": "text"}, {"a": "x", "b": 2.5}, b"x 2.5"),
        (
            {"request_data_format": "text", "request_data_template": "CMD:UTCP_ARG_a_UTCP_ARG;UTCP_ARG_b_UTCP_ARG"},
            {"a": "UTCP_ARG_b_UTCP_ARG", "b": [1, {"x": 2}]},
            b'CMD:UTCP_ARG_b_UTCP_ARG;[1,{"x":2}]',
        ),
        ({"wire": "tool"}, {"a": 1}, b'{"tool":"peer.echo","args":{"a":1}}\n'),
        ({"wire": "tool", "tool_name_style": "bare"}, {}, b'{"tool":"echo","args":{}}\n'),
    ],
)
def test_a_request_is_made_of_the_arguments(fields: JsonObject, arguments: JsonObject, sent: bytes) -> None:
    assert encode_request(template(**fields), make_call(arguments)) == sent


def test_a_text_template_names_the_argument_it_lacks() -> None:
    made = template(request_data_format="text", request_data_template="UTCP_ARG_a_UTCP_ARG")
    with pytest.raises(InvalidArguments, match="'a'"):
        encode_request(made, make_call({}))


def test_arguments_that_json_cannot_say_are_the_callers_fault() -> None:
    with pytest.raises(InvalidArguments, match="JSON"):
        encode_request(template(), make_call({"a": 2**80}))


def test_discovery_speaks_the_wires_own_form() -> None:
    assert template().discovery_request() == b'{"type":"utcp"}'
    assert template(wire="tool").discovery_request() == b'{"action":"list"}\n'


@pytest.mark.parametrize(
    ("fields", "data", "value"),
    [
        ({}, b'{"a": 1}', {"a": 1}),
        ({}, b" [1]", [1]),
        ({}, b"12", "12"),
        ({}, b"{not json", "{not json"),
        ({"response_format": "text"}, b"[1]", "[1]"),
        ({"response_format": "json"}, b"12", 12),
        ({"response_byte_format": None}, b"\xff", Binary(b"\xff")),
        ({"response_byte_format": "latin-1"}, b"\xfc", "\u00fc"),
    ],
)
def test_a_reply_is_read_as_the_template_says(fields: JsonObject, data: bytes, value: Any) -> None:
    assert decode_reply(template(**fields), data) == value


@pytest.mark.parametrize(("fields", "data"), [({}, b"\xff"), ({"response_format": "json"}, b"{")])
def test_a_reply_that_cannot_be_read_is_malformed_and_names_the_peer(fields: JsonObject, data: bytes) -> None:
    with pytest.raises(MalformedReply, match="h:7"):
        decode_reply(template(**fields), data)


def test_an_encoding_nobody_knows_is_refused() -> None:
    with pytest.raises(ValidationError, match="no character encoding"):
        template(response_byte_format="klingon")


def test_ipv6_addresses_stand_in_brackets() -> None:
    assert template(host="::1").address == "[::1]:7"
