from typing import Any

import pytest
from pydantic import ValidationError

from utcp_bridge.errors import InvalidArguments
from utcp_bridge.model import JsonObject
from utcp_bridge.placement.message import SocketTemplate, encode_request
from utcp_bridge.testing.services import make_call


def template(**fields: Any) -> SocketTemplate:
    return SocketTemplate.model_validate({"call_template_type": "tcp", "host": "h", "port": 7, **fields})


@pytest.mark.parametrize(
    ("fields", "arguments", "sent"),
    [
        ({}, {"a": 1, "b": None}, b'{"a": 1, "b": null}'),
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
def test_encode_request_writes_the_arguments(fields: JsonObject, arguments: JsonObject, sent: bytes) -> None:
    assert encode_request(template(**fields), make_call(arguments)) == sent


def test_the_error_names_the_argument_that_a_text_template_lacks() -> None:
    made = template(request_data_format="text", request_data_template="UTCP_ARG_a_UTCP_ARG")
    with pytest.raises(InvalidArguments, match="'a'"):
        encode_request(made, make_call({}))


def test_arguments_that_json_cannot_represent_are_refused() -> None:
    with pytest.raises(InvalidArguments, match="JSON"):
        encode_request(template(), make_call({"a": 2**80}))


def test_the_discovery_message_depends_on_the_wire() -> None:
    assert template().discovery_request() == b'{"type": "utcp"}'
    assert template(wire="tool").discovery_request() == b'{"action":"list"}\n'


def test_an_unknown_encoding_is_refused() -> None:
    with pytest.raises(ValidationError, match="is not a character encoding that the bridge reads"):
        template(response_byte_format="klingon")


def test_an_ipv6_address_has_brackets() -> None:
    assert template(host="::1").address == "[::1]:7"
