import subprocess
import sys

import pytest

import utcp_bridge


@pytest.mark.parametrize("name", utcp_bridge.__all__)
def test_every_public_name_can_be_imported(name: str) -> None:
    assert getattr(utcp_bridge, name) is not None


def test_public_names_are_sorted_and_listed_by_dir() -> None:
    assert utcp_bridge.__all__ == sorted(utcp_bridge.__all__)
    assert dir(utcp_bridge) == utcp_bridge.__all__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        utcp_bridge.nothing  # noqa: B018


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = "{'mcp', 'aiohttp', 'httpx2', 'pydantic', 'authlib', 'graphql', 'jsonschema_rs'}"
    code = f"import utcp_bridge, sys; print(sorted({heavy} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
