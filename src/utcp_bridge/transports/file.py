"""file: a manual or an API description in a local file; a call returns the text of a file.

    v1  {"call_template_type": "file", "file_path": "./manuals/weather.yaml"}
    v0  {"provider_type": "text", "file_path": "./manuals/weather.yaml"}

Paths start at the folder of the configuration. The formats are JSON, JSON with comments, and YAML. Limits: regular
files only, at most `max_manual_bytes` for a manual and `max_reply_bytes` for a call. A tool of a local manual can read
files below the folder of its manual, others only with the word of its entry. A fetched manual needs `trusted: true` and
can read only files in the configuration's folder; symbolic links do not lead out of it. The bridge checks the file of a
manual once a second and reads it again after a change.
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from utcp_bridge.errors import ManualError
from utcp_bridge.foreign import decode
from utcp_bridge.model import (
    Binary,
    Call,
    Deferred,
    Document,
    Emit,
    JsonObject,
    Result,
    Source,
    Trust,
    defers,
)
from utcp_bridge.net.files.local_file import FileWatcher, read_local_file, resolve_in_scope, resolve_within
from utcp_bridge.net.preview import NativeRequest
from utcp_bridge.placement.compiling import CallTemplate
from utcp_bridge.transport import LocalFile, Services, Target, Transport

__all__ = ["TRANSPORT", "FileTemplate", "FileTransport"]

_WIDE_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_MEDIA_TYPES = {
    ".json": "application/json",
    ".jsonc": "application/jsonc",
    ".json5": "application/jsonc",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
}


class FileTemplate(CallTemplate):
    """The path of the file."""

    file_path: str = Field(min_length=1)
    watch: bool = True
    """Whether the manual is read again when its file changes."""
    auth_tools: JsonObject | None = Field(default=None, repr=False)
    """Credentials of tools made from an OpenAPI description in the file."""
    headers: JsonObject | None = Field(default=None, repr=False)
    """Headers of these tools."""
    header_fields: tuple[str, ...] = ()
    """Arguments that these tools send as headers."""


class FileTransport(Transport[FileTemplate]):
    """Files on the machine that the bridge runs on."""

    kinds: ClassVar[tuple[str, ...]] = ("file",)
    template = FileTemplate
    local: ClassVar[bool] = True
    remote: ClassVar[bool] = False

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        self._watcher = FileWatcher(services.changed, services.spawn)

    @classmethod
    def annotations(cls, template: FileTemplate) -> Mapping[str, Any]:
        """Return the hints of a read-only tool: reading a file changes nothing."""
        del template
        return {"readOnlyHint": True, "idempotentHint": True, "openWorldHint": False}

    @classmethod
    def check_use(cls, template: FileTemplate, source: Source) -> None:
        """Check that a tool of a local manual reads a file that its manual may read.

        :raises PolicyError: it reads another one.
        :raises ConfigError: it does not name a file.
        """
        if source.file_scope is not None and "$" not in template.file_path:  # a variable is set later
            resolve_in_scope(template.file_path, source.file_scope)

    def needs(self, target: Target[FileTemplate]) -> Sequence[LocalFile]:
        """Return the file."""
        return (LocalFile(target.template.file_path, self.services.root),)

    async def discover(self, target: Target[FileTemplate]) -> Document:
        """Return the file's bytes; `url` is its absolute path.

        :raises ManualError: the file is empty.
        :raises UtcpError: the file cannot be read, see `utcp_bridge.net.files.local_file.read_local_file`.
        """
        if target.template.watch:  # also for a missing or broken file, so that a repaired one is read
            confined = _is_confined(target.source)
            watched = resolve_within(target.template.file_path, self.services.root, confined=confined)
            self._watcher.watch(target.source.name, watched)
        path, data = await self._read(target, self.services.settings.max_manual_bytes)
        if not data.strip():
            raise ManualError(f"The file {target.template.file_path!r} is empty.")
        return Document(content=data, url=str(path), media_type=_media_type(path))

    async def call(self, target: Target[FileTemplate], call: Call, emit: Emit) -> Result:
        """Return the file's text, as in UTCP; bytes that are not text by their name or content as Binary."""
        import mimetypes  # most start without it

        del emit
        limit = call.tool.limits.get("max_reply_bytes", self.services.settings.max_reply_bytes)
        path, data = await self._read(_scoped(target), limit)
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        if defers(data):
            return Result(Deferred(data, ((read_content, {"kind": kind}),)))
        return Result(read_content(data, kind=kind))

    async def explain(self, target: Target[FileTemplate], call: Call) -> NativeRequest:
        """Return the path of the file. Nothing is sent."""
        del call
        source, path = target.source, _scoped(target).template.file_path
        return NativeRequest(f"read {resolve_within(path, self.services.root, confined=_is_confined(source))}")

    async def forget(self, manual: str) -> None:
        """Stop watching the manual's file."""
        self._watcher.forget(manual)

    async def aclose(self) -> None:
        """Stop watching all files."""
        self._watcher.close()

    async def _read(self, target: Target[FileTemplate], limit: int) -> tuple[Path, bytes]:
        return await read_local_file(
            target.template.file_path, self.services.root, limit=limit, confined=_is_confined(target.source)
        )


TRANSPORT = FileTransport


def read_content(data: bytes, *, kind: str) -> str | Binary:
    """Return the text of a file, or its bytes if it is not text."""
    if kind.startswith("text/") or kind == "application/json":
        return decode(data)
    encoding = "utf-16" if data.startswith(_WIDE_MARKS) else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return Binary(data, kind)


def _scoped(target: Target[FileTemplate]) -> Target[FileTemplate]:
    """Return the target of a call with the path that was checked, which the call then reads.

    :raises PolicyError: the tool's manual may not read the file.
    """
    if target.source.file_scope is None:
        return target
    path = resolve_in_scope(target.template.file_path, target.source.file_scope)
    return replace(target, template=target.template.model_copy(update={"file_path": str(path)}))


def _is_confined(source: Source) -> bool:
    return source.trust is not Trust.OPERATOR


def _media_type(path: Path) -> str | None:
    return _MEDIA_TYPES.get(path.suffix.lower())
