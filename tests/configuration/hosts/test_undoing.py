"""How a move is taken back: lines are merged where they can be, and later changes stay."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.configuration.hosts.editing import with_servers, write
from utcp_bridge.configuration.hosts.files import read_host_file
from utcp_bridge.configuration.hosts.undoing import WrittenFile, _merged, is_undoable, remember, undo
from utcp_bridge.errors import ConfigError

pytestmark = pytest.mark.usefixtures("own_home")
TEXT = '{\n  "mcpServers": {\n    "a": {"command": "x"}, // a\n    "b": {"command": "y"}\n  }\n}\n'
ENTRY = {"command": "utcp-bridge", "args": ["serve"]}


@pytest.fixture
def moved(tmp_path):
    """A host's file from which `a` was moved."""
    path = tmp_path / "mcp.json"
    path.write_text(TEXT)
    file = read_host_file(path)
    changes = {"a": None, "utcp": ENTRY}
    backup = write(file, with_servers(file, changes))
    remember(file, changes, [], [], {"host": WrittenFile.now(path, backup, None)})
    return path


def test_a_file_without_later_changes_gets_its_bytes_back(moved):
    assert is_undoable(moved)
    assert undo(moved) == [moved]
    assert moved.read_text() == TEXT
    assert not is_undoable(moved)


def record(folder):
    [path] = folder.rglob("moves/*.json")
    return path


def test_the_record_can_be_read_by_its_owner_only(moved, own_home):
    assert record(own_home).stat().st_mode & 0o777 == 0o600


def test_the_record_is_in_the_users_folder(moved, own_home):
    assert record(own_home).is_file()
    assert sorted(one.name for one in moved.parent.iterdir()) == ["mcp.json", "mcp.json.bak"]


@pytest.mark.parametrize(
    ("old", "new", "left"),
    [
        ('{"command": "y"}', '{"command": "z"}', {"b": {"command": "z"}}),
        ('"b": {"command": "y"}', '"b": {"command": "y"}, "c": {}', {"b": {"command": "y"}, "c": {}}),
        ('    "b": {"command": "y"},\n', "", {}),
    ],
)
def test_later_changes_of_other_entries_stay(moved, old, new, left):
    text = moved.read_text()
    assert old in text
    moved.write_text(text.replace(old, new))
    undo(moved)
    found = json.loads(moved.read_text().replace("// a\n", "\n"))
    assert found == {"mcpServers": {**left, "a": {"command": "x"}}}


@pytest.mark.parametrize(
    ("old", "new"), [('"serve"', '"serve", "x"'), ('"utcp":', '"a": {}, "utcp":'), ('"utcp":', '"other":')]
)
def test_a_move_whose_entries_were_changed_is_not_taken_back(moved, old, new):
    text = moved.read_text().replace(old, new)
    moved.write_text(text)
    with pytest.raises(ConfigError, match="was changed after the move"):
        undo(moved)
    assert moved.read_text() == text
    assert is_undoable(moved)


def test_a_record_that_cannot_be_read_is_refused(moved, own_home):
    record(own_home).write_text("{")
    with pytest.raises(ConfigError, match="is not a record"):
        undo(moved)


lines = st.lists(st.sampled_from(["a\n", "b\n", "c\n", "{\n", "\n"]), max_size=8).map("".join)


@given(lines, lines, lines)
def test_lines_that_only_one_side_changed_are_merged(before, middle, after):
    base = f"{before}x\n{middle}y\n{after}"
    assert _merged(base, base.replace("x\n", "1\n2\n"), base.replace("y\n", "")) == base.replace(
        "x\n", "1\n2\n"
    ).replace("y\n", "")
    assert _merged(base, base.replace("x", "1"), base.replace("x", "2")) is None
    assert _merged(base, base, base.replace("x", "2")) == base.replace("x", "2")
