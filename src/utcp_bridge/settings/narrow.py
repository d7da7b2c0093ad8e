"""Values for a model of many fields, of which few are given.

pydantic builds the check of a model from all its fields. That of the settings has more than a hundred, and takes longer
than the rest of reading a configuration, which names a handful.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError, create_model

__all__ = ["model_of"]

M = TypeVar("M", bound=BaseModel)
_FEW_FIELDS: Final = 30
"""Given fields up to which building a check for them is less work than building that of the model."""
_FEW_TIMES: Final = 4
"""Checks of a model before its own is built: many manuals have options, and all use it."""
_times: Final = Counter[type[BaseModel]]()


def model_of(kind: type[M], values: Mapping[str, Any], made: Mapping[str, BaseModel] | None = None) -> M:
    """Return what `kind.model_validate(values)` does; only the fields that are given are built.

    `made` are fields whose values are objects of their models, and need no check. The model must have no validators
    of fields, and one of the whole only for other forms of the same values.

    :raises ValidationError: the values do not fit the model.
    """
    made = made or {}
    fields = kind.model_fields
    _times[kind] += 1
    is_many = len(values) > _FEW_FIELDS or _times[kind] > _FEW_TIMES
    if kind.__pydantic_complete__ or is_many or not values.keys() <= fields.keys() - made.keys():
        return kind.model_validate({**values, **made})
    definitions: dict[str, Any] = {name: (fields[name].annotation, fields[name]) for name in values}
    try:
        narrow = create_model(kind.__name__, __config__={**kind.model_config, "defer_build": False}, **definitions)
        checked = narrow.model_validate(values)
    except ValidationError:
        return kind.model_validate({**values, **made})  # says what is wrong in the words of the model
    given = {name: getattr(checked, name) for name in values}
    return kind.model_construct({*values, *made}, **given, **made)
