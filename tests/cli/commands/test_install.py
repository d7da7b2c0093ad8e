"""`utcp-bridge install` writes the entry into a host's file and changes nothing else."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setattr(Path, "home", lambda: folder)
    return folder


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "utcp.yaml"
    path.write_text("manual_call_templates: []\n", encoding="utf-8")
    return path


def test_install_without_a_host_lists_the_hosts_and_their_files(command, home):
    done = command("install")
    assert done.code == 0
    assert str(home / ".cursor" / "mcp.json") in done.out


def test_an_entry_is_added_to_the_others_with_absolute_paths(command, home, config):
    path = home / ".cursor" / "mcp.json"
    path.parent.mkdir()
    path.write_text('{"mcpServers": {"files": {"command": "x"}}}', encoding="utf-8")
    done = command("install", "cursor", str(config), "--name", "tools", "--env", "A=1")
    assert done.code == 0, done.err
    servers = json.loads(path.read_text())["mcpServers"]
    assert servers["files"] == {"command": "x"}
    assert servers["tools"]["args"][-2:] == ["serve", str(config)]
    assert Path(servers["tools"]["command"]).is_absolute()
    assert servers["tools"]["env"] == {"A": "1"}
    assert (path.parent / "mcp.json.bak").exists()
    again = command("install", "cursor", str(config), "--name", "tools", "--env", "A=1")
    assert "has the entry already" in again.err
    assert not (path.parent / "mcp.json.bak2").exists()


def test_a_project_file_and_a_toml_file_are_written(command, tmp_path, home, config):
    assert command("install", "vscode", str(config), "--project", str(tmp_path)).code == 0
    entry = json.loads((tmp_path / ".vscode" / "mcp.json").read_text())["servers"]["utcp"]
    assert entry["type"] == "stdio"
    assert command("install", "codex").code == 0, "the configuration in this folder is found"
    written = tomllib.loads((home / ".codex" / "config.toml").read_text())
    assert written["mcp_servers"]["utcp"]["args"][-1] == str(config)


def test_dry_run_print_and_link_write_nothing(command, home, config):
    shown = command("install", "cursor", str(config), "--dry-run")
    assert '+    "utcp": {' in shown.out
    printed = json.loads(command("install", "vscode", str(config), "--print").out)
    assert printed["servers"]["utcp"]["type"] == "stdio"
    assert command("install", "cursor", str(config), "--link").out.startswith("cursor://")
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["cursor", "missing.yaml"], "no file missing.yaml"),
        (["cursor"], "init"),
        (["windsurf", "CONFIG", "--project", "."], "no file for a project"),
        (["codex", "CONFIG", "--link"], "no deep links"),
        (["cursor", "CONFIG", "--env", "A"], "NAME=VALUE"),
        (["netscape"], "netscape"),
    ],
)
def test_an_impossible_installation_is_refused_with_the_reason(command, tmp_path, arguments, words):
    if "CONFIG" in arguments:
        other = tmp_path / "other.yaml"
        other.write_text("{}", encoding="utf-8")
        arguments = [str(other) if one == "CONFIG" else one for one in arguments]
    done = command("install", *arguments)
    assert done.code != 0
    assert words in done.err


def test_a_link_in_a_cloned_project_that_leads_out_of_it_is_refused(command, tmp_path, home, config):
    project, victim = tmp_path / "cloned", home / ".profile"
    (project / ".cursor").mkdir(parents=True)
    victim.write_text("# mine\n")
    (project / ".cursor" / "mcp.json").symlink_to(victim)
    (project / ".vscode").symlink_to(home)
    (project / ".mcp.json").symlink_to(home / "new")
    for host in ("cursor", "vscode", "claude-code"):
        done = command("install", host, str(config), "--project", str(project), "--env", "A=secret")
        assert done.code == 2
        assert "is a link that leads out of the folder" in done.err
        assert len(done.err.splitlines()) == 1
    assert victim.read_text() == "# mine\n"
    assert sorted(path.name for path in home.iterdir()) == [".profile"]


def test_a_pipe_in_a_cloned_project_is_refused_without_waiting(command, tmp_path, config):
    os.mkfifo(tmp_path / ".mcp.json")
    done = command("install", "claude-code", str(config), "--project", str(tmp_path))
    assert done.code == 2
    assert "is not a regular file" in done.err


def test_the_users_file_that_is_a_link_stays_one_and_a_secret_makes_it_private(command, tmp_path, home, config):
    dotfiles = tmp_path / "dotfiles"
    dotfiles.mkdir()
    (dotfiles / "mcp.json").write_text('{"mcpServers": {"old": {"command": "x"}}}')
    (dotfiles / "mcp.json").chmod(0o644)
    (home / ".cursor").symlink_to(dotfiles)
    (home / ".codeium").mkdir()
    (home / ".codeium" / "windsurf").mkdir()
    (home / ".codeium" / "windsurf" / "mcp_config.json").symlink_to(dotfiles / "mcp.json")
    assert command("install", "cursor", str(config)).code == 0
    assert (dotfiles / "mcp.json").stat().st_mode & 0o777 == 0o644
    assert command("install", "windsurf", str(config), "--name", "two", "--env", "A=s").code == 0
    assert (home / ".codeium" / "windsurf" / "mcp_config.json").is_symlink()
    assert sorted(json.loads((dotfiles / "mcp.json").read_text())["mcpServers"]) == ["old", "two", "utcp"]
    assert (dotfiles / "mcp.json").stat().st_mode & 0o777 == 0o600


def test_installations_at_the_same_time_keep_every_entry(tmp_path, config):
    environment = {**os.environ, "HOME": str(tmp_path)}
    words = [sys.executable, "-m", "utcp_bridge", "install", "cursor", str(config), "--name"]
    running = [subprocess.Popen([*words, f"n{number}"], env=environment, stderr=subprocess.PIPE) for number in range(6)]
    failed = [one.stderr.read() for one in running if one.wait(60)]
    for one in running:
        one.stderr.close()
    assert failed == []
    servers = json.loads((tmp_path / ".cursor" / "mcp.json").read_text())["mcpServers"]
    assert sorted(servers) == [f"n{number}" for number in range(6)]
