"""What is offered to a shell, and that offering reaches no network and says nothing."""

import json
import socket
from pathlib import Path

import click
import pytest

from utcp_bridge.cli.candidates import manual_names, tool_names


def offered(names, incomplete="", **params):
    context = click.Context(click.Command("call"))
    context.params = params
    return names(context, click.Argument(["word"]), incomplete)


def test_manuals_are_those_of_the_configuration(manual):
    assert offered(manual_names, sources=(manual,)) == ["gone", "notices"]
    assert offered(manual_names, "n", sources=(manual,)) == ["notices"]


def test_tools_are_those_that_can_be_read_without_a_network(manual, capfd):
    assert offered(tool_names, sources=(manual,)) == ["notices.door", "notices.list"]
    assert capfd.readouterr() == ("", "")


def test_the_default_configuration_is_that_of_the_verbs(manual, tmp_path):
    document = [{"name": "here", "provider_type": "http", "url": "http://127.0.0.1:1/utcp"}]
    (tmp_path / "providers.json").write_text(json.dumps(document))
    assert offered(manual_names, sources=(), fallback=None) == ["here"]
    assert offered(manual_names, sources=(), fallback=manual) == ["gone", "notices"]


def test_a_home_folder_is_found_as_it_was_typed(manual, monkeypatch):
    monkeypatch.setenv("HOME", str(Path(manual).parent))
    assert offered(manual_names, sources=("~/utcp.yaml",)) == ["gone", "notices"]


def test_nothing_is_fetched(tmp_path):
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
def test_a_configuration_that_cannot_be_read_offers_nothing_and_says_nothing(tmp_path, capfd, text):
    if text is not None:
        (tmp_path / "providers.json").write_text(text)
    assert offered(manual_names, sources=()) == []
    assert offered(tool_names, sources=()) == []
    assert capfd.readouterr() == ("", "")
