"""Comments of .proto files, by full name."""

from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

from utcp_bridge.transports.grpc.comments import comments_of
from utcp_bridge.transports.grpc.compile import compile_protos

TEXT = """
syntax = "proto3";
package p;
// A message
// of two lines.
message M {
  string a = 1;  // Beside it.
  // Inside.
  message N { int32 b = 1; }
  enum E { ZERO = 0; }
  // An option's comment is nobody's.
  option deprecated = true;
}
// A service.
service S {
  // A method.
  rpc Do (M) returns (M);
}
"""


@pytest.mark.anyio
async def test_comments_are_found_by_the_full_name_of_what_they_stand_beside(tmp_path: Path) -> None:
    (tmp_path / "m.proto").write_text(TEXT, encoding="utf-8")
    files = descriptor_pb2.FileDescriptorSet.FromString(await compile_protos(["m.proto"], [], tmp_path)).file
    assert comments_of(files) == {
        "p.M": "A message of two lines.",
        "p.M.a": "Beside it.",
        "p.M.N": "Inside.",
        "p.S": "A service.",
        "p.S.Do": "A method.",
    }
    files[0].ClearField("source_code_info")
    assert comments_of(files) == {}
