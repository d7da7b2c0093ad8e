"""A stranger's schema as validators: the whole schema if that is affordable, otherwise what is cheap of it.

Everything that compiles or walks the schema of a tool starts here. Values that would take too long are not checked
against the whole schema, and the caller decides what that means.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from utcp_bridge.model import JsonObject, is_list, is_object
from utcp_bridge.pipeline.schema_cost import MAX_EXPLAINED_STEPS, Cost
from utcp_bridge.pipeline.schema_forms import TooDearError, reduced_form, whole_form
from utcp_bridge.pipeline.subschemas import fast_validator, faults, slow_validator

if TYPE_CHECKING:
    import jsonschema_rs

__all__ = ["CompiledForm", "SchemaChecks"]

_MAX_EXPLAINED_SIZE: Final = 400
"""Values, keys included, of which every fault is collected."""
_MAX_COPIED: Final = 2_000_000
"""Steps at one place, times the size of the value: the validator copies the value into each fault of a branch."""
_REDUCED: Final = (300, 60, 12, 1)
"""Sub-schemas of a reduced form. The first number whose steps are few is taken."""
_MAX_REDUCED_STEPS: Final = 50


class CompiledForm:
    """One form of a schema, with its cost and its validator."""

    def __init__(self, form: JsonObject) -> None:
        """Count and compile.

        :raises TooDearError: it costs too much.
        :raises ValueError: it is not valid.
        :raises ValidationError: it is not valid.
        :raises ReferencingError: a reference has no target.
        """
        self.schema = form
        self.cost = Cost(form)
        try:
            self.validator = fast_validator(form)
        except faults():
            self.validator = slow_validator(form)
            self.cost.with_slow_patterns()

    def faults(self, value: Any) -> list[jsonschema_rs.ValidationError] | None:
        """Return why a value is refused: of a large value only the first fault, None if even that costs too much."""
        if _size(value, _MAX_EXPLAINED_SIZE) < _MAX_EXPLAINED_SIZE and self.cost.allows(value, MAX_EXPLAINED_STEPS):
            return list(self.validator.iter_errors(value))
        most = _MAX_COPIED // self.cost.steps
        if not self.has_cheap_faults or _size(value, most) >= most:
            return [] if self.validator.is_valid(value) else None
        from jsonschema_rs import ValidationError

        try:
            self.validator.validate(value)
        except ValidationError as error:
            return [error]
        return []

    @property
    def has_cheap_faults(self) -> bool:
        """Whether the first fault of a value costs little more than the check: a fault has those of its branches."""
        return not self.cost.has_deep_unions and self.cost.steps <= MAX_EXPLAINED_STEPS


class SchemaChecks:
    """The compiled forms of one schema. `why` says in words why the schema is not compiled whole, or is empty."""

    def __init__(self, schema: JsonObject) -> None:
        self._schema = schema
        self.why = ""
        self.is_invalid = False
        self.whole: CompiledForm | None = None
        try:
            form = whole_form(schema)
            self.whole = CompiledForm(schema if form == schema else form)
        except TooDearError as error:
            self.why = str(error)
        except faults() as error:
            self.why = type(error).__name__
            self.is_invalid = True

    @cached_property
    def reduced(self) -> CompiledForm:
        """What is cheap of the schema."""
        form: JsonObject = {}
        known: tuple[type[Exception], ...] = (TooDearError, *faults())
        for most in _REDUCED:
            form = reduced_form(self._schema, most)
            try:
                if Cost(form).steps <= _MAX_REDUCED_STEPS:
                    return CompiledForm(form)
            except known:
                continue
        return CompiledForm({})

    def form_for(self, value: Any) -> CompiledForm | None:
        """Return the form that a value is checked against; None if that would take too long.

        A schema that multiplies its steps with the levels of a value checks only its upper levels of deep values.
        Other schemas do not: a caller could otherwise avoid a check by sending more.
        """
        whole = self.whole
        if whole is not None:
            if whole.cost.is_light or whole.cost.allows(value):
                return whole
            if whole.cost.is_flat:
                return None
        return self.reduced if self.reduced.cost.allows(value) else None


def _size(value: Any, most: int) -> int:
    """Return the number of values in a value, at most `most`. Long texts count as several."""
    pending: list[Any] = [value]
    size = 0
    while pending and size < most:
        one = pending.pop()
        size += 1
        if is_object(one):
            pending.extend(one.values())
            pending.extend(one)
        elif is_list(one):
            pending.extend(one)
        elif isinstance(one, str):
            size += len(one) >> 6
    return size
