"""Kinds of code with which a stranger's text stops or bloats the bridge do not occur in the package.

* A pattern of `re` must need linear time for any text, or it is listed here with the reason why its text is short.
* A pattern that is not written in the code runs on a linear engine (pydantic-core's or jsonschema-rs's), never on `re`.
* The name of a codec is not taken from a stranger, except in `foreign.py`, which has the list of codecs.
* A loop that gathers bytes does not search them from their beginning again.
"""

from __future__ import annotations

import ast
import importlib
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.support.linear import why_not_linear

from utcp_bridge.dialects.documents import parse_document
from utcp_bridge.dialects.positions import lines_of
from utcp_bridge.errors import ManualError
from utcp_bridge.foreign import outer_id

SOURCE = Path(__file__).parents[1] / "src"
PACKAGE = SOURCE / "utcp_bridge"
METHODS = frozenset({"search", "match", "fullmatch", "split", "findall", "finditer", "sub", "subn"})
AT_ONE_PLACE = frozenset({"match", "fullmatch"})

SHORT_TEXTS: dict[tuple[str, str], str] = {
    ("cli.commands.doctor", "_CALL"): "an argument of the operator's command line",
    ("cli.commands.help", "_MARKS"): "pages of this project",
    ("cli.commands.help", "_BLOCK_OF_CODE"): "pages of this project",
    ("cli.commands.help", "_COMMENT"): "pages of this project",
    ("cli.commands.help", repr(r"\n\s*\n")): "pages of this project",
    ("configuration.entries", "_TOKEN"): "an open text or comment reaches to the end",
    ("configuration.entries", "_BEHIND"): "it is only tried at one place, and no repeat gives up a character",
    ("configuration.hosts.splicing", "_JSON_TOKEN"): "an open text or comment reaches to the end",
    ("configuration.hosts.splicing", "_TOML_KEY"): "an open text reaches to the end of its line, or of the whole",
    ("configuration.hosts.splicing", "_TOML_TOKEN"): "an open text reaches to the end of its line, or of the whole",
    (
        "dialects.json_comments",
        "_COMMENTS",
    ): "an open text or comment reaches to the end, so that no character is read again",
    ("dialects.positions", "_TOKEN"): "an open text or comment reaches to the end, so that no character is read again",
    ("foreign", "_STRING"): "an open text reaches to the end, so that no character is read again",
    ("foreign", "_TOKEN"): "an open text reaches to the end, so that no character is read again",
    (
        "dialects.openapi.security",
        "_WORD",
    ): "the third alternative takes the whole run of letters that the first gave up",
    ("pipeline.schema_cost", "_TOKENS"): "an open class reaches to the end, and no repeat gives up a character",
    ("search.text", "_CAMEL"): "the third alternative takes the whole run of letters that the first gave up",
}
"""Module and pattern, as written, whose time is not linear, and why that does no harm."""

OTHER_PATTERNS: dict[tuple[str, str], str] = {
    ("auth.redaction", "_tree(sorted(forms))"): "words, escaped, without repeats",
    ("dialects.formats.recognition", "row.start"): "patterns of a table; a test of it looks at each",
    ("dialects.formats.recognition", "wanted"): "patterns of a table; a test of it looks at each",
    ("dialects.openapi.schemas", "value"): "compiled to see whether it can be, and never run",
    (
        "maps.patterns",
        "'\\\\{\\\\{\\\\s*(' + names + ')\\\\s*\\\\}\\\\}|\\\\{(' + names + ')\\\\}'",
    ): "words, escaped; a brace ends the blanks",
    ("late.patterns", "self._text"): "the text of a `late_pattern(…)`, which is looked at where it is written",
    ("maps.patterns", "''.join(parts) + rest + '\\\\Z'"): (
        "escaped texts, and groups that stop at the text after them; one may have slashes, in at most 2,000 characters"
    ),
    ("model", "translate(glob.casefold())"): "globs of the operator; `translate` gives up no character twice",
    (
        "net.multipart",
        'f\';\\\\s*{name}\\\\s*=\\\\s*(?:"((?:[^"\\\\\\\\]|\\\\\\\\.)*)"|([^;\\\\s]*))\'',
    ): "names from the code; an open quotation mark is taken by the last alternative",
    (
        "net.multipart",
        "b'(?:\\\\A|\\\\r?\\\\n)--' + re.escape(boundary) + b'(--)?[ \\\\t]*(?=\\\\r?\\\\n|\\\\Z)'",
    ): "the boundary is escaped; blanks after it are not part of another one",
    ("net.web_page", "f'</{name}'"): "names from the code",
    ("placement.placeholders", "'|'.join(chosen)"): "patterns of the module; a test below checks all of them together",
}
"""Module and expression of a pattern that the code puts together, and why it is safe."""

OTHER_CODECS: dict[tuple[str, str], str] = {
    ("dialects.documents", "encoding"): "one of the names in `_BOMS`",
    ("net.reply", "encoding"): "utf-8 or utf-16, by the caller",
    ("transports.file", "encoding"): "utf-8 or utf-16, by the first bytes",
}
"""Module and expression of a codec's name that is not a literal, and where the name comes from."""


class Use(NamedTuple):
    module: str
    line: int
    pattern: ast.expr
    method: str
    flags: ast.expr | None


def modules() -> list[str]:
    names = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return names


@cache
def tree_of(module: str) -> ast.Module:
    path = SOURCE / Path(*module.split("."))
    return ast.parse((path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text("utf-8"))


def short(module: str) -> str:
    return module.removeprefix("utcp_bridge.")


def is_re(node: ast.expr, function: str | None = None) -> bool:
    if not (isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "re"):
        return False
    return node.attr == function if function else node.attr in METHODS


def named_patterns(module: str) -> dict[str, re.Pattern[Any]]:
    """Return the patterns that a module has under a name, also inside a dict or a tuple."""
    found: dict[str, re.Pattern[Any]] = {}
    for name, value in vars(importlib.import_module(module)).items():
        members = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else [value]
        found.update({f"{name}.{n}": compiled(one) for n, one in enumerate(members) if is_pattern(one)})
    return found


def is_pattern(value: Any) -> bool:
    return isinstance(value, re.Pattern) or type(value).__module__ == "utcp_bridge.late.patterns"


def compiled(pattern: Any) -> re.Pattern[Any]:
    """Return a pattern, also of one that is compiled when it is first used."""
    return pattern if isinstance(pattern, re.Pattern) else re.compile(pattern.pattern, pattern.flags)


def methods_by_name(tree: ast.Module) -> dict[str, set[str]]:
    """Return the methods of patterns that a module calls on each name; `search` for a name that it passes on."""
    found: dict[str, set[str]] = defaultdict(set)
    called = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.attr in METHODS:
            found[node.value.id].add(node.attr)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and id(node) not in called:
            found[node.id].add("search")
    return found


@cache
def uses_of_re(module: str) -> tuple[Use, ...]:
    """Return the calls `re.compile(…)`, `re.sub(…)` and so on."""
    return tuple(_uses_of_re(module))


def _uses_of_re(module: str) -> Iterator[Use]:
    for node in ast.walk(tree_of(module)):
        if not (isinstance(node, ast.Call) and node.args):
            continue
        if isinstance(node.func, ast.Name) and node.func.id == "late_pattern":
            yield Use(module, node.lineno, node.args[0], "compile", node.args[1] if len(node.args) > 1 else None)
            continue
        if not isinstance(node.func, ast.Attribute):
            continue
        if is_re(node.func) or is_re(node.func, "compile"):
            flags = next((one.value for one in node.keywords if one.arg == "flags"), None)
            if flags is None and node.func.attr == "compile" and len(node.args) > 1:
                flags = node.args[1]
            yield Use(module, node.lineno, node.args[0], node.func.attr, flags)


def literal(node: ast.expr) -> str | bytes | None:
    try:
        value = ast.literal_eval(node)
    except ValueError:
        return None
    return value if isinstance(value, str | bytes) else None


def flags_of(node: ast.expr | None) -> int:
    return int(eval(ast.unparse(node), {"re": re})) if node is not None else 0


def test_every_pattern_needs_linear_time_for_any_text() -> None:
    used = {module: methods_by_name(tree_of(module)) for module in modules()}
    faults: list[str] = []
    unused = set(SHORT_TEXTS)
    for module, of_module in used.items():
        named = {pattern.pattern for pattern in named_patterns(module).values()}
        for name, pattern in named_patterns(module).items():
            own = name.partition(".")[0]
            places = used.values() if not own.startswith("_") else [of_module]
            methods = set().union(*(place.get(own, ()) for place in places)) or {"search"}
            whole, searched = methods == {"fullmatch"}, not methods <= AT_ONE_PLACE
            why = why_not_linear(pattern.pattern, pattern.flags, searched=searched, whole=whole)
            key = (short(module), name.partition(".")[0])
            if why is not None and key not in SHORT_TEXTS:
                faults.append(f"{key}: {why}: {pattern.pattern!r} ({', '.join(sorted(methods))})")
            unused.discard(key)
        for use in uses_of_re(module):
            pattern_text = literal(use.pattern)
            if pattern_text is None or pattern_text in named:
                continue
            searched = use.method not in AT_ONE_PLACE
            why = why_not_linear(pattern_text, flags_of(use.flags), searched=searched, whole=use.method == "fullmatch")
            key = (short(module), ast.unparse(use.pattern))
            if why is not None and key not in SHORT_TEXTS:
                faults.append(f"{key}, line {use.line}: {why}")
            unused.discard(key)
    assert not faults, "\n".join(faults)
    assert not unused, "no longer there: " + ", ".join(map(str, unused))


def test_no_pattern_that_is_not_written_in_the_code_runs_on_re() -> None:
    faults: list[str] = []
    unused = set(OTHER_PATTERNS)
    for module in modules():
        named = {pattern.pattern for pattern in named_patterns(module).values()}
        for use in uses_of_re(module):
            key = (short(module), ast.unparse(use.pattern))
            if literal(use.pattern) is not None or _is_named(use.pattern, module, named):
                continue
            if key not in OTHER_PATTERNS:
                faults.append(f"{key}, line {use.line}")
            unused.discard(key)
    assert not faults, "\n".join(faults)
    assert not unused, "no longer there: " + ", ".join(map(str, unused))


def _is_named(node: ast.expr, module: str, named: set[Any]) -> bool:
    """Return whether an expression of the module's own names is one of its patterns, which are checked."""
    try:
        return eval(ast.unparse(node), dict(vars(importlib.import_module(module)))) in named
    except NameError:
        return False


def test_no_codec_is_chosen_by_a_stranger() -> None:
    faults: list[str] = []
    unused = set(OTHER_CODECS)
    for module in modules():
        if module == "utcp_bridge.foreign":
            continue
        for node in ast.walk(tree_of(module)):
            name = _codec(node) if isinstance(node, ast.Call) else None
            if name is None or literal(name) is not None:
                continue
            key = (short(module), ast.unparse(name))
            if key not in OTHER_CODECS:
                faults.append(f"{key}, line {node.lineno}")  # type: ignore[attr-defined]
            unused.discard(key)
    assert not faults, "\n".join(faults)
    assert not unused, "no longer there: " + ", ".join(map(str, unused))


def _codec(node: ast.Call) -> ast.expr | None:
    """Return the name of the codec that a call uses: `x.decode(name)`, `str(x, name)`, `codecs.lookup(name)`."""
    keyword = next((one.value for one in node.keywords if one.arg == "encoding"), None)
    if isinstance(node.func, ast.Attribute):
        if node.func.attr in {"getincrementaldecoder", "getdecoder", "getreader", "lookup"}:
            is_codecs = isinstance(node.func.value, ast.Name) and node.func.value.id == "codecs"
            return node.args[0] if node.args and is_codecs else None
        if node.func.attr in {"decode", "encode"} and not _is_own_decoder(node.func.value):
            return keyword or (node.args[0] if node.args else None)
    if isinstance(node.func, ast.Name) and node.func.id in {"str", "bytes"} and len(node.args) > 1:
        return node.args[1]
    return None


def _is_own_decoder(node: ast.expr) -> bool:
    """Return whether `decode` belongs to a class or a module, whose first argument is the data."""
    return isinstance(node, ast.Name) and (node.id[:1].isupper() or node.id in {"base64", "jwt", "foreign"})


def test_no_loop_searches_gathered_bytes_from_their_beginning() -> None:
    faults = [
        f"{short(module)}, line {line}: {name}"
        for module in modules()
        for name, line in searched_again(tree_of(module))
    ]
    assert not faults, "\n".join(faults)


def searched_again(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Yield what grows in a loop that awaits, or in a method that is fed, and is searched there without a start."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        is_fed = function.name.lstrip("_").startswith(("feed", "add", "push", "receive", "data_received"))
        for loop in [function] if is_fed else [node for node in ast.walk(function) if _is_reading(node)]:
            grown = set(_grown(loop))
            yield from ((name, line) for name, line in _searched(loop) if name in grown)


def _is_reading(node: ast.AST) -> bool:
    if isinstance(node, ast.AsyncFor):
        return True
    return isinstance(node, ast.While) and any(isinstance(one, ast.Await) for one in ast.walk(node))


def _grown(loop: ast.AST) -> Iterator[str]:
    """Yield what a loop makes longer."""
    for node in ast.walk(loop):
        if isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Add):
            if not isinstance(node.value, ast.Constant):
                yield ast.unparse(node.target)
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.BinOp) and isinstance(node.value.op, ast.Add):
            parts = {ast.unparse(node.value.left), ast.unparse(node.value.right)}
            yield from (name for target in node.targets if (name := ast.unparse(target)) in parts)


def _searched(loop: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield what a loop searches as a whole."""
    for node in ast.walk(loop):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            whole = {"split", "splitlines", "partition", "rpartition", "strip", "count", "endswith_json"}
            place = {"find", "index", "rfind", "rindex"}
            if node.func.attr in whole or (node.func.attr in place and len(node.args) < 2):
                yield ast.unparse(node.func.value), node.lineno
                if isinstance(node.func.value, ast.Call) and node.func.value.args:  # bytes(x).split
                    yield ast.unparse(node.func.value.args[0]), node.lineno
        elif (
            isinstance(node, ast.Compare)
            and isinstance(node.ops[0], ast.In | ast.NotIn)
            and literal(node.left) is not None
        ):
            yield ast.unparse(node.comparators[0]), node.lineno


# --- the checks themselves --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "searched", "why"),
    [
        (r"(a+)+b", False, "exponential"),
        (r"(?:a*)*b", False, "exponential"),
        (r"(?:<!--.*?-->\s*)*<html", False, "quadratic"),
        (r"(?:a|ab|b)*c", False, "quadratic"),
        (r"a*a*b", False, "quadratic"),
        (r"a*b", True, "quadratic"),
        (r"\s+$", True, "quadratic"),
        (r'"(?:[^"\\]|\\.)*"', True, "quadratic"),
        (r'"(?:[^"\\]|\\.)*"', False, None),
        (r"[a-z]+", True, None),
        (r"(?:[a-z]+,)*x", False, None),
        (r"\w{1,200}?_x", True, None),
    ],
)
def test_the_checker_knows_which_patterns_are_slow(pattern: str, searched: bool, why: str | None) -> None:
    assert why_not_linear(pattern, re.DOTALL, searched=searched) == why


def test_the_placeholders_of_all_syntaxes_are_found_in_linear_time() -> None:
    from utcp_bridge.placement.placeholders import _PATTERNS

    assert why_not_linear("|".join(_PATTERNS.values()), re.ASCII, searched=True) is None


def test_open_texts_and_comments_are_read_once() -> None:
    escaped = '{"' + '\\"' * 200_000 + "\\"
    for text in (escaped, "/*" * 200_000, "[" + ",/*" * 200_000):
        assert outer_id(text.encode()) is None
        assert lines_of(text, [("a",)]) == {("a",): 1}
        with pytest.raises(ManualError):
            parse_document("{" + text, jsonc=True, where="here")


@pytest.mark.parametrize(
    "source",
    [
        "async def f(s):\n  rest = b''\n  async for c in s:\n    rest += c\n    while b'\\n' in rest: pass",
        "async def f(s):\n  rest = b''\n  while True:\n    rest = rest + await s()\n    rest.find(b'x')",
        "class A:\n  def feed(self, c):\n    self.rest += c\n    lines = bytes(self.rest).split(b'x')",
    ],
)
def test_a_loop_that_searches_its_bytes_again_is_noticed(source: str) -> None:
    assert list(searched_again(ast.parse(source)))
