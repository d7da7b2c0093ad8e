"""Changes of servers in a host's file: only their own text changes, in every form of file."""

import itertools
import json
import re
import tomllib

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.configuration.hosts.editing import edit, parse_text, with_servers, write
from utcp_bridge.configuration.hosts.files import read_host_file
from utcp_bridge.configuration.hosts.table import HOSTS
from utcp_bridge.errors import ConfigError

ENTRY = {"command": "utcp-bridge", "args": ["serve", "/a.yaml"], "env": {"KEY": 'a "quote"'}}


def edited(text, changes, form="jsonc", key=("mcpServers",), listed=False):
    return edit(text, form, key, changes, where="mcp.json", listed=listed)


# --- JSON ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "changes", "after"),
    [
        ('{"mcpServers":{"a":{"x":1}},"z":[]}', {"b": {"y": 2}}, '{"mcpServers":{"a":{"x":1},"b":{"y":2}},"z":[]}'),
        ('{"mcpServers": {"a": 1, "b": 2}}', {"a": None}, '{"mcpServers": {"b": 2}}'),
        ('{"mcpServers": {"a": 1, "b": 2}}', {"b": None}, '{"mcpServers": {"a": 1}}'),
        ('{"mcpServers": {"a": 1, "b": 2}}', {"a": None, "b": None}, '{"mcpServers": {}}'),
        ('{"mcpServers": {"a": 1, "b": 2}}', {"a": None, "b": None, "c": {}}, '{"mcpServers": {"c": {}}}'),
        ('{"mcpServers": {"a": {}}}', {"a": {"x": "é"}}, '{"mcpServers": {"a": {"x": "é"}}}'),
        ("{}", {"a": {}}, '{\n  "mcpServers": {\n    "a": {}\n  }\n}'),
        ("", {"a": {}}, '{\n  "mcpServers": {\n    "a": {}\n  }\n}\n'),
        ("// mine\n", {"a": {}}, '// mine\n{\n  "mcpServers": {\n    "a": {}\n  }\n}\n'),
        ('{\n\t"z": 1\n}\n', {"a": {}}, '{\n\t"z": 1,\n\t"mcpServers": {\n\t\t"a": {}\n\t}\n}\n'),
        (
            '{\n  "mcpServers": {\n    // none yet\n  }\n}',
            {"a": {}},
            '{\n  "mcpServers": {\n    // none yet\n    "a": {}\n  }\n}',
        ),
        (
            '{\r\n\t"mcpServers": {\r\n\t\t"a": {"c":"}"}, //\r\n\t},\r\n}\r\n',
            {"b": {"c": 1}},
            '{\r\n\t"mcpServers": {\r\n\t\t"a": {"c":"}"}, //\r\n\t\t"b": {\r\n\t\t\t"c": 1\r\n\t\t},\r\n\t},\r\n}\r\n',
        ),
        (
            '{\n  "mcpServers": {\n    // one\n    "a": {},  // it\n    /* two */\n    "b": {}\n    // end\n  }\n}\n',
            {"b": None},
            '{\n  "mcpServers": {\n    // one\n    "a": {}  // it\n    /* two */\n    // end\n  }\n}\n',
        ),
        ('{"mcpServers": {"a": {"v": 1}, "a": {"v": 2}, "b": {}}}', {"a": None}, '{"mcpServers": {"b": {}}}'),
        ('{"mcpServers": null, "z": 1}', {"a": {}}, '{"mcpServers": {"a": {}}, "z": 1}'),
        ('{"mcpServers": [{"name": "a"}, {"name": "b"}]}', {"a": None}, '{"mcpServers": [{"name": "b"}]}'),
        (
            '{"mcpServers": [{"name": "a", "x": 1}]}',
            {"a": {"name": "a"}, "c": {"name": "c"}},
            '{"mcpServers": [{"name": "a"}, {"name": "c"}]}',
        ),
        ('{"mcpServers": {"a\\u0062": {}}}', {"ab": None}, '{"mcpServers": {}}'),
    ],
)
def test_only_the_changed_entries_of_json_are_written_anew(before, changes, after):
    assert edited(before, changes) == after


def test_a_nested_key_is_found_and_made():
    text = '{\n    "mcp": {\n        "servers": {"a": {}}\n    }\n}\n'
    assert edited(text, {"a": None}, key=("mcp", "servers")) == text.replace('"a": {}', "")
    made = edited('{\n    "mcp": {\n        "inputs": []\n    }\n}\n', {"a": {}}, key=("mcp", "servers"))
    assert made == text.replace(
        '"servers": {"a": {}}', '"inputs": [],\n        "servers": {\n            "a": {}\n        }'
    )


def test_a_text_without_changes_comes_back_as_it_is():
    text = '{"mcpServers" : {"a":{ "x":1}}}'
    assert edited(text, {"a": {"x": 1}, "b": None}) == text
    one_more = edited(text, {"a": {"x": 1}, "b": {}})
    assert one_more == '{"mcpServers" : {"a":{ "x":1}, "b":{}}}'


names = st.sampled_from(["a", "b", "c", "x y", 'q"uote', "é", "//", "}", ","])
values = st.recursive(
    st.none() | st.integers(-9, 9) | names,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=2),
    max_leaves=4,
)
objects = st.dictionaries(names, values, max_size=3)
blanks = st.lists(
    st.sampled_from(["", "", " ", "\n", "\n\n\t", "  \n    ", ' // words, } " {\n', "/* a, \n } */", "\r\n"]),
    min_size=1,
    max_size=12,
)


def jsonc(value, gaps, *, trailing, ascii_only):
    """Return a JSON text of a value, with blanks and comments between its tokens."""
    turn = itertools.cycle(gaps)

    def written(one):
        if isinstance(one, dict):
            inner = [
                f"{next(turn)}{json.dumps(k, ensure_ascii=ascii_only)}{next(turn)}:{written(v)}" for k, v in one.items()
            ]
        elif isinstance(one, list):
            inner = [written(v) for v in one]
        else:
            return next(turn) + json.dumps(one, ensure_ascii=ascii_only) + next(turn)
        opening, closing = "{}" if isinstance(one, dict) else "[]"
        end = "," + next(turn) if inner and trailing else next(turn)
        return next(turn) + opening + ",".join(inner) + end + closing + next(turn)

    return written(value)


def tokens(text):
    """Return comments and tokens of JSON, without commas."""
    return re.findall(r'"(?:[^"\\]|\\.)*"|//[^\r\n]*|/\*.*?\*/|[{}\[\]:]|[^\s"{}\[\]:,/]+', text, re.DOTALL)


@given(objects, objects, objects, st.sets(names), blanks, st.booleans(), st.booleans())
def test_json_has_the_intended_content_and_keeps_every_other_token(
    around, servers, added, removed, gaps, trailing, ascii_only
):
    content = {**around, "mcpServers": servers}
    text = jsonc(content, gaps, trailing=trailing, ascii_only=ascii_only)
    added = {name: {"added": value} for name, value in added.items()}
    changes = {**dict.fromkeys(removed), **added}
    after = edited(text, changes)
    expected = {name: entry for name, entry in servers.items() if name not in removed}
    assert parse_text(after, "jsonc", where="x") == {**content, "mcpServers": {**expected, **added}}
    if not added:
        assert is_part(tokens(after), tokens(text))
        outside = {**content, "mcpServers": expected}
        assert parse_text(after, "jsonc", where="x") == outside
    if not (removed | set(added)) & set(servers):
        assert is_part(tokens(text), tokens(after))


def is_part(some, every):
    """Return whether the items of one list are in the other one in the same order."""
    remaining = iter(every)
    return all(one in remaining for one in some)


# --- TOML ------------------------------------------------------------------------------------------------------------

TOML = """# my settings
model = "big"

[mcp_servers.files]
command = "files"  # local
args = ["."]

[mcp_servers.files.env]
A = "1"

# fast ones
[profiles.fast]
model = "small"
"""


def toml(text, changes):
    return edited(text, changes, "toml", ("mcp_servers",))


def test_a_table_is_added_next_to_the_others_and_removed_without_its_neighbours():
    added = toml(TOML, {"my tools": ENTRY})
    assert added.startswith(TOML[: TOML.index("# fast")].rstrip())
    assert added.endswith(TOML[TOML.index("# fast") :])
    assert tomllib.loads(added)["mcp_servers"]["my tools"] == ENTRY
    assert toml(added, {"my tools": None}) == TOML
    removed = toml(TOML, {"files": None})
    assert removed == '# my settings\nmodel = "big"\n\n# fast ones\n[profiles.fast]\nmodel = "small"\n'
    replaced = toml(TOML, {"files": {"command": "x"}})
    assert replaced == TOML.replace(
        TOML[TOML.index("[mcp") : TOML.index("\n# fast")], '[mcp_servers.files]\ncommand = "x"\n'
    )


@pytest.mark.parametrize(
    ("before", "changes", "after"),
    [
        ("", {"a": {"command": "x"}}, '[mcp_servers.a]\ncommand = "x"\n'),
        ("k = 1\r\n", {"a": {"command": "x"}}, 'k = 1\r\n\r\n[mcp_servers.a]\r\ncommand = "x"\r\n'),
        (
            "[mcp_servers]\na = {command = 'x'} # in one line\nb.command = \"y\"\n\n[z]\n",
            {"a": None},
            '[mcp_servers]\nb.command = "y"\n\n[z]\n',
        ),
        (
            "[mcp_servers]\nb.command = 'y'\n[z]\n",
            {"c": {"command": "n"}},
            "[mcp_servers]\nb.command = 'y'\nc = { command = \"n\" }\n[z]\n",
        ),
        (
            "mcp_servers = {a = {command = 'x'}, b = {command = 'y'}} # short\nz = 1\n",
            {"a": None},
            "mcp_servers = {b = {command = 'y'}} # short\nz = 1\n",
        ),
        ("mcp_servers = {}\n", {"a": {"command": "x"}}, 'mcp_servers = {a = { command = "x" }}\n'),
        (
            "mcp_servers.a.command = 'x'\nz = 1\n",
            {"b": {"command": "y"}},
            "mcp_servers.a.command = 'x'\nmcp_servers.b = { command = \"y\" }\nz = 1\n",
        ),
        (
            "[[mcp_servers]]\nname = 'a'\n\n[[mcp_servers]]\nname = 'b'\n[mcp_servers.env]\nK = '1'\n",
            {"b": None},
            "[[mcp_servers]]\nname = 'a'\n",
        ),
        (
            "[[mcp_servers]]\nname = 'a'\n",
            {"b": {"name": "b"}},
            "[[mcp_servers]]\nname = 'a'\n\n[[mcp_servers]]\nname = \"b\"\n",
        ),
        (
            '[mcp_servers."a.b"]\ntext = """\n[mcp_servers.c]\n"""\n\n[mcp_servers.c]\nx = \'#\'\n',
            {"c": None},
            '[mcp_servers."a.b"]\ntext = """\n[mcp_servers.c]\n"""\n',
        ),
    ],
)
def test_each_way_to_write_toml_stays_as_it_is(before, changes, after):
    assert toml(before, changes) == after


keys = st.text('ab-." é', min_size=1, max_size=4)
toml_values = (
    st.booleans()
    | st.integers(-9, 9)
    | st.text("a]\"'#\n[={\\", max_size=5)
    | st.lists(st.text("a],", max_size=3), max_size=2)
)


@st.composite
def toml_text(draw, servers):
    """Return a TOML text with tables of servers between other tables and comments, and whether tables are split."""
    split = draw(st.booleans())
    blocks = ["# other\n[z.y]\nk = '[mcp_servers.a]'\n", "[[x]]\n# inside\nk = [\n  1, # one\n]\n"]
    for name, entry in servers.items():
        head = json.dumps(name, ensure_ascii=False)
        lines = [
            f"{json.dumps(key, ensure_ascii=False)} = {json.dumps(value, ensure_ascii=False)} # why"
            for key, value in entry.items()
        ]
        table = "\n".join([f"[mcp_servers.{head}]", *lines]) + "\n"
        inner = f"[ mcp_servers . {head} . env ]\nQ = '''\n[a]\n'''\n"
        blocks += [table, inner] if split else [f"{table}\n# of this server\n{inner}"]
    gaps = st.sampled_from(["", "\n", "\n\n", "# between\n", "\n# above\n"])
    return "top = 1\n" + "".join(draw(gaps) + block for block in draw(st.permutations(blocks))), split


toml_entries = st.dictionaries(keys.filter(lambda key: key != "env"), toml_values, max_size=3)


@given(st.data(), st.dictionaries(keys, toml_entries, max_size=3), st.sets(keys, max_size=2), keys)
def test_toml_has_the_intended_content_and_keeps_every_other_line(data, servers, removed, new):
    text, split = data.draw(toml_text(servers))
    before = tomllib.loads(text)
    after = toml(text, {**dict.fromkeys(removed), new: ENTRY})
    expected = {name: entry for name, entry in before.get("mcp_servers", {}).items() if name not in removed}
    assert tomllib.loads(after) == {**before, "mcp_servers": {**expected, new: ENTRY}}
    starts = ("[z", "[[x", "top", "k = ", "# other", "# inside", *(() if split else ("# between", "# above")))
    assert is_part([line for line in text.splitlines() if line.startswith(starts)], after.splitlines())


# --- YAML ------------------------------------------------------------------------------------------------------------

YAML = """# goose
GOOSE_MODEL: big
extensions:
  # first
  files:
    cmd: files   # local
    args:
      - "."

  far:
    uri: https://a.example/mcp
    description: |
      # not a comment
      text
# the rest
other: [1, 2]
"""


def yml(text, changes, key=("extensions",), listed=False):
    return edited(text, changes, "yaml", key, listed)


@pytest.mark.parametrize(
    ("before", "changes", "after"),
    [
        (YAML, {"far": None}, YAML.replace(YAML[YAML.index("  far") : YAML.index("# the rest")], "")),
        (YAML, {"files": None}, YAML.replace(YAML[YAML.index("  files") : YAML.index("\n  far")], "")),
        (YAML, {"utcp": {"cmd": "x"}}, YAML.replace("# the rest", "  utcp:\n    cmd: x\n# the rest")),
        (
            YAML,
            {"files": {"cmd": "y"}},
            YAML.replace(YAML[YAML.index("  files") : YAML.index("\n  far")], "  files:\n    cmd: y\n"),
        ),
        ("a: 1", {"x": {"cmd": "y"}}, "a: 1\nextensions:\n  x:\n    cmd: y\n"),
        ("", {"x": {"cmd": "y"}}, "extensions:\n  x:\n    cmd: y\n"),
        ("extensions: {}\r\nz: 1\r\n", {"x": {"cmd": "y"}}, "extensions:\r\n  x:\r\n    cmd: y\r\nz: 1\r\n"),
        ("extensions:\nz: 1\n", {"x": {"cmd": "y"}}, "extensions:\n  x:\n    cmd: y\nz: 1\n"),
        (
            "extensions: {a: {cmd: q}, b: {cmd: r}}\n",
            {"a": None, "x": {"cmd": "y"}},
            'extensions: {b: {cmd: r}, "x": {"cmd": "y"}}\n',
        ),
        ("extensions:\n  a:\n    cmd: x\n", {"a": None}, "extensions: {}\n"),
        (
            "extensions:\n  a:\n    cmd: x\n  # why\nz: 1\n",
            {"a": None, "b": {"cmd": "y"}},
            "extensions:\n  b:\n    cmd: y\n  # why\nz: 1\n",
        ),
    ],
)
def test_only_the_changed_entries_of_yaml_are_written_anew(before, changes, after):
    assert yml(before, changes) == after


def test_a_list_of_servers_in_yaml_keeps_its_other_items():
    text = (
        "name: me\nmcpServers:\n- name: a   # first\n  command: x\n# between\n-\n  name: b\n  command: y\nmodels: []\n"
    )
    key = ("mcpServers",)
    assert yml(text, {"a": None}, key) == text.replace("- name: a   # first\n  command: x\n", "")
    assert yml(text, {"b": None}, key) == text.replace("-\n  name: b\n  command: y\n", "")
    added = yml(text, {"c": {"name": "c", "args": ["z"]}}, key)
    assert added == text.replace("models", "- name: c\n  args:\n  - z\nmodels")
    made = yml("name: me\n", {"c": {"name": "c"}}, key, listed=True)
    assert yaml.safe_load(made) == {"name": "me", "mcpServers": [{"name": "c"}]}


yaml_entries = st.dictionaries(
    st.text("kx", min_size=1, max_size=2),
    st.text("a: #\n'\"|-", max_size=6) | st.lists(st.text("a#", max_size=2), max_size=2),
    max_size=3,
)
yaml_names = st.text("ab1: #-", min_size=1, max_size=4)


@given(
    st.dictionaries(yaml_names, yaml_entries, max_size=3),
    st.sets(yaml_names),
    st.sampled_from([None, False]),
    st.sampled_from(["", "  # between\n", "\n"]),
)
def test_yaml_has_the_intended_content_and_keeps_every_other_line(servers, removed, style, between):
    content = {"a": {"b": "c"}, "extensions": servers, "z": ["# no comment"]}
    parts = [
        yaml.safe_dump({name: entry}, default_flow_style=style, allow_unicode=True) for name, entry in servers.items()
    ]
    inner = between.join("".join(f"  {line}\n" for line in part.splitlines()) for part in parts)
    text = f"# top\na: {{b: c}}\nextensions:{'' if inner else ' {}'}\n{inner}z: ['# no comment']\n# end\n"
    after = yml(text, {**dict.fromkeys(removed), "new": {"cmd": "x"}})
    expected = {name: entry for name, entry in servers.items() if name not in removed}
    assert yaml.safe_load(after) == {**content, "extensions": {**expected, "new": {"cmd": "x"}}}
    assert after.startswith("# top\na: {b: c}\nextensions:\n")
    assert after.endswith("z: ['# no comment']\n# end\n")
    assert not between.strip() or after.count(between) == text.count(between)


# --- what cannot be changed ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "form", "words"),
    [
        ("{", "jsonc", "not valid JSON"),
        ("[]", "jsonc", "must contain an object"),
        ('{"mcpServers": 5}', "jsonc", "must be an object"),
        ('{"mcpServers": "a"}', "jsonc", "must be an object"),
        ("a = ", "toml", "cannot be parsed"),
        ("mcpServers: &x\n  b: &y {c: 1}\nother: *y\n", "yaml", "Change it by hand"),
        ("a: [", "yaml", "cannot be parsed"),
    ],
)
def test_a_file_that_cannot_be_changed_is_refused_with_its_name(text, form, words):
    with pytest.raises(ConfigError, match=words) as caught:
        edited(text, {"a": {}, "b": None}, form)
    assert "mcp.json" in str(caught.value)


# --- the file --------------------------------------------------------------------------------------------------------


def host_file(path):
    return read_host_file(path, HOSTS["cursor"])


def test_the_link_the_permissions_and_the_byte_order_mark_of_a_file_stay(tmp_path):
    real, path = tmp_path / "dotfiles" / "mcp.json", tmp_path / "mcp.json"
    real.parent.mkdir()
    before = b'\xef\xbb\xbf{\r\n  // mine\r\n  "mcpServers": {}\r\n}\r\n'
    real.write_bytes(before)
    real.chmod(0o640)
    path.symlink_to(real)
    file = host_file(path)
    backup = write(file, with_servers(file, {"a": {"command": "x"}}))
    assert path.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    after = real.read_bytes()
    assert after.startswith(b"\xef\xbb\xbf{\r\n  // mine\r\n")
    assert after.count(b"\n") == after.count(b"\r\n")
    assert (backup.name, backup.read_bytes(), backup.stat().st_mode & 0o777) == ("mcp.json.bak", before, 0o600)
    file = host_file(path)
    assert with_servers(file, {"a": {"command": "x"}}) == file.text


def test_a_new_file_can_be_read_by_its_owner_only(tmp_path):
    path = tmp_path / "deep" / "mcp.json"
    file = host_file(path)
    assert write(file, with_servers(file, {"a": {}})) is None
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_another_program_changed_meanwhile_is_not_written(tmp_path):
    path = tmp_path / "mcp.json"
    path.write_text("{}")
    file = host_file(path)
    path.write_text('{"theirs": 1}')
    with pytest.raises(ConfigError, match="changed it meanwhile"):
        write(file, with_servers(file, {"a": {}}))
    assert path.read_text() == '{"theirs": 1}'
    assert sorted(one.name for one in tmp_path.iterdir()) == ["mcp.json"]


def test_a_missing_list_of_continue_is_made_as_a_list(tmp_path):
    file = read_host_file(tmp_path / "config.yaml", HOSTS["continue"])
    assert with_servers(file, {"a": {"name": "a"}}) == "mcpServers:\n- name: a\n"
