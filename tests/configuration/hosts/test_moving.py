"""How servers of hosts' files become manuals, and that a move loses nothing in the file of any host."""

import json
import tempfile
import tomllib
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from utcp_bridge.cli.command import run
from utcp_bridge.configuration.hosts.moving import (
    dotenv_text,
    is_bridge,
    plan_move,
    read_dotenv,
    without_variable,
)
from utcp_bridge.configuration.hosts.reading import read_servers
from utcp_bridge.configuration.hosts.table import HOSTS


def planned(servers, configuration=None, known=None, **more):
    found = read_servers({"mcpServers": servers}, host=None, where="mcp.json")
    return plan_move(found, configuration or {}, known or {}, **more)


def test_each_server_becomes_a_manual_whose_secrets_are_variables():
    move = planned(
        {
            "my-files": {"command": "npx", "args": ["-y", "files"], "env": {"TOKEN": "s3cret", "HOME_DIR": "${HOME}"}},
            "far": {"type": "sse", "url": "https://a.example/sse", "headers": {"Authorization": "Bearer abc"}},
        }
    )
    assert move.manuals["my-files"] == {
        "name": "my_files",
        "call_template_type": "mcp",
        "command": "npx",
        "args": ["-y", "files"],
        "env": {"TOKEN": "${MY_FILES_TOKEN}", "HOME_DIR": "${HOME}"},
    }
    assert move.manuals["far"]["transport"] == "sse"
    assert move.manuals["far"]["headers"] == {"Authorization": "Bearer ${FAR_AUTHORIZATION}"}
    assert move.secrets == {"MY_FILES_TOKEN": "s3cret", "FAR_AUTHORIZATION": "abc"}
    assert "s3cret" not in repr(move)


@pytest.mark.parametrize(
    ("args", "written"),
    [
        (["--api-key", "k3y"], ["--api-key", "${A_API_KEY}"]),
        (["--token=t0ken", "x"], ["--token=${A_TOKEN}", "x"]),
        (["-e", "API_TOKEN=t0ken"], ["-e", "API_TOKEN=${A_API_TOKEN}"]),
        (["--header", "Authorization: Bearer b3arer"], ["--header", "Authorization: Bearer ${A_AUTHORIZATION}"]),
        (["--api-key", "${KEY}", "--verbose"], ["--api-key", "${KEY}", "--verbose"]),
        (["--token", "--verbose"], ["--token", "--verbose"]),
        (["--header=X-Api-Key: k3y"], ["--header=X-Api-Key: ${A_X_API_KEY}"]),
        (["--env=TOKEN=t0ken"], ["--env=TOKEN=${A_TOKEN}"]),
        (["--token=pre-${X}"], ["--token=${A_TOKEN}${X}"]),
        (['{"token": "t0ken"}', "[1]", "{x"], ["${A_CONFIG}", "[1]", "{x"]),
        (["--port", "8080"], ["--port", "8080"]),
        (["--password", "-p1ss", "-v"], ["--password", "${A_PASSWORD}", "-v"]),
    ],
)
def test_secrets_in_arguments_become_variables(args, written):
    assert planned({"a": {"command": "x", "args": args}}).manuals["a"]["args"] == written


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("s3cret${X}end", "${A_API_KEY}${X}${A_API_KEY_2}"),
        ("Bearer ${X}", "Bearer ${X}"),
        ("Bearer s3c-${X}", "Bearer ${A_API_KEY}${X}"),
        ("postgres://u:s3cret@${HOST}/db", "postgres://u:${A_PASSWORD}@${HOST}/db"),
        ("${HOME}/key.pem", "${HOME}/key.pem"),
    ],
)
def test_the_text_around_variables_is_as_secret_as_a_whole_value(value, written):
    move = planned({"a": {"command": "x", "env": {"API_KEY": value}}})
    assert move.manuals["a"]["env"]["API_KEY"] == written
    filled = written
    for name, text in move.secrets.items():
        filled = filled.replace(f"${{{name}}}", text)
    assert filled == value


def test_a_command_line_in_one_text_keeps_its_words_and_hides_its_secrets():
    move = planned({"a": {"command": "npx -y  some --api-key k3y --verbose"}})
    assert move.manuals["a"]["command"] == "npx -y  some --api-key ${A_API_KEY} --verbose"


def test_a_dollar_sign_of_the_host_is_a_dollar_sign_afterwards():
    move = planned({"a": {"command": "x", "env": {"PASSWORD": "a$b", "OTHER": "a${b"}}})
    assert move.secrets["A_PASSWORD"] == "a$b"
    assert move.manuals["a"]["env"]["OTHER"] in {"a$${b", "${A_OTHER}"}


def test_a_variable_of_another_value_is_not_replaced_and_one_of_the_same_value_is_used_again():
    servers = {
        "a": {"command": "x", "env": {"KEY": "new-value", "SAME_KEY": "same-value"}},
        "b": {"command": "${A_KEY_2}"},
    }
    move = planned(servers, known={"A_KEY": "old-value", "A_SAME_KEY": "same-value"})
    assert move.manuals["a"]["env"] == {"KEY": "${A_KEY_3}", "SAME_KEY": "${A_SAME_KEY}"}
    assert move.secrets == {"A_KEY_3": "new-value"}


def test_servers_whose_names_look_alike_get_manuals_of_their_own():
    move = planned({"a.b": {"command": "x"}, "a-b": {"command": "y"}, "ü": {"command": "z"}})
    assert [manual["name"] for manual in move.manuals.values()] == ["a_b", "a_b_2", "ü" if "ü".isascii() else "server"]


def test_a_manual_that_the_configuration_has_already_is_not_added_again():
    servers = {"a": {"command": "x", "env": {"KEY": "a-value"}}}
    first = planned(servers)
    again = planned(servers, {"manual_call_templates": [*first.manuals.values()]}, dict(first.secrets))
    assert again.known == ["a"]
    assert again.secrets == {}


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ({"command": "x", "disabled": True}, "switched off"),
        ({"command": "x", "enabled": False}, "switched off"),
        ({"something": "x"}, "cannot read"),
        ({"command": "x", "unknownKey": 1}, "unknownKey"),
        ({"command": "x", "oauth": {"clientId": "c"}}, "oauth"),
        ({"command": "x", "default_tools_approval_mode": "prompt"}, "asks before"),
        ({"url": "http://me:p4ss@127.0.0.1:9/mcp"}, "user name"),
        ("text", "cannot read"),
    ],
)
def test_a_server_that_would_lose_something_stays_and_the_reason_is_named(entry, why):
    move = planned({"a": entry})
    assert move.manuals == {}
    assert why in move.staying["a"]


def test_every_form_of_the_bridges_own_entry_is_recognised():
    assert is_bridge({"command": "/opt/bin/utcp-bridge", "args": ["serve", "x.yaml"]})
    assert is_bridge({"command": "python", "args": ["-m", "utcp_bridge", "serve", "x.yaml"]})
    assert is_bridge({"command": ["utcp-bridge", "serve"]})
    assert is_bridge({"cmd": "C:\\bin\\utcp-bridge.exe", "args": ["serve"]})
    assert not is_bridge({"command": "serve", "args": []})
    assert not is_bridge({"command": "x", "args": ["serve", "utcp-bridge"]})
    assert not is_bridge({"url": "https://a.example/mcp"})
    assert not is_bridge(None)


@given(
    st.dictionaries(st.from_regex(r"[A-Z_]{1,5}", fullmatch=True), st.text("ab'\"\\ #$\n=é", max_size=8), max_size=4)
)
def test_values_survive_the_dotenv_file_and_leave_it_again(values):
    before = "A=old\n# kept\n"
    values = {name: value for name, value in values.items() if name != "A" and "\r" not in value}
    text = dotenv_text(before, values)
    assert text.startswith(before)
    assert read_dotenv(text) == {"A": "old", **values}
    for name, value in values.items():
        text = without_variable(text, name, value)
    assert text == before


# --- every host ------------------------------------------------------------------------------------------------------

pytestmark = pytest.mark.usefixtures("own_home")
READ = {"command", "cmd", "args", "url", "httpUrl", "serverUrl", "uri", "type", "env", "environment", "envs", "name"}
"""Keys that are in the manual under their own or another name."""
names = st.sampled_from(["files", "far away", "a-b", "a_b", "x.y", "ü"])
extras = st.sampled_from(
    [
        {},
        {"description": "what it does"},
        {"timeout": 5000},
        {"disabled": True},
        {"enabled": False},
        {"disabledTools": ["t1"]},
        {"includeTools": ["t2"]},
        {"strange": {"deep": [1]}},
        {"autoApprove": ["t3"]},
        {"oauth": {"scopes": ["s"]}},
    ]
)


@st.composite
def host_files(draw):
    """Return a host, and the entries of servers in its form."""
    host = draw(st.sampled_from(sorted(HOSTS.values(), key=lambda one: one.name)))
    entries = {}
    for name in draw(st.lists(names, unique=True, min_size=1, max_size=4)):
        secret = {"API_KEY": f"s3cret-{name}", "MODE": draw(st.sampled_from(["1", "e", "true"]))}
        if host.has_http and draw(st.booleans()):
            entry = host.http_entry("http://127.0.0.1:9/mcp", {"X-Api-Key": f"s3cret-{name}"}, name=name)
        else:
            entry = host.entry("npx", ["-y", "pkg"], secret, name=name)
        entry |= draw(extras)
        entries[name] = {"name": name, **entry} if host.is_list else entry
    return host, entries


def written(host, entries, path):
    value = [*entries.values()] if host.is_list and path.suffix == ".yaml" else entries
    for step in reversed(host.key):
        value = {step: value}
    if path.suffix == ".toml":
        return "# mine\nmodel = 'x'\n" + "".join(
            toml(f"{host.key[0]}.{json.dumps(name)}", entry) for name, entry in entries.items()
        )
    if path.suffix == ".yaml":
        return "# mine\nother: 1\n" + yaml.safe_dump(value, sort_keys=False, allow_unicode=True)
    return f"// mine\n{json.dumps({'other': 1, **value}, indent=2, ensure_ascii=False)}\n"


def toml(head, entry):
    plain = "".join(
        f"{json.dumps(key)} = {json.dumps(value)}\n" for key, value in entry.items() if not isinstance(value, dict)
    )
    inner = "".join(toml(f"{head}.{key}", value) for key, value in entry.items() if isinstance(value, dict))
    return f"[{head}]\n{plain}{inner}"


def read_back(host, path):
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".toml":
        found = tomllib.loads(text)
    else:
        found = yaml.safe_load(text) if path.suffix == ".yaml" else json.loads(text.removeprefix("// mine\n"))
    assert text.startswith(("# mine\n", "// mine\n"))
    for step in host.key:
        found = found[step]
    return {one["name"]: one for one in found} if isinstance(found, list) else found


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(host_files())
def test_a_move_loses_nothing_and_starts_nothing_in_the_file_of_any_host(restored_logging, capfd, generated):
    host, entries = generated
    with tempfile.TemporaryDirectory() as folder:
        place = (host.projects or next(iter(host.user.values())))[0].removeprefix("@settings/")
        path = Path(folder) / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(written(host, entries, path), encoding="utf-8")
        before = path.read_bytes()
        capfd.readouterr()
        assert run(["migrate", str(path), "--dry-run"]) == 0
        assert "s3cret" not in "".join(capfd.readouterr())
        assert path.read_bytes() == before
        assert run(["migrate", str(path), "--no-check"]) == 0
        said = capfd.readouterr().err
        left = read_back(host, path)
        own = path.with_name("utcp.json")
        manuals = json.loads(own.read_text())["manual_call_templates"] if own.exists() else []
        moved = [name for name in entries if name not in left]
        assert all(left[name] == entry for name, entry in entries.items() if name in left)
        assert len(manuals) == len(moved)
        assert "s3cret" not in json.dumps(manuals)
        for name, manual in zip(moved, manuals, strict=True):
            check_moved(entries[name], name, manual, said)
        assert "s3cret" not in said
        if moved:
            assert run(["migrate", str(path), "--no-check"]) == 0
            assert read_back(host, path) == left
            assert run(["migrate", "--undo", str(path)]) == 0
        assert path.read_bytes() == before
        kept = {path.name, *([f"{path.name}.bak"] if moved else [])}
        assert {one.name for one in path.parent.iterdir() if one.is_file()} == kept


def check_moved(entry, name, manual, said):
    assert entry.get("disabled") is not True
    assert entry.get("enabled") is not False
    lines = [line for line in said.splitlines() if name in line]
    for key in entry.keys() - READ:
        accounted = {
            "headers": "headers" in manual,
            "http_headers": "headers" in manual,
            "timeout": {"call_timeout", "discovery_timeout"} & manual.keys(),
            "disabledTools": manual.get("exclude") == {"names": ["t1"]},
            "includeTools": manual.get("include") == {"names": ["t2"]},
            "tools": entry[key] == ["*"],
            "enabled": entry[key] is True,
        }
        assert accounted.get(key) or any(key in line for line in lines), (key, said)
