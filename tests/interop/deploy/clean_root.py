"""The steps of a Dockerfile, executed in a clean root without an engine, and the image started as an engine would.

The base image is this machine's `/usr` and its Python, read-only. Everything else in the root is new. Needs root and
Linux, because it mounts; `why_not` says what is missing.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.source import ROOT

_SECONDS = 500
_PROGRAMS = ("unshare", "nsenter", "setpriv", "chroot", "mount", "ip")
_PYTHON = Path(sys.base_prefix)
_FROM_HOST = [one for one in ("/usr", "/etc/ssl", "/etc/xdg", "/etc/pip.conf", str(_PYTHON)) if Path(one).exists()]
"""What the root has of this machine: its programs, and how pip reaches the index."""
_ENTER = r"""
set -e
root=$1 access=$2 folder=$3 user=$4
shift 4
mount --make-rprivate /
mount --bind "$root" "$root"
if [ "$access" = ro ]; then
    for one in tmp var/lib/utcp-bridge; do mount -t tmpfs -o mode=1777 tmpfs "$root/$one"; done
    mount -o remount,bind,ro "$root"
    ip link set lo up
fi
for one in $FROM_HOST; do
    mount --bind "$one" "$root$one"
    mount -o remount,bind,ro "$root$one"
done
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
cd "$root"
exec chroot . /bin/sh -c 'cd "$0" && exec "$@"' "$folder" $user env -i "$@"
"""


def why_not() -> str | None:
    """Return why a clean root cannot be made here; None if it can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs Linux and root"
    if missing := [name for name in _PROGRAMS if shutil.which(name) is None]:
        return f"{', '.join(missing)} is not installed"
    tried = subprocess.run(["unshare", "--mount", "--net", "--pid", "--fork", "true"], capture_output=True, check=False)
    return None if tried.returncode == 0 else "namespaces are not permitted here"


@dataclass
class Stage:
    """One stage: its folder, and what an image has besides files."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)
    folder: str = "/"
    user: str = "0"
    entry: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """Yield the instructions of a Dockerfile in order: the word, and what follows it in one line."""
    kept = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n\s*", "", "\n".join(kept)).splitlines():
        word, _, rest = line.partition(" ")
        yield word, rest


class Builder:
    """Builds the stages of the project's Dockerfile below a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stages: dict[str, Stage] = {}
        ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        self._let_through = [line[1:] for line in ignored if line.startswith("!")]

    def build(self, target: str) -> Stage:
        """Execute all stages up to the one of this name, but for those that it does not use."""
        text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
        blocks = re.split(r"^(?=FROM )", text, flags=re.MULTILINE)[1:]
        names = [re.search(r" AS (\w+)", block)[1] for block in blocks]  # type: ignore[index]
        needed = {target}
        for name, block in reversed(list(zip(names, blocks, strict=True))):
            if name in needed:
                needed |= {one for pair in re.findall(r"^FROM (\w+)|--from=(\w+)", block, re.MULTILINE) for one in pair}
        for name, block in zip(names, blocks, strict=True):
            if name in needed and name not in self._stages:
                self._run_stage(name, block)
        return self._stages[target]

    def _run_stage(self, name: str, block: str) -> None:
        stage: Stage | None = None
        for word, rest in instructions(block):
            if word == "FROM":
                stage = self._begin(name, rest.split()[0])
                continue
            assert stage is not None
            if word == "RUN":
                run(stage, ["/bin/sh", "-ec", rest])
            elif word == "COPY":
                self._copy(stage, rest.split())
            else:
                _note(stage, word, rest)
        assert stage is not None
        self._stages[name] = stage

    def _begin(self, name: str, parent: str) -> Stage:
        root = self._folder / name
        if parent in self._stages:
            before = self._stages[parent]
            subprocess.run(["cp", "-al", str(before.root), str(root)], check=True)
            return Stage(root, dict(before.environment), before.folder, before.user, before.entry, before.command,
                         before.health)  # fmt: skip
        for one in (
            "dev",
            "proc",
            "tmp",
            "etc",
            "home",
            "opt",
            "srv",
            "var/mail",
            *(o.lstrip("/") for o in _FROM_HOST),
        ):
            if Path("/", one).is_file():
                (root / one).parent.mkdir(parents=True, exist_ok=True)
                (root / one).touch()
            else:
                (root / one).mkdir(parents=True, exist_ok=True)
        for link in ("bin", "sbin", "lib", "lib64"):
            (root / link).symlink_to(f"usr/{link}")
        (root / "tmp").chmod(0o1777)
        (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n", encoding="utf-8")
        (root / "etc/group").write_text("root:x:0:\n", encoding="utf-8")
        shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
        return Stage(root, {"PATH": f"{_PYTHON / 'bin'}:/usr/bin:/usr/sbin:/bin"})

    def _copy(self, stage: Stage, words: list[str]) -> None:
        base = ROOT
        if words[0].startswith("--from="):
            base = self._stages[words.pop(0).partition("=")[2]].root
        *sources, target = words
        goal = stage.root / os.path.join(stage.folder, target).lstrip("/")  # noqa: PTH118 - an absolute target wins
        for name in sources:
            source = base / name.lstrip("/")
            if base is ROOT:
                assert name in self._let_through, f".dockerignore does not let {name} through"
            if source.is_dir():
                ignored = shutil.ignore_patterns("__pycache__") if base is ROOT else None
                shutil.copytree(source, goal, symlinks=True, dirs_exist_ok=True, ignore=ignored)
            else:
                goal.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, goal)


def _note(stage: Stage, word: str, rest: str) -> None:
    """Keep what an instruction says about the image besides its files."""
    match word:
        case "ENV":
            for pair in shlex.split(rest):
                key, _, value = pair.partition("=")
                stage.environment[key] = value.replace("$PATH", stage.environment["PATH"])
        case "WORKDIR":
            stage.folder = rest
            (stage.root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
        case "USER":
            stage.user = rest
        case "ENTRYPOINT":
            stage.entry = json.loads(rest)
        case "CMD":
            stage.command = json.loads(rest)
        case "HEALTHCHECK":
            stage.health = json.loads(rest.partition(" CMD ")[2])
        case _:
            assert word == "EXPOSE", f"this file does not know {word}"


def _command(stage: Stage, access: str, user: list[str], words: list[str]) -> list[str]:
    environment = (
        {name: value for name, value in os.environ.items() if name.startswith("PIP_")} if access == "rw" else {}
    )
    pairs = [f"{name}={value}" for name, value in {**environment, **stage.environment}.items()]
    script = _ENTER.replace("$FROM_HOST", " ".join(map(shlex.quote, _FROM_HOST)))
    return ["sh", "-c", script, "enter", str(stage.root), access, stage.folder, " ".join(user), *pairs, *words]


def run(stage: Stage, words: list[str]) -> str:
    """Run a command in a stage, as root, as RUN does."""
    command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", *_command(stage, "rw", [], words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    assert done.returncode == 0, f"{words[-1][:200]}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


def as_user(number: str, group: str = "") -> list[str]:
    """Return what starts a program as an engine does for a container without privileges."""
    group = group or number
    return ["setpriv", f"--reuid={number}", f"--regid={group}", "--clear-groups", "--no-new-privs",
            "--inh-caps=-all", "--bounding-set=-all"]  # fmt: skip


@dataclass
class Container:
    """A started image. Its process 1 has namespaces of processes, mounts and the network."""

    stage: Stage
    process: subprocess.Popen[bytes]
    user: list[str]

    @property
    def first(self) -> int:
        """The process id of its process 1, as this machine sees it."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text(encoding="ascii")
        return int(children.split()[0])

    def execute(self, words: list[str], data: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command inside, as an engine runs a health check."""
        enter = ["nsenter", "--target", str(self.first), "--mount", "--pid", "--net", "--root", "--wd"]
        pairs = [f"{name}={value}" for name, value in self.stage.environment.items()]
        command = [*enter, *self.user, "env", "-i", *pairs, *words]
        return subprocess.run(command, input=data, capture_output=True, text=True, timeout=60, check=False)

    def fetch(self, path: str, body: Any = None, **headers: str) -> Any:
        """Send a request to port 8000 inside, and return the reply: JSON, or text."""
        code = (
            "import json, sys, urllib.request as r; q = json.load(sys.stdin);"
            "q = r.Request(q['url'], q['data'] and q['data'].encode(), q['headers']);"
            "print(r.urlopen(q, timeout=30).read().decode())"
        )
        asked = {
            "url": f"http://127.0.0.1:8000{path}",
            "data": None if body is None else json.dumps(body),
            "headers": {"Content-Type": "application/json", **headers},
        }
        done = self.execute(["/opt/utcp-bridge/bin/python", "-c", code], json.dumps(asked))
        assert done.returncode == 0, done.stderr[-1000:]
        with suppress(ValueError):
            return json.loads(done.stdout)
        return done.stdout.rstrip("\n")


@contextmanager
def started(
    stage: Stage,
    arguments: list[str] | None = None,
    *,
    user: list[str] | None = None,
    environment: dict[str, str] | None = None,
) -> Iterator[Container]:
    """Start the image with a read-only root, and end it. Its stderr is a pipe that the test may read."""
    image = Stage(stage.root, {**stage.environment, **(environment or {})}, stage.folder)
    user = user or as_user(stage.user)
    words = [*stage.entry, *(arguments if arguments is not None else stage.command)]
    command = ["unshare", "--mount", "--pid", "--net", "--fork", *_command(image, "ro", user, words)]
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, **pipes) as process:
        container = Container(image, process, user)
        try:
            yield container
        finally:
            # A program that changes its user is not ended with its parent, so `--kill-child` would not do.
            with suppress(OSError, IndexError):
                os.kill(container.first, signal.SIGKILL)
