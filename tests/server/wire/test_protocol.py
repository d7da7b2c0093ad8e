"""The early front has its own words of MCP, so that the SDK can wait. They are the SDK's."""

from typing import get_args

import mcp_types as types
import pytest
from mcp.shared.dispatcher import coerce_request_id
from mcp_types import version

from utcp_bridge.server.wire import protocol

WORDS = [name for name in protocol.__all__ if name.isupper()]


@pytest.mark.parametrize("name", [one for one in WORDS if one not in {"LOGGING_LEVELS", "DEFAULT_LEVEL"}])
def test_each_word_is_that_of_the_sdk(name):
    known = getattr(types, name, None) or getattr(version, name)
    assert getattr(protocol, name) == known


def test_the_levels_of_logs_are_those_of_the_sdk():
    assert get_args(types.LoggingLevel) == protocol.LOGGING_LEVELS
    assert protocol.DEFAULT_LEVEL in protocol.LOGGING_LEVELS


@pytest.mark.parametrize("ident", [7, "7", "07", "a", "", " 7", "-7", "1_0", "\N{ARABIC-INDIC DIGIT SEVEN}"])
def test_ids_are_compared_as_the_sdk_does(ident):
    assert protocol.same_id(ident) == coerce_request_id(ident)
