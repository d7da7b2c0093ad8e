"""The public door: names, their homes, and how little importing the package costs."""

import subprocess
import sys
from importlib import import_module

import pytest

import utcp_bridge
from utcp_bridge import errors

FROM_THE_START = {
    *("AsyncUTCPRegistry", "Binary", "BridgeSettings", "CallTemplate", "Document", "Extensions", "Result", "Tool"),
    *("ToolInfo", "ToolServer", "Transport", "UTCPClient", "UTCPRegistry", "UtcpClient", "UtcpClientConfig"),
    *("UtcpError", "__version__", "add_manual", "openapi_to_utcp"),
}
"""Names that programs import since the first release: they stay."""


@pytest.mark.parametrize("name", utcp_bridge.__all__)
def test_every_public_name_can_be_imported(name: str) -> None:
    assert getattr(utcp_bridge, name) is not None


def test_public_names_are_sorted_and_listed_by_dir() -> None:
    assert utcp_bridge.__all__ == sorted(utcp_bridge.__all__)
    assert dir(utcp_bridge) == utcp_bridge.__all__


def test_no_public_name_of_an_earlier_release_is_gone() -> None:
    assert FROM_THE_START - set(utcp_bridge.__all__) == set()


def test_every_error_class_is_exported() -> None:
    assert set(errors.__all__) - set(utcp_bridge.__all__) == set()


@pytest.mark.parametrize("module", ["errors", "providers", "transport", "testing", "testing.contract"])
def test_the_names_of_a_public_module_exist(module: str) -> None:
    public = import_module(f"utcp_bridge.{module}")
    assert [name for name in public.__all__ if not hasattr(public, name)] == []
    assert len(public.__all__) == len(set(public.__all__))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        utcp_bridge.nothing  # noqa: B018


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = "{'mcp', 'aiohttp', 'httpx2', 'pydantic', 'authlib', 'graphql', 'jsonschema_rs'}"
    code = f"import utcp_bridge, sys; print(sorted({heavy} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_testing_helpers_do_not_import_pytest() -> None:
    code = "import utcp_bridge.testing, sys; print('pytest' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
