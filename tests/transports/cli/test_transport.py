"""The shared suite against real processes: each form of command, hostile arguments, and no process that survives."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any, ClassVar

import anyio
import anyio.to_thread
import pytest
from pydantic import ValidationError

from utcp_bridge import UtcpClient
from utcp_bridge.errors import InvalidArguments, ManualError, Rejected, ReplyTooLarge, Unreachable
from utcp_bridge.model import JsonObject, Result, discard
from utcp_bridge.settings import BridgeSettings
from utcp_bridge.testing.contract import Case, Peer
from utcp_bridge.testing.services import make_call, make_target, open_services
from utcp_bridge.transport import Program
from utcp_bridge.transports.cli.transport import CliTransport

pytestmark = pytest.mark.anyio

MANUAL = {
    "v0": {
        "version": "1",
        "tools": [{"name": "echo", "tool_provider": {"provider_type": "cli", "command_name": "echo"}}],
    },
    "v1": {
        "utcp_version": "1.0.1",
        "tools": [{"name": "echo", "tool_call_template": {"call_template_type": "cli", "command_name": "echo"}}],
    },
}


class CliPeer(Peer):
    transport = CliTransport
    streams = True
    impossible: ClassVar[dict[str, str]] = {"auth": "a command has its credentials in its environment"}

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.root = Path(self._folder.name)

    async def start(self) -> None:
        for name in ("arrived", "gone"):
            os.mkfifo(self.root / name)
        self._gone = os.open(self.root / "gone", os.O_RDONLY | os.O_NONBLOCK)
        for dialect, manual in MANUAL.items():
            (self.root / f"{dialect}.json").write_text(json.dumps(manual), encoding="utf-8")

    async def stop(self) -> None:
        os.close(self._gone)
        self._folder.cleanup()

    def manual(self, dialect: str) -> JsonObject:
        return {"call_template_type": "cli", "command_name": f"cat {dialect}.json"}

    def argv(self, command: str, *args: str, **fields: Any) -> Case:
        return Case({"call_template_type": "cli", "command": command, "args": list(args), **fields})

    def echo(self, text: str) -> Case:
        return Case(self.argv("printf", "%s", "--", "{{text}}").template | {"args": ["%s", "{{text}}"]}, {"text": text})

    def echoed(self, value: Any) -> str:
        return value

    def stream(self, count: int) -> Case:
        return Case(self.argv("seq", "-f", '{"n": %g}', "0", "{{last}}", stream=True).template, {"last": count - 1})

    def slow(self) -> Case:
        return self.argv("sh", "-c", "exec 9>gone; echo here >arrived; exec sleep 1000")

    async def arrived(self) -> None:
        await anyio.to_thread.run_sync((self.root / "arrived").read_bytes, abandon_on_cancel=True)

    async def gone(self) -> None:
        """Wait until no process is alive that could write to the pipe."""
        os.set_blocking(self._gone, True)
        assert await anyio.to_thread.run_sync(os.read, self._gone, 1, abandon_on_cancel=True) == b""

    def fault(self, name: str) -> Case:
        match name:
            case "refused":
                return self.argv("no-such-command-anywhere")
            case "reset":
                return Case(self.argv("sh", "-c", "kill -9 $$").template, error=Rejected)
            case "malformed":
                return self.argv("printf", "%s", "{broken", output_format="json")
            case _:
                return self.argv("head", "-c", "200000", "/dev/zero")

    def with_secret(self, case: Case, secret: str) -> Case:
        return Case({**case.template, "env_vars": {"TOKEN": secret}}, case.arguments, case.error)


PEER = CliPeer


async def _call(
    template: JsonObject, arguments: JsonObject | None = None, *, root: Path = Path("/"), **settings: Any
) -> Any:
    async with open_services(root=root, settings=BridgeSettings(**settings)) as services:
        transport = CliTransport(services)
        with anyio.fail_after(60):
            given = arguments or {}
            call = make_call(given, inputs={"type": "object", "properties": {key: {} for key in given}})
            result = await transport.call(make_target(transport, template), call, discard)
    return result.value if isinstance(result, Result) and result.truncated is None else result


def steps(*commands: str, **fields: Any) -> JsonObject:
    return {"call_template_type": "cli", "commands": [{"command": command} for command in commands], **fields}


def argv(command: str, *args: str, **fields: Any) -> JsonObject:
    return {"call_template_type": "cli", "command": command, "args": list(args), **fields}


async def test_a_command_name_gets_the_arguments_as_flags() -> None:
    arguments = {"word": "a b", "on": True, "off": False, "tags": ["x", "y"], "n": 3, "o": {"k": 1}, "none": None}
    shown = await _call({"call_template_type": "cli", "command_name": "printf '<%s>'"}, arguments)
    assert shown == '<--word><a b><--on><--tags><x><--tags><y><--n><3><--o><{"k":1}>'


async def test_directories_and_variables_persist_from_step_to_step(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    value = await _call(
        steps("cd UTCP_ARG_dir_UTCP_END; x=5", 'echo "$PWD $x $CMD_0_OUTPUT"'), {"dir": "sub"}, root=tmp_path
    )
    assert value == f"{tmp_path / 'sub'} 5 "


async def test_outputs_are_shown_as_configured() -> None:
    template = steps("echo one", "echo two", 'echo "three after $CMD_0_OUTPUT"')
    template["commands"][0]["append_to_final_output"] = True
    template["commands"][1]["append_to_final_output"] = False
    assert await _call(template) == "one\nthree after one"


@pytest.mark.parametrize(
    "value", ["; touch x", "$(touch x)", "`touch x`", "a\nb", "'\"\\", "--output=x", "*", "\u00e9\U0001f600"]
)
@pytest.mark.parametrize("quoted", ["UTCP_ARG_v_UTCP_END", '"UTCP_ARG_v_UTCP_END"', "'UTCP_ARG_v_UTCP_END'"])
async def test_hostile_values_stay_text_in_scripts(tmp_path: Path, value: str, quoted: str) -> None:
    template = steps(f"printf '%s' {quoted}", output_format="text")
    assert await _call(template, {"v": value}, root=tmp_path) == value
    assert not (tmp_path / "x").exists()


async def test_hostile_values_stay_one_word_without_a_shell(tmp_path: Path) -> None:
    for value in ("; touch x", "$(touch x)", "a b\nc"):
        assert await _call(argv("printf", "<%s>", "{{v}}"), {"v": value}, root=tmp_path) == f"<{value}>"
    with pytest.raises(InvalidArguments, match="option"):
        await _call(argv("printf", "<%s>", "{{v}}"), {"v": "--output=x"})
    assert await _call(argv("printf", "%s", "--", "{{v}}"), {"v": "-x"}) == "---x"
    assert await _call(argv("head", "-c", "{{n}}", "/dev/null"), {"n": -1}) == ""
    assert [path async for path in anyio.Path(tmp_path).iterdir()] == []


async def test_lists_expand_and_missing_arguments_remove_their_word() -> None:
    template = argv("printf", "<%s>", "{{items}}", "{{nothing}}", "x={{n|default:7}}")
    assert await _call(template, {"items": ["a", 1, True]}) == "<a><1><true><x=7>"


@pytest.mark.parametrize("given", [{}, {"v": None}, {"w": "x"}])
async def test_a_script_does_not_run_without_an_argument_that_it_uses(given: JsonObject, tmp_path: Path) -> None:
    """An empty word could mean something else: here, the whole folder."""
    (tmp_path / "kept").mkdir()
    with pytest.raises(InvalidArguments, match="Argument 'v' is missing"):
        await _call(steps("rm -rf -- kept/UTCP_ARG_v_UTCP_END"), given, root=tmp_path)
    assert (tmp_path / "kept").is_dir()
    assert await _call(steps("printf '<%s>' UTCP_ARG_v_UTCP_END"), {"v": ""}) == "<>"


async def test_a_default_of_the_inputs_makes_an_argument_of_a_script_optional() -> None:
    inputs = {"type": "object", "properties": {"a": {"type": "string", "default": "x y"}, "b": {"default": ""}}}
    template = {"call_template_type": "cli", **steps("printf '<%s>' UTCP_ARG_a_UTCP_END UTCP_ARG_b_UTCP_END")}
    tool = {"name": "t", "inputs": inputs, "tool_call_template": template}
    entry = {"name": "m", "call_template_type": "text", "content": {"utcp_version": "1.0.1", "tools": [tool]}}
    async with await UtcpClient.create([{**entry, "trusted": True}]) as client:
        assert await client.call_tool("m.t") == "<x y><>"
        assert await client.call_tool("m.t", {"a": "$(id)"}) == "<$(id)><>"


@pytest.mark.parametrize("value", ["a\0b", "x" * 200_000])
async def test_a_value_that_cannot_be_passed_is_the_callers_error(value: str) -> None:
    with pytest.raises(InvalidArguments):
        await _call(argv("printf", "%s", "{{v}}"), {"v": value})


async def test_an_exit_code_is_an_error_unless_the_template_says_otherwise() -> None:
    failing = argv("sh", "-c", "echo out; echo why >&2; exit 3")
    with pytest.raises(Rejected, match="exit code 3") as caught:
        await _call(failing)
    assert (caught.value.status, caught.value.detail) == (3, "stdout:\nout\n\nstderr:\nwhy")
    assert await _call({**failing, "ok_exit_codes": [0, 3]}) == "out"
    with pytest.raises(Rejected, match="SIGKILL"):
        await _call(argv("sh", "-c", "kill -9 $$"))
    with pytest.raises(Rejected) as step:
        await _call(steps("echo before; false", "echo never"))
    assert (step.value.status, step.value.detail) == (1, "before")
    assert await _call(steps("false", "echo on", ok_exit_codes=[0, 1])) == "on"


async def test_stdin_is_closed_or_filled_by_its_template() -> None:
    assert await _call(argv("cat")) == ""
    assert await _call(argv("cat", stdin_template={"q": "{{q}}"}), {"q": [1]}) == {"q": [1]}
    assert await _call(argv("true", stdin_template="{{q}}"), {"q": "x" * 1_000_000}) == ""


async def test_a_command_sees_only_its_own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET", "s3cret-value")
    seen = await _call(argv("env", env_vars={"GIVEN": "1"}))
    assert "GIVEN=1" in seen
    assert "PATH=" in seen
    assert "A_SECRET" not in seen
    assert await _call(argv("/usr/bin/env", inherit_env_vars=[])) == ""
    assert await _call(argv("/usr/bin/env", inherit_env_vars=["A_SECRET"])) == "A_SECRET=s3cret-value"


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "NO_PROXY", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
async def test_a_command_gets_proxies_and_certificates_unless_its_variables_are_chosen(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "/etc/ssl/company.pem")
    assert f"{name}=/etc/ssl/company.pem" in await _call(argv("env"))
    assert name not in await _call(argv("/usr/bin/env", inherit_env_vars=["HOME"]))


async def test_output_above_the_limit_ends_the_command() -> None:
    for stream in ("", " >&2"):
        with pytest.raises(ReplyTooLarge, match="1000 bytes"):
            await _call(argv("sh", "-c", f"yes{stream}"), max_reply_bytes=1000)


async def test_grandchildren_and_children_that_ignore_sigterm_end_with_the_call(tmp_path: Path) -> None:
    script = "trap '' TERM; (trap '' TERM; exec sleep 1000) & echo $! >pid; wait"
    pid = tmp_path / "pid"
    async with open_services(root=tmp_path) as services:
        transport = CliTransport(services)
        target = make_target(transport, argv("sh", "-c", script))
        async with anyio.create_task_group() as group:
            group.start_soon(transport.call, target, make_call({}), discard)
            while not (written := pid.read_text() if pid.exists() else ""):  # noqa: ASYNC110 - no event
                await anyio.sleep(0.01)
            group.cancel_scope.cancel()
    with anyio.fail_after(60):
        while is_running(int(written)):  # noqa: ASYNC110 - SIGKILL is sent, but the kernel takes its time
            await anyio.sleep(0.01)


def is_running(process: int) -> bool:
    """Return whether a process is alive; a zombie is not."""
    try:
        status = Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


async def test_a_grandchild_that_keeps_the_output_open_does_not_delay_the_call(tmp_path: Path) -> None:
    assert await _call(argv("sh", "-c", "sleep 1000 & echo done"), root=tmp_path) == "done"


async def test_the_go_form_names_the_tool_and_fills_stdin() -> None:
    template = {
        "call_template_type": "cli",
        "command_name": "sh -c 'echo \"$*\"; cat' sh",
        "wire": "go",
        "output_format": "text",
    }
    assert await _call(template, {"b": 1, "a": "x"}) == 'call peer echo --a x --b 1\n{"b":1,"a":"x"}'


async def test_a_manual_may_be_printed_line_by_line(tmp_path: Path) -> None:
    async with open_services(root=tmp_path) as services:
        transport = CliTransport(services)
        lines = argv("printf", "%s\n", "hello", '{"name": "a"}', "{broken}", '{"name": "b"}')
        assert (await transport.discover(make_target(transport, lines))).content == [{"name": "a"}, {"name": "b"}]
        with pytest.raises(ManualError, match="printed no manual"):
            await transport.discover(make_target(transport, argv("echo", "hello")))
        with pytest.raises(Rejected, match="exit code 1"):
            await transport.discover(make_target(transport, argv("false")))


@pytest.mark.parametrize(
    "template", [argv("no-such-command"), argv("/etc/hostname"), argv("true", cwd="no/such/folder")]
)
async def test_the_error_of_a_missing_command_says_what_to_check(template: JsonObject) -> None:
    with pytest.raises(Unreachable, match="working_dir"):
        await _call(template)


@pytest.mark.parametrize("fields", [{}, {"command": "a", "command_name": "b"}])
def test_a_template_has_exactly_one_form(fields: JsonObject) -> None:
    with pytest.raises(ValidationError, match="exactly one of"):
        make_target(CliTransport, fields)


def test_a_command_has_no_endpoint_and_no_safe_hints() -> None:
    template = make_target(CliTransport, {"command": "true"}).template
    assert CliTransport.endpoint(template) is None
    assert CliTransport.annotations(template) == {"openWorldHint": True}


async def test_the_need_is_the_command_on_its_own_path(tmp_path: Path) -> None:
    async with open_services(root=tmp_path) as services:
        transport = CliTransport(services)
        fields = {"command_name": "run it", "working_dir": "bin", "env_vars": {"PATH": "/opt"}}
        (need,) = transport.needs(make_target(transport, fields))
    assert need == Program("run", tmp_path / "bin", "/opt")


async def test_outputs_of_steps_leave_no_file_when_the_script_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    with pytest.raises(Rejected, match="SIGKILL"):
        await _call(steps("echo private", "ls scratch >seen; kill -9 $$"), root=tmp_path)
    assert (tmp_path / "seen").read_text() == ""
    assert list(scratch.iterdir()) == []


async def test_outputs_of_steps_keep_their_order_and_size() -> None:
    template = steps(
        "seq 1 50000", "echo err >&2; echo out", 'echo "${#CMD_0_OUTPUT} $CMD_1_OUTPUT"', output_format="text"
    )
    assert await _call(template) == "288893 err\nout"


async def test_undeclared_arguments_are_refused(tmp_path: Path) -> None:
    async with open_services(root=tmp_path) as services:
        transport = CliTransport(services)
        target = make_target(transport, {"call_template_type": "cli", "command_name": "echo"})
        for inputs in ({"type": "object"}, {"type": "object", "properties": {"word": {}}}):
            with pytest.raises(InvalidArguments, match="not declared"):
                await transport.call(target, make_call({"exec": "sh"}, inputs=inputs), discard)


async def test_lines_before_a_limit_or_an_error_are_kept_with_the_reason() -> None:
    cut = await _call({**argv("yes", "1"), "stream": True}, max_stream_events=3)
    assert (cut.value, cut.truncated) == (["1", "1", "1"], "the stream was cut at 3 results")
    failed = await _call({**argv("sh", "-c", "echo 1; echo 2; echo gone >&2; exit 3"), "stream": True})
    assert failed.value == ["1", "2"]
    assert isinstance(failed.failure, Rejected)
    assert "gone" in failed.truncated
