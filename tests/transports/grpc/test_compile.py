"""The compiler on files that a test writes."""

from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

from utcp_bridge.errors import ConfigError, MissingExtra
from utcp_bridge.transports.grpc import compile as grpc_compile
from utcp_bridge.transports.grpc.compile import compile_protos

pytestmark = pytest.mark.anyio


async def compiled(root: Path, *files: str, imports: tuple[str, ...] = ()) -> list[str]:
    found = descriptor_pb2.FileDescriptorSet.FromString(await compile_protos(files, imports, root))
    return [file.name for file in found.file]


async def test_imports_are_found_beside_the_file_or_in_the_folders_named(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "base.proto").write_text('syntax = "proto3"; message B {}', encoding="utf-8")
    text = 'syntax = "proto3"; import "base.proto"; message A { B b = 1; }'
    (tmp_path / "a" / "user.proto").write_text(text, encoding="utf-8")
    assert await compiled(tmp_path, "a/user.proto", imports=("a", "b")) == ["base.proto", "user.proto"]
    with pytest.raises(ConfigError, match="base"):
        await compiled(tmp_path, "a/user.proto")


async def test_without_the_extra_its_install_line_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc_compile, "find_spec", lambda _name: None)
    with pytest.raises(MissingExtra, match=r"utcp-bridge\[proto\]"):
        await compile_protos(["x.proto"], [], tmp_path)
