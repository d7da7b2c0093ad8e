"""Variables as hosts write them, rewritten as the bridge's: `${NAME}`, `${NAME:-default}`, and `$$` for a dollar sign.

    ${V}  ${V:-text}            every host's file
    ${env:V}  ${env:V:-text}    editors
    ${input:id}                 a value that the host asks for: it becomes a variable
    ${workspaceFolder}  ${workspaceFolderBasename}  ${userHome}  ${pathSeparator}  ${/}
    $V                          only where the host documents it
    {env:V}                     OpenCode, Kilo Code
    ${{ secrets.V }}            Continue

Every other dollar sign is the host's text. A form in braces that is none of these stays as it is, and is noted.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from utcp_bridge.dialects.fields import word
from utcp_bridge.model import is_list, is_object

__all__ = ["Asked", "Substitution", "inputs_of"]

_NAME: Final = r"[A-Za-z_][A-Za-z0-9_]*"
_VARIABLE: Final = re.compile(rf"(?:env:)?(?P<name>{_NAME})(?P<default>:-[^{{}}]*)?")
_SECRET: Final = re.compile(rf"\{{\s*secrets\.(?P<name>{_NAME})\s*\}}")
_INPUT: Final = re.compile(r"input:(?P<id>[^{}]+)")
_OTHER: Final = re.compile(rf"\{{env:(?P<name>{_NAME})\}}")
_FILE: Final = re.compile(r"\{file:[^{}]*\}")
_BARE: Final = re.compile(rf"\$(?P<name>{_NAME})")
_NOT_A_WORD: Final = re.compile(r"[^A-Za-z0-9_]")
_JSON_REFERENCE: Final = re.compile(r"\$ref(?![A-Za-z0-9_])")
_WORKSPACE: Final = ("workspaceFolder", "workspaceRoot", "workspaceFolderBasename")


@dataclass(frozen=True, slots=True)
class Asked:
    """A value that the host asks its user for: `${input:…}`."""

    variable: str
    """The variable that takes its place."""
    id: str
    """Its id in the host's file."""
    description: str = ""
    is_secret: bool = False
    default: str | None = field(default=None, repr=False)


def inputs_of(content: Any) -> Mapping[str, Asked]:
    """Return what the `inputs` of a host's file ask for, by id; entries of other forms are left out."""
    inputs = content.get("inputs") if is_object(content) else None
    found: dict[str, Asked] = {}
    for one in inputs if is_list(inputs) else ():
        if is_object(one) and isinstance(one.get("id"), str) and one["id"]:
            default, description = one.get("default"), one.get("description")
            is_secret = one.get("password") is True
            found[one["id"]] = Asked(
                _variable(one["id"]),
                one["id"],
                word(description) if isinstance(description, str) else "",
                is_secret,
                default if isinstance(default, str) and not is_secret and _fits(default) else None,
            )
    return found


@dataclass(slots=True)
class Substitution:
    """Rewrites the texts of one entry, and collects what is asked for and what is not understood.

    `forms` are those that the host documents. `known` are values that the entry itself gives its variables.
    """

    forms: frozenset[str]
    inputs: Mapping[str, Asked] = field(default_factory=dict[str, Asked])
    project: Path | None = None
    home: Path | None = None
    known: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    asks: dict[str, Asked] = field(default_factory=dict[str, Asked])
    strange: dict[str, None] = field(default_factory=dict[str, None])
    """Forms in braces that stay as they are."""
    used: dict[str, None] = field(default_factory=dict[str, None])
    """Names of variables that were found."""
    needs_project: bool = False
    """Whether `${workspaceFolder}` occurs and the project is not known."""

    def text(self, text: str) -> str:
        """Return a text of the host in the bridge's form."""
        if "$" not in text and "{" not in text:
            return text
        made = "".join(self._pieces(text))
        # UTCP leaves a text with a JSON reference as it is, so nothing in it may be rewritten.
        return text if _JSON_REFERENCE.search(made) else made

    def _pieces(self, text: str) -> Iterator[str]:
        at = 0
        while at < len(text):
            found = self._form_at(text, at)
            if found is not None:
                piece, at = found
                yield piece
                continue
            character = text[at]
            at += 1
            following = text[at : at + 1]
            is_taken = following in {"$", "{", "_"} or (following.isascii() and following.isalnum())
            yield "$$" if character == "$" and is_taken else character

    def _form_at(self, text: str, at: int) -> tuple[str, int] | None:
        """Return what the form that begins at a place becomes, and where it ends; None if none begins there."""
        if text.startswith("${", at):
            end = _closing(text, at + 1)
            return None if end is None else (self._braced(text[at + 2 : end], text[at : end + 1]), end + 1)
        if text[at] == "$" and "$V" in self.forms and (bare := _BARE.match(text, at)):
            return self._name(bare["name"], ""), bare.end()
        if text[at] == "{" and "{env:V}" in self.forms and (other := _OTHER.match(text, at)):
            return self._name(other["name"], ""), other.end()
        if text[at] == "{" and (strange := _FILE.match(text, at) or _OTHER.match(text, at)):
            self.strange[word(strange[0])] = None
        return None

    def _braced(self, body: str, whole: str) -> str:
        if found := _SECRET.fullmatch(body):
            return self._name(found["name"], "")
        if found := _INPUT.fullmatch(body):
            return self._asked(found["id"])
        if (place := self._place(body)) is not None:
            return place
        if found := _VARIABLE.fullmatch(body):
            return self._name(found["name"], found["default"] or "")
        self.strange[word(whole)] = None
        return f"$${whole[1:]}" if "$" not in whole[1:] else "".join("$$" if one == "$" else one for one in whole)

    def _name(self, name: str, default: str) -> str:
        if name in self.known:
            return self.known[name].replace("$", "$$")
        self.used[name] = None
        return f"${{{name}{default}}}"

    def _asked(self, named: str) -> str:
        asked = self.inputs.get(named) or Asked(_variable(named), named)
        self.asks[named] = asked
        return f"${{{asked.variable}}}" if asked.default is None else f"${{{asked.variable}:-{asked.default}}}"

    def _place(self, name: str) -> str | None:
        """Return the path that a name means, or the variable for it if the project is not known."""
        if name in _WORKSPACE:
            if self.project is None:
                self.needs_project = True
                return f"${{{name}}}"
            path = self.project.name if name.endswith("Basename") else str(self.project)
        elif name == "userHome":
            path = str(self.home or Path.home())
        elif name in {"pathSeparator", "/"}:
            path = os.sep
        else:
            return None
        return path.replace("$", "$$")


def _closing(text: str, at: int) -> int | None:
    """Return where the brace that opens at a place is closed."""
    depth = 0
    for place in range(at, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return place
    return None


def _variable(name: str) -> str:
    return _NOT_A_WORD.sub("_", name) or "_"


def _fits(default: str) -> bool:
    return not any(character in default for character in "{}$")
