"""Projections by JMESPath."""

import pytest

from utcp_bridge.errors import ConfigError, MalformedReply
from utcp_bridge.pipeline.projection import compile_projection


def test_an_expression_gives_the_part_it_names() -> None:
    project = compile_projection("items[?n > `1`].name | [0]")
    assert project({"items": [{"n": 1, "name": "a"}, {"n": 2, "name": "b"}]}) == "b"
    assert project({}) is None


def test_what_is_no_expression_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="no JMESPath expression"):
        compile_projection("items[")


def test_a_value_of_the_wrong_type_is_told_with_the_expression() -> None:
    with pytest.raises(MalformedReply, match="length"):
        compile_projection("length(@)")(5)
