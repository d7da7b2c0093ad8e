"""`dataclass` whose methods are written when they are first used.

The decorator of the standard library compiles six methods for each class, 0.7 ms of CPU, and a short command imports
more than a hundred classes of which it needs a third. `dataclass` makes the same class in a tenth of the time. Most of
the classes that are needed have one object or two, whose fields are set one by one. `__init__` is written when more
come, and the other methods when they are called first.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast, get_origin

__all__ = ["dataclass"]

_Kind = type[Any]
_OPTIONS: Final = frozenset({"frozen", "slots", "eq", "repr", "kw_only", "weakref_slot"})
_NEVER_OWN: Final = frozenset({"__eq__", "__setattr__", "__delattr__", "__getstate__", "__slots__"})
"""A class that has one of these itself is made by the standard library at once: it has rules for each of them."""
_NOT_YET_READ: Final = frozenset({"__annotate__", "__annotate_func__"})
"""Python 3.14 evaluates annotations that are objects later. The standard library makes such a class."""
_OF_INIT: Final = ("__init__",)
_OF_FIELDS: Final = ("__dataclass_fields__", "__match_args__")
_OF_VALUES: Final = ("__eq__", "__hash__")
_OF_TEXT: Final = ("__repr__",)
_OF_OPTIONS: Final = ("__dataclass_params__",)
_TOGETHER: Final = {
    name: names for names in (_OF_INIT, _OF_FIELDS, _OF_VALUES, _OF_TEXT, _OF_OPTIONS) for name in names
}
"""What is written together, by each of the names."""
_METHODS: Final = frozenset({*_OF_INIT, *_OF_VALUES, *_OF_TEXT})
_SET_ONE_BY_ONE: Final = 24
"""Objects of a class before its `__init__` is written, and hashes before `__hash__` is. Writing takes as long as a
hundred of them."""


def _dataclass(kind: _Kind | None = None, /, **options: bool) -> Any:
    """Make a class of data, with the options of the standard library's `dataclass`."""

    def decorate(kind: _Kind) -> _Kind:
        names = _slots_of(kind, options)
        return dataclasses.dataclass(**options)(kind) if names is None else _Late(kind, names, options).kind

    return decorate if kind is None else decorate(kind)


def _slots_of(kind: _Kind, options: Mapping[str, bool]) -> list[str] | None:
    """Return the names of the fields that the class adds; None if only the standard library can make it."""
    own = vars(kind)
    if not options.keys() <= _OPTIONS or not own.keys().isdisjoint(_NEVER_OWN | _NOT_YET_READ):
        return None
    if own.get("__hash__", kind) is None or (options.get("frozen") and "__init__" in own):
        return None
    names: list[str] = []
    for name, note in own.get("__annotations__", {}).items():
        if isinstance(note, str):
            if note.startswith(("InitVar", "KW_ONLY", "typing.", "dataclasses.")):
                return None
            if note.startswith("ClassVar"):
                continue
        elif not _is_of_field(note):
            return None
        if options.get("slots") and _is_set_by_init_alone(own.get(name)):
            return None
        names.append(name)
    return names


def _is_of_field(note: Any) -> bool:
    """Return whether an annotation, as an object, is that of a field for certain."""
    if isinstance(note, dataclasses.InitVar) or get_origin(note) is ClassVar:
        return False
    return all(note is not one for one in (ClassVar, dataclasses.InitVar, dataclasses.KW_ONLY))


def _is_set_by_init_alone(default: Any) -> bool:
    """Return whether each object needs this default, and none is given: a class with slots cannot have it itself."""
    rule: Any = default
    return type(default) is dataclasses.Field and not rule.init and rule.default is not dataclasses.MISSING


class _Late:
    """A class, and what its methods are written from. One with slots is a new class, any other one is changed."""

    def __init__(self, kind: _Kind, names: list[str], options: Mapping[str, bool]) -> None:
        self._written: Final = {key: one for key, one in vars(kind).items() if key not in {"__dict__", "__weakref__"}}
        self._options: Final = {key: one for key, one in options.items() if key not in {"slots", "weakref_slot"}}
        self._has_hash: Final = "__hash__" in self._written
        methods = self._methods(names)
        self.kind: _Kind = kind
        if options.get("slots"):
            body = {key: one for key, one in self._written.items() if key not in names}
            taken = {slot for base in kind.__mro__[1:-1] for slot in _own_slots(base)}
            slots = [*names, "__weakref__"] if options.get("weakref_slot") else names
            body["__slots__"] = tuple(name for name in slots if name not in taken)
            if options.get("frozen"):
                body |= {"__getstate__": _state, "__setstate__": _set_state}  # to copy what can be written only here
            self.kind = _with_body(kind, body | methods)
        else:
            for name, method in (_defaults(self._written, names) | methods).items():
                type.__setattr__(kind, name, method)
            for name in names:
                if type(vars(kind).get(name)) is dataclasses.Field:
                    type.__delattr__(kind, name)  # a field whose value a function makes, or that has none

    def _methods(self, names: list[str]) -> dict[str, Any]:
        """Return what the decorator adds to the class."""
        made: dict[str, Any] = {name: _LateAttribute(self, name) for name in _TOGETHER if name not in _METHODS}
        if "__match_args__" in self._written:
            del made["__match_args__"]
        if "__init__" not in self._written:
            made["__init__"] = self._first_init(names)
        if self._options.get("repr", True) and "__repr__" not in self._written:
            made["__repr__"] = self._first("__repr__")
        is_frozen = self._options.get("frozen", False)
        if self._options.get("eq", True):
            made["__eq__"] = self._first("__eq__")
            if not self._has_hash:
                made["__hash__"] = self._first_hash(names) if is_frozen else None
        if is_frozen:
            made |= {"__setattr__": self._refuse("assign to"), "__delattr__": self._refuse("delete")}
        return made

    def write(self, names: tuple[str, ...]) -> None:
        """Let the standard library write these attributes. It does so for a class of its own, which is dropped."""
        options = self._options_for(names)
        decorate: Any = dataclasses.dataclass(**options)
        text = (
            self._written.get("__doc__") or self.kind.__name__
        )  # the library writes one of the signature if none is there
        made: _Kind = decorate(_with_body(self.kind, {**self._written, "__doc__": text}))
        if names is _OF_INIT and not options["init"]:
            made.__init__ = _init_of(made) or self._init_of_library()
        for name in names:
            if name in vars(self.kind):
                type.__setattr__(self.kind, name, vars(made)[name])

    def _options_for(self, names: tuple[str, ...]) -> dict[str, bool]:
        """Return the options with which the standard library writes these attributes, and as little else as possible.

        For a frozen class it writes two methods that are never used here, so it is not told of that.
        """
        if names is _OF_OPTIONS:
            return self._options
        is_frozen = self._options.get("frozen", False)
        is_told = is_frozen and _has_data_bases(self.kind)
        if names is _OF_INIT:
            own = {"init": is_told or not is_frozen, "repr": False, "eq": False}
        elif names is _OF_FIELDS:
            own = {"init": False, "repr": False, "eq": False}
        elif names is _OF_TEXT:
            own = {"init": False, "eq": False}
        else:
            own = {"init": False, "repr": False, "unsafe_hash": is_frozen and not self._has_hash}
        return {**self._options, **own, "frozen": is_told}

    def _init_of_library(self) -> Any:
        decorate: Any = dataclasses.dataclass(**{**self._options, "repr": False, "eq": False})
        made: _Kind = decorate(_with_body(self.kind, dict(self._written)))
        return made.__init__

    def _first(self, name: str) -> Callable[..., Any]:
        """Return what is called in place of a method until it is written."""

        def first(one: Any, *given: Any) -> Any:
            self.write(_TOGETHER[name])
            return vars(self.kind)[name](one, *given)

        return first

    def _first_init(self, names: list[str]) -> Callable[..., None]:
        """Return the `__init__` of the first objects, and of those that are made wrongly: the written one says how."""
        left = _SET_ONE_BY_ONE
        by_hand: _OneByOne | None = None

        def first(one: Any, /, *given: Any, **named: Any) -> None:
            nonlocal left, by_hand
            if left == _SET_ONE_BY_ONE:
                by_hand = None if "kw_only" in self._options else _one_by_one(self.kind, self._written, names)
            left -= 1
            if left < 0 or by_hand is None or not by_hand.fills(one, given, named):
                self.write(_OF_INIT)
                vars(self.kind)["__init__"](one, *given, **named)

        return first

    def _first_hash(self, names: list[str]) -> Callable[[Any], int]:
        """Return the `__hash__` of the first calls. `typing` asks each annotation of a library once or twice."""
        left = _SET_ONE_BY_ONE

        def first(one: Any) -> int:
            nonlocal left
            left -= 1
            if left < 0 or _has_data_bases(self.kind) or any(_has_own_rule(self._written.get(name)) for name in names):
                self.write(_OF_VALUES)
                found: int = vars(self.kind)["__hash__"](one)
                return found
            return hash(tuple([getattr(one, name) for name in names]))

        return first

    def _refuse(self, what: str) -> Callable[..., None]:
        """Return `__setattr__` or `__delattr__` of a frozen class."""
        method = "__setattr__" if what == "assign to" else "__delattr__"

        def refuse(one: Any, name: str, *value: Any) -> None:
            if type(one) is self.kind or name in self.kind.__dataclass_fields__:
                raise dataclasses.FrozenInstanceError(f"cannot {what} field {name!r}")
            getattr(cast("Any", super(self.kind, one)), method)(name, *value)

        return refuse


class _OneByOne:
    """How an object gets its fields without an `__init__` of its class."""

    __slots__ = ("_fields", "_parameters", "_post", "_required", "_set")

    def __init__(self, kind: _Kind, parameters: list[str], fields: list[tuple[str, Any, Any]]) -> None:
        """`fields` have their names, their defaults, and what makes their values; `MISSING` for none."""
        self._fields = fields
        self._parameters = parameters
        self._required = {name for name, default, make in fields if default is make}
        self._post = hasattr(kind, "__post_init__")
        self._set: Callable[[Any, str, Any], None] = (
            object.__setattr__ if "__setattr__" in vars(kind) else setattr  # one of a frozen class refuses
        )

    def fills(self, one: Any, given: tuple[Any, ...], named: dict[str, Any]) -> bool:
        """Set the fields of a new object. Return False, and set none, if the arguments are wrong."""
        values = dict(zip(self._parameters, given, strict=False))
        if len(given) > len(self._parameters) or not values.keys().isdisjoint(named):
            return False
        values |= named
        if not self._required <= values.keys() or not values.keys() <= set(self._parameters):
            return False
        for name, default, make in self._fields:
            if name in values:
                self._set(one, name, values[name])
            else:
                self._set(one, name, default if make is dataclasses.MISSING else make())
        if self._post:
            one.__post_init__()
        return True


def _one_by_one(kind: _Kind, written: Mapping[str, Any], names: list[str]) -> _OneByOne | None:
    """Return how objects of a class get their fields; None if it is not plain, or the library refuses it."""
    parameters, fields = list[str](), list[tuple[str, Any, Any]]()
    has_default = False
    if any(name in vars(base) for base in kind.__mro__[1:] for name in (*names, "__dataclass_fields__")):
        return None
    for name in names:
        default: Any = written.get(name, dataclasses.MISSING)
        make: Any = dataclasses.MISSING
        is_parameter = True
        if type(default) is dataclasses.Field:
            rule = cast("Any", default)
            default, make, is_parameter = rule.default, rule.default_factory, rule.init
            if rule.kw_only not in {False, dataclasses.MISSING} or not (is_parameter or default is dataclasses.MISSING):
                return None
        if type(default).__hash__ is None or _is_bound(default, kind):
            return None
        if is_parameter:
            if has_default and default is make:
                return None  # it is behind one that has a default
            has_default = has_default or default is not make
            parameters.append(name)
        if is_parameter or default is not make:
            fields.append((name, default, make))
    return _OneByOne(kind, parameters, fields)


def _defaults(written: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    """Return the attributes of a class without slots that fields with options have as their defaults."""
    rules = {name: written[name] for name in names if type(written.get(name)) is dataclasses.Field}
    return {name: rule.default for name, rule in rules.items() if rule.default is not dataclasses.MISSING}


def _has_own_rule(default: Any) -> bool:
    """Return whether a field says whether it counts in comparisons."""
    return type(default) is dataclasses.Field and not (default.compare and default.hash is None)


def _is_bound(value: Any, kind: _Kind) -> bool:
    """Return whether an attribute of a class reads as something else than what was written."""
    get = getattr(cast("Any", type(value)), "__get__", None)
    return get is not None and get(value, None, kind) is not value


class _LateAttribute:
    """An attribute of a class that is written when it is read."""

    __slots__ = ("_late", "_name")

    def __init__(self, late: _Late, name: str) -> None:
        self._late = late
        self._name = name

    def __get__(self, one: object, owner: _Kind | None = None) -> Any:
        self._late.write(_TOGETHER[self._name])
        return vars(self._late.kind)[self._name]


class _Factory:
    """The default of a parameter whose value a function makes."""

    def __repr__(self) -> str:
        return "<factory>"


_FACTORY: Final = _Factory()


def _has_data_bases(kind: _Kind) -> bool:
    return any("__dataclass_fields__" in vars(base) for base in kind.__mro__[1:])


def _init_of(kind: _Kind) -> Any:
    """Return `__init__` of a frozen class of data; None if only the standard library can write it.

    The standard library writes three methods for each frozen class, of which two are never used here.
    """
    known: dict[str, Any] = {"__set": object.__setattr__, "__factory": _FACTORY}
    parameters, lines = ["self"], list[str]()
    fields = dataclasses.fields(kind)
    for field in fields:
        name = field.name
        makes, has_value = field.default_factory is not dataclasses.MISSING, field.default is not dataclasses.MISSING
        if field.kw_only or name == "self" or (not field.init and has_value):
            return None
        value = f"__make_{name}()" if makes else name
        if makes:
            known[f"__make_{name}"] = field.default_factory
        if field.init and makes:
            parameters.append(f"{name}=__factory")
            value = f"{value} if {name} is __factory else {name}"
        elif field.init and has_value:
            known[f"__default_{name}"] = field.default
            parameters.append(f"{name}=__default_{name}")
        elif field.init and "=" not in parameters[-1]:
            parameters.append(name)
        elif field.init:
            return None
        elif not makes:
            continue
        lines.append(f" __set(self, {name!r}, {value})")
    if hasattr(kind, "__post_init__"):
        lines.append(" self.__post_init__()")
    text = f"def __init__({', '.join(parameters)}):\n" + "\n".join(lines or [" pass"])
    exec(text, known)  # noqa: S102 - as the standard library does
    init = known["__init__"]
    init.__qualname__, init.__module__ = f"{kind.__qualname__}.__init__", kind.__module__
    init.__annotations__ = {**{one.name: one.type for one in fields if one.init}, "return": None}
    return init


def _with_body(kind: _Kind, body: dict[str, Any]) -> _Kind:
    """Return a class with the name and the bases of another one."""
    meta: Any = type(kind)
    made: _Kind = meta(kind.__name__, kind.__bases__, body)
    made.__qualname__ = kind.__qualname__
    return made


def _own_slots(kind: _Kind) -> tuple[str, ...]:
    slots = vars(kind).get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


def _state(one: Any) -> list[Any]:
    return [getattr(one, field.name) for field in dataclasses.fields(one)]


def _set_state(one: Any, state: list[Any]) -> None:
    for field, value in zip(dataclasses.fields(one), state, strict=True):
        object.__setattr__(one, field.name, value)


if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    dataclass = _dataclass
