"""docs/api.md: the public modules as their docstrings and signatures describe them. Used by `generate_docs.py`."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel

import utcp_bridge
from utcp_bridge.errors import UtcpError

SOURCE = Path(utcp_bridge.__file__).parent
MODULES = (
    "utcp_bridge",
    "utcp_bridge.errors",
    "utcp_bridge.providers",
    "utcp_bridge.transport",
    "utcp_bridge.testing",
    "utcp_bridge.testing.contract",
    "utcp_bridge.adapters.langchain",
    "utcp_bridge.compat",
)
"""The public modules, in the order of the page."""
ELSEWHERE = {
    "BridgeSettings": "Its fields are the [settings](settings.md).",
    "UtcpClientConfig": "Its fields are those of a [configuration](configuration.md).",
}
"""Classes whose fields have a page of their own."""
_LINE = 100
_ROLE = re.compile(r"^:(?P<role>raises|param|returns) ?(?P<name>[^:]*): *(?P<text>.*)$")


def api_page(intro: str) -> str:
    """Return the page: each public name once, in the first public module that exports it."""
    seen: dict[int, str] = {}
    modules = ["".join(_module(import_module(name), seen)) for name in MODULES]
    return "\n".join([intro, _contents(), *modules])


def _contents() -> str:
    rows = [f"- [`{name}`](#{name.replace('.', '')})" for name in MODULES]
    return "\n".join(rows) + "\n"


def _module(module: ModuleType, seen: dict[int, str]) -> Iterator[str]:
    yield f"## {module.__name__}\n\n"
    if module is not utcp_bridge:
        yield f"{_text(inspect.getdoc(module) or '')}\n"
    known: list[str] = []
    for name in module.__all__:
        value = getattr(module, name)
        if id(value) in seen:
            known.append(f"[`{name}`](#{seen[id(value)]})")
            continue
        if (
            inspect.isclass(value)
            and issubclass(value, BaseException)
            and value.__module__ == "utcp_bridge.errors"
            and module is utcp_bridge
        ):
            known.append(f"[`{name}`](#{name.lower()})")
            continue
        if not isinstance(value, str | int | float):
            seen[id(value)] = name.lower()
        yield from _entry(module, name, value)
    if known:
        yield f"Also exported here: {', '.join(known)}.\n\n"


def _entry(module: ModuleType, name: str, value: Any) -> Iterator[str]:
    yield f"### {name}\n\n"
    if inspect.isclass(value):
        yield from _class(name, value)
    elif inspect.isfunction(inspect.unwrap(value)):
        function = inspect.unwrap(value)
        yield _code(_head(value) + _signature(name, function))
        yield f"{_text(inspect.getdoc(function) or '')}{_source(function)}\n"
    else:
        home, doc = _constant(module, name)
        yield _code(home)
        yield f"{_text(doc)}\n" if doc else ""


def _class(name: str, kind: type) -> Iterator[str]:
    bases = [_base(base) for base in getattr(kind, "__orig_bases__", kind.__bases__) if base is not object]
    head = f"class {name}({', '.join(bases)})" if bases else f"class {name}"
    if _has_constructor(kind):
        if dataclasses.is_dataclass(kind):
            with suppress(TypeError):
                kind(**{"not a field": None})  # a late data class now writes the `__init__` that says what is wrong
        head = f"{head}\n{_signature(name, kind)}"
    yield _code(head)
    yield f"{_text(inspect.getdoc(kind) or '')}{_source(kind)}\n"
    if name in ELSEWHERE:
        yield f"{ELSEWHERE[name]}\n\n"
        return
    if issubclass(kind, UtcpError):
        yield f"Its `code` is `{kind.code}`.\n\n"
    yield from _attributes(kind)
    for member, owner, value in _members(kind):
        raw = value.__func__ if isinstance(value, classmethod | staticmethod) else value
        if isinstance(value, property):
            returned = inspect.signature(value.fget).return_annotation if value.fget else ""
            yield f"**`{member}`**: `{returned}` (property)  \n{_text(inspect.getdoc(value) or '')}\n"
        else:
            prefix = "@classmethod\n" if isinstance(value, classmethod) else ""
            yield f"#### {name}.{member}\n\n"
            yield _code(prefix + _head(raw) + _signature(member, raw))
            yield f"{_text(_doc_of(owner, member, raw))}\n"


def _base(base: Any) -> str:
    return base.__name__ if inspect.isclass(base) else inspect.formatannotation(base).replace("~", "")


def _has_constructor(kind: type) -> bool:
    if issubclass(kind, BaseException) and "__init__" not in vars(kind):
        return False
    return dataclasses.is_dataclass(kind) or any(
        "__init__" in vars(base) for base in kind.__mro__ if _is_ours(base) and not issubclass(base, BaseModel)
    )


def _attributes(kind: type) -> Iterator[str]:
    """List fields and class variables, each with its type and the string that follows it in the source."""
    rows: list[str] = []
    for base in reversed(_described_with(kind)):
        for name, annotation, doc in _declared(base):
            if name.startswith("_") or any(row.startswith(f"- `{name}:") for row in rows):
                continue
            rows.append(f"- `{name}: {annotation}`{f' {_one_line(doc)}' if doc else ''}\n")
    if rows:
        yield "".join(rows) + "\n"


def _declared(kind: type) -> Iterator[tuple[str, str, str]]:
    """Yield the annotated names of a class body, and attributes that `__init__` annotates."""
    body = next(node.body for node in ast.parse(_source_of(kind)).body if isinstance(node, ast.ClassDef))
    inits = [node for node in body if isinstance(node, ast.FunctionDef) and node.name == "__init__"]
    for block in (body, *(node.body for node in inits)):
        for node, after in zip(block, [*block[1:], None], strict=True):
            if not isinstance(node, ast.AnnAssign):
                continue
            doc = after.value.value if _is_string(after) else ""
            if isinstance(node.target, ast.Name):
                yield node.target.id, _with_default(kind, node), doc
            elif isinstance(node.target, ast.Attribute) and doc:
                yield node.target.attr, ast.unparse(node.annotation), doc


def _with_default(kind: type, node: ast.AnnAssign) -> str:
    """Return the annotation, with the default of a class variable; those of a dataclass are in its signature."""
    annotation = ast.unparse(node.annotation)
    if node.value is None or dataclasses.is_dataclass(kind):
        return annotation
    return f"{annotation} = {ast.unparse(node.value)}"


def _is_string(node: ast.stmt | None) -> Any:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _members(kind: type) -> Iterator[tuple[str, type, Any]]:
    """Yield public methods and properties in the order of the source."""
    seen: set[str] = set()
    for owner in _described_with(kind):
        for name, value in vars(owner).items():
            callable_ = inspect.isfunction(value) or isinstance(value, classmethod | staticmethod | property)
            if callable_ and not name.startswith("_") and name not in seen and not _is_overridden(kind, owner, name):
                seen.add(name)
                yield name, owner, value


def _described_with(kind: type) -> list[type]:
    """Return the class and those of its bases that have no entry of their own."""
    public = {id(getattr(import_module(name), one)) for name in MODULES for one in import_module(name).__all__}
    return [base for base in kind.__mro__ if _is_ours(base) and (base is kind or id(base) not in public)]


def _is_overridden(kind: type, owner: type, name: str) -> bool:
    """Whether a base declares a method for type checkers only, which the class itself has."""
    return owner is not kind and name in vars(kind)


def _doc_of(owner: type, name: str, function: Any) -> str:
    return inspect.getdoc(function) or inspect.getdoc(getattr(owner, name)) or ""


def _is_ours(kind: type) -> bool:
    return kind.__module__.startswith("utcp_bridge")


def _head(function: Any) -> str:
    """Return what precedes the name: the decorator of a context manager, and `def` or `async def`."""
    inner = inspect.unwrap(function)
    is_async = inspect.iscoroutinefunction(inner) or inspect.isasyncgenfunction(inner)
    decorator = "" if inner is function else "@asynccontextmanager\n" if is_async else "@contextmanager\n"
    return f"{decorator}{'async ' if is_async else ''}def "


def _signature(name: str, value: Any) -> str:
    """Return the signature as it is written; over several lines if it is long."""
    signature = inspect.signature(value)
    written = list(_parameters(signature))
    returned = signature.return_annotation
    result = "" if returned is signature.empty or inspect.isclass(value) else f" -> {_annotation(returned)}"
    line = f"{name}({', '.join(written)}){result}"
    if len(line) <= _LINE:
        return line
    return f"{name}(\n" + "".join(f"    {one},\n" for one in written) + f"){result}"


def _parameters(signature: inspect.Signature) -> Iterator[str]:
    parameters = [one for one in signature.parameters.values() if one.name not in {"self", "cls"}]
    starred = False
    for number, one in enumerate(parameters):
        if one.kind is one.KEYWORD_ONLY and not starred:
            starred = True
            yield "*"
        starred = starred or one.kind is one.VAR_POSITIONAL
        yield _parameter(one)
        is_last = number + 1 == len(parameters) or parameters[number + 1].kind is not one.POSITIONAL_ONLY
        if one.kind is one.POSITIONAL_ONLY and is_last:
            yield "/"


def _parameter(one: inspect.Parameter) -> str:
    stars = {one.VAR_POSITIONAL: "*", one.VAR_KEYWORD: "**"}.get(one.kind, "")
    typed = f"{stars}{one.name}" + ("" if one.annotation is one.empty else f": {_annotation(one.annotation)}")
    if one.default is one.empty:
        return typed
    return f"{typed} = {_default(one.default)}"


def _default(value: Any) -> str:
    if inspect.isfunction(value) or inspect.isclass(value):
        return value.__name__
    text = repr(value)
    return "..." if text.startswith("<") else text


def _annotation(value: Any) -> str:
    return value if isinstance(value, str) else inspect.formatannotation(value)


def _constant(module: ModuleType, name: str) -> tuple[str, str]:
    """Return the assignment of a constant or alias, and the string that follows it."""
    for candidate in (module, *_imported_from(module, name)):
        body = ast.parse(inspect.getsource(candidate)).body
        for node, after in zip(body, [*body[1:], None], strict=True):
            target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
            if isinstance(target, ast.Name) and target.id == name:
                return ast.unparse(node), after.value.value if _is_string(after) else ""
    raise LookupError(f"{module.__name__}.{name}")


def _imported_from(module: ModuleType, name: str) -> Iterator[ModuleType]:
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.ImportFrom) and node.module and any(one.name == name for one in node.names):
            yield import_module(node.module)


def _source_of(kind: type) -> str:
    return inspect.cleandoc("\n" + inspect.getsource(kind))


def _source(value: Any) -> str:
    path = Path(inspect.getsourcefile(value) or "").relative_to(SOURCE.parents[1]).as_posix()
    return f"\nSource: [`{path}`](../{path})\n"


def _code(text: str) -> str:
    return f"```py\n{text}\n```\n\n"


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def _text(doc: str) -> str:
    """Return a docstring as Markdown: indented blocks become code, `:raises X: …` a list."""
    blocks: list[str] = []
    roles: list[str] = []
    for block in re.split(r"\n\s*\n", doc.strip()):
        lines = block.splitlines()
        if all(line.startswith("    ") for line in lines):
            code = "\n".join(line[4:] for line in lines)
            if blocks and blocks[-1].endswith("\n```"):
                blocks[-1] = f"{blocks[-1].removesuffix('```')}\n{code}\n```"
            else:
                blocks.append(f"```py\n{code}\n```")
            continue
        found = _roles(lines)
        roles += found
        if not found:
            blocks.append(block)
    if roles:
        blocks.append("\n".join(roles))
    return "\n\n".join(blocks) + "\n"


def _roles(lines: list[str]) -> list[str]:
    """Return the roles of a block as list items; none if it is plain text."""
    if not _ROLE.match(lines[0].strip()):
        return []
    items: list[str] = []
    for line in lines:
        for part in re.split(r" (?=:raises )", line.strip()):
            match = _ROLE.match(part)
            if match is None:
                items[-1] += f" {part}"
            else:
                items.append(f"- {match['role']} `{match['name']}`: {match['text']}")
    return items
