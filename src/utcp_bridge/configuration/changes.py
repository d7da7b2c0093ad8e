"""What differs between two readings of a configuration, and which files a configuration is read from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from utcp_bridge.configuration.loading import LoadedConfig, files_of
from utcp_bridge.dialects.fields import safe_name
from utcp_bridge.foreign import write_json
from utcp_bridge.late.records import dataclass
from utcp_bridge.model import JsonObject, is_object
from utcp_bridge.net.files.local_file import Stamp, stamp_of
from utcp_bridge.settings import (
    GENERATED_TOKEN,
    LIVE_SETTINGS,
    BridgeSettings,
    GeneratedToken,
    UtcpClientConfig,
    grouped_name,
)
from utcp_bridge.settings.restarts import restart_reason

__all__ = ["ConfigurationChange", "changes_between", "fingerprint", "later_words", "stamps_of", "variable_files"]

_MAX_FILES: Final = 2_000
"""Files of one folder of secrets that are looked at."""
_LATER: Final = ("post_processing", "tool_repository", "tool_search_strategy")
"""Keys of the client that a client reads once."""


@dataclass(frozen=True, slots=True)
class ConfigurationChange:
    """What a new reading of a configuration changes. Manuals and registries are named, settings have grouped names."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    """The flat keys of the settings that a running server takes over."""
    later: tuple[str, ...] = ()
    """What takes effect at the next start."""
    has_new_variables: bool = False
    """Whether `variables` or `load_variables_from` differ."""

    @property
    def is_empty(self) -> bool:
        """Whether a running server has nothing to take over."""
        return not (self.added or self.changed or self.removed or self.settings or self.has_new_variables)

    @property
    def reasons(self) -> dict[str, str]:
        """Why each change that waits for the next start does."""
        return {name: restart_reason(name) for name in self.later}

    @property
    def sentence(self) -> str:
        """What takes effect at the next start, and why only then."""
        return f"These changes take effect at the next start: {later_words(self.reasons)}."

    def as_json(self) -> JsonObject:
        """Return the change as an object of lists of names."""
        return {
            "added": [*self.added],
            "changed": [*self.changed],
            "removed": [*self.removed],
            "settings": [*map(grouped_name, self.settings)],
            "needs_restart": [*self.later],
            "restart_reasons": self.reasons,
        }

    def __str__(self) -> str:
        words = {"added": "manuals added", "changed": "manuals changed", "removed": "manuals removed"}
        words["settings"] = "settings changed"
        said = [f"{words[key]}: {', '.join(names)}" for key, names in self.as_json().items() if names and key in words]
        said += ["the variables changed"] if self.has_new_variables else []
        return "; ".join(said) or "nothing has changed"


def later_words(reasons: Mapping[str, str]) -> str:
    """Return the changes that wait for the next start, each with its reason."""
    return ", ".join(f"{name} ({why})" if why else name for name, why in reasons.items())


def changes_between(
    before: UtcpClientConfig,
    after: UtcpClientConfig,
    in_use: BridgeSettings,
    started: UtcpClientConfig | None = None,
) -> ConfigurationChange:
    """Return what changes from one configuration to another. `in_use` are the settings of the running server.

    `started` is the configuration with which it started, if that is another one than `before`.
    """
    old, new = _entries(before), _entries(after)
    now, later = _settings(in_use, after.bridge)
    later += [key for key in _LATER if getattr(started or before, key) != getattr(after, key)]
    return ConfigurationChange(
        added=tuple(name for name in new if name not in old),
        changed=tuple(name for name in new if name in old and new[name] != old[name]),
        removed=tuple(name for name in old if name not in new),
        settings=tuple(now),
        later=tuple(later),
        has_new_variables=(before.variables, before.load_variables_from)
        != (after.variables, after.load_variables_from),
    )


def _entries(config: UtcpClientConfig) -> dict[str, Any]:
    return {safe_name(str(entry.get("name"))): entry for entry in (*config.manual_call_templates, *config.registries)}


def _settings(before: BridgeSettings, after: BridgeSettings) -> tuple[list[str], list[str]]:
    """Return the keys that are taken over now, and the names of those that need a restart."""
    now: list[str] = []
    later: list[str] = []
    for key in type(before).model_fields:
        old, new = getattr(before, key), getattr(after, key)
        if old == new and (key in before.model_fields_set) == (key in after.model_fields_set):
            continue
        if key in LIVE_SETTINGS and not _waits(key, new, before):
            now.append(key)
        elif old != new and not _is_generated(old, new):
            later.append(grouped_name(key))
    return now, later


def _waits(key: str, new: Any, in_use: BridgeSettings) -> bool:
    """Return whether a new value of a setting that is taken over elsewhere needs a restart here."""
    if key == "bearer_token":
        return new is not None and new.get_secret_value() == GENERATED_TOKEN  # the start makes and prints a token
    if key == "max_kept_bytes":  # without kept results, there is no meta-tool that reads them
        return bool(new) != bool(in_use.max_kept_bytes)
    if key == "result_lifetime":
        return in_use.store is not None
    # Several processes name what they share after the profile: sessions, kept results, who is asked for them.
    return key == "profile" and (in_use.store is not None or in_use.workers > 1)


def _is_generated(old: Any, new: Any) -> bool:
    return isinstance(old, GeneratedToken) and new is not None and new.get_secret_value() == GENERATED_TOKEN


# --- files ---------------------------------------------------------------------------------------


def variable_files(loaded: LoadedConfig) -> Iterator[Path]:
    """Yield the files that variables come from: `.env`, dotenv files, files with one secret each.

    Files of variable loaders of other packages are not known.
    """
    yield from (file.path for file in loaded.env_files)
    for loader in loaded.config.load_variables_from:
        kind = loader.get("variable_loader_type", loader.get("type"))
        if kind == "dotenv":
            yield from _paths([loader.get("env_file_path", ".env")], loaded.root)
        elif kind == "file":
            files = loader.get("files")
            yield from _paths(files.values() if is_object(files) else (), loaded.root)
            for folder in _paths([loader.get("folder")], loaded.root):
                yield folder
                yield from _inside(folder)


def stamps_of(sources: Iterable[str], others: Callable[[], Iterable[Path]]) -> dict[Path, Stamp | None]:
    """Return what changes when a file of a configuration changes. `others` yields further files. It blocks its thread.

    A folder counts with the documents in it, so that one that comes or goes is noticed.
    """
    found: dict[Path, Stamp | None] = {}
    for source in sources:
        with suppress(OSError):  # a folder may be gone for a moment
            found |= {path: stamp_of(path) for path in files_of([source]) if not path.is_dir()}
    with suppress(OSError):
        found |= {path: stamp_of(path) for path in others()}
    return found


def _paths(written: Iterable[Any], root: Path) -> Iterator[Path]:
    for one in written:
        if isinstance(one, str) and one and "\0" not in one:
            with suppress(RuntimeError):  # this user has no home folder
                yield root / Path(one).expanduser()


def _inside(folder: Path) -> Iterator[Path]:
    with suppress(OSError):
        for number, path in enumerate(folder.iterdir()):
            if number >= _MAX_FILES:
                return
            yield path


def fingerprint(config: UtcpClientConfig, masked: Callable[[str], str]) -> str:
    """Return twelve digits that are equal for equal configurations. `masked` removes secrets from the text before."""
    written = config.model_dump(mode="json", exclude={"variables"})
    text = masked(write_json(written).decode())
    return hashlib.sha256(text.encode()).hexdigest()[:12]
