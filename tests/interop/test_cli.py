"""cli: programs with habits of their own: git, jq, curl, ripgrep."""

from pathlib import Path

import anyio
import pytest
from tests.interop.manuals import manual
from tests.interop.serving import free_port
from tests.interop.software import Debian

from utcp_bridge.errors import Rejected

pytestmark = pytest.mark.anyio

GIT = Debian("git")
JQ = Debian("jq")
CURL = Debian("curl")
RIPGREP = Debian("ripgrep", program="rg")


def words(software: Debian, *args: str, **fields):
    libraries = software.environment.get("LD_LIBRARY_PATH", "")
    return {"command": software.command, "args": list(args), "env_vars": {"LD_LIBRARY_PATH": libraries}, **fields}


@pytest.mark.needs(GIT)
async def test_git_tells_its_history_by_words_and_by_script(opened, tmp_path: Path) -> None:
    folder = tmp_path / "a project"
    folder.mkdir()
    for line in ("init -q .", "-c user.name=a -c user.email=a@example.com commit -q --allow-empty -m first"):
        await anyio.run_process([GIT.command, *line.split()], cwd=folder, env=GIT.environment)
    log = words(GIT, "log", "--format=%s", "-n", "{{count}}", working_dir=str(folder))
    steps = [{"command": "cd UTCP_ARG_folder_UTCP_END"}, {"command": "git log --format=%s"}]
    async with opened(manual("git", "cli", log=log, script={"commands": steps})) as client:
        assert (await client.call_tool("git.log", {"count": 3})).strip() == "first"
        assert (await client.call_tool("git.script", {"folder": str(folder)})).strip() == "first"
        with pytest.raises(Rejected) as caught:
            await client.call_tool("git.script", {"folder": "/"})
        assert "not a git repository" in str(caught.value.detail)


@pytest.mark.needs(JQ)
async def test_jq_reads_what_is_piped_in_and_fails_by_its_exit_code(opened) -> None:
    run = words(JQ, "-c", "{{filter}}", stdin_template="{{input}}")
    async with opened(manual("jq", "cli", run=run)) as client:
        value = await client.call_tool("jq.run", {"filter": ".a | map(. * 2)", "input": {"a": [1, 2, 3]}})
        assert value == [2, 4, 6]
        with pytest.raises(Rejected, match="exit code") as caught:
            await client.call_tool("jq.run", {"filter": ".a", "input": "{no json"})
        assert "parse error" in str(caught.value.detail)


@pytest.mark.needs(CURL)
async def test_curl_tells_a_refused_connection(opened) -> None:
    get = words(CURL, "-sS", "--noproxy", "*", "--", "{{url}}")
    async with opened(manual("web", "cli", get=get)) as client:
        with pytest.raises(Rejected, match="7") as caught:
            await client.call_tool("web.get", {"url": f"http://127.0.0.1:{free_port()}/"})
        assert "connect" in str(caught.value.detail)


@pytest.mark.needs(RIPGREP)
async def test_ripgrep_may_find_nothing_if_the_template_allows_it(opened, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("tea\ncake\n", encoding="utf-8")
    find = words(RIPGREP, "--no-heading", "--", "{{pattern}}", str(tmp_path / "notes.txt"))
    tools = {"strict": find, "find": {**find, "ok_exit_codes": [0, 1]}}
    async with opened(manual("text", "cli", **tools)) as client:
        assert (await client.call_tool("text.find", {"pattern": "c.ke"})).strip() == "cake"
        assert await client.call_tool("text.find", {"pattern": "--coffee"}) == ""
        with pytest.raises(Rejected, match="1"):
            await client.call_tool("text.strict", {"pattern": "coffee"})
