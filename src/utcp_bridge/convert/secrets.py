"""Variables in place of the secrets of a converted document: documents are printed and passed on."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, Final

from utcp_bridge.auth.literals import without_literals
from utcp_bridge.convert.outcome import Converted
from utcp_bridge.model import Fault, JsonObject, is_list, is_object

__all__ = ["with_variables"]

_NOT_A_WORD: Final = re.compile(r"\W+", re.ASCII)
_VARIABLE: Final = re.compile(r"\$\{?(\w{1,200})", re.ASCII)
_ENTRIES: Final = ("manual_call_templates", "tools", "auth")


def with_variables(whole: Converted) -> Converted:
    """Return the document with a variable in place of each secret in its templates, and a note that names them."""
    names = _SecretNames(_used(whole.document))
    document: JsonObject = {
        key: without_literals({key: part}, names)[key] if key in _ENTRIES else part
        for key, part in whole.document.items()
    }
    if not names.given:
        return whole
    what = f"the document contains variables in place of secrets: {', '.join(sorted(names.given))}."
    note = Fault(whole.name, what, "To write the values themselves, use --keep-values.", "warning")
    return replace(whole, document=document, notes=[*whole.notes, note])


class _SecretNames:
    """Gives each secret a variable, named after its field. The same secret has the same variable."""

    def __init__(self, taken: set[str]) -> None:
        self._taken = taken
        self._of: dict[str, str] = {}
        self.given: set[str] = set()

    def __call__(self, name: str, secret: str) -> str:
        if secret not in self._of:
            stem = _NOT_A_WORD.sub("_", name).strip("_").upper() or "SECRET"
            variable, number = stem, 2
            while variable in self._taken:
                variable, number = f"{stem}_{number}", number + 1
            self._taken.add(variable)
            self.given.add(variable)
            self._of[secret] = variable
        return f"${{{self._of[secret]}}}"


def _used(value: Any) -> set[str]:
    """Return the names of variables that a document uses already."""
    found: set[str] = set()
    pending: list[Any] = [value]
    while pending:
        one = pending.pop()
        if isinstance(one, str):
            found.update(_VARIABLE.findall(one))
        elif is_object(one):
            pending.extend(one.values())
        elif is_list(one):
            pending.extend(one)
    return found
