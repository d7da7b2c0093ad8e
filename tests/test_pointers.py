import pytest

from utcp_bridge.pointers import at_pointer, steps_of

ROOT = {"$defs": {"a/b": {"~": 1}, "list": [10, 20], "": "empty", "ä": 2}, "n": None}


@pytest.mark.parametrize(
    ("reference", "value"),
    [
        ("#", ROOT),
        ("#/$defs/a~1b", {"~": 1}),
        ("#/$defs/a~1b/~0", 1),
        ("#/%24defs/list/1", 20),
        ("#/$defs/", "empty"),
        ("#/$defs/%C3%A4", 2),
    ],
)
def test_a_pointer_leads_to_its_value(reference, value):
    assert at_pointer(ROOT, reference) == value


@pytest.mark.parametrize(
    "reference",
    [
        "",
        "#anchor",
        "other.json#/a",
        "#/nothing",
        "#/$defs/list/2",
        "#/$defs/list/x",
        "#/$defs/list/0/more",
        f"#/$defs/list/{'9' * 5000}",
        "#/n/more",
    ],
)
def test_what_leads_nowhere_is_none(reference):
    assert at_pointer(ROOT, reference) is None


def test_steps_are_told_with_and_without_the_hash():
    assert steps_of("#/a~1b/~0") == steps_of("/a~1b/~0") == ["a/b", "~"]
    assert steps_of("") == steps_of("#") == []
