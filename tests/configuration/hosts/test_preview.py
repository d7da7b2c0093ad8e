"""What people see of a host's file: no secret of it, whatever its form, and everything else as it is."""

import json
from pathlib import Path

import pytest
import yaml

from utcp_bridge.configuration.hosts.preview import masked, masked_line, preview


def test_an_entry_is_masked_by_its_places():
    entry = {
        "command": "e1",
        "env": {"DEBUG": "1", "MODE": "e", "KEY": 1, "PORT": 8080},
        "oauth": {"clientSecret": "sss-111"},
    }
    assert masked(entry) == {
        "command": "e1",
        "env": {"DEBUG": "1", "MODE": "e", "KEY": "***", "PORT": 8080},
        "oauth": {"clientSecret": "***"},
    }


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ('   "apiKey": "abc",', '   "apiKey": "***",'),
        (" api_key = 'abc'", ' api_key = "***"'),
        (" token: abc", ' token: "***"'),
        ('   "token": "${TOKEN}",', '   "token": "${TOKEN}",'),
        ('   "theme": "dark",', '   "theme": "dark",'),
        ('   "keys": {', '   "keys": {'),
        ('-  "token": "s3c${TOKEN}",', '-  "token": "***",'),
        ('   "token": "${TOKEN:-s3c}",', '   "token": "***",'),
        ('   "apiKey": "Bearer ${TOKEN}"', '   "apiKey": "Bearer ${TOKEN}"'),
        ('{"a": "b", "apiKey": "a\\"bc", "x": {"token": "t"}}', '{"a": "b", "apiKey": "***", "x": {"token": "***"}}'),
        ("env = { X = 'y', API_KEY = 'abc' }", "env = { X = 'y', API_KEY = \"***\" }"),
        ("envs: {MODE: on, API_KEY: abc, B: c}", 'envs: {MODE: on, API_KEY: "***", B: c}'),
        ('token = """abc', 'token = "***"'),
        ('   "--flag=API_KEY=***",', '   "--flag=API_KEY=***",'),
    ],
)
def test_a_line_outside_of_entries_is_masked_by_its_key(line, shown):
    assert masked_line(line) == shown


def test_a_dollar_sign_in_a_secret_reveals_nothing_of_it():
    entry = {
        "command": "x",
        "env": {"A_TOKEN": "pa$$w0rd", "B_TOKEN": "pa$w0rd", "C_TOKEN": "$w0rd", "D_TOKEN": "${D}"},
    }
    assert masked(entry)["env"] == {"A_TOKEN": "***", "B_TOKEN": "***", "C_TOKEN": "***", "D_TOKEN": "${D}"}


SECRETS = {
    "apiKey": "s3cret-1",
    "tokens": ["s3cret-2"],
    "inputs": [{"id": "k", "password": True, "default": "s3cret-3"}],
    "note": "s3cret-4 is in the entry",
    "private_key": "-----\ns3cret-5\n-----",
}
SERVERS = {"a": {"command": "x", "env": {"TOKEN": "s3cret-4"}}, "b": {"command": "y", "env": {"PIN_KEY": "7"}}}


@pytest.mark.parametrize(
    ("name", "dumped"),
    [
        ("mcp.json", json.dumps),
        ("mcp.json", lambda content: json.dumps(content, indent=2)),
        ("config.yaml", yaml.safe_dump),
        ("config.yaml", lambda content: yaml.safe_dump(content, default_flow_style=True, width=10_000)),
    ],
)
def test_a_preview_has_no_credential_that_is_anywhere_in_the_file(name, dumped):
    before = dumped({**SECRETS, "mcpServers": SERVERS, "theme": "dark"})
    after = dumped({**SECRETS, "mcpServers": {"b": SERVERS["b"], "new": {"command": "z"}}, "theme": "dark"})
    shown = "\n".join(preview(Path(name), before, after, ("mcpServers",)))
    assert "s3cret" not in shown
    assert "new" in shown
    assert '"7"' not in shown
    assert "'7'" not in shown


def test_the_first_of_two_entries_with_one_name_is_masked_too():
    before = '{"mcpServers": {"a": {"env": {"TOKEN": "abc"}}, "a": {"env": {"TOKEN": "def"}}}}'
    shown = "\n".join(preview(Path("mcp.json"), before, "{}", ("mcpServers",)))
    assert "abc" not in shown
    assert "def" not in shown
