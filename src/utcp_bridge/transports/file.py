"""file: a manual or an API description in a local file; calling returns a file's text.

    v1  {"call_template_type": "file", "file_path": "./manuals/weather.yaml"}
    v0  {"provider_type": "text", "file_path": "./manuals/weather.yaml"}

Paths are relative to the configuration's folder. JSON, JSON with comments and YAML are read. Limits: regular
files only, at most `max_manual_bytes` for a manual and `max_reply_bytes` for a call; a fetched manual needs
`trusted: true` and stays within the folder, symbolic links included. A manual's file is looked at once a second
and read again when it has changed.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from utcp_bridge.errors import ManualError
from utcp_bridge.model import Binary, Call, CallTemplate, Document, Emit, JsonObject, Result, Source, Trust
from utcp_bridge.net.local_file import FileWatcher, read_local_file, resolve_within
from utcp_bridge.net.preview import NativeRequest
from utcp_bridge.transport import LocalFile, Services, Target, Transport

__all__ = ["TRANSPORT", "FileTemplate", "FileTransport"]

_MEDIA_TYPES = {
    ".json": "application/json",
    ".jsonc": "application/jsonc",
    ".json5": "application/jsonc",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
}


class FileTemplate(CallTemplate):
    """Which file."""

    file_path: str = Field(min_length=1)
    watch: bool = True
    """Whether a manual is read again when its file changes."""
    auth_tools: JsonObject | None = Field(default=None, repr=False)
    """Credentials of tools made from an OpenAPI description in the file."""


class FileTransport(Transport[FileTemplate]):
    """Files of the machine the bridge runs on."""

    kinds: ClassVar[tuple[str, ...]] = ("file",)
    template = FileTemplate
    local: ClassVar[bool] = True
    remote: ClassVar[bool] = False

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        self._watcher = FileWatcher(services.changed, services.spawn)

    @classmethod
    def annotations(cls, template: FileTemplate) -> Mapping[str, Any]:
        """Reading changes nothing and reaches nothing else."""
        del template
        return {"readOnlyHint": True, "idempotentHint": True, "openWorldHint": False}

    def needs(self, target: Target[FileTemplate]) -> Sequence[LocalFile]:
        """The file."""
        return (LocalFile(target.template.file_path, self.services.root),)

    async def discover(self, target: Target[FileTemplate]) -> Document:
        """The file's bytes; `url` is its absolute path.

        :raises UtcpError: see `wire.local_file.read_local_file`; ManualError for an empty file.
        """
        if target.template.watch:  # a file that is missing or broken is waited for as well
            confined = _is_confined(target.source)
            watched = resolve_within(target.template.file_path, self.services.root, confined=confined)
            self._watcher.watch(target.source.name, watched)
        path, data = await self._read(target, self.services.settings.max_manual_bytes)
        if not data.strip():
            raise ManualError(f"The file {target.template.file_path!r} is empty.")
        return Document(content=data, url=str(path), media_type=_media_type(path))

    async def call(self, target: Target[FileTemplate], call: Call, emit: Emit) -> Result:
        """The file's text, as UTCP has it; bytes that are no UTF-8 come as Binary."""
        del emit
        limit = call.tool.limits.get("max_reply_bytes", self.services.settings.max_reply_bytes)
        path, data = await self._read(target, limit)
        try:
            return Result(data.decode("utf-8-sig"))
        except UnicodeDecodeError:
            return Result(Binary(data, mimetypes.guess_type(path.name)[0] or "application/octet-stream"))

    async def explain(self, target: Target[FileTemplate], call: Call) -> NativeRequest:
        """The file that is read; nothing is sent."""
        del call
        path = resolve_within(target.template.file_path, self.services.root, confined=_is_confined(target.source))
        return NativeRequest(f"read {path}")

    async def forget(self, manual: str) -> None:
        """Watch the manual's file no longer."""
        self._watcher.forget(manual)

    async def aclose(self) -> None:
        """Watch no file any longer."""
        self._watcher.close()

    async def _read(self, target: Target[FileTemplate], limit: int) -> tuple[Path, bytes]:
        return await read_local_file(
            target.template.file_path, self.services.root, limit=limit, confined=_is_confined(target.source)
        )


TRANSPORT = FileTransport


def _is_confined(source: Source) -> bool:
    return source.trust is not Trust.OPERATOR


def _media_type(path: Path) -> str | None:
    return _MEDIA_TYPES.get(path.suffix.lower())
