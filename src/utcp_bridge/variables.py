"""Variables in call templates: `${NAME}` and `$NAME`, which manual they belong to and where their values come from.

`${NAME:-text}` is the text if no source has the variable.

A variable belongs to a manual: it is a pair (manual, name). Flat sources (dotenv files, the process environment, plain
entries of `variables`) have it under UTCP's key: the manual with its underscores doubled, one underscore, the name. So
`my_api` + `KEY` → `my__api_KEY`. When a key is read back, the first odd run of underscores ends the manual, so each key
belongs to exactly one pair: `a__b_SECRET` is `SECRET` of `a_b`, never `_b_SECRET` of `a`. A name that starts with an
underscore has no flat key. It is set as a pair: `"variables": {"a": {"_b_SECRET": …}}`.

The sources, in order, are `variables`, the loaders and the environment. Templates of fetched manuals see only their own
pairs. Templates that the operator wrote also see the bare NAME if no source has the pair. `$$` is a plain dollar sign.
(Source: UTCP v1 variable substitution. The escape, the pairs and the bare names belong to this bridge.)
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import field
from io import StringIO
from itertools import chain
from math import inf
from pathlib import Path
from shlex import quote
from stat import S_IRGRP, S_IROTH, S_ISDIR, S_ISREG
from typing import Any, Final, Protocol, TypeAlias

from utcp_bridge.errors import ConfigError, VariableNotFound
from utcp_bridge.foreign import dotenv_content
from utcp_bridge.late.entry_points import entry_points
from utcp_bridge.late.patterns import late_pattern
from utcp_bridge.late.records import dataclass
from utcp_bridge.model import Fault, JsonObject, Trust, is_list, is_object
from utcp_bridge.processes.output import CommandFailed, output_of

__all__ = [
    "EnvFile",
    "ExecLoader",
    "LookedUp",
    "VariableLoader",
    "Variables",
    "flat_key",
    "load_variable_loaders",
    "looked_up",
    "names_credential",
    "read_dotenv",
    "renamed",
    "required",
    "variable_names",
]

_BRACED = r"\$\{(?P<braced>[A-Za-z0-9_]+)\}"
_BARE = r"\$(?P<bare>[A-Za-z0-9_]+)"
_DEFAULTED = r"\$\{(?P<braced>[A-Za-z0-9_]+)(?::-(?P<default>[^{}]*))?\}"
_ANY = late_pattern(rf"(?P<escape>\$\$)|{_DEFAULTED}|{_BARE}")
_BRACED_ONLY = late_pattern(rf"(?P<escape>\$\$(?={{))|{_BRACED}")
_JSON_REFERENCE = late_pattern(r"\$ref(?![A-Za-z0-9_])")
_FLAT_KEY = late_pattern(r"(?P<manual>(?:__|[^_])+)_(?P<name>[^_].*)", re.DOTALL)
_MAX_DEPTH = 200
_MAX_SECRET_BYTES: Final = 64 * 1024
_MAX_DOTENV_BYTES: Final = 1024 * 1024
_SWITCH_OFF: Final = "Mend it, or set `dotenv` to false, so that the bridge does not read it."
_MAX_EXEC_SECONDS: Final = 31_536_000
_FAILURE_SECONDS: Final = 10.0
"""Seconds after which a command that failed runs again."""
_KEY: Final = late_pattern(r"[A-Za-z0-9_]+")
_NO_NAMES: frozenset[str] = frozenset()
_GROUP = "utcp_bridge.variable_loaders"
_CREDENTIAL: Final = late_pattern(
    r"(?:auth|authorization|cookie|passw(?:or)?d|passphrase|secret|token|key|credentials?|signature)$", re.IGNORECASE
)


class VariableLoader(Protocol):
    """A source of flat keys, such as a dotenv file or a secret manager."""

    def get(self, key: str) -> str | None:
        """Return the value of a flat key; None if there is none. It is called for each substitution: cache slow reads.

        :raises ConfigError: the source cannot be read.
        """
        ...


LookedUp: TypeAlias = tuple[str, str, Trust]
"""A variable that was looked up: for which manual, its name, and the trust of the template."""
_FAILED: Final = -2
_seen: Final[ContextVar[dict[LookedUp, int] | None]] = ContextVar("looked_up", default=None)


@contextmanager
def looked_up() -> Generator[dict[LookedUp, int]]:
    """Yield what is looked up inside, also by other code of this task, with a hash of each value."""
    seen: dict[LookedUp, int] = {}
    token = _seen.set(seen)
    try:
        yield seen
    finally:
        _seen.reset(token)


@dataclass(frozen=True, slots=True)
class _Lookup:
    manual: str
    trust: Trust
    arguments: frozenset[str]


def flat_key(manual: str, name: str) -> str | None:
    """Return the key of a manual's variable in flat sources; None if it has none.

    The owner `a/b`, a registry's manual, has none: its variables are set as pairs.
    """
    if "/" in manual:
        return None
    key = f"{manual.replace('_', '__')}_{name}"
    match = _FLAT_KEY.fullmatch(key)
    return key if match and match["name"] == name else None


@dataclass(slots=True)
class Variables:
    """All sources of variables, in order.

    `config` is `variables` of the configuration: flat keys and bare names with text or numbers, and manuals with
    objects of names. A value may contain `${NAME}`, which is looked up by this name in the loaders and the environment.
    `env_files` are the `.env` files next to the configuration, which are asked last.
    `on_resolved` receives the key of each variable that is used, and its value.

    :raises ConfigError: a value is not text, a number or an object of these.
    """

    config: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)
    loaders: Sequence[VariableLoader] = field(default=(), repr=False)
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)  # noqa: TID251 - a source of variables
    on_resolved: Callable[[str, str], None] | None = field(default=None, repr=False)
    env_files: Sequence[EnvFile] = field(default=(), repr=False)
    _flat: dict[str, str] = field(init=False, repr=False)
    _pairs: dict[tuple[str, str], str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._flat, self._pairs = {}, {}
        for key, value in self.config.items():
            if isinstance(value, Mapping):
                members = {str(name): member for name, member in self.config[key].items() if member is not None}
                self._pairs |= {(key, name): _text(member, f"{key}.{name}") for name, member in members.items()}
            elif value is not None:
                self._flat[key] = _text(value, key)

    def reconfigure(self, config: Mapping[str, Any]) -> None:
        """Replace `variables` of the configuration."""
        fresh = Variables(config)
        self.config, self._flat, self._pairs = config, fresh._flat, fresh._pairs

    def run_commands(self) -> None:
        """Run the commands of all loaders at once, and wait for their values. It blocks its thread."""
        threads = [thread for loader in self.loaders if isinstance(loader, ExecLoader) for thread in loader.threads()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def lookup(self, manual: str, name: str, trust: Trust) -> str | None:
        """Return the value of a manual's variable; None if no source has it.

        :raises VariableNotFound: the value in the configuration names a variable that no source has.
        :raises ConfigError: a loader cannot be read.
        """
        seen = _seen.get()
        if seen is not None:
            seen[manual, name, trust] = _FAILED
        key = flat_key(manual, name)
        value = self._configured(self._pairs.get((manual, name)), f"variables.{manual}.{name}")
        if value is None and key is not None:
            value = self._from_sources(key)
        if value is None and trust is Trust.OPERATOR:
            value = self._from_sources(name)
        if value is not None and self.on_resolved is not None:
            self.on_resolved(key or f"{manual}.{name}", value)
        if seen is not None:
            seen[manual, name, trust] = hash(value)
        return value

    def are_as(self, seen: Mapping[LookedUp, int]) -> bool:
        """Return whether every variable still has the value that `looked_up` noted."""
        with looked_up() as now:
            for manual, name, trust in seen:
                with suppress(ConfigError, VariableNotFound):
                    self.lookup(manual, name, trust)
        return now == seen

    def resolve(
        self,
        value: Any,
        *,
        manual: str,
        trust: Trust,
        arguments: frozenset[str] = _NO_NAMES,
        raw_fields: frozenset[str] = _NO_NAMES,
        braced_only: frozenset[str] = _NO_NAMES,
    ) -> Any:
        """Return a template with its variables filled in: in texts within objects and lists, not in keys.

        `arguments` are the tool's inputs. A variable that no source has, but that is one of them, stays `${name}` for
        the call. `raw_fields` and `braced_only` name members of the outermost object. In the first nothing is replaced;
        in the second a bare `$name` has another meaning and stays. A text with `$ref` (a JSON reference) does not
        change, as in UTCP.

        :raises VariableNotFound: no source has a variable; the error names the exact key to set.
        :raises ConfigError: a loader cannot be read, or the template is nested too deeply.
        """
        scope = _Lookup(manual, trust, arguments)
        if not is_object(value):
            return self._walk(value, scope, _ANY, 0)
        return {
            key: member
            if key in raw_fields or (member.__class__ is str and "$" not in member)
            else self._walk(member, scope, _BRACED_ONLY if key in braced_only else _ANY, 1)
            for key, member in value.items()
        }

    def _walk(self, value: Any, scope: _Lookup, pattern: re.Pattern[str], depth: int) -> Any:
        if isinstance(value, str):
            return self._fill(value, scope, pattern) if "$" in value else value
        if depth > _MAX_DEPTH:
            raise ConfigError(
                f"A call template of manual {scope.manual!r} is nested more than {_MAX_DEPTH} levels deep."
            )
        if is_object(value):
            return {key: self._walk(member, scope, pattern, depth + 1) for key, member in value.items()}
        if is_list(value):
            return [self._walk(member, scope, pattern, depth + 1) for member in value]
        return value

    def _fill(self, text: str, scope: _Lookup, pattern: re.Pattern[str]) -> str:
        if _JSON_REFERENCE.search(text):
            return text

        def replacement(match: re.Match[str]) -> str:
            if match["escape"]:
                return "$"
            name = _name_of(match)
            value = self.lookup(scope.manual, name, scope.trust)
            if value is None:
                value = match.groupdict().get("default")
            if value is not None:
                return value
            if name in scope.arguments:
                return f"${{{name}}}"
            raise self._missing(scope, name)

        return pattern.sub(replacement, text)

    def _from_sources(self, key: str) -> str | None:
        value = self._configured(self._flat.get(key), f"variables.{key}")
        return self._from_outside(key) if value is None else value

    def _from_outside(self, key: str) -> str | None:
        """Look a key up in loaders, environment and `.env` files. An empty value counts as none, as in UTCP."""
        for loader in self.loaders:
            if value := loader.get(key):
                return value
        if value := self.environ.get(key):
            return value
        return next((value for file in self.env_files if (value := file.get(key))), None)

    def _how_to_set(self, *keys: str, configured: str = "in `variables` or ") -> str:
        """Return the remedy for a variable that is not set. Each of the keys would do; the last is the shortest."""
        place, named = self._file(), " or ".join(keys)
        if place is None:
            return f"Set {named} {configured}in a dotenv file or in the environment."
        return f"Add the line `{keys[-1]}=…` to {place}, or set {named} {configured}in the environment."

    def _file(self) -> str | None:
        """Return the path of the first dotenv file, which may be missing."""
        files = (one.path for one in (*self.loaders, *self.env_files) if isinstance(one, DotenvLoader))
        path = next(files, None)
        return None if path is None else str(path)

    def _missing(self, scope: _Lookup, name: str) -> VariableNotFound:
        key = flat_key(scope.manual, name)
        keys = [key] if key else []
        keys += [name] if scope.trust is Trust.OPERATOR else []
        where = f"manual {scope.manual!r}"
        if not keys:
            pair = f'"variables": {{"{scope.manual}": {{"{name}": …}}}}'
            return VariableNotFound(name, where=where, remedy=f"Set it in the configuration as {pair}.")
        return VariableNotFound(
            keys[0], where=where, remedy=self._nearest(scope, name) + self._how_to_set(*keys), file=self._file()
        )

    def _nearest(self, scope: _Lookup, name: str) -> str:
        files = [one.values for one in (*self.loaders, *self.env_files) if isinstance(one, DotenvLoader)]
        known = [*self._flat, *self.environ, *chain(*files)] if scope.trust is Trust.OPERATOR else []
        from difflib import get_close_matches

        return "".join(f"Did you mean {one!r}, which is set? " for one in get_close_matches(name, known, 1, 0.8))

    def _configured(self, text: str | None, where: str) -> str | None:
        if text is None or "$" not in text:
            return text

        def replacement(match: re.Match[str]) -> str:
            if match["escape"]:
                return "$"
            name = _name_of(match)
            if (value := self._from_outside(name)) is None and (value := match.groupdict().get("default")) is None:
                remedy = f"{self._how_to_set(name, configured='').removesuffix('.')}, or write $$ for a dollar sign."
                raise VariableNotFound(name, where=where, remedy=remedy)
            return value

        return _ANY.sub(replacement, text)


def required(
    value: Any,
    manual: str,
    arguments: frozenset[str] = _NO_NAMES,
    *,
    raw_fields: frozenset[str] = _NO_NAMES,
    braced_only: frozenset[str] = _NO_NAMES,
) -> list[str]:
    """Return the flat keys of all variables in a template, in order of first appearance (see `Variables.resolve`)."""
    found = variable_names(value, raw_fields=raw_fields, braced_only=braced_only)
    return [flat_key(manual, name) or name for name in found if name not in arguments]


def variable_names(
    value: Any, *, raw_fields: frozenset[str] = _NO_NAMES, braced_only: frozenset[str] = _NO_NAMES
) -> list[str]:
    """Return the names of all variables in a template, as written there, in order of first appearance.

    Those with a default are not among them, because they need not be set.
    """
    if not is_object(value):
        return [*dict.fromkeys(_names_in(value, _ANY, 0))]
    found: dict[str, None] = {}
    for key, member in value.items():
        if key not in raw_fields:
            found |= dict.fromkeys(_names_in(member, _BRACED_ONLY if key in braced_only else _ANY, 1))
    return [*found]


def renamed(value: Any, names: Mapping[str, str], raw_fields: frozenset[str] = _NO_NAMES) -> Any:
    """Return a template with its variables renamed; `$OLD` becomes `${NEW}`. `raw_fields` is as in `resolve`."""

    def replacement(match: re.Match[str]) -> str:
        new = None if match["escape"] else names.get(_name_of(match))
        if new is None:
            return match[0]
        default = match.groupdict().get("default")
        return f"${{{new}}}" if default is None else f"${{{new}:-{default}}}"

    def walk(part: Any) -> Any:
        if isinstance(part, str):
            return part if _JSON_REFERENCE.search(part) else _ANY.sub(replacement, part)
        if is_object(part):
            return {key: walk(member) for key, member in part.items()}
        return [walk(member) for member in part] if is_list(part) else part

    if not is_object(value):
        return walk(value)
    return {key: member if key in raw_fields else walk(member) for key, member in value.items()}


def load_variable_loaders(
    specifications: Iterable[JsonObject], *, root: Path
) -> tuple[list[VariableLoader], list[Fault]]:
    """Return the loaders in `load_variables_from` of a configuration, and their faults.

    `{"variable_loader_type": "dotenv", "env_file_path": ".env"}`; paths start at `root`.
    `{"variable_loader_type": "exec", "commands": {"KEY": ["op", "read", "op://…"]}, "seconds": 10, "max_age": 3600}`.
    `{"variable_loader_type": "file", "files": {"KEY": "/run/secrets/key"}}`, or `"folder"` of files that are named like
    their keys. Other types come from the entry-point group `utcp_bridge.variable_loaders`: a callable that takes the
    specification and `root`. A missing dotenv file is a fault, but it is used as soon as it exists.
    """
    loaders: list[VariableLoader] = []
    faults: list[Fault] = []
    for specification in specifications:
        kind = specification.get("variable_loader_type", specification.get("type"))
        try:
            own = _OWN_LOADERS.get(kind) if isinstance(kind, str) else None
            loader = _plugin(kind, specification, root) if own is None else own(specification, root)
        except ConfigError as error:
            faults.append(Fault("load_variables_from", error.message, error.remedy or ""))
            continue
        loaders.append(loader)
        if isinstance(loader, DotenvLoader):
            faults.extend(loader.check())
    return loaders, faults


class DotenvLoader:
    """A dotenv file, which is read again when it changes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, ...] | None = None
        self.values: dict[str, str | None] = {}
        self._misread: list[int] = []

    def get(self, key: str) -> str | None:
        """Return the value of a key; None while the file does not exist.

        :raises ConfigError: the file exists and cannot be read.
        """
        is_usable = True
        try:
            state = self.path.stat()
            seen = (state.st_mtime_ns, state.st_size, state.st_ino)
            is_usable = S_ISREG(state.st_mode) and state.st_size <= _MAX_DOTENV_BYTES
            if is_usable and seen != self._seen:
                (self.values, self._misread), self._seen = dotenv_content(self.path.read_bytes()), seen
        except FileNotFoundError:
            self._seen, self.values, self._misread = None, {}, []
        except (OSError, UnicodeDecodeError, ValueError) as error:
            why = (error.strerror if isinstance(error, OSError) else None) or "it is not UTF-8"
            raise ConfigError(
                f"The dotenv file {self.path} cannot be read: {why}.", remedy="Make it a readable file in UTF-8."
            ) from error
        if not is_usable:
            raise ConfigError(
                f"The dotenv file {self.path} is not a file of at most {_MAX_DOTENV_BYTES} bytes.",
                remedy="Name a file with lines such as `NAME=value`.",
            )
        return self.values.get(key)

    def check(self) -> Iterator[Fault]:
        """Yield what is wrong with the file now. A fault has no text of the file."""
        try:
            self.get("")
        except ConfigError as error:
            yield Fault("load_variables_from", error.message, error.remedy or "")
            return
        if self._seen is None:
            yield Fault(
                "load_variables_from",
                f"The dotenv file {self.path} does not exist.",
                "The bridge reads it as soon as it exists.",
                "warning",
            )
        yield from self._faults_of_lines("load_variables_from")

    def _faults_of_lines(self, where: str) -> Iterator[Fault]:
        if not self._misread:
            return
        first, others = self._misread[0], len(self._misread) - 1
        more = f" The same is true of {others} {'line' if others == 1 else 'lines'} after it." if others else ""
        what = f"Line {first} of {self.path} is not `NAME=value`, so the bridge leaves it out.{more}"
        yield Fault(where, what, "Correct it, or put the value between quotation marks.", "warning")


class EnvFile(DotenvLoader):
    """The `.env` next to a configuration. It is asked after the process environment, and it may be missing."""

    def get(self, key: str) -> str | None:
        """Return the value of a key; None if the file does not have it or cannot be read. Raise nothing."""
        try:
            return super().get(key)
        except ConfigError:
            return None

    def names(self) -> int:
        """Return the number of variables that the file has."""
        self.get("")
        return sum(value is not None for value in self.values.values())

    def check(self) -> Iterator[Fault]:
        """Yield what is wrong with the file now: it cannot be read, has other lines, or others can read it."""
        where = self.path.name
        try:
            state = self.path.stat()
            if S_ISDIR(state.st_mode):  # a virtual environment may have this name
                return
            super().get("")
        except FileNotFoundError:
            return
        except OSError as error:
            yield Fault(where, f"{self.path} cannot be read: {error.strerror}.", _SWITCH_OFF, "warning")
            return
        except ConfigError as error:
            yield Fault(where, error.message, _SWITCH_OFF, "warning")
            return
        if os.name != "nt" and state.st_mode & (S_IRGRP | S_IROTH):
            what = f"Other users of this machine can read {self.path}."
            yield Fault(where, what, f"Run `chmod 600 {quote(str(self.path))}`.", "warning")
        yield from self._faults_of_lines(where)


class ExecLoader:
    """Values that commands print, such as those of `op`, `vault`, `aws` or `pass`. No shell reads a command.

    `Variables.run_commands` runs all commands at once, so that no call waits for them. A value is kept for `max_age`
    seconds, and then replaced in the background; without `max_age`, as long as the bridge runs.
    """

    def __init__(self, commands: Mapping[str, Sequence[str]], root: Path, *, seconds: float, max_age: float) -> None:
        self._commands = commands
        self._root = root
        self._seconds = seconds
        self._max_age = max_age
        self._kept: dict[str, tuple[float, str | ConfigError]] = {}
        self._locks = {key: threading.Lock() for key in commands}

    def __repr__(self) -> str:
        return f"<ExecLoader of {len(self._commands)} commands>"

    def threads(self) -> Iterator[threading.Thread]:
        """Yield a thread for each command that has not run. Failures are kept for those who ask."""
        for key in self._commands.keys() - self._kept.keys():
            yield threading.Thread(target=self._run, args=(key,), daemon=True)

    def has(self, key: str) -> bool:
        """Return whether a command prints the value of a key, without running it."""
        return key in self._commands

    def get(self, key: str) -> str | None:
        """Return the value of a key; None if no command has it.

        :raises ConfigError: the command failed.
        """
        if key not in self._commands:
            return None
        kept = self._kept.get(key) or self._run(key)
        lasts = _FAILURE_SECONDS if isinstance(kept[1], ConfigError) else self._max_age
        if time.monotonic() - kept[0] > lasts and not self._locks[key].locked():
            threading.Thread(target=self._run, args=(key, kept[0]), name=f"secret {key}", daemon=True).start()
        if isinstance(kept[1], ConfigError):
            raise ConfigError(kept[1].message, remedy=kept[1].remedy)
        return kept[1]

    def _run(self, key: str, than: float = -inf) -> tuple[float, str | ConfigError]:
        """Run a command unless another thread has, and return its value with the time. `than` is that of the old one.

        A failure does not replace a value.
        """
        with self._locks[key]:
            kept = self._kept.get(key)
            if kept is not None and kept[0] > than:
                return kept
            value = self._value(key)
            if isinstance(value, ConfigError) and kept is not None and isinstance(kept[1], str):
                value = kept[1]
            self._kept[key] = (time.monotonic(), value)
            return self._kept[key]

    def _value(self, key: str) -> str | ConfigError:
        argv = self._commands[key]
        try:
            data = output_of(argv, folder=self._root, seconds=self._seconds, max_bytes=_MAX_SECRET_BYTES)
            value = data.decode().rstrip("\r\n")
        except CommandFailed as error:
            return _no_secret(f"The command {argv[0]!r} for the variable {key} {error.reason}.", argv[0])
        except UnicodeDecodeError:
            return _no_secret(f"The command {argv[0]!r} for the variable {key} printed no UTF-8.", argv[0])
        return value or _no_secret(f"The command {argv[0]!r} for the variable {key} printed nothing.", argv[0])


class FileLoader:
    """Values in files of their own, such as mounted secrets. Each is read again when it is used."""

    def __init__(self, files: Mapping[str, Path], folder: Path | None) -> None:
        self._files = files
        self._folder = folder

    def get(self, key: str) -> str | None:
        """Return the text of a file without line ends at its end; None without the file.

        :raises ConfigError: the file exists and cannot be read.
        """
        path = self._files.get(key)
        if path is None and self._folder is not None and _KEY.fullmatch(key):
            path = self._folder / key
        if path is None:
            return None
        try:
            if path.stat().st_size <= _MAX_SECRET_BYTES and path.is_file():
                return path.read_text(encoding="utf-8-sig").rstrip("\r\n")
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"The file {path} for the variable {key} cannot be read ({type(error).__name__}).",
                remedy="Make it a readable file in UTF-8.",
            ) from error
        raise ConfigError(
            f"{path} is not a file of at most {_MAX_SECRET_BYTES} bytes.", remedy="Name a file with the secret."
        )


def _no_secret(message: str, program: str) -> ConfigError:
    return ConfigError(message, remedy=f"Run {program!r} yourself, with the same user and environment as the bridge.")


def _exec(specification: JsonObject, root: Path) -> ExecLoader:
    commands = specification.get("commands")
    if not is_object(commands) or not all(_is_argv(argv) for argv in commands.values()):
        raise ConfigError(
            "`commands` of an exec loader must be an object of lists.", remedy='Write {"KEY": ["pass", "show", "key"]}.'
        )
    seconds, max_age = specification.get("seconds", 10), specification.get("max_age")
    for value in (seconds, 1 if max_age is None else max_age):
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < _MAX_EXEC_SECONDS:
            raise ConfigError("`seconds` and `max_age` of an exec loader must be seconds above 0.")
    return ExecLoader(commands, root, seconds=seconds, max_age=inf if max_age is None else max_age)


def _is_argv(value: Any) -> bool:
    return is_list(value) and bool(value) and all(isinstance(word, str) and "\0" not in word for word in value)


def _file(specification: JsonObject, root: Path) -> FileLoader:
    files, folder = specification.get("files", {}), specification.get("folder")
    paths = [*files.values(), "." if folder is None else folder] if is_object(files) else [None]
    if not all(isinstance(path, str) and path and "\0" not in path for path in paths):
        raise ConfigError(
            "A file loader needs `files`, an object of paths, or `folder`, a path.",
            remedy='Write {"files": {"KEY": "/run/secrets/key"}}.',
        )
    places = {str(key): root / Path(path).expanduser() for key, path in files.items()}
    return FileLoader(places, None if folder is None else root / Path(folder).expanduser())


def _dotenv(specification: JsonObject, root: Path) -> DotenvLoader:
    path = specification.get("env_file_path", ".env")
    if not isinstance(path, str) or not path or "\0" in path:
        raise ConfigError("`env_file_path` of a dotenv loader must be a path.")
    return DotenvLoader(root / path)


_OWN_LOADERS: Final[Mapping[str, Callable[[JsonObject, Path], VariableLoader]]] = {
    "dotenv": _dotenv,
    "exec": _exec,
    "file": _file,
}


def _plugin(kind: Any, specification: JsonObject, root: Path) -> VariableLoader:
    found = next((entry for entry in entry_points(group=_GROUP) if entry.name == kind), None)
    if found is None:
        known = ", ".join(sorted({*_OWN_LOADERS, *(entry.name for entry in entry_points(group=_GROUP))}))
        raise ConfigError("The type of a variable loader is unknown.", remedy=f"Use one of {known}.")
    try:
        loader: VariableLoader = found.load()(specification, root)
    except Exception as error:
        raise ConfigError(
            f"The variable loader {found.name!r} cannot be created ({type(error).__name__}).",
            remedy="Check its options and the package that provides it.",
        ) from error
    return loader


def _names_in(value: Any, pattern: re.Pattern[str], depth: int) -> Iterator[str]:
    if isinstance(value, str):
        if not _JSON_REFERENCE.search(value):
            found = (match for match in pattern.finditer(value) if not match["escape"])
            yield from (_name_of(match) for match in found if match.groupdict().get("default") is None)
    elif depth <= _MAX_DEPTH and (is_object(value) or is_list(value)):
        for member in value.values() if is_object(value) else value:
            yield from _names_in(member, pattern, depth + 1)


def _name_of(match: re.Match[str]) -> str:
    return str(match.groupdict().get("braced") or match.groupdict().get("bare"))


def _text(value: Any, where: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise ConfigError(f"`variables.{where}` must be text or a number.")


def read_dotenv(path: Path) -> dict[str, str]:
    """Return the variables of a dotenv file as they are written. Lines without a value are left out.

    :raises ConfigError: it does not exist, or cannot be read.
    """
    from dotenv import dotenv_values

    try:
        values = dotenv_values(stream=StringIO(path.read_text(encoding="utf-8-sig")), interpolate=False)
    except FileNotFoundError:
        raise ConfigError(f"The dotenv file {path} does not exist.", remedy="Create it, or remove its key.") from None
    except (OSError, ValueError) as error:
        what = f"The dotenv file {path} cannot be read ({type(error).__name__})."
        raise ConfigError(what, remedy="Make it a readable file in UTF-8.") from error
    return {key: value for key, value in values.items() if value is not None}


def names_credential(name: str) -> bool:
    """Return whether the name of a variable, header, parameter or field suggests that its value is a credential."""
    return _CREDENTIAL.search(name) is not None
