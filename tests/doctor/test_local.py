"""Programs on the PATH that they will be given, and files."""

import sys
from pathlib import Path

import pytest

from utcp_bridge.doctor import local
from utcp_bridge.errors import ReplyTooLarge, Unreachable
from utcp_bridge.transport import LocalFile, Program

pytestmark = pytest.mark.anyio

FOLDER, PYTHON = str(Path(sys.executable).parent), Path(sys.executable).name


async def test_a_program_on_the_path_is_told_with_its_place():
    assert (await local.program(Program(PYTHON, Path(), FOLDER))).message == f"The command is {sys.executable}."


async def test_a_program_that_another_path_has_is_not_there(tmp_path):
    with pytest.raises(Unreachable, match=f"'{PYTHON}' is not on the PATH") as caught:
        await local.program(Program(PYTHON, Path(), str(tmp_path)))
    assert "Install it" in str(caught.value.remedy)


async def test_a_path_starts_at_the_programs_folder(tmp_path):
    script = tmp_path / "bin" / "run"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    assert str(script) in (await local.program(Program("bin/run", tmp_path))).message
    with pytest.raises(Unreachable, match="is not there"):
        await local.program(Program("bin/walk", tmp_path))


async def test_a_file_is_read_within_its_limit(tmp_path):
    (tmp_path / "manual.json").write_text("{}")
    wanted = LocalFile("manual.json", tmp_path)
    assert (await local.file(wanted, 10)).message.endswith("manual.json can be read, 2 bytes.")
    with pytest.raises(ReplyTooLarge):
        await local.file(wanted, 1)


async def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(Unreachable, match=r"'gone.json' cannot be read: No such file"):
        await local.file(LocalFile("gone.json", tmp_path), 10)
