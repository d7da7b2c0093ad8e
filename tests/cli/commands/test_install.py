"""`utcp-bridge install` writes the entry into a host's file and changes nothing else."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from tests.support.source import TESTS

from utcp_bridge.cli import starting

MCP_SERVER = TESTS / "upstreams" / "mcp_server.py"
SYSTEM = "/usr/bin:/bin:/usr/sbin:/sbin"
PROGRAM = Path(sys.executable).parent / "utcp-bridge"


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
    assert servers["tools"]["env"] == {"A": "1"}, "a configuration that starts no programs needs no PATH"
    assert (path.parent / "mcp.json.bak").exists()
    again = command("install", "cursor", str(config), "--name", "tools", "--env", "A=1")
    assert "has the entry already" in again.err
    assert not (path.parent / "mcp.json.bak2").exists()


def test_the_file_that_a_host_has_is_written_whatever_its_ending(command, home, config):
    folder = home / ".config" / "opencode"
    folder.mkdir(parents=True)
    (folder / "opencode.jsonc").write_text('{ // mine\n"theme": "dark"}', encoding="utf-8")
    done = command("install", "opencode", str(config), "--no-check")
    assert done.code == 0, done.err
    assert sorted(path.name for path in folder.iterdir()) == ["opencode.jsonc", "opencode.jsonc.bak"]
    assert "// mine" in (folder / "opencode.jsonc").read_text(encoding="utf-8")
    listed = next(line for line in command("install").out.splitlines() if line.startswith("opencode "))
    assert "yes" in listed
    assert "opencode.jsonc" in listed


@pytest.fixture(autouse=True)
def unstarted(request, monkeypatch):
    """Most of these tests are about files. Those that start the bridge have the mark `started`."""
    if "started" not in request.fixturenames:
        monkeypatch.setattr(starting, "check_entry", lambda *_arguments, **_options: 0)


@pytest.fixture
def started():
    """The bridge is started as the host starts it."""


def test_a_project_file_and_a_toml_file_are_written(command, tmp_path, home, config):
    assert command("install", "vscode", str(config), "--project", str(tmp_path)).code == 0
    entry = json.loads((tmp_path / ".vscode" / "mcp.json").read_text())["servers"]["utcp"]
    assert entry["type"] == "stdio"
    assert entry["args"][-1] == "${workspaceFolder}/utcp.yaml"
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


def test_previews_of_install_and_uninstall_have_no_secrets(command, home, config):
    file = home / ".cursor" / "mcp.json"
    file.parent.mkdir()
    servers = {"other": {"command": "x", "env": {"TOKEN": "s3cret-1"}}}
    file.write_text(json.dumps({"mcpServers": servers}, indent=2))
    header = ("--header", "Authorization: Bearer s3cret-2")
    shown = command("install", "cursor", "https://a.example/mcp", *header, "--dry-run")
    assert '"Authorization": "Bearer ***"' in shown.out
    assert "s3cret" not in shown.out
    assert command("install", "cursor", str(config), "--env", "A_TOKEN=s3cret-3", "--no-check").code == 0
    shown = command("uninstall", "cursor", "--dry-run")
    assert '-    "utcp"' in shown.out
    assert "s3cret" not in shown.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["cursor", "missing.yaml"], "missing.yaml does not exist"),
        (["cursor", "CONFIG", "--name", " "], "--name must not be empty"),
        (["cursor"], "init"),
        (["windsurf", "CONFIG", "--project", "."], "no file for a project"),
        (["codex", "CONFIG", "--link"], "no deep links"),
        (["cursor", "CONFIG", "--env", "A"], "NAME=VALUE"),
        (["netscape"], "netscape"),
        (["cursr", "CONFIG"], "Did you mean cursor"),
        (["cursor", "CONFIG", "--header", "A: b"], "--header is for"),
        (["cursor", "http://127.0.0.1:9/mcp", "--header", "A"], "NAME: VALUE"),
        (["claude-desktop", "http://127.0.0.1:9/mcp"], "no URLs"),
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
        assert len([line for line in done.err.splitlines() if line.startswith("utcp-bridge: ")]) == 1
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


@pytest.mark.parametrize(
    ("place", "target", "words"),
    [
        (".cursor/mcp.json", "gone/mcp.json", "Create the folder"),
        (".cursor", "gone", "Create the folder"),
        (".cursor", "gone/deeper", "Create the folder"),
        (".cursor/mcp.json", "mcp.json", "loop of symbolic links"),
        (".cursor", None, "is not a folder"),
    ],
)
@pytest.mark.parametrize("options", [("--no-check",), ("--dry-run",)], ids="".join)
def test_a_link_that_leads_nowhere_is_named_and_stays(command, home, config, place, target, words, options):
    link = home / place
    link.parent.mkdir(exist_ok=True)
    if target is None:
        link.write_text("a file in the place of the folder")
    else:
        link.symlink_to(link if target == "mcp.json" else home / target)
    done = command("install", "cursor", str(config), *options)
    assert (done.code, done.out) == (2, "")
    [line] = done.err.splitlines()
    assert words in line
    assert str(link) in line
    assert link.is_symlink() is (target is not None)
    assert not (home / "gone").exists()


def test_a_link_to_a_file_that_is_missing_in_its_folder_makes_the_file(command, home, config):
    (home / ".cursor").mkdir()
    (home / "dotfiles").mkdir()
    (home / ".cursor" / "mcp.json").symlink_to(home / "dotfiles" / "mcp.json")
    assert command("install", "cursor", str(config), "--no-check").code == 0
    assert (home / ".cursor" / "mcp.json").is_symlink()
    assert "utcp" in json.loads((home / "dotfiles" / "mcp.json").read_bytes())["mcpServers"]


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


def test_an_entry_of_a_project_names_nothing_of_this_machine(command, tmp_path, config, monkeypatch):
    project = tmp_path / "project"
    (project / "tools").mkdir(parents=True)
    (project / "tools" / "utcp.yaml").write_text(
        f"manual_call_templates: [{{name: s, call_template_type: mcp, command: {sys.executable} x}}]"
    )
    source = str(project / "tools" / "utcp.yaml")
    monkeypatch.setenv("PATH", SYSTEM)
    assert command("install", "claude-code", source, "--project", str(project)).code == 0
    text = (project / ".mcp.json").read_text()
    assert json.loads(text)["mcpServers"]["utcp"] == {
        "type": "stdio", "command": "uvx", "args": ["utcp-bridge", "serve", "tools/utcp.yaml"]
    }  # fmt: skip
    assert str(tmp_path) not in text
    monkeypatch.setenv("PATH", f"{PROGRAM.parent}:{SYSTEM}")
    assert command("install", "claude-code", source, "--project", str(project)).code == 0
    entry = json.loads((project / ".mcp.json").read_text())["mcpServers"]["utcp"]
    assert (entry["command"], entry["args"]) == ("utcp-bridge", ["serve", "tools/utcp.yaml"])
    outside = command("install", "claude-code", str(config), "--project", str(project), "--name", "other")
    assert "need it in the same place" in outside.err


def test_the_entry_of_a_running_bridge_is_its_url(command, home):
    for host, key, place in (
        ("vscode", "servers", "url"),
        ("windsurf", "mcpServers", "serverUrl"),
        ("gemini-cli", "mcpServers", "httpUrl"),
    ):
        done = command("install", host, "http://127.0.0.1:9/mcp", "--header", "Authorization: Bearer s3cret", "--print")
        entry = json.loads(done.out)[key]["utcp"]
        assert entry[place] == "http://127.0.0.1:9/mcp"
        assert entry["headers"] == {"Authorization": "Bearer s3cret"}
    assert command("install", "cursor", "http://127.0.0.1:9/mcp", "--header", "A: b").code == 0
    assert (home / ".cursor" / "mcp.json").stat().st_mode & 0o777 == 0o600


def test_an_entry_is_printed_in_the_form_of_the_file(command, config):
    toml = tomllib.loads(command("install", "codex", str(config), "--print").out)
    assert toml["mcp_servers"]["utcp"]["args"] == ["serve", str(config)]
    goose = yaml.safe_load(command("install", "goose", str(config), "--print").out)
    assert goose["extensions"]["utcp"]["args"] == ["serve", str(config)]
    listed = yaml.safe_load(command("install", "continue", str(config), "--print").out)
    assert listed["mcpServers"][0]["name"] == "utcp"
    words = json.loads(command("install", "opencode", str(config), "--print").out)["mcp"]["utcp"]["command"]
    assert words[-2:] == ["serve", str(config)]


def test_comments_stay_and_a_second_time_changes_nothing(command, home, config):
    path = home / ".cursor" / "mcp.json"
    path.parent.mkdir()
    before = '{\r\n\t// mine\r\n\t"mcpServers": {\r\n\t\t"a": {"command": "x"}, // keep\r\n\t},\r\n\t"z": 1\r\n}\r\n'
    path.write_bytes(before.encode())
    assert command("install", "cursor", str(config)).code == 0
    after = path.read_bytes().decode()
    assert all(part in after for part in ("// mine", "// keep", '"z": 1', '"utcp"'))
    assert command("install", "cursor", str(config)).code == 0
    assert path.read_bytes().decode() == after
    removed = command("uninstall", "cursor")
    assert removed.code == 0, removed.err
    assert "utcp" not in path.read_text()
    assert all(part in path.read_text() for part in ("// mine", "// keep", '"z": 1'))


def test_an_entry_of_another_configuration_is_not_replaced_silently(command, tmp_path, home, config):
    other = tmp_path / "other.yaml"
    other.write_text("manual_call_templates: []\n")
    assert command("install", "cursor", str(config)).code == 0
    second = command("install", "cursor", str(other))
    assert "starts another configuration and stays. The new one is 'utcp-2'." in second.err
    servers = json.loads((home / ".cursor" / "mcp.json").read_text())["mcpServers"]
    assert {name: one["args"][-1] for name, one in servers.items()} == {"utcp": str(config), "utcp-2": str(other)}
    assert command("install", "cursor", str(other)).code == 0
    replaced = command("install", "cursor", str(other), "--replace")
    assert replaced.code == 0
    servers = json.loads((home / ".cursor" / "mcp.json").read_text())["mcpServers"]
    assert [one["args"][-1] for one in servers.values()] == [str(other)] * 2


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["cursor"], 2, "Several entries"),
        (["cursor", "files"], 2, "does not start a bridge"),
        (["cursor", "gone"], 2, "does not have an entry 'gone'"),
        (["windsurf"], 2, "No entry of"),
        ([], 1, "Missing argument 'HOST'"),
    ],
)
def test_an_entry_that_is_not_the_bridges_is_not_removed(command, home, arguments, code, words):
    path = home / ".cursor" / "mcp.json"
    path.parent.mkdir()
    one = {"command": "/x/utcp-bridge", "args": ["serve", "a.yaml"]}
    text = json.dumps({"mcpServers": {"files": {"command": "x"}, "a": one, "b": one}})
    path.write_text(text)
    done = command("uninstall", *arguments)
    assert (done.code, words in done.err) == (code, True), done.err
    assert path.read_text() == text


def served(tmp_path, program):
    """Return a configuration with an MCP server that is started by this word."""
    path = tmp_path / "served.yaml"
    servers = {"shop": {"command": program, "args": [str(MCP_SERVER), "shop"]}}
    entry = {"name": "shop", "call_template_type": "mcp", "config": {"mcpServers": servers}}
    path.write_text(yaml.safe_dump({"manual_call_templates": [entry]}))
    return path


def test_a_program_of_the_shells_path_is_found_by_a_desktop_host(command, tmp_path, home, started, monkeypatch):
    """The host is started with four folders on PATH, none of which has the program."""
    folder = tmp_path / "tools"
    folder.mkdir()
    (folder / "python-of-mine").symlink_to(sys.executable)
    monkeypatch.setenv("PATH", f"{folder}:{SYSTEM}")
    monkeypatch.setenv("VIRTUAL_ENV_SITE", "unused")
    config = served(tmp_path, "python-of-mine")
    config.write_text(config.read_text().replace("python-of-mine", "shop-server"))
    script = folder / "shop-server"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    script.chmod(0o755)
    done = command("install", "claude-desktop", str(config))
    assert done.code == 0, done.err
    assert "shop: ready" in done.out
    entry = json.loads((home / ".config" / "Claude" / "claude_desktop_config.json").read_text())["mcpServers"]["utcp"]
    assert str(folder) in entry["env"]["PATH"].split(":")
    entry["env"] = {}
    (home / ".config" / "Claude" / "claude_desktop_config.json").write_text(json.dumps({"mcpServers": {"utcp": entry}}))
    checked = command("check", "--as-host", "claude-desktop", "--json")
    assert checked.code != 0
    [report] = json.loads(checked.out)["entries"]
    assert "shop-server" in report["manuals"][0]["error"]["message"]


def test_a_program_in_a_usual_folder_is_found_and_a_missing_one_is_named(command, tmp_path, home, monkeypatch):
    tools = home / ".local" / "bin"
    tools.mkdir(parents=True)
    (tools / "uvx-of-mine").write_text("#!/bin/sh\n")
    (tools / "uvx-of-mine").chmod(0o755)
    monkeypatch.setenv("PATH", SYSTEM)
    printed = command("install", "cursor", str(served(tmp_path, "uvx-of-mine")), "--print")
    assert json.loads(printed.out)["mcpServers"]["utcp"]["env"]["PATH"].split(":")[-1] == str(tools)
    missing = command("install", "cursor", str(served(tmp_path, "no-such-program")), "--print")
    assert "The program no-such-program of the configuration is not found" in missing.err


def test_variables_of_this_shell_are_named_with_the_remedy(command, tmp_path, config, started, monkeypatch):
    config.write_text(
        'manual_call_templates: [{name: a, call_template_type: http, url: "http://127.0.0.1:9/${SHOP_KEY}"},'
        ' {name: b, call_template_type: text, content: "${OTHER_KEY}"}]\n'
    )
    monkeypatch.setenv("SHOP_KEY", "sk-4711")
    monkeypatch.setenv("OTHER_KEY", "sk-4712")
    (tmp_path / ".env").write_text("OTHER_KEY=sk-4712\n")
    done = command("install", "claude-desktop", str(config), "--print")
    assert "SHOP_KEY: set in this shell only" in done.err
    assert f"{tmp_path / '.env'} as SHOP_KEY=…" in done.err
    assert "OTHER_KEY" not in done.err
    assert "sk-471" not in done.err + done.out
    given = command("install", "claude-desktop", str(config), "--print", "--env", "SHOP_KEY=sk-4711")
    assert "in this shell only" not in given.err
    failed = command("install", "claude-desktop", str(config))
    assert failed.code == 2
    assert "a: " in failed.err
    assert "SHOP_KEY" in failed.err


def test_a_variable_of_this_shell_in_a_tools_template_is_named_too(command, tmp_path, config, started, monkeypatch):
    template = {"call_template_type": "http", "url": "http://127.0.0.1:9/${KEY}/${OTHER}/${id}?q=${BARE}"}
    inputs = {"type": "object", "properties": {"id": {"type": "string"}}}
    tool = {"name": "t", "description": "x", "inputs": inputs, "tool_call_template": template}
    document = json.dumps({"utcp_version": "1.0.0", "manual_version": "1", "tools": [tool]})
    (tmp_path / "manual.json").write_text(document)
    (tmp_path / ".env").write_text("far_OTHER=sk-1\n")
    entry = {"name": "far", "call_template_type": "file", "file_path": "manual.json"}
    config.write_text(json.dumps({"manual_call_templates": [{**entry, "allowed_communication_protocols": ["http"]}]}))
    for name in ("far_KEY", "far_OTHER", "far_id", "BARE"):
        monkeypatch.setenv(name, "sk-4711")
    printed = command("install", "claude-desktop", str(config), "--print")
    [line] = printed.err.splitlines()
    assert "far_KEY: set in this shell only" in line
    assert "OTHER" not in line
    assert "far_id" not in line
    assert "BARE" not in line
    checked = command("check", str(config), "--as-host", "claude-desktop")
    assert checked.code == 0
    assert "far: Variable 'far_KEY' is not set." in checked.err
    [report] = json.loads(command("check", str(config), "--as-host", "claude-desktop", "--json").out)["entries"]
    assert report["notes"] == [line.removeprefix("utcp-bridge: ")]
    assert "sk-4711" not in printed.out + printed.err + checked.out + checked.err + json.dumps(report)


def test_what_concerns_the_host_is_in_the_json_report_too(command, tmp_path, home, config, started):
    path = home / ".codeium" / "windsurf" / "mcp_config.json"
    path.parent.mkdir(parents=True)
    entry = {"command": str(PROGRAM), "args": ["serve", str(config)], "disabled": True}
    path.write_text(json.dumps({"mcpServers": {"mine": entry}}))
    tools = [{"name": f"t{number}", "description": "x"} for number in range(101)]
    content = {
        "tools": [{**one, "tool_call_template": {"call_template_type": "text", "content": "x"}} for one in tools]
    }
    manual = {"name": "m", "call_template_type": "text", "content": json.dumps(content)}
    config.write_text(json.dumps({"manual_call_templates": [manual], "bridge": {"exposure": "all"}}))
    done = command("check", "--as-host", "windsurf", "--json")
    [report] = json.loads(done.out)["entries"]
    off, many = report["notes"]
    assert off == "The entry 'mine' is switched off, so Windsurf does not start it."
    assert f"The bridge lists {report['tools']} tools, and Windsurf gives its model at most 100." in many
    assert all(text in done.err for text in report["notes"])
    other = tmp_path / "other.yaml"
    other.write_text("manual_call_templates: [{name: a, call_template_type: mcp, command: no-such-program}]")
    written = json.loads(command("install", "cursor", str(other), "--no-check", "--json").out)
    assert written["notes"] == [
        "The program no-such-program of the configuration is not found. Install it, or write its full path."
    ]


def test_check_as_a_host_writes_nothing_and_a_command_that_is_gone_is_named(command, home, config, started):
    done = command("check", str(config), "--as-host", "claude-desktop")
    assert done.code == 0, done.err
    assert list(home.iterdir()) == []
    path = home / ".cursor" / "mcp.json"
    path.parent.mkdir()
    entry = {"command": "/gone/utcp-bridge", "args": ["serve", str(config)]}
    path.write_text(json.dumps({"mcpServers": {"utcp": entry}}))
    gone = command("check", "--as-host", "cursor")
    assert (gone.code, "The command /gone/utcp-bridge is not found there any more" in gone.err) == (2, True), gone.err
    assert command("check", "--project", ".").code == 1


@pytest.mark.parametrize(
    ("origin", "spec"),
    [
        (None, None),
        ({"url": "WHEEL"}, "a b.whl"),
        ({"url": "file:///gone/x.whl"}, None),
        ({"url": "https://example.com/x.git", "vcs_info": {"vcs": "git", "commit_id": "0f1e"}},
         "git+https://example.com/x.git@0f1e"),
        ({"url": "https://example.com/x.whl", "archive_info": {}}, "https://example.com/x.whl"),
    ],
    ids=["index", "wheel", "gone", "repository", "url"],
)  # fmt: skip
def test_a_command_in_a_cache_is_not_written(tmp_path, home, config, origin, spec):
    """The interpreter of the process has its place in the cache of uv or of pipx."""
    wheel = tmp_path / "a b.whl"
    wheel.touch()
    spec = str(wheel) if spec == wheel.name else spec
    for folder, words, option in (
        (".cache/uv/archive-v0/x1", ["uvx"], "--from"),
        (".cache/pipx/5f0c", ["pipx", "run"], "--spec"),
    ):
        place = tmp_path / folder
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
        paths = "\n".join(path for path in sys.path if path)
        [packages] = place.glob("lib/python*/site-packages")
        (packages / "here.pth").write_text(paths)
        facts = packages / "utcp_bridge-0.0.dist-info"
        facts.mkdir()
        (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: utcp-bridge\nVersion: 0.0\n")
        if origin is not None:
            (facts / "direct_url.json").write_text(json.dumps(origin).replace("WHEEL", wheel.as_uri()))
        done = subprocess.run(
            [place / "bin" / "python", "-m", "utcp_bridge", "install", "cursor", str(config), "--print"],
            capture_output=True, text=True, check=False, env={**os.environ, "HOME": str(home), "PATH": SYSTEM},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        entry = json.loads(done.stdout)["mcpServers"]["utcp"]
        expected = [*words, *([option, spec] if spec else []), "utcp-bridge", "serve"]
        assert [Path(entry["command"]).name, *entry["args"][:-1]] == expected
        assert ".cache" not in done.stdout


def test_without_a_home_folder_the_message_says_what_to_set(command, monkeypatch):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    done = command("install")
    assert (done.code, "Set HOME" in done.err) == (2, True)
