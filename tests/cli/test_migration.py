"""A host's servers as manuals."""

import io

import dotenv

from utcp_bridge.cli.migration import Migrated, dotenv_text, is_bridge, merge, migrate_servers


def test_each_server_becomes_a_manual_whose_secrets_are_variables():
    made = migrate_servers(
        {
            "my-files": {"command": "npx", "args": ["-y", "files"], "env": {"TOKEN": "s3cret", "HOME_DIR": "${HOME}"}},
            "far": {"type": "sse", "url": "https://a.example/sse", "headers": {"Authorization": "Bearer abc"}},
        }
    )
    files, far = made.manuals
    assert files == {
        "name": "my_files",
        "call_template_type": "mcp",
        "command": "npx",
        "args": ["-y", "files"],
        "env": {"TOKEN": "${MY_FILES_TOKEN}", "HOME_DIR": "${HOME}"},
    }
    assert far["transport"] == "sse"
    assert far["headers"] == {"Authorization": "Bearer ${FAR_AUTHORIZATION}"}
    assert made.secrets == {"MY_FILES_TOKEN": "s3cret", "FAR_AUTHORIZATION": "abc"}
    assert "s3cret" not in repr(made)


def test_what_the_host_asked_for_is_left_to_be_set_and_what_is_no_server_is_told():
    servers = {"a": {"command": "x", "args": ["--key", "${input:key}"], "env": {"K": "${input:key}"}}, "b": {}, "c": 5}
    made = migrate_servers(servers)
    assert made.manuals[0]["args"] == ["--key", "${key}"]
    assert made.manuals[0]["env"] == {"K": "${key}"}
    assert [remark.split()[0] for remark in made.remarks] == ["Set", "b", "c"]


def test_the_bridges_own_entry_is_known_in_every_form():
    assert is_bridge({"command": "/opt/bin/utcp-bridge", "args": ["serve", "x.yaml"]})
    assert is_bridge({"command": "python", "args": ["-m", "utcp_bridge", "serve", "x.yaml"]})
    assert not is_bridge({"command": "serve", "args": []})
    assert not is_bridge({"url": "https://a.example/mcp"})
    assert not is_bridge(None)


def test_a_configuration_is_added_to_and_a_moved_server_replaced():
    before = {"manual_call_templates": [{"name": "a", "old": 1}, {"name": "b"}], "variables": {"X": "1"}}
    merged = merge(before, Migrated([{"name": "a", "new": 1}], {"S": "1"}), "utcp.env")
    assert merged["manual_call_templates"] == [{"name": "b"}, {"name": "a", "new": 1}]
    assert merged["variables"] == {"X": "1"}
    assert merged["load_variables_from"] == [{"variable_loader_type": "dotenv", "env_file_path": "utcp.env"}]
    assert merge(merged, Migrated([], {"S": "1"}), "utcp.env")["load_variables_from"] == merged["load_variables_from"]
    assert "load_variables_from" not in merge({}, Migrated(), "utcp.env")


def test_values_survive_the_dotenv_file():
    hostile = {"A": "it's a \\ $HOME 'x'", "B": "a b#c", "C": ""}
    text = dotenv_text("A=old\n# kept\n", hostile)
    assert "# kept" in text
    assert "old" not in text
    assert dict(dotenv.dotenv_values(stream=io.StringIO(text), interpolate=False)) == hostile
