"""Variables in call templates: `${NAME}` and `$NAME`, whose they are and where they come from.

A variable belongs to a manual: it is a pair (manual, name). Flat sources (dotenv files, the process
environment, plain entries of `variables`) hold it under UTCP's key, `my_api` + `KEY` → `my__api_KEY`: the
manual's underscores doubled, one underscore, the name. Read backwards, the first odd run of underscores
ends the manual, so every key belongs to exactly one pair: `a__b_SECRET` is `SECRET` of `a_b`, never
`_b_SECRET` of `a`. A name that begins with an underscore has no flat key; it is set by its pair, as
`"variables": {"a": {"_b_SECRET": …}}`.

Sources, in order: `variables`, the loaders, the environment. Templates of fetched manuals see nothing but
their own pairs; those that the operator wrote also see a bare NAME, when no source has the pair.
`$$` is a plain dollar sign. (UTCP v1 variable substitution; the escape, the pairs and the bare names are ours.)
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from io import StringIO
from pathlib import Path
from typing import Any, Protocol

from dotenv import dotenv_values

from utcp_bridge.errors import ConfigError, VariableNotFound
from utcp_bridge.model import Fault, JsonObject, Trust, is_list, is_object

__all__ = [
    "VariableLoader",
    "Variables",
    "flat_key",
    "inherited_environment",
    "load_variable_loaders",
    "renamed",
    "required",
    "variable_names",
]

_BRACED = r"\$\{(?P<braced>[A-Za-z0-9_]+)\}"
_BARE = r"\$(?P<bare>[A-Za-z0-9_]+)"
_ANY = re.compile(rf"(?P<escape>\$\$)|{_BRACED}|{_BARE}")
_BRACED_ONLY = re.compile(rf"(?P<escape>\$\$(?={{))|{_BRACED}")
_JSON_REFERENCE = re.compile(r"\$ref(?![A-Za-z0-9_])")
_FLAT_KEY = re.compile(r"(?P<manual>(?:__|[^_])+)_(?P<name>[^_].*)", re.DOTALL)
_MAX_DEPTH = 200
_NO_NAMES: frozenset[str] = frozenset()
_GROUP = "utcp_bridge.variable_loaders"


class VariableLoader(Protocol):
    """A further source of flat keys: a dotenv file, a secret manager."""

    def get(self, key: str) -> str | None:
        """The value of a flat key, None if there is none. Called at every substitution: cache what is slow.

        :raises ConfigError: the source cannot be read.
        """
        ...


@dataclass(frozen=True, slots=True)
class _Lookup:
    manual: str
    trust: Trust
    arguments: frozenset[str]


def flat_key(manual: str, name: str) -> str | None:
    """The key that holds a manual's variable in flat sources, None if it has none."""
    key = f"{manual.replace('_', '__')}_{name}"
    match = _FLAT_KEY.fullmatch(key)
    return key if match and match["name"] == name else None


@dataclass(slots=True)
class Variables:
    """Every source of variables, in order.

    `config` is the configuration's `variables`: flat keys and bare names with text (or numbers), and
    manuals with objects of their own names. Its values may themselves hold `${NAME}`, looked up as they
    stand in the loaders and the environment. `on_resolved` is told every value that goes out.

    :raises ConfigError: a value is neither text nor a number nor an object of such.
    """

    config: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)
    loaders: Sequence[VariableLoader] = field(default=(), repr=False)
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)  # noqa: TID251 - a source of variables
    on_resolved: Callable[[str, str], None] | None = field(default=None, repr=False)
    _flat: dict[str, str] = field(init=False, repr=False)
    _pairs: dict[tuple[str, str], str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._flat, self._pairs = {}, {}
        for key, value in self.config.items():
            if isinstance(value, Mapping):
                for name, member in _members(value):
                    self._pairs[key, name] = _text(member, f"{key}.{name}")
            elif value is not None:
                self._flat[key] = _text(value, key)

    def lookup(self, manual: str, name: str, trust: Trust) -> str | None:
        """The value of a manual's variable, None if no source has it.

        :raises VariableNotFound: the configuration's value names a variable that no source has.
        :raises ConfigError: a loader cannot be read.
        """
        key = flat_key(manual, name)
        value = self._configured(self._pairs.get((manual, name)), f"variables.{manual}.{name}")
        if value is None and key is not None:
            value = self._from_sources(key)
        if value is None and trust is Trust.OPERATOR:
            value = self._from_sources(name)
        if value is not None and self.on_resolved is not None:
            self.on_resolved(name, value)
        return value

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
        """A template with its variables filled in: texts within objects and lists, never keys.

        `arguments` are the tool's inputs: a variable that no source has, but that is one of them, is left
        for the call, as `${name}`. `raw_fields` and `braced_only` name members of the outermost object: in
        the former nothing is substituted, in the latter a bare `$name` has its own meaning and stays.
        A text that holds `$ref` (a JSON reference) is left alone, as in UTCP.

        :raises VariableNotFound: names the exact key to set.
        :raises ConfigError: a loader cannot be read, or the template is nested too deeply.
        """
        scope = _Lookup(manual, trust, arguments)
        if not is_object(value):
            return self._walk(value, scope, _ANY, 0)
        return {
            key: member
            if key in raw_fields
            else self._walk(member, scope, _BRACED_ONLY if key in braced_only else _ANY, 1)
            for key, member in value.items()
        }

    def _walk(self, value: Any, scope: _Lookup, pattern: re.Pattern[str], depth: int) -> Any:
        if isinstance(value, str):
            return self._fill(value, scope, pattern) if "$" in value else value
        if depth > _MAX_DEPTH:
            raise ConfigError(f"A call template of manual {scope.manual!r} is nested too deeply.")
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
            if value is not None:
                return value
            if name in scope.arguments:
                return f"${{{name}}}"
            raise _missing(scope, name)

        return pattern.sub(replacement, text)

    def _from_sources(self, key: str) -> str | None:
        value = self._configured(self._flat.get(key), f"variables.{key}")
        return self._from_outside(key) if value is None else value

    def _from_outside(self, key: str) -> str | None:
        """Loaders, then the environment; an empty value counts as none, as in UTCP."""
        for loader in self.loaders:
            if value := loader.get(key):
                return value
        return self.environ.get(key) or None

    def _configured(self, text: str | None, where: str) -> str | None:
        if text is None or "$" not in text:
            return text

        def replacement(match: re.Match[str]) -> str:
            if match["escape"]:
                return "$"
            name = _name_of(match)
            if (value := self._from_outside(name)) is None:
                raise VariableNotFound(
                    name,
                    where=where,
                    remedy=f"Set {name} in a dotenv file or in the environment, or write $$ for a dollar sign.",
                )
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
    """Flat keys of all variables that a template names, in the order of their first mention; see `resolve`."""
    found = variable_names(value, raw_fields=raw_fields, braced_only=braced_only)
    return [flat_key(manual, name) or name for name in found if name not in arguments]


def variable_names(
    value: Any, *, raw_fields: frozenset[str] = _NO_NAMES, braced_only: frozenset[str] = _NO_NAMES
) -> list[str]:
    """The names of all variables in a template, as they stand there, in the order of their first mention."""
    if not is_object(value):
        return [*dict.fromkeys(_names_in(value, _ANY, 0))]
    found: dict[str, None] = {}
    for key, member in value.items():
        if key not in raw_fields:
            found |= dict.fromkeys(_names_in(member, _BRACED_ONLY if key in braced_only else _ANY, 1))
    return [*found]


def renamed(value: Any, names: Mapping[str, str], raw_fields: frozenset[str] = _NO_NAMES) -> Any:
    """A template whose variables have other names; `$OLD` becomes `${NEW}`. `raw_fields` as in `resolve`."""

    def replacement(match: re.Match[str]) -> str:
        new = None if match["escape"] else names.get(_name_of(match))
        return match[0] if new is None else f"${{{new}}}"

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
    """The loaders of a configuration's `load_variables_from`, and what is wrong with them.

    `{"variable_loader_type": "dotenv", "env_file_path": ".env"}`; the path starts at `root`. Other types
    come from the entry-point group `utcp_bridge.variable_loaders`: a callable that takes the specification
    and `root`. A dotenv file that is not there is a fault, but is used as soon as it is.
    """
    loaders: list[VariableLoader] = []
    faults: list[Fault] = []
    for specification in specifications:
        kind = specification.get("variable_loader_type", specification.get("type"))
        try:
            loader = _dotenv(specification, root) if kind == "dotenv" else _plugin(kind, specification, root)
        except ConfigError as error:
            faults.append(Fault("load_variables_from", error.message, error.remedy or ""))
            continue
        loaders.append(loader)
        if isinstance(loader, DotenvLoader) and (fault := loader.check()):
            faults.append(fault)
    return loaders, faults


class DotenvLoader:
    """A dotenv file, read again whenever it changes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, ...] | None = None
        self._values: dict[str, str | None] = {}

    def get(self, key: str) -> str | None:
        """The value of a key; None while the file is not there.

        :raises ConfigError: the file is there and cannot be read.
        """
        try:
            state = self._path.stat()
            seen = (state.st_mtime_ns, state.st_size, state.st_ino)
            if seen != self._seen:
                self._values = dotenv_values(stream=StringIO(self._path.read_text(encoding="utf-8-sig")))
                self._seen = seen
        except FileNotFoundError:
            self._seen, self._values = None, {}
        except (OSError, UnicodeDecodeError, ValueError) as error:
            raise ConfigError(
                f"The dotenv file {self._path} cannot be read ({type(error).__name__}).",
                remedy="It has to be a readable file in UTF-8.",
            ) from error
        return self._values.get(key)

    def check(self) -> Fault | None:
        """What is wrong with the file now."""
        try:
            self.get("")
        except ConfigError as error:
            return Fault("load_variables_from", error.message, error.remedy or "")
        if self._seen is None:
            return Fault("load_variables_from", f"The dotenv file {self._path} does not exist.", "", "warning")
        return None


def _dotenv(specification: JsonObject, root: Path) -> DotenvLoader:
    path = specification.get("env_file_path", ".env")
    if not isinstance(path, str) or not path or "\0" in path:
        raise ConfigError("A dotenv loader's `env_file_path` is no path.")
    return DotenvLoader(root / path)


def _plugin(kind: Any, specification: JsonObject, root: Path) -> VariableLoader:
    found = next((entry for entry in entry_points(group=_GROUP) if entry.name == kind), None)
    if found is None:
        known = ", ".join(sorted({"dotenv", *(entry.name for entry in entry_points(group=_GROUP))}))
        raise ConfigError("A variable loader's type is unknown.", remedy=f"Known types: {known}.")
    try:
        loader: VariableLoader = found.load()(specification, root)
    except Exception as error:
        raise ConfigError(f"The variable loader {found.name!r} does not start ({type(error).__name__}).") from error
    return loader


def _names_in(value: Any, pattern: re.Pattern[str], depth: int) -> Iterator[str]:
    if isinstance(value, str):
        if not _JSON_REFERENCE.search(value):
            yield from (_name_of(match) for match in pattern.finditer(value) if not match["escape"])
    elif depth <= _MAX_DEPTH and (is_object(value) or is_list(value)):
        for member in value.values() if is_object(value) else value:
            yield from _names_in(member, pattern, depth + 1)


def _name_of(match: re.Match[str]) -> str:
    return str(match.groupdict().get("braced") or match.groupdict().get("bare"))


def _missing(scope: _Lookup, name: str) -> VariableNotFound:
    key = flat_key(scope.manual, name)
    keys = [key] if key else []
    if scope.trust is Trust.OPERATOR:
        keys.append(name)
    where = f"manual {scope.manual!r}"
    if not keys:
        pair = f'"variables": {{"{scope.manual}": {{"{name}": …}}}}'
        return VariableNotFound(name, where=where, remedy=f"Set it in the configuration as {pair}.")
    return VariableNotFound(
        keys[0], where=where, remedy=f"Set {' or '.join(keys)} in `variables`, in a dotenv file or in the environment."
    )


def _members(value: Any) -> Iterator[tuple[str, Any]]:
    return ((str(name), member) for name, member in value.items() if member is not None)


def _text(value: Any, where: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise ConfigError(f"`variables.{where}` is neither text nor a number.")


def inherited_environment(names: Iterable[str]) -> dict[str, str]:
    """Those variables of the process environment that a child process is to have."""
    environ = os.environ  # noqa: TID251 - this module reads the environment for the others
    return {name: environ[name] for name in names if name in environ}
