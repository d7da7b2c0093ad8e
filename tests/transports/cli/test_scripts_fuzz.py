"""Generated scripts in a real bash: no part of a value is evaluated, and a plain word receives it byte for byte."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.script_fuzz import FRAMES, HAZARDS, PLAIN, VALUES, A, Case, failures, generated

from utcp_bridge.transports.cli.places import PLACEHOLDER
from utcp_bridge.transports.cli.scripts import CommandStep, Script, UnsafePlaceholder, bash_script


def filled(pattern: str) -> str:
    return pattern.replace("%s", A).replace("%%", "%")


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 2**32))
def test_no_part_of_a_value_is_evaluated(seed: int) -> None:
    draw = random.Random(seed)
    assert failures([generated(draw) for _ in range(60)]) == []


def test_each_value_arrives_in_one_word() -> None:
    assert failures([Case((filled(PLAIN[0]),), {"a": value}, (value,)) for value in VALUES]) == []


@pytest.mark.parametrize("pattern", HAZARDS)
def test_a_place_that_is_evaluated_is_refused_in_any_compound_command(pattern: str) -> None:
    for frame in ("%s", *FRAMES):
        with pytest.raises(UnsafePlaceholder, match=r"argument|which can hold"):
            bash_script([CommandStep(command=frame.replace("%s", filled(pattern), 1))], [0])


@pytest.mark.parametrize("pattern", PLAIN)
def test_a_plain_word_is_filled_in_any_compound_command(pattern: str) -> None:
    for frame in FRAMES:
        script = bash_script([CommandStep(command=frame.replace("%s", filled(pattern), 1))], [0])
        assert list(script.variables.values()) == ["a"]


def test_the_fuzzer_finds_a_builder_that_quotes_without_reading() -> None:
    def careless(steps, codes) -> Script:
        text = PLACEHOLDER.sub('"${__UTCP_ARG_0}"', bash_script([CommandStep(command=":")], codes).text)
        body = PLACEHOLDER.sub('"${__UTCP_ARG_0}"', steps[0].command)
        return Script(text.replace("\n:\n", f"\n{body}\n"), {"__UTCP_ARG_0": "a"})

    cases = [Case((filled(pattern),), {"a": VALUES[0]}) for pattern in HAZARDS]
    assert len(failures(cases, careless)) > 10
