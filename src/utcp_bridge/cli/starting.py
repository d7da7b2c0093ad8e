"""How an MCP host starts the bridge: the entry that it gets, the environment that it gives, and whether that works.

A host on a desktop does not have what a shell has: its PATH names four folders, its working folder is the root, and
variables that were exported in a terminal are missing. So an entry names its command by an absolute path and brings a
PATH for the programs that the configuration starts. The bridge is then started once in the same way.
"""

from __future__ import annotations

import json
import os
import queue
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from utcp_bridge import __version__
from utcp_bridge.cli import exits
from utcp_bridge.cli.output import complain, note, print_line
from utcp_bridge.errors import ConfigError, UtcpError, VariableNotFound
from utcp_bridge.model import JsonObject, is_list, is_object
from utcp_bridge.processes.inherited import inherited_environment
from utcp_bridge.processes.systems import settings_folder, split_command

if TYPE_CHECKING:
    from utcp_bridge.configuration.hosts.table import Host
    from utcp_bridge.configuration.loading import LoadedConfig
    from utcp_bridge.model import Tool, Trust

__all__ = [
    "HostLaunch",
    "Needs",
    "check_entry",
    "home_folder",
    "installed",
    "launch_of",
    "needs_of",
    "own_launch",
    "same_sources",
    "sources_of",
    "tools_of_files",
]

_CACHE_OF_UV: Final = re.compile(r"[\\/](?:archive|environments|builds)-v\d+[\\/]")
_CACHE_OF_PIPX: Final = re.compile(r"[\\/]pipx[\\/](?!venvs[\\/])|[\\/]pipx[\\/]\.cache[\\/]")
_DESKTOP_PATH: Final = {
    "darwin": "/usr/bin:/bin:/usr/sbin:/sbin",
    "linux": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
}
"""The PATH of a program that is started from a desktop, by `sys.platform`."""
_USUAL_FOLDERS: Final = (
    ".local/bin", "bin", ".cargo/bin", ".bun/bin", ".deno/bin", ".volta/bin", ".npm-global/bin", ".asdf/shims",
    ".local/share/mise/shims", ".pyenv/shims", "/opt/homebrew/bin", "/usr/local/bin",
    "/snap/bin",
)  # fmt: skip
"""Folders in which installers put programs, below the home folder or absolute. Those of nvm are added."""
_PASSED_ON: Final = (
    "HOME", "LOGNAME", "SHELL", "TERM", "USER", "LANG", "TMPDIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME",
    "APPDATA", "HOMEDRIVE", "HOMEPATH", "LOCALAPPDATA", "PATHEXT", "PROCESSOR_ARCHITECTURE", "PROGRAMDATA",
    "PROGRAMFILES", "SYSTEMDRIVE", "SYSTEMROOT", "TEMP", "TMP", "USERNAME", "USERPROFILE", "WINDIR",
)  # fmt: skip
"""The variables that hosts pass on to the servers that they start, besides PATH."""
_READ_HERE: Final = frozenset({"file", "text"})
"""The types of manuals that are read without a connection or a program."""
_READ_SECONDS: Final = 30.0
_SECONDS: Final = 120.0
"""How long the bridge may take to start and to load its manuals."""
_OWN_NAMES: Final = frozenset({"utcp-bridge", "utcp", "utcp_bridge"})


@dataclass(frozen=True, slots=True)
class HostLaunch:
    """A command, as a host starts it."""

    command: str
    args: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)

    @property
    def words(self) -> list[str]:
        """The words of the command."""
        return [self.command, *self.args]


def home_folder() -> Path:
    """Return the home folder of the user.

    :raises ConfigError: this user has none.
    """
    try:
        return Path.home()
    except RuntimeError:
        raise ConfigError(
            "This user has no home folder, so the files of hosts are unknown.",
            remedy="Set HOME, or name a project's folder with --project.",
        ) from None


# --- the command ---------------------------------------------------------------------------------


def own_launch(sources: Sequence[str], *, portable: bool = False) -> HostLaunch:
    """Return the command that starts a bridge with these sources.

    A `portable` one works on every machine: it names a program and no folder. A command that `uvx` or `pipx run` made
    is in a cache that is cleared one day, so the entry starts that program instead.
    """
    arguments = ("serve", *sources)
    prefix = sys.prefix
    origin = _origin(portable=portable)
    if _CACHE_OF_UV.search(f"{prefix}{os.sep}"):
        source = ("--from", origin) if origin else ()
        return _launched_by("uvx", (*source, "utcp-bridge", *arguments), portable=portable)
    if _CACHE_OF_PIPX.search(f"{prefix}{os.sep}"):
        source = ("--spec", origin) if origin else ()
        return _launched_by("pipx", ("run", *source, "utcp-bridge", *arguments), portable=portable)
    on_path = shutil.which("utcp-bridge")
    if portable:
        return HostLaunch("utcp-bridge", arguments) if on_path else HostLaunch("uvx", ("utcp-bridge", *arguments))
    found = on_path or shutil.which("utcp-bridge", path=str(Path(sys.executable).parent))
    return HostLaunch(found, arguments) if found else HostLaunch(sys.executable, ("-m", "utcp_bridge", *arguments))


def _origin(*, portable: bool) -> str | None:
    """Return the wheel, folder or repository that this program was installed from; None if it was a package index.

    A `portable` origin is not a path of this machine. (Source: PyPA, "Recording the Direct URL Origin of installed
    distributions".)
    """
    from importlib.metadata import PackageNotFoundError, distribution
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    try:
        found: Any = json.loads(distribution("utcp-bridge").read_text("direct_url.json") or "null")
    except (PackageNotFoundError, ValueError):
        return None
    url = found.get("url") if is_object(found) else None
    if not isinstance(url, str):
        return None
    vcs = found.get("vcs_info")
    if is_object(vcs):
        return f"{vcs.get('vcs')}+{url}@{vcs.get('commit_id')}"
    if not url.startswith("file:"):
        return url
    path = Path(url2pathname(urlsplit(url).path))
    return str(path) if path.exists() and not portable else None


def _launched_by(program: str, args: tuple[str, ...], *, portable: bool) -> HostLaunch:
    found = None if portable else shutil.which(program)
    return HostLaunch(found or program, args)


def launch_of(entry: Any, host: Host) -> HostLaunch | None:
    """Return what an entry of a host's file starts; None if it is not the entry of a command."""
    form = host.entries
    command = entry.get(form.command) if is_object(entry) else None
    words = [*command] if is_list(command) else [command, *_list(entry.get(form.args or "args"))] if command else []
    if not words or not all(isinstance(word, str) for word in words):
        return None
    env = entry.get(form.env)
    pairs = {str(name): str(value) for name, value in env.items()} if is_object(env) else {}
    return HostLaunch(words[0], tuple(words[1:]), pairs)


def _list(value: Any) -> list[Any]:
    return value if is_list(value) else []


def sources_of(launch: HostLaunch | None) -> tuple[str, ...] | None:
    """Return the configuration that a command serves; None if it does not start a bridge."""
    if launch is None or "serve" not in launch.args:
        return None
    words = launch.words
    at = words.index("serve")
    if not any(Path(word).name.removesuffix(".exe") in _OWN_NAMES for word in words[:at]):
        return None
    rest = [word for word in words[at + 1 :] if word not in {"-c", "--config"}]
    return tuple(word for word in rest if not word.startswith("-"))


def same_sources(one: Iterable[str], other: Iterable[str], folder: Path) -> bool:
    """Return whether two configurations are the same; relative paths start at `folder`."""

    def absolute(sources: Iterable[str]) -> list[str]:
        return [
            source if "://" in source else os.path.realpath(folder / source.replace("${workspaceFolder}", "."))
            for source in sources
        ]

    return absolute(one) == absolute(other)


def installed(sources: Sequence[str]) -> Iterator[tuple[Host, Path, str]]:
    """Yield the entries of this user's hosts that start a bridge with these sources: the host, its file, the name."""
    from utcp_bridge.configuration.hosts.files import find_host_files, read_host_file

    with suppress(ConfigError):
        for host, path in find_host_files(home_folder()):
            with suppress(UtcpError):
                for server in read_host_file(path, host).servers:
                    found = sources_of(launch_of(server.raw, host))
                    if found is not None and same_sources(found, sources, Path.cwd()):
                        yield host, path, server.name


# --- what the configuration needs ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Needs:
    """What a configuration needs from the environment of the bridge.

    `programs` are the commands that it starts, `missing` those that this machine does not have, `path` is a PATH on
    which the others are found. `only_here` are variables that are set in this process, and nowhere where the bridge of
    a host finds them.
    """

    programs: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    path: str = ""
    only_here: tuple[str, ...] = ()


async def tools_of_files(loaded: LoadedConfig) -> list[Tool]:
    """Return the tools of the manuals that are files or texts of this machine. Nothing is fetched or started."""
    from utcp_bridge.auth.redaction import Redactor
    from utcp_bridge.cli.logs import configure_logging
    from utcp_bridge.client.client import UtcpClient
    from utcp_bridge.client.extensions import Extensions

    entries = tuple(one for one in loaded.config.manual_call_templates if one.get("call_template_type") in _READ_HERE)
    if not entries:
        return []
    config = loaded.config.model_copy(update={"manual_call_templates": entries, "registries": ()})
    redactor = Redactor()
    configure_logging("error", config.bridge.log_format, redactor)
    extensions = Extensions(redactor=redactor, env_files=loaded.env_files)
    async with await UtcpClient.create(config, root=loaded.root, extensions=extensions, wait=_READ_SECONDS) as client:
        return [*client.tools()]


def needs_of(loaded: LoadedConfig, env: Mapping[str, str], tools: Iterable[Tool] = ()) -> Needs:
    """Return what a configuration and these tools need. `env` are the variables that the entry gives to the bridge."""
    programs = tuple(dict.fromkeys(_programs([*loaded.config.manual_call_templates])))
    here = inherited_environment(("PATH",)).get("PATH", os.defpath)
    path, missing = _path_for(programs, here)
    return Needs(programs, missing, path if programs else "", tuple(dict.fromkeys(_only_here(loaded, env, tools))))


def _programs(value: Any) -> Iterator[str]:
    """Yield the program of each command in call templates."""
    if is_list(value):
        for one in value:
            yield from _programs(one)
    elif is_object(value):
        command = value.get("command") or value.get("command_name")
        if is_list(command) and command:
            yield str(command[0])
        elif isinstance(command, str) and command.strip() and "url" not in value:
            yield _first_word(command)
        for one in value.values():
            yield from _programs(one)


def _first_word(command: str) -> str:
    try:
        return (split_command(command) or [command])[0]
    except ValueError:
        return command.split(maxsplit=1)[0]


def _path_for(programs: Iterable[str], here: str) -> tuple[str, tuple[str, ...]]:
    """Return a PATH with the folders that are in use here and those of programs elsewhere, and the missing programs."""
    folders = [
        folder
        for folder in dict.fromkeys(here.split(os.pathsep))
        if Path(folder).is_absolute() and Path(folder).is_dir() and not _CACHE_OF_UV.search(f"{folder}{os.sep}")
    ]
    missing: list[str] = []
    for program in programs:
        if "$" in program or shutil.which(program, path=os.pathsep.join(folders)):
            continue
        place = next((one for one in _usual_folders() if shutil.which(program, path=str(one))), None)
        if place is None:
            missing.append(program)
        else:
            folders.append(str(place))
    return os.pathsep.join(folders), tuple(missing)


def _usual_folders() -> Iterator[Path]:
    with suppress(ConfigError):
        home = home_folder()
        yield from (home / folder for folder in _USUAL_FOLDERS)
        yield settings_folder(home) / "npm"  # npm of Windows
        yield from sorted((home / ".nvm" / "versions" / "node").glob("*/bin"), reverse=True)


def _only_here(loaded: LoadedConfig, env: Mapping[str, str], tools: Iterable[Tool]) -> Iterator[str]:
    """Yield the variables that only the environment of this process has."""
    from utcp_bridge.model import Trust
    from utcp_bridge.variables import DotenvLoader, Variables, flat_key, load_variable_loaders

    config = loaded.config
    loaders, _ = load_variable_loaders(config.load_variables_from, root=loaded.root)
    elsewhere = Variables(config.variables, [*loaders, DotenvLoader(loaded.root / ".env")], env)
    for manual, name, trust in _variables_of(loaded, tools):
        keys = [key for key in (flat_key(manual, name), name if trust is Trust.OPERATOR else None) if key]
        here = next((key for key in keys if key in inherited_environment(keys)), None)
        with suppress(UtcpError):
            if here is not None and elsewhere.lookup(manual, name, trust) is None:
                yield here


def _variables_of(loaded: LoadedConfig, tools: Iterable[Tool]) -> Iterator[tuple[str, str, Trust]]:
    """Yield each variable of the entries and of the tools: its manual, its name, and who sees the bare name."""
    from utcp_bridge.manuals.variables_needed import names_in_template
    from utcp_bridge.model import Trust

    for entry in loaded.config.manual_call_templates:
        for name in names_in_template(entry):
            yield str(entry.get("name")), name, Trust.OPERATOR
    for tool in tools:
        trust = Trust.REMOTE if tool.source.from_file else tool.source.trust
        properties = tool.inputs.get("properties")
        for name in names_in_template(tool.template):
            if not (is_object(properties) and name in properties):
                yield tool.source.owner, name, trust


# --- the start -----------------------------------------------------------------------------------


def check_entry(host: Host, entry: JsonObject, folder: Path, report: JsonObject, *, as_json: bool) -> int:
    """Start or reach a bridge by a host's entry, report each manual in a line, and return the exit code.

    `folder` is the working folder of the host. `report` gets the members `manuals`, `tools` and `error`, and notes
    about the host.
    """
    launch = launch_of(entry, host)
    started = _reached(entry, host) if launch is None else _start_as_host(_expanded(launch, folder), host, folder)
    report |= {"manuals": started.manuals, "tools": started.listed, "error": started.error or None}
    if host.tool_limit is not None and (started.listed or 0) > host.tool_limit:
        text = f"The bridge lists {started.listed} tools, and {host.title} gives its model at most {host.tool_limit}."
        text += " Choose tools with `include`, or set `exposure` to search."
        report["notes"] = [*report.get("notes", ()), text]
        complain(text)
    if as_json:
        return started.code
    if started.error:
        complain(f"{host.title} cannot use the bridge: {started.error}")
    elif started.listed is not None:
        note(f"Started as {host.title} starts it, the bridge answers.")
    for manual in started.manuals:
        error, tools = manual.get("error"), manual.get("tools")
        if is_object(error):
            complain(f"{manual.get('name')}: {error.get('message')}")
        else:
            lost = sum(fault.get("severity") == "error" for fault in _list(manual.get("faults")) if is_object(fault))
            rest = f", {lost} {'fault' if lost == 1 else 'faults'} (`utcp-bridge check`)" if lost else ""
            print_line(f"{manual.get('name')}: {manual.get('status')}, {_number(tools)}{rest}.")
        for fault in _list(manual.get("faults")):
            if is_object(fault) and fault.get("code") == VariableNotFound.code:
                complain(f"{manual.get('name')}: {fault.get('what')} {fault.get('remedy') or ''}".rstrip())
    return started.code


def _number(tools: Any) -> str:
    return f"{tools} {'tool' if tools == 1 else 'tools'}"


def _expanded(launch: HostLaunch, folder: Path) -> HostLaunch:
    """Return a command with the project's folder in place of the host's variable for it."""
    args = tuple(word.replace("${workspaceFolder}", str(folder)) for word in launch.args)
    return replace(launch, args=args)


def _reached(entry: JsonObject, host: Host) -> Started:
    """Return what a bridge at a URL says."""
    import anyio

    from utcp_bridge.cli.sources import examine

    headers = entry.get(host.entries.headers)
    place = str(entry.get(host.entries.url or "url"))
    try:
        found = anyio.run(partial(examine, place, kind="mcp", headers=headers if is_object(headers) else None))
    except UtcpError as error:
        return Started(error=str(error), code=exits.exit_code(error))
    if found.auths:
        return Started(error=" ".join(found.notes), code=exits.UPSTREAM)
    return Started(listed=found.tools)


@dataclass(slots=True)
class Started:
    """What happened when the bridge was started as a host starts it.

    `manuals` are as `utcp-bridge check --json` writes them. `listed` is the number of tools that a host gets; None if
    the bridge did not answer. `error` says why something failed, and `code` is the exit code that belongs to it.
    """

    manuals: list[JsonObject] = field(default_factory=list[JsonObject])
    listed: int | None = None
    error: str = ""
    code: int = 0


def _host_environment(host: Host, env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment in which a host starts a server, with the variables of its entry."""
    path = inherited_environment(("PATH",))
    if not host.starts_with_path and sys.platform in _DESKTOP_PATH:
        path = {"PATH": _DESKTOP_PATH[sys.platform]}
    return {**inherited_environment(_PASSED_ON), **path, **env}


def _start_as_host(launch: HostLaunch, host: Host, folder: Path) -> Started:
    """Start a bridge as the host will: with its PATH, its environment and its working folder. Wait for its manuals."""
    environ = _host_environment(host, launch.env)
    program = shutil.which(launch.command, path=environ.get("PATH"))
    if program is None:
        words = f"The command {launch.command} is not found there any more. Install it, or run install again."
        if os.sep not in launch.command:
            words = f"The command {launch.command} is not found on the PATH of the host ({environ.get('PATH')}). "
            words += "Install it in one of these folders, or leave --project out: then the entry has the whole path."
        return Started(error=words, code=exits.CONFIGURATION)
    started = Started()
    started.listed, words = _greeted([program, *launch.args], environ, folder)
    if started.listed is None:
        started.error, started.code = f"The bridge did not answer. {words}".strip(), exits.UPSTREAM
    if "serve" in launch.args:
        checked = ["check" if word == "serve" else word for word in launch.args]
        _add_check(started, [program, *checked, "--json"], environ, folder)
    return started


def _add_check(started: Started, words: list[str], environ: Mapping[str, str], folder: Path) -> None:
    try:
        done = subprocess.run(  # noqa: S603 - the command that the host starts
            words, env=dict(environ), cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS
        , check=False)  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = (
            "takes too long" if isinstance(error, subprocess.TimeoutExpired) else f"does not start: {error.strerror}"
        )
        started.error, started.code = f"{words[0]} {reason}.", 7 if "long" in reason else 2
        return
    try:
        report = json.loads(done.stdout)
    except ValueError:
        started.error, started.code = started.error or _last_line(done.stderr), done.returncode or exits.UPSTREAM
        return
    started.manuals = [one for one in report.get("manuals", ()) if is_object(one)]
    if is_object(problem := report.get("error")):
        started.error = f"{problem.get('message')} {problem.get('remedy') or ''}".strip()
    started.code = done.returncode or started.code


def _last_line(data: bytes) -> str:
    lines = data.decode("utf-8", "replace").strip().splitlines()
    return lines[-1].strip()[:500] if lines else ""


def _greeted(words: list[str], environ: Mapping[str, str], folder: Path) -> tuple[int | None, str]:
    """Start a server over stdio, greet it, and return the number of tools that it lists, or None and its last words."""
    hello = {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "utcp-bridge-check", "version": __version__},
    }
    requests: tuple[JsonObject, ...] = (
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/list", "params": {}},
    )
    try:
        process = subprocess.Popen(  # noqa: S603 - the command that the host starts
            words,
            env=dict(environ),
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    except OSError as error:
        return None, f"It does not start: {error.strerror}."
    with _Talk(process) as talk:
        if talk.ask(requests[0]) is None:
            return None, talk.last_words()
        talk.send(requests[1])
        listed = talk.ask(requests[2])
        tools = listed.get("result", {}).get("tools") if listed is not None else None
        return (len(tools), "") if is_list(tools) else (None, talk.last_words())


class _Talk:
    """A conversation with a server over its pipes. Threads read them, so a silent server costs only its time."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._errors: list[bytes] = []
        self._threads = [
            threading.Thread(target=self._read, daemon=True),
            threading.Thread(target=self._read_errors, daemon=True),
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        """End the server: its input is closed, and what does not end by itself is ended."""
        process = self._process
        with suppress(OSError):
            if process.stdin is not None:
                process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()
        for thread in self._threads:
            thread.join(10)
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()

    def send(self, message: JsonObject) -> None:
        with suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.write(json.dumps(message).encode() + b"\n")
                self._process.stdin.flush()

    def ask(self, message: JsonObject) -> JsonObject | None:
        """Return the response to a request; None if the server ends or stays silent."""
        self.send(message)
        with suppress(queue.Empty):
            while line := self._lines.get(timeout=_SECONDS):
                with suppress(ValueError):
                    found: Any = json.loads(line)
                    if is_object(found) and found.get("id") == message["id"]:
                        return found
        return None

    def last_words(self) -> str:
        if self._process.poll() is not None:
            self._threads[1].join(10)
        return _last_line(b"".join(self._errors[-20:]))

    def _read(self) -> None:
        for line in self._process.stdout or ():
            if line.strip():
                self._lines.put(line)
        self._lines.put(b"")

    def _read_errors(self) -> None:
        for line in self._process.stderr or ():
            self._errors.append(line)
            del self._errors[:-100]
