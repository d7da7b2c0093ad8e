"""Where the configuration comes from, settings of the command line, and what a shell may complete."""

import json
import socket
from pathlib import Path

import click
import pytest

from utcp_bridge.cli.options import DEFAULT_FILES, Options, _is_place, manual_names, overrides, tool_names
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


def test_the_error_without_a_configuration_says_how_to_give_one():
    with pytest.raises(ConfigError, match="The current folder has no configuration") as caught:
        Options().found()
    assert "--quickstart" in caught.value.remedy


def test_settings_are_read_like_those_of_the_environment():
    given = overrides(("port=9000", "pinned=a.*,b", "log-level=debug", "rate_limit=null", "EXPOSURE=all"))
    assert given == {"port": 9000, "pinned": ["a.*", "b"], "log_level": "debug", "rate_limit": None, "exposure": "all"}


def test_a_setting_may_be_named_in_its_group():
    assert overrides(("limits.concurrency=8", "exposure.mode=all")) == {"concurrency": 8, "exposure": "all"}


def test_an_unknown_setting_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError, match="'prot' is not a setting") as caught:
        overrides(("prot=1",))
    assert caught.value.remedy == "Did you mean 'server.port'?"


def test_an_unknown_setting_without_a_near_name_is_refused_with_the_topic():
    with pytest.raises(ConfigError) as caught:
        overrides(("zzzzzz=1",))
    assert "utcp-bridge help settings" in caught.value.remedy


def test_a_pair_without_a_value_is_a_wrong_command_line(command):
    outcome = command("tools", "--set", "port")
    assert outcome.code == 1
    assert "KEY=VALUE" in outcome.err


def test_the_environment_names_one_file_with_any_characters(command, tmp_path, monkeypatch):
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


# --- CONFIG


@pytest.fixture
def tool_file(tmp_path):
    (tmp_path / "own.json").write_text(TOOL % "two")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "m.json").write_text(TOOL % "three")
    return "own.json"


@pytest.mark.parametrize(
    "words",
    [["tools"], ["search", "two"], ["describe", "m.two"], ["explain", "m.two"], ["check"], ["doctor"], ["validate"]],
    ids=lambda words: words[0],
)
def test_a_configuration_is_an_argument_or_an_option_of_every_verb(command, tool_file, words):
    verb, *others = words
    by_argument = command(verb, tool_file, *others, "--json")
    by_option = command(verb, "-c", tool_file, *others, "--json")
    by_default = command(verb, *others, "--json")
    assert (by_argument.code, by_argument.err) == (by_option.code, by_option.err)
    assert by_argument.out.count("two") == by_option.out.count("two") > 0 or verb in {"check", "doctor", "validate"}
    assert by_default.code == 2
    assert json.loads(by_default.out)["error"]["message"] == "The current folder has no configuration."


def test_a_call_takes_its_configuration_before_the_tool(command, tool_file):
    assert command("call", tool_file, "m.two").out == command("call", "-c", tool_file, "m.two").out


def test_serve_and_install_take_a_configuration_as_an_option(command, tmp_path, tool_file):
    printed = [
        json.loads(command("install", "cursor", "--print", *words).out) for words in ([tool_file], ["-c", tool_file])
    ]
    assert printed[0] == printed[1]
    assert printed[0]["mcpServers"]["utcp"]["args"][-1] == str(tmp_path / tool_file)
    outcome = command("serve", "-c", "missing.json")
    assert (outcome.code, "missing.json" in outcome.err) == (2, True)


def test_a_folder_is_a_configuration_and_a_name_that_does_not_exist_is_not(command, tool_file):
    assert [tool["name"] for tool in json.loads(command("tools", "folder", "--json").out)] == ["m.three"]
    assert [tool["name"] for tool in json.loads(command("tools", tool_file, "m.*", "--json").out)] == ["m.two"]
    assert command("tools", "m.*").code == 2


def test_with_the_option_no_argument_is_a_configuration(command, tool_file):
    outcome = command("tools", "-c", tool_file, "folder", "--json")
    assert json.loads(outcome.out) == []


def test_a_lone_query_is_never_a_configuration(command, tool_file):
    outcome = command("search", "folder", "--quickstart", "--json")
    assert outcome.code == 0


@pytest.mark.parametrize("word", ["x" * 5000, "a\0b"])
def test_a_word_that_cannot_be_a_path_is_not_a_configuration(word):
    assert not _is_place(word)


@pytest.mark.parametrize("verb", ["call", "describe", "explain", "search"])
def test_a_missing_argument_is_named(command, verb):
    outcome = command(verb)
    assert (outcome.code, outcome.out) == (1, "")
    assert f"Missing argument '{'QUERY' if verb == 'search' else 'TOOL'}'." in outcome.err


# --- completion


def offered(names, incomplete="", **params):
    context = click.Context(click.Command("call"))
    context.params = params
    return [item.value for item in names(context, click.Argument(["word"]), incomplete)]


def test_the_manuals_of_the_configuration_are_offered(manual):
    assert offered(manual_names, sources=(manual,)) == ["gone", "notices"]
    assert offered(manual_names, "n", sources=(manual,)) == ["notices"]


def test_the_tools_of_local_manuals_are_offered(manual, capfd):
    assert offered(tool_names, sources=(manual,)) == ["notices.door", "notices.list"]
    assert capfd.readouterr() == ("", "")


def test_completion_uses_the_default_configuration_of_the_verbs(manual, tmp_path):
    document = [{"name": "here", "provider_type": "http", "url": "http://127.0.0.1:1/utcp"}]
    (tmp_path / "providers.json").write_text(json.dumps(document))
    assert offered(manual_names, sources=(), fallback=None) == ["here"]
    assert offered(manual_names, sources=(), fallback=manual) == ["gone", "notices"]


def test_a_tilde_in_a_path_is_expanded_for_completion(manual, monkeypatch):
    monkeypatch.setenv("HOME", str(Path(manual).parent))
    assert offered(manual_names, sources=("~/utcp.yaml",)) == ["gone", "notices"]


def test_completion_fetches_nothing(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/utcp"
        (tmp_path / "providers.json").write_text(
            json.dumps([{"name": "far", "provider_type": "http", "url": url}, {"registry": url, "name": "list"}])
        )
        assert offered(tool_names, sources=()) == []
        assert offered(manual_names, sources=(url,)) == []
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.mark.parametrize("text", [None, "{", '"words"', "{}"])
def test_an_unreadable_configuration_offers_nothing_and_prints_nothing(tmp_path, capfd, text):
    if text is not None:
        (tmp_path / "providers.json").write_text(text)
    assert offered(manual_names, sources=()) == []
    assert offered(tool_names, sources=()) == []
    assert capfd.readouterr() == ("", "")
