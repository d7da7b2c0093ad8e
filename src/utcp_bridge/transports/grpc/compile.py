""".proto files to descriptors, by the protocol compiler that grpcio-tools carries (extra `[proto]`)."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import anyio

from utcp_bridge.errors import ConfigError, MissingExtra

__all__ = ["compile_protos"]


async def compile_protos(files: Sequence[str], import_paths: Sequence[str], root: Path) -> bytes:
    """A serialised FileDescriptorSet, imports and comments included.

    Paths are relative to `root`. Without `import_paths` each file's own folder and `root` are searched. The compiler
    runs as a process of its own: it ends its process on some faults.

    :raises ConfigError: a file is missing or does not compile, with the compiler's first complaint.
    :raises MissingExtra: grpcio-tools is not installed.
    """
    if find_spec("grpc_tools") is None:
        raise MissingExtra("grpc", "proto")
    paths = [root / file for file in files]
    if missing := next((file for file, path in zip(files, paths, strict=True) if not path.is_file()), None):
        raise ConfigError(f"There is no file {missing!r}.", remedy="Check `proto_files`; paths start at the folder.")
    folders = [root / path for path in import_paths] or [*(path.parent for path in paths), root]
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch) / "set"
        searched = [f"--proto_path={folder.resolve()}" for folder in dict.fromkeys(folders)]
        options = ["--include_imports", "--include_source_info", f"--descriptor_set_out={output}"]
        command = [sys.executable, "-m", "grpc_tools.protoc", *searched, *options, *(str(p.resolve()) for p in paths)]
        done = await anyio.run_process(command, check=False)
        if done.returncode != 0 or not output.exists():
            raise ConfigError(f"The .proto files do not compile: {_complaint(done.stderr)}.")
        return await anyio.Path(output).read_bytes()


def _complaint(stderr: bytes) -> str:
    """The compiler's first line that is no warning, without the folder of the file."""
    lines = [line for line in stderr.decode("utf-8", "replace").splitlines() if line and "warning" not in line.lower()]
    if not lines:
        return "the compiler did not say why"
    place, mark, rest = lines[0].partition(":")
    return f"{Path(place).name}{mark}{rest}".rstrip(".")
