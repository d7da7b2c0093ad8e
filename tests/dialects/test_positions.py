import json

import pytest

from utcp_bridge.dialects.positions import as_pointer, lines_of, of_pointer

JSON = """{
  "tools": [
    {"name": "a",
     "x": {"y": [1,
                 {"z": "}\\"]"}]}},
    {
      "name": "b\\u00e9", "k\\u00e9y": 1, "a/b~c": null
    }
  ],
  // a comment with { and "
  "last": true
}
"""
YAML = """# a comment
tools:
  - name: a
    x: &anchor
      y:
        - 1
        - z: '}'
  - name: b
    same: *anchor
    "quoted: key": |
      two
      lines
    after: {flow: [1, 2]}
last: true
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ((), 1),
        (("tools",), 2),
        (("tools", 0), 3),
        (("tools", 0, "x", "y", 0), 4),
        (("tools", 0, "x", "y", 1, "z"), 5),
        (("tools", "1"), 6),
        (("tools", 1, "kéy"), 7),
        (("tools", 1, "a/b~c"), 7),
        (("last",), 11),
        (("tools", 1, "not there", "deeper"), 6),
        (("nowhere",), 1),
    ],
)
def test_a_part_of_json_has_the_line_of_its_key(path, line):
    assert lines_of(JSON, [path]) == {path: line}


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("tools",), 2),
        (("tools", 0), 3),
        (("tools", 0, "x", "y", 1, "z"), 7),
        (("tools", 1, "same"), 9),
        (("tools", 1, "same", "y"), 9),
        (("tools", 1, "quoted: key"), 10),
        (("tools", 1, "after", "flow", 1), 13),
        (("last",), 14),
    ],
)
def test_a_part_of_yaml_has_the_line_of_its_key(path, line):
    assert lines_of(YAML, [path]) == {path: line}


def test_every_part_of_a_document_is_found_on_its_own_line():
    document = {f"k{number}": [{"a": number}, [number]] for number in range(50)}
    text = json.dumps(document, indent=0)
    paths = [(key, 0, "a") for key in document] + [(key, 1, 0) for key in document]
    lines = text.splitlines()
    for path, line in lines_of(text, paths).items():
        wanted = f'"a": {path[0][1:]}' if path[-1] == "a" else path[0][1:]
        assert lines[line - 1].strip(",") == wanted


@pytest.mark.parametrize("text", ["", "{", '{"a": [', "a: [b", "\t- x", '{"a": }}}]', "{a: &x [*x]}"])
def test_lines_of_broken_text_are_found_up_to_the_error(text):
    assert lines_of(text, [("a", 1)])["a", 1] == 1


def test_pointers_and_paths_convert_into_each_other():
    path = ("paths", "/a/{b}~c", "get", 0, "")
    assert as_pointer(path) == "/paths/~1a~1{b}~0c/get/0/"
    assert of_pointer(as_pointer(path)) == tuple(map(str, path))
    assert of_pointer("#/a") == ("a",)
    assert as_pointer(()) == ""
    assert of_pointer("#") == of_pointer("") == ()
