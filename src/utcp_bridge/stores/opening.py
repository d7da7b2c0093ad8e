"""The store that a setting names: `token_store`, or `search_store`."""

from __future__ import annotations

from pathlib import Path
from typing import Final, TypedDict

from utcp_bridge.errors import ConfigError
from utcp_bridge.processes.systems import own_folder
from utcp_bridge.settings import ReplicaSettings
from utcp_bridge.stores.port import MemoryStore, Store

__all__ = ["open_replica_store", "open_store", "open_user_store"]


def open_user_store(name: str, *, root: Path) -> Store:
    """Return the store of a name, with the folder of the user for `file`.

    :raises ConfigError: the name is unknown, or the package of the store is not installed.
    """
    return open_store(name, folder=own_folder() / "logins", root=root)


class _Wording(TypedDict, total=False):
    holds: str
    anew: str


_FILES: Final[dict[str, _Wording]] = {
    "search_store": {"holds": "the words of searches", "anew": "the search learns anew"}
}
"""What messages say of the files of a setting, if they are not those of logins."""


def open_replica_store(settings: ReplicaSettings, part: str) -> Store | None:
    """Return the store of one part of what replicas share, such as `approvals`; None if they share none.

    :raises ConfigError: the URL is wrong, or its package is not installed.
    """
    if settings.store is None:
        return None
    from utcp_bridge.stores.redis import RedisStore

    return RedisStore(settings.store, "store", f"{settings.store_prefix}:{part}", settings.store_password)


def open_store(name: str, *, folder: Path, root: Path, setting: str = "token_store") -> Store:
    """Return the store of a name: `memory`, `file`, `file:PATH`, `keyring`, or the URL of Redis.

    `folder` is that of the user for `file`, and `root` is where a relative PATH starts. `setting` is what errors name.
    Nothing is read or made before the first use.

    :raises ConfigError: the name is unknown, or the package of the store is not installed.
    """
    kind, colon, rest = name.partition(":")
    if name == "memory":
        return MemoryStore()
    if kind == "file" and (rest or not colon):
        from utcp_bridge.stores.file import FileStore

        chosen = root / Path(rest).expanduser() if rest else folder
        return FileStore(chosen, **_FILES.get(setting, {}))
    if name == "keyring":
        from utcp_bridge.stores.keyring import KeyringStore

        return KeyringStore(folder)
    if kind in {"redis", "rediss", "unix"} and rest.startswith("//"):
        from utcp_bridge.stores.redis import RedisStore

        return RedisStore(name, setting)
    raise ConfigError(
        f"`{setting}` does not name a store.",
        remedy="Write memory, file, file:PATH, keyring, or redis://host:port/0.",
    )
