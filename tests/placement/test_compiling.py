from functools import cached_property
from typing import Any

import pytest
from pydantic import BaseModel

from utcp_bridge.errors import ConfigError
from utcp_bridge.placement.compiling import compiled_property


class Template(BaseModel):
    text: str
    compiled_times: list[str] = []

    @compiled_property
    def build(self) -> Any:
        self.compiled_times.append(self.text)
        if self.text == "bad":
            raise ConfigError("It is bad.", remedy="Write a good one.")
        return self.text.upper()


def test_a_template_is_compiled_once() -> None:
    template = Template(text="good")
    assert (template.build, template.build, template.compiled_times) == ("GOOD", "GOOD", ["good"])
    assert isinstance(Template.__dict__["build"], cached_property)


def test_a_template_that_cannot_be_compiled_is_tried_once() -> None:
    template, other = Template(text="bad"), Template(text="good")
    for _ in range(3):
        with pytest.raises(ConfigError, match=r"It is bad\. Write a good one\."):
            _ = template.build
    assert template.compiled_times == ["bad"]
    assert other.build == "GOOD"


def test_the_fields_of_a_template_do_not_contain_what_was_compiled() -> None:
    template = Template(text="bad")
    with pytest.raises(ConfigError):
        _ = template.build
    assert template.model_dump() == {"text": "bad", "compiled_times": ["bad"]}
