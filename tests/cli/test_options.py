"""Where the configuration comes from, and settings of the command line."""

import json

import pytest

from utcp_bridge.cli.options import DEFAULT_FILES, Options, overrides
from utcp_bridge.errors import ConfigError

TOOL = '{"call_template_type": "text", "content": {"tools": [{"name": "%s"}], "utcp_version": "1.0.1"}, "name": "m"}'


@pytest.mark.parametrize("name", DEFAULT_FILES)
def test_a_default_file_in_the_current_folder_is_taken(tmp_path, name):
    (tmp_path / name).write_text("[]")
    assert Options().found() == (name,)


def test_named_sources_win_over_default_files(tmp_path):
    (tmp_path / "providers.json").write_text("[]")
    assert Options(sources=("a", "b")).found() == ("a", "b")


def test_the_quickstart_needs_no_file():
    assert Options(quickstart=True).found() == ()


def test_no_configuration_at_all_says_how_to_give_one():
    with pytest.raises(ConfigError, match="There is no configuration") as caught:
        Options().found()
    assert "--quickstart" in caught.value.remedy


def test_settings_are_read_as_in_the_environment():
    given = overrides(("port=9000", "pinned=a.*,b", "log-level=debug", "rate_limit=null", "EXPOSURE=all"))
    assert given == {"port": 9000, "pinned": ["a.*", "b"], "log_level": "debug", "rate_limit": None, "exposure": "all"}


def test_a_key_that_is_no_setting_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match="'prot' is not a setting") as caught:
        overrides(("prot=1",))
    assert caught.value.remedy == "Did you mean port?"


def test_a_key_like_no_setting_is_refused_with_the_page():
    with pytest.raises(ConfigError) as caught:
        overrides(("zzzzzz=1",))
    assert "docs/settings.md" in caught.value.remedy


def test_a_pair_without_a_value_is_a_wrong_command_line(command):
    outcome = command("tools", "--set", "port")
    assert outcome.code == 1
    assert "KEY=VALUE" in outcome.err


def test_the_environment_names_one_file_whatever_characters_it_holds(command, tmp_path, monkeypatch):
    path = tmp_path / "my tools: all.json"
    path.write_text(TOOL % "one")
    monkeypatch.setenv("UTCP_CONFIG_FILE", str(path))
    outcome = command("tools", "--json")
    assert [tool["name"] for tool in json.loads(outcome.out)] == ["m.one"]


def test_a_named_file_wins_over_the_environment(command, tmp_path, monkeypatch):
    monkeypatch.setenv("UTCP_CONFIG_FILE", str(tmp_path / "missing.json"))
    (tmp_path / "own.json").write_text(TOOL % "two")
    outcome = command("tools", "--json", "-c", "own.json")
    assert [tool["name"] for tool in json.loads(outcome.out)] == ["m.two"]
