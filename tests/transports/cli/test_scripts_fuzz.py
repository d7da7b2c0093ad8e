"""Generated scripts in a real bash: no part of a value is evaluated, and a plain word receives it byte for byte."""

import json
import random
import shlex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.script_fuzz import (
    FRAMES,
    HAZARDS,
    HELD_IN_JSON,
    JSON_WORDS,
    PLAIN,
    VALUES,
    A,
    Case,
    failures,
    generated,
)

from utcp_bridge.errors import InvalidArguments
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


def json_case(pattern: str, value: str, frame: str = "%s") -> Case:
    """Return a case whose word must be the JSON text of the pattern with the value at its place."""
    literal = (
        next(word for word in shlex.split(pattern.replace("%s", A)) if A in word).removeprefix("y=").removesuffix(";")
    )
    written = json.dumps(value, ensure_ascii=False)
    inside = literal.replace(f'"{A}"', written).replace(f"b {A} c", f"b {written[1:-1]} c").replace(A, written)
    assert json.loads(inside[min(at for mark in "{[" if (at := inside.find(mark)) >= 0) :])
    return Case((frame.replace("%s", filled(pattern), 1),), {"a": value}, (inside,))


@pytest.mark.parametrize("pattern", JSON_WORDS)
def test_a_value_stays_in_its_place_of_a_json_text_and_is_not_evaluated(pattern: str) -> None:
    bash_script([CommandStep(command=filled(pattern))], [0])  # it is not refused
    draw = random.Random(pattern)
    assert failures([json_case(pattern, value, draw.choice(FRAMES[:8])) for value in VALUES]) == []


@settings(max_examples=3, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), min_size=10, max_size=10))
def test_any_text_stays_in_its_place_of_a_json_text(values: list[str]) -> None:
    assert failures([json_case(pattern, value) for value in values for pattern in JSON_WORDS[:13]]) == []


@pytest.mark.parametrize("pattern", HELD_IN_JSON)
def test_a_value_that_could_end_a_json_text_is_refused(pattern: str) -> None:
    with pytest.raises(UnsafePlaceholder, match="JSON text"):
        bash_script([CommandStep(command=filled(pattern))], [0])


def test_values_of_other_types_are_json_in_their_places() -> None:
    command = """curl -d '{"s": "%s", "v": %s, "n": 1UTCP_ARG_n_UTCP_END}' %s"""
    script = bash_script([CommandStep(command=filled(command))], [0])
    written = script.environment({"a": {"x": ['"']}, "n": 7})
    assert sorted(written.values()) == ["7", '{"x":["\\""]}', '{"x":["\\""]}', '{\\"x\\":[\\"\\\\\\"\\"]}']
    assert set(script.variables.values()) == {"a", "n"}
    with pytest.raises(InvalidArguments, match="must be a number"):
        script.environment({"a": "x", "n": "1}"})


@pytest.mark.parametrize("word", ["'--ids=[%s,2]'", "'item[%s]'", "'{%s'", '"{%s}"', '"[%s"', "%s'{\"q\": 1}'"])
def test_a_word_that_is_not_json_receives_the_value_as_it_is(word: str) -> None:
    script = bash_script([CommandStep(command=f"probe {filled(word)}")], [0])
    assert list(script.environment({"a": 'x"y'}).values()) == ['x"y']
