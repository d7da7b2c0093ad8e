"""Probes of what must be on this machine: a program on the PATH that it will be given, a file."""

from __future__ import annotations

import os
import shutil

import anyio.to_thread

from utcp_bridge.doctor.steps import Finding
from utcp_bridge.errors import Unreachable
from utcp_bridge.net.local_file import read_local_file
from utcp_bridge.transport import LocalFile, Program

__all__ = ["file", "program"]


async def program(wanted: Program) -> Finding:
    """Find the program as starting it would. Raises Unreachable."""
    found = await anyio.to_thread.run_sync(_find, wanted)
    if found is None:
        where = "there" if _has_folder(wanted.name) else "on the PATH that it is looked for in"
        raise Unreachable(
            f"The command {wanted.name!r} is not {where}.",
            remedy="Install it, write its whole path, or give the manual another PATH (`env_vars`, `env`).",
        )
    return Finding(f"The command is {found}.")


async def file(wanted: LocalFile, limit: int) -> Finding:
    """Read the file, of at most `limit` bytes. Raises as `wire.local_file.read_local_file`."""
    path, data = await read_local_file(wanted.path, wanted.folder, limit=limit, confined=False)
    return Finding(f"{path} can be read, {len(data)} bytes.")


def _find(wanted: Program) -> str | None:
    name = str(wanted.folder / wanted.name) if _has_folder(wanted.name) else wanted.name
    return shutil.which(name, path=os.defpath if wanted.path is None else wanted.path)


def _has_folder(name: str) -> bool:
    return os.sep in name
