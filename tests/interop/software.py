"""Where independent programs come from: Debian packages, Python environments and npm, all below `.tools`.

Nothing is installed into the system: Debian packages are unpacked into a folder, Python programs get an environment
each, and so do npm's. A test says what it needs,

    REDIS = Debian("redis-server")

    @pytest.mark.needs(REDIS)
    async def test_a_reply_of_redis_is_read_to_its_end(...):
        with serving([REDIS.command, "--port", str(port)], port=port, environment=REDIS.environment): ...

and is skipped where that is missing, unless `scripts/interop` runs it: that installs first, and then nothing may be
missing.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import ClassVar

TOOLS = Path(__file__).parents[2] / ".tools"
_DAY = 86_400


_newest_versions = False


def use_newest_versions() -> None:
    """Install the newest versions from now on, of the programs that name them; each is renewed once a day."""
    global _newest_versions  # noqa: PLW0603 - one run of pytest installs one or the other
    _newest_versions = True


class InstallationFailed(Exception):
    """A program could not be fetched; the message holds the installer's last words."""


@dataclass(frozen=True)
class Software(ABC):
    """One program: where to get it, and how to run it."""

    package: str
    program: str = ""
    light: bool = field(default=True, kw_only=True)
    """Whether it belongs to the subset that runs with every change."""
    newest: str = field(default="", kw_only=True)
    """What to install instead of `package` where the newest versions are wanted."""
    optional: bool = field(default=False, kw_only=True)
    """Whether its tests are skipped, with the reason, if it cannot be installed."""

    origin: ClassVar[str] = ""

    @property
    def wanted(self) -> str:
        """What is installed: one or several packages, by blanks."""
        return self.newest if _newest_versions and self.newest else self.package

    @property
    def title(self) -> str:
        """The package without its version."""
        return re.sub(r"(?<=.)(@|[=<>~]=?)[^@/]*$", "", self.package.split()[0])

    @property
    @abstractmethod
    def folder(self) -> Path: ...

    @property
    @abstractmethod
    def places(self) -> tuple[Path, ...]:
        """Folders that may hold the program."""

    @abstractmethod
    def install(self) -> None: ...

    @property
    @abstractmethod
    def version(self) -> str: ...

    @property
    def command(self) -> str:
        """The program's path."""
        found = self._find()
        assert found, f"{self.package} is not installed"
        return found

    @property
    def present(self) -> bool:
        return self._find() is not None

    @property
    def environment(self) -> dict[str, str]:
        places = os.pathsep.join(str(place) for place in self.places)
        return {**os.environ, "PATH": f"{places}{os.pathsep}{os.environ['PATH']}"}

    def _find(self) -> str | None:
        places = os.pathsep.join(str(place) for place in self.places)
        return shutil.which(self.program or self.package, path=places)


@dataclass(frozen=True)
class Installed(Software):
    """A distribution in the tests' own environment."""

    origin: ClassVar[str] = "PyPI"

    @property
    def folder(self) -> Path:
        return Path(sys.prefix)

    @property
    def places(self) -> tuple[Path, ...]:
        return (self.folder / "bin",)

    @property
    def version(self) -> str:
        return metadata.version(self.package)

    def install(self) -> None:
        raise InstallationFailed(f"{self.package} belongs to the development tools; run scripts/setup")

    def _find(self) -> str | None:
        return sys.executable if _is_installed(self.package) else None


@dataclass(frozen=True)
class Debian(Software):
    """A Debian package, as the system has it or unpacked below `.tools/debian`."""

    origin: ClassVar[str] = "Debian"

    @property
    def folder(self) -> Path:
        return TOOLS / "debian" / self.package

    @property
    def places(self) -> tuple[Path, ...]:
        # The program below `usr/lib` comes first: one of the same name in `usr/bin` is a script that names
        # folders of the system, where nothing is unpacked.
        parts = (f"usr/lib/{self.package}", "usr/bin", "usr/sbin", "bin", "sbin")
        return (*(self.folder / part for part in parts), Path("/usr/bin"), Path("/usr/sbin"))

    @property
    def environment(self) -> dict[str, str]:
        libraries = [str(folder) for part in ("usr/lib", "lib") for folder in (self.folder / part).glob("*-linux-*")]
        # Some packages keep libraries one folder deeper, where only a path written into a library leads.
        deeper = {str(file.parent) for folder in libraries for file in Path(folder).glob("*/lib*.so*")}
        libraries += sorted(deeper)
        given = os.environ.get("LD_LIBRARY_PATH")
        return {**super().environment, "LD_LIBRARY_PATH": os.pathsep.join([*libraries, *([given] if given else [])])}

    @property
    def version(self) -> str:
        if (stamp := self.folder / "VERSION").exists():
            return stamp.read_text(encoding="utf-8")
        query = ["dpkg-query", "-W", "-f", "${Version}", self.package]
        return subprocess.run(query, capture_output=True, text=True, check=False).stdout

    def install(self) -> None:
        if shutil.which("apt-get") is None:
            raise InstallationFailed(f"{self.package} comes from Debian, and there is no apt-get here")
        archives = self.folder / "archives"
        archives.mkdir(parents=True, exist_ok=True)
        for name in self._needed():
            _run(["apt-get", *_apt_folders(), "download", name], cwd=archives)
        for archive in sorted(archives.glob("*.deb")):
            _run(["dpkg-deb", "--extract", str(archive), str(self.folder)])
            if archive.name.startswith(f"{self.package}_"):
                version = _run(["dpkg-deb", "--field", str(archive), "Version"]).strip()
                (self.folder / "VERSION").write_text(version, encoding="utf-8")
        shutil.rmtree(archives)

    def _needed(self) -> list[str]:
        """The package and those of its dependencies that the system lacks."""
        plan = ["apt-get", *_apt_folders(), "install", "--simulate", "--no-install-recommends", self.package]
        names = re.findall(r"^Inst (\S+)", _run(plan), re.MULTILINE)
        return names or [self.package]


@dataclass(frozen=True)
class PyPI(Software):
    """A Python program with an environment of its own; `package` may hold several requirements, by blanks."""

    origin: ClassVar[str] = "PyPI"

    @property
    def folder(self) -> Path:
        return TOOLS / "python" / _as_folder(self.wanted)

    @property
    def places(self) -> tuple[Path, ...]:
        return (self.folder / "bin",) if _is_ready(self.folder) else ()

    @property
    def version(self) -> str:
        first = re.split(r"[\[=<> ]", self.package)[0]
        code = f"from importlib.metadata import version; print(version({first!r}))"
        return _run([str(self.folder / "bin" / "python"), "-c", code]).strip()

    def install(self) -> None:
        _run([sys.executable, "-m", "venv", "--clear", str(self.folder)])
        python = str(self.folder / "bin" / "python")
        _run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *self.wanted.split()])
        (self.folder / "READY").touch()

    def _find(self) -> str | None:
        return shutil.which(self.program or "python", path=str(self.folder / "bin")) if self.places else None


@dataclass(frozen=True)
class Carried(PyPI):
    """A native program inside the wheel of a Python package, whose Python code does not run."""

    part: str = field(default="", kw_only=True)
    """The folder of the program, below `site-packages`, as a pattern."""

    @property
    def places(self) -> tuple[Path, ...]:
        return tuple(self.folder.glob(f"lib/python*/site-packages/{self.part}")) if _is_ready(self.folder) else ()

    def install(self) -> None:
        super().install()
        for place in self.places:
            (place / self.program).chmod(0o755)

    def _find(self) -> str | None:
        return shutil.which(self.program, path=os.pathsep.join(map(str, self.places))) if self.places else None


@dataclass(frozen=True)
class Sdist(PyPI):
    """A Python program that only the source distribution of its package contains, run in an environment of its own."""

    part: str = field(default="", kw_only=True)
    """The folder of the program, below that of the sources."""

    @property
    def folder(self) -> Path:
        return TOOLS / "python" / _as_folder(f"source {self.wanted}")

    @property
    def environment(self) -> dict[str, str]:
        return {**super().environment, "PYTHONPATH": str(self.folder / "sources" / self.part)}

    def install(self) -> None:
        super().install()
        (self.folder / "READY").unlink()
        archives = self.folder / "archives"
        download = ["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--dest", archives]
        first = self.wanted.split()[0]
        python = self.folder / "bin" / "python"
        _run([str(part) for part in (python, *download, "--no-binary", re.split(r"[\[=<> ]", first)[0], first)])
        for archive in archives.glob("*.tar.gz"):
            shutil.unpack_archive(archive, archives, filter="data")
            (archives / archive.name.removesuffix(".tar.gz")).rename(self.folder / "sources")
        shutil.rmtree(archives)
        (self.folder / "READY").touch()


@dataclass(frozen=True)
class Suites(PyPI):
    """The tests in the source distributions of several packages, by blanks, and what they need of pytest.

    The packages themselves are not installed: the tests run in this project's own environment.
    """

    needs: str = field(default="", kw_only=True)
    """Plugins of pytest, by blanks, which only the child process sees."""

    @property
    def folder(self) -> Path:
        return TOOLS / "python" / _as_folder(f"suites {self.wanted}")

    @property
    def plugins(self) -> Path:
        return self.folder / "plugins"

    @property
    def sources(self) -> list[Path]:
        """The folder of tests of each package."""
        return sorted(self.folder.glob("*/tests"))

    @property
    def version(self) -> str:
        return self.package.split()[0].partition("==")[2]

    def install(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        _run([sys.executable, "-m", "venv", "--clear", str(self.folder)])
        pip = [str(self.folder / "bin" / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check"]
        if self.needs:
            _run([*pip, "install", "--no-deps", "--target", str(self.plugins), *self.needs.split()])
        archives = self.folder / "archives"
        _run([*pip, "download", "--no-deps", "--no-binary", ":all:", "--dest", str(archives), *self.wanted.split()])
        for archive in archives.glob("*.tar.gz"):
            shutil.unpack_archive(archive, self.folder, filter="data")
        shutil.rmtree(archives)
        (self.folder / "READY").touch()


@dataclass(frozen=True)
class Npm(Software):
    """A Node program; `package` may hold several packages, by blanks, the one that counts first."""

    light: bool = field(default=False, kw_only=True)
    origin: ClassVar[str] = "npm"

    @property
    def folder(self) -> Path:
        return TOOLS / "npm" / _as_folder(self.wanted)

    @property
    def places(self) -> tuple[Path, ...]:
        return (self.folder / "node_modules" / ".bin",) if _is_ready(self.folder) else ()

    @property
    def environment(self) -> dict[str, str]:
        return {**super().environment, "NODE_PATH": str(self.folder / "node_modules")}

    @property
    def version(self) -> str:
        described = self.folder / "node_modules" / self.title / "package.json"
        return str(json.loads(described.read_text(encoding="utf-8"))["version"])

    def install(self) -> None:
        if shutil.which("npm") is None:
            raise InstallationFailed(f"{self.package} comes from npm, and there is no npm here")
        self.folder.mkdir(parents=True, exist_ok=True)
        _run(["npm", "install", "--no-audit", "--no-fund", "--prefix", str(self.folder), *self.wanted.split()])
        (self.folder / "READY").touch()

    def _find(self) -> str | None:
        """The program, or node where the package is a library for a script of ours."""
        if not self.places:
            return None
        return super()._find() if self.program else shutil.which("node")


def _is_installed(package: str) -> bool:
    try:
        return bool(metadata.version(package))
    except metadata.PackageNotFoundError:
        return False


def _is_ready(folder: Path) -> bool:
    """Return whether an installation ended here, within the last day if the newest versions are wanted."""
    stamp = folder / "READY"
    return stamp.exists() and not (_newest_versions and time.time() - stamp.stat().st_mtime > _DAY)


def _as_folder(package: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "_", package).strip("_")[:80]


def _apt_folders() -> list[str]:
    """Options that keep apt's lists and archives of our own, renewed once a day: no root is needed."""
    base = TOOLS / "debian"
    lists, cache = base / ".lists", base / ".cache"
    options = ["-qq", "-o", f"Dir::State::lists={lists}", "-o", f"Dir::Cache={cache}", "-o", "Debug::NoLocking=1"]
    stamp = base / ".updated"
    if not stamp.exists() or time.time() - stamp.stat().st_mtime > _DAY:
        (lists / "partial").mkdir(parents=True, exist_ok=True)
        (cache / "archives" / "partial").mkdir(parents=True, exist_ok=True)
        _run(["apt-get", *options, "-o", "APT::Sandbox::User=root", "update"])
        stamp.touch()
    return [*options, "-o", "APT::Sandbox::User=root"]


def _run(command: list[str], *, cwd: Path | None = None) -> str:
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=400, check=False)
    except subprocess.TimeoutExpired as error:
        raise InstallationFailed(f"{command[0]} did not end in time") from error
    if done.returncode != 0:
        raise InstallationFailed(f"{' '.join(command[:3])} … failed: {(done.stderr or done.stdout).strip()[-500:]}")
    return done.stdout
