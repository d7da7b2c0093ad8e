"""Data classes whose methods are written late are the classes of the standard library in everything else."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import weakref
from collections.abc import Callable
from dataclasses import field
from functools import partial
from typing import Any, ClassVar, Generic, TypeVar

import pytest

from utcp_bridge.late.records import dataclass

T = TypeVar("T")
Decorator = Callable[..., Any]
MANY = 30
"""More objects than are made before `__init__` is written."""


def frozen_by(decorate: Decorator) -> list[Any]:
    """The same frozen classes, made by a decorator."""

    @decorate(frozen=True, slots=True)
    class Base:
        """A frozen one."""

        number: int
        secret: str = field(default="s", repr=False)
        names: tuple[str, ...] = ()
        LIMIT: ClassVar[int] = 3

        @property
        def double(self) -> int:
            return self.number * 2

    @decorate(frozen=True, slots=True)
    class Derived(Base):
        """With a field more."""

        factor: float = 1.5

    @decorate(frozen=True, slots=True)
    class Shown:
        """One with a text of its own."""

        value: int = 0

        def __repr__(self) -> str:
            return "shown"

    return [Base, Derived, Shown]


def frozen_in_other_ways_by(decorate: Decorator) -> list[Any]:
    """Frozen classes with rarer fields, made by a decorator."""

    @decorate(frozen=True, slots=True)
    class Made:
        """One with values that functions make."""

        first: Any
        number: int = 4
        names: list[str] = field(default_factory=lambda: ["made"])
        log: list[Any] = field(default_factory=list, init=False)

        def __post_init__(self) -> None:
            self.log.append(self.first)

    @decorate(frozen=True, slots=True)
    class Named:
        """One whose fields are called by name."""

        value: int = 1
        other: int = field(default=2, kw_only=True)

    @decorate(frozen=True, slots=True)
    class Calling:
        """One whose default is a function, with a field that has the usual name of any object."""

        one: int
        read: Callable[[str], str] = str.strip

    @decorate(frozen=True, slots=True)
    class Own:
        """One with a field that has the usual name of an object."""

        self: int = 1

    return [Made, Named, Calling, Own]


def open_by(decorate: Decorator) -> list[Any]:
    """The same classes whose objects may change, made by a decorator."""

    @decorate(slots=True)
    class Open(Generic[T]):
        """One that may change."""

        value: T
        log: list[T] = field(default_factory=list)
        length: int = field(init=False)

        def __post_init__(self) -> None:
            self.length = len(self.log)

    @decorate(slots=True, eq=False)
    class Alone:
        """One that equals itself only."""

        value: int = 0

    @decorate(slots=True)
    class Compared:
        """One with a comparison of its own."""

        value: int = 0

        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]

    @decorate(slots=True)
    class Beginning:
        """One with a value that each object has, and that is not given."""

        value: int
        closed: bool = field(init=False, default=False)

    return [Open, Alone, Compared, Beginning]


def without_slots_by(decorate: Decorator) -> list[Any]:
    """Classes as libraries write them, made by a decorator."""

    class Parent(Generic[T]):
        """A plain class."""

    @decorate(eq=False)
    class Stream(Parent[T]):
        """One that equals itself only."""

        state: T
        closed: bool = field(init=False, default=False)
        log: list[Any] = field(init=False, default_factory=list)

        def __post_init__(self) -> None:
            self.log.append(self.state)

    @decorate(frozen=True)
    class Counts:
        """A frozen one with a `__dict__`."""

        tasks: int
        names: tuple[str, ...] = ()
        kind: str = field(default="k", compare=False)

    @decorate
    class Plain:
        """One without options, and without a hash."""

        value: int = field()
        other: str = "o"

    @decorate(frozen=True)
    class Counting(Counts):
        """One with a field more, behind those of its base."""

        more: int = 1

    return [Stream, Counts, Plain, Counting]


def with_own_methods_by(decorate: Decorator) -> list[Any]:
    """Classes with methods that the decorator leaves alone, made by it."""

    @decorate(slots=True)
    class Hashed:
        """One that is found by its class."""

        value: int = 1

        def __hash__(self) -> int:
            return 7

    @decorate(frozen=True, slots=True)
    class HashedOnce:
        """A frozen one with a hash of its own."""

        value: int = 1

        def __hash__(self) -> int:
            return 8

    @decorate(slots=True)
    class Starting:
        """One whose start is its own."""

        value: int

        def __init__(self, *values: int) -> None:
            self.value = sum(values)

    @decorate(slots=True, kw_only=True)
    class Called:
        """One whose fields are given by name."""

        value: int
        other: int = 2

    @decorate(slots=True, eq=False, weakref_slot=True)
    class Watched:
        """One that can be referred to weakly."""

        value: int = 3

    return [Hashed, HashedOnce, Starting, Called, Watched]


def made_by(decorate: Decorator) -> dict[str, Any]:
    ways = (frozen_by, frozen_in_other_ways_by, open_by, without_slots_by, with_own_methods_by)
    return {one.__name__: one for way in ways for one in way(decorate)}


LATE, EAGER = made_by(dataclass), made_by(dataclasses.dataclass)
GIVEN: dict[str, list[tuple[tuple[Any, ...], dict[str, Any]]]] = {
    "Base": [((1,), {}), ((1, "t"), {"names": ("a",)}), ((), {}), ((1, 2, 3, 4), {})],
    "Derived": [((1,), {"factor": 2.0}), ((1, "t", (), 3.5), {}), ((), {"factor": 1.0})],
    "Open": [(([1],), {}), ((1, [2, 3]), {}), ((1,), {"length": 4})],
    "Alone": [((), {}), ((5,), {})],
    "Beginning": [((1,), {}), ((), {}), ((1, True), {})],
    "Shown": [((), {})],
    "Compared": [((), {}), ((2,), {})],
    "Made": [((1,), {}), ((), {}), ((1, 2, ["x"]), {}), ((1,), {"names": []}), ((1, 2, [], []), {})],
    "Named": [((), {}), ((3,), {"other": 4}), ((3, 4), {})],
    "Calling": [((1,), {}), ((), {"one": 2}), ((1,), {"one": 2}), ((), {})],
    "Own": [((), {}), ((2,), {}), ((), {"self": 3})],
    "Stream": [((1,), {}), ((), {}), ((1, True), {})],
    "Counts": [((1,), {}), ((1, ("a",)), {"kind": "l"}), ((1, []), {}), ((), {})],
    "Plain": [((1,), {}), ((1,), {"other": "p"}), ((), {})],
    "Counting": [((1,), {}), ((1, ("a",), "l", 2), {}), ((), {"more": 2})],
    "Hashed": [((), {}), ((2,), {})],
    "HashedOnce": [((), {}), ((2,), {})],
    "Starting": [((1, 2), {}), ((), {"value": 1})],
    "Called": [((), {"value": 1}), ((1,), {}), ((), {"value": 1, "other": 3})],
    "Watched": [((), {}), ((4,), {})],
}


def outcome(act: Callable[[], Any]) -> tuple[str, str]:
    """What an act returns or raises, without the folder of its class."""
    try:
        return "returned", repr(act())
    except (AttributeError, TypeError) as error:
        return type(error).__name__, str(error)


ACTS: dict[str, Callable[[Any, Any], Any]] = {
    "make": lambda kind, one: None,
    "text": lambda kind, one: one,
    "equal": lambda kind, one: (one == copy.copy(one), one != copy.copy(one), one == 1),
    "hash": lambda kind, one: kind.__hash__ is object.__hash__ or hash(one),
    "assign": lambda kind, one: setattr(one, dataclasses.fields(kind)[0].name, 9),
    "delete": lambda kind, one: delattr(one, dataclasses.fields(kind)[-1].name),
    "fields": lambda kind, one: [(field.name, field.type, field.repr) for field in dataclasses.fields(kind)],
    "as a dict": lambda kind, one: dataclasses.asdict(one),
    "replace": lambda kind, one: dataclasses.replace(one),
    "names of a pattern": lambda kind, one: kind.__match_args__,
    "slots": lambda kind, one: (kind.__dict__.get("__slots__"), hasattr(one, "__dict__")),
    "attributes of the class": lambda kind, one: [
        (name, name in vars(kind) and isinstance(vars(kind)[name], int | str))
        for name in ("value", "other", "kind", "log", "closed")
    ],
    "weak reference": lambda kind, one: weakref.ref(one)() is one,
    "many hashes": lambda kind, one: kind.__hash__ is object.__hash__ or len({hash(one) for _ in range(MANY)}),
    "options": lambda kind, one: kind.__dataclass_params__,
    "names": lambda kind, one: (kind.__qualname__, kind.__module__, kind.__doc__),
}


def with_objects(kind: Any, objects: int, name: str) -> Any:
    """A class after it has had some objects."""
    given, named = next(
        (given, named)
        for given, named in GIVEN[name]
        if outcome(partial(EAGER[name], *given, **named))[0] == "returned"
    )
    for _ in range(objects):
        kind(*given, **named)
    return kind


@pytest.mark.parametrize("objects", [0, MANY], ids=["the first object", "a later object"])
@pytest.mark.parametrize("name", LATE)
@pytest.mark.parametrize("act", ACTS)
def test_a_late_class_behaves_as_one_of_the_standard_library(name: str, act: str, objects: int) -> None:
    for given, named in GIVEN[name]:
        late, eager = (
            outcome(lambda kind=kind, given=given, named=named: ACTS[act](kind, kind(*given, **named)))  # type: ignore[misc]
            for kind in (with_objects(made_by(dataclass)[name], objects, name), EAGER[name])
        )
        assert late == eager


@pytest.mark.parametrize("name", LATE)
def test_a_method_that_is_written_has_the_parameters_of_the_fields(name: str) -> None:
    late = with_objects(made_by(dataclass)[name], MANY, name)
    assert str(inspect.signature(late.__init__)) == str(inspect.signature(EAGER[name].__init__))


@pytest.mark.parametrize("act", ["fields", "names of a pattern", "options", "slots"])
@pytest.mark.parametrize("name", LATE)
def test_a_class_can_be_looked_at_before_it_has_an_object(name: str, act: str) -> None:
    fresh = made_by(dataclass)[name]
    late, eager = (outcome(lambda kind=kind: ACTS[act](kind, 0)) for kind in (fresh, EAGER[name]))  # type: ignore[misc]
    assert late == eager


def test_what_is_late_is_not_written_before_it_is_used() -> None:
    base = made_by(dataclass)["Base"]
    one = base(1)
    assert base.__init__.__qualname__ != "frozen_by.<locals>.Base.__init__"
    with_objects(base, MANY, "Base")
    assert base.__init__.__qualname__ == EAGER["Base"].__init__.__qualname__
    assert base.__repr__.__qualname__ != EAGER["Base"].__repr__.__qualname__
    assert one == base(1)
    assert base.__eq__.__qualname__ == EAGER["Base"].__eq__.__qualname__


@dataclass(frozen=True, slots=True)
class Kept:
    """One that pickle finds by its name."""

    number: int
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Empty:
    """One without fields."""


def test_a_frozen_object_may_have_no_fields() -> None:
    assert Empty() == Empty()
    with pytest.raises(TypeError, match=r"Empty\.__init__\(\) takes 1 positional argument but 2 were given"):
        Empty(1)  # type: ignore[call-arg]


def test_a_frozen_object_can_be_pickled() -> None:
    assert pickle.loads(pickle.dumps(Kept(1, ("a",)))) == Kept(1, ("a",))


def test_a_frozen_object_takes_nothing_that_is_not_a_field() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError, match="'other'"):
        Kept(1).other = 1  # type: ignore[attr-defined]


def test_a_pattern_reads_the_fields() -> None:
    match Kept(1, ("a",)):
        case Kept(number, names):
            assert (number, names) == (1, ("a",))


@pytest.mark.parametrize(
    "notes",
    [
        {"a": int, "b": list[int]},
        {"a": ClassVar[int], "b": int},
        {"a": ClassVar, "b": int},
        {"a": dataclasses.InitVar[int], "b": int},
        {"a": int, "_": dataclasses.KW_ONLY, "b": int},
    ],
    ids=["types", "variable of the class", "bare variable", "variable of the start", "by name"],
)
def test_annotations_that_are_objects_mean_the_same(notes: dict[str, Any]) -> None:
    late, eager = (
        decorate(frozen=True, slots=True)(type("Made", (), {"__annotations__": notes, "a": 1, "b": 2}))
        for decorate in (dataclass, dataclasses.dataclass)
    )
    for look in (
        lambda kind: kind.__slots__,
        lambda kind: repr(kind()),
        lambda kind: repr(kind(3, 4)),
        lambda kind: kind.a,
    ):
        assert outcome(lambda look=look: look(late)) == outcome(lambda look=look: look(eager))  # type: ignore[misc]
