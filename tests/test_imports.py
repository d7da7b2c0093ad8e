"""What importing brings along: start-up is import time, so heavy packages wait until they are needed."""

import json
import subprocess
import sys

import pytest

import utcp_bridge

HEAVY = ("aiohttp", "aiortc", "authlib", "graphql", "grpc", "httpx2", "jsonschema_rs", "mcp", "mcp_types", "pydantic")
PROBE = """
import json, sys
before = set(sys.modules)
{code}
json.dump(sorted(set(sys.modules) - before), sys.stdout)
"""


def loaded_by(code: str) -> set[str]:
    """Top-level packages that a fresh interpreter loads for `code`."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(code=code)], capture_output=True, check=True, encoding="utf-8", timeout=60
    )
    return {name.partition(".")[0] for name in json.loads(done.stdout)}


def test_the_package_loads_nothing_heavy() -> None:
    loaded = loaded_by("import utcp_bridge")
    assert "utcp_bridge" in loaded
    assert loaded & set(HEAVY) == set()


def test_the_nouns_and_errors_load_no_network_library() -> None:
    loaded = loaded_by("from utcp_bridge import Tool, UtcpError")
    assert loaded & (set(HEAVY) - {"pydantic"}) == set()


def test_the_client_loads_neither_the_sdk_nor_what_optional_transports_need() -> None:
    loaded = loaded_by("from utcp_bridge import UtcpClient")
    assert loaded & {"mcp", "mcp_types", "aiohttp", "aiortc", "grpc", "graphql", "starlette", "uvicorn"} == set()


def test_the_command_answers_help_without_the_client() -> None:
    code = "import contextlib, io\nfrom utcp_bridge.cli import main\n"
    code += "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n    main(['--help'])"
    assert loaded_by(code) & set(HEAVY) <= {"pydantic"}


@pytest.mark.parametrize("name", utcp_bridge.__all__)
def test_every_public_name_can_be_had(name: str) -> None:
    assert getattr(utcp_bridge, name) is not None
    assert name in dir(utcp_bridge)


def test_public_names_are_sorted_and_others_are_refused() -> None:
    assert utcp_bridge.__all__ == sorted(utcp_bridge.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = utcp_bridge.no_such_name
