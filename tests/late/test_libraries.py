"""aiohttp with parts that are made late is aiohttp: the parts are the real ones when they are used."""

import subprocess
import sys
from pathlib import Path

import pytest

IMPORT = """
import sys
from pathlib import Path
from utcp_bridge.late.libraries import late_parts
finders = list(sys.meta_path)
with late_parts():
    import aiohttp
assert sys.meta_path == finders
"""


def run(code: str) -> None:
    """Run code after aiohttp was imported, in a fresh interpreter."""
    command = [sys.executable, "-c", IMPORT + code]
    done = subprocess.run(command, capture_output=True, check=False, timeout=200, encoding="utf-8")
    assert done.returncode == 0, done.stderr


def test_the_import_makes_no_part_that_the_bridge_does_not_use() -> None:
    run("""
assert "pycares" not in sys.modules
assert not hasattr(aiohttp.TraceRequestStartParams, "__attrs_attrs__")
""")


def test_a_resolver_of_aiohttp_is_that_of_aiodns() -> None:
    run("""
import asyncio
async def main():
    resolver = aiohttp.AsyncResolver()
    assert resolver._resolver.__class__.__module__.partition(".")[0] == "aiodns"
    await resolver.close()
asyncio.run(main())
assert aiohttp.DefaultResolver is aiohttp.AsyncResolver
import aiodns
assert aiohttp.resolver.aiodns.error.DNSError is aiodns.error.DNSError
""")


@pytest.mark.parametrize("name", ["TraceRequestStartParams", "TraceRequestEndParams", "TraceDnsCacheHitParams"])
def test_objects_of_a_trace_are_frozen_and_compare_by_value(name: str) -> None:
    run(f"""
import attr
kind = aiohttp.{name}
given = range(len(kind.__annotations__))
one = kind(*given)
assert type(one) is kind and one == kind(*given) and one != kind(*[-1 for _ in given])
assert [getattr(one, key) for key in kind.__annotations__] == list(given)
assert repr(one).startswith("{name}(")
try:
    setattr(one, next(iter(kind.__annotations__)), 1)
except attr.exceptions.FrozenInstanceError:
    pass
else:
    raise AssertionError("it is not frozen")
""")


def test_a_module_of_another_form_is_imported_as_always() -> None:
    run("""
import utcp_bridge.late.libraries as libraries
for name in [name for name in sys.modules if name.startswith("aiohttp")]:
    del sys.modules[name]
libraries._STAND_INS = {"aiohttp.tracing": ("attr", type("Nothing", (), {}))}
with late_parts():
    import aiohttp
assert aiohttp.TraceRequestStartParams.__attrs_attrs__
assert aiohttp.TraceRequestStartParams("GET", "u", {}) == aiohttp.TraceRequestStartParams("GET", "u", {})
""")


def test_pydantic_finds_its_plugins(tmp_path: Path) -> None:
    folder = tmp_path / "own-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: own\nVersion: 1\n", encoding="utf-8")
    (folder / "entry_points.txt").write_text("[pydantic]\nown = own_plugin:PLUGIN\n", encoding="utf-8")
    (tmp_path / "own_plugin.py").write_text(
        "class Plugin:\n    def new_schema_validator(self, *given, **named):\n        seen.append(1)\n"
        "        return None, None, None\nseen = []\nPLUGIN = Plugin()\n",
        encoding="utf-8",
    )
    run(f"""
sys.path.insert(0, {str(tmp_path)!r})
from utcp_bridge.settings import BridgeSettings
import own_plugin
before = len(own_plugin.seen)
BridgeSettings()
assert len(own_plugin.seen) > before
""")


def test_settings_are_built_without_a_look_at_each_package() -> None:
    run("""
for name in [name for name in sys.modules if name.startswith("importlib.metadata")]:
    del sys.modules[name]
from utcp_bridge.settings import BridgeSettings
BridgeSettings()
assert "importlib.metadata" not in sys.modules
""")
