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


PYDANTIC = """
import dataclasses, pickle
from decimal import Decimal
from typing import Annotated
import annotated_types as at
import pydantic
from pydantic import (
    AfterValidator, BaseModel, Base64Bytes, BeforeValidator, ConfigDict, Discriminator, Field, FutureDate,
    PlainSerializer, SecretStr, Tag, TypeAdapter, UrlConstraints, ValidationError, WrapValidator,
    field_serializer, field_validator, model_validator,
)
from pydantic_core import core_schema

class Small(BaseModel):
    model_config = ConfigDict(title="small", frozen=True)
    number: Annotated[int, at.Ge(1), at.Le(5), at.MultipleOf(2)] = 2
    texts: Annotated[list[Annotated[str, at.Len(1, 3)]], at.MaxLen(2)] = ["ab"]
    amount: Annotated[Decimal, at.Interval(gt=0, lt=10)] = Decimal(1)
    odd: Annotated[int, at.Predicate(lambda one: one % 2)] = 1
    raw: Base64Bytes = b"AAA="
    secret: SecretStr = SecretStr("s")
    upper: Annotated[str, AfterValidator(str.upper), BeforeValidator(str.strip)] = "a"
    twice: Annotated[str, PlainSerializer(lambda one: one * 2)] = "a"

    @field_validator("odd")
    @classmethod
    def _checked(cls, value):
        return value

    @field_serializer("amount")
    def _written(self, value):
        return str(value)

    @model_validator(mode="after")
    def _whole(self):
        return self

def told(act):
    try:
        print(act())
    except Exception as error:
        print(type(error).__name__, str(error).replace("\\n", " "))

told(lambda: Small().model_dump())
told(lambda: Small(upper=" b ").model_dump_json())
told(lambda: Small.model_json_schema())
for number in (0, 3, 6):
    told(lambda: Small(number=number))
for wrong in ({"texts": ["", "a"]}, {"texts": ["a"] * 3}, {"odd": 2}, {"amount": 10}):
    told(lambda: Small(**wrong))
marks = (at.Gt(1), at.Ge(1), at.MinLen(1), at.Len(1, 2), at.Interval(ge=1), at.MultipleOf(3), at.Unit("m"), at.doc("d"))
for mark in (*marks, UrlConstraints(max_length=3), Tag("t"), Discriminator("kind")):
    told(lambda: (mark, mark == type(mark)(*[getattr(mark, one.name) for one in dataclasses.fields(mark)])))
    told(lambda: hash(mark) == hash(type(mark)(*[getattr(mark, one.name) for one in dataclasses.fields(mark)])))
    told(lambda: [(one.name, one.default is dataclasses.MISSING or one.default) for one in dataclasses.fields(mark)])
    told(lambda: pickle.loads(pickle.dumps(mark)) == mark)
    told(lambda: type(mark).__mro__)
    told(lambda: setattr(mark, dataclasses.fields(mark)[0].name, 1))
told(lambda: list(at.Interval(ge=1, lt=2)))
told(lambda: issubclass(at.Len, at.GroupedMetadata))
told(lambda: (core_schema.CoreConfig(title="x"), type(core_schema.CoreConfig(title="x"))))
told(lambda: core_schema.int_schema(ge=1))
told(lambda: TypeAdapter(FutureDate).validate_python("2000-01-01"))
told(lambda: AfterValidator(str))
"""


def test_pydantic_is_the_same() -> None:
    told = [
        subprocess.run(
            [sys.executable, "-c", start + PYDANTIC], capture_output=True, check=True, timeout=60, encoding="utf-8"
        ).stdout
        for start in ("", "from utcp_bridge.late.libraries import import_pydantic\nimport_pydantic()\n")
    ]
    assert told[0] == told[1]
    assert "greater than or equal to 1" in told[0]


def test_methods_of_pydantics_classes_are_written_when_they_are_used() -> None:
    run("""
from utcp_bridge.late.libraries import import_pydantic
import_pydantic()
import annotated_types
first = annotated_types.Timezone.__init__
assert annotated_types.Timezone(None) == annotated_types.Timezone(None)
assert len({annotated_types.Timezone(None) for _ in range(30)}) == 1
assert annotated_types.Timezone.__init__ is not first
""")


def test_anyio_writes_methods_of_its_classes_when_they_are_used() -> None:
    run("""
from utcp_bridge.late.libraries import import_anyio
import_anyio()
import anyio, anyio.streams.memory, anyio.streams.tls, dataclasses
kinds = [anyio.streams.memory.MemoryObjectSendStream, anyio.streams.tls.TLSStream, anyio.LockStatistics]
assert [kind.__init__.__module__ for kind in kinds] == ["utcp_bridge.late.records"] * 3
async def main():
    async with anyio.create_task_group() as group:
        for number in range(40):
            sending, receiving = anyio.create_memory_object_stream(1)
            async with sending, receiving.clone() as copied:
                await sending.send(number)
                assert await copied.receive() == number
                assert receiving.statistics().open_receive_streams == 2
            receiving.close()
    assert anyio.Lock().statistics() == anyio.LockStatistics(False, None, 0)
    assert hash(anyio.LockStatistics(False, None, 0)) == hash((False, None, 0))
anyio.run(main)
assert kinds[0].__init__.__module__ == "anyio.streams.memory"
assert [one.name for one in dataclasses.fields(anyio.LockStatistics)] == ["locked", "owner", "tasks_waiting"]
""")
