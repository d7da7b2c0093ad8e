"""The rest of results that were cut: kept for the caller that got them, and read in parts or searched.

A handle has 128 random bits, belongs to one caller and ends after its lifetime. All kept results share a number of
bytes, and the oldest go first. Those that a worker made are compressed. They are in the memory of this process, so a
restart forgets them; bridges that share a store have copies there (`replicas/across.py`).
"""

from __future__ import annotations

import asyncio
import base64
import re
import time
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import field, replace
from math import prod
from typing import Any, Final

import orjson

from utcp_bridge.catalogue.budget import Shrinker, as_jmespath, first_text
from utcp_bridge.catalogue.fitting import RESULT_SCHEME, json_size
from utcp_bridge.catalogue.render import compact
from utcp_bridge.catalogue.text import shorten
from utcp_bridge.errors import InvalidArguments
from utcp_bridge.late.patterns import late_pattern
from utcp_bridge.late.records import dataclass
from utcp_bridge.model import Binary, JsonObject, is_list, is_object
from utcp_bridge.server.replicas.place import new_ident
from utcp_bridge.workers.memory import give_back

__all__ = [
    "READ_INPUT",
    "KeptResult",
    "KeptResults",
    "Page",
    "Shelf",
    "handle_and_offset",
    "page_of",
    "resource_contents",
    "selected",
]

_LARGE: Final = 131_072
_LEVEL: Final = 1
_MAX_COUNT: Final = 1_000
_MAX_EXPRESSION: Final = 1_000
_MAX_COPIES: Final = 64
"""How often an expression may repeat the same part of a result: `[@, @]` repeats it twice."""
_MAX_NODES: Final = 3_000_000
"""Most values and characters in what an expression with copies returns, counted by sixteen characters."""
_MAX_REPEATED: Final = 32
"""Characters of a literal or a name that an expression may add to each row of any result."""
_MAX_GREP: Final = 200
_NOTE_BYTES: Final = 900
_URI: Final = late_pattern(re.escape(RESULT_SCHEME) + r"([0-9a-f]+)/?(?:\?offset=([0-9]{1,12}))?", re.IGNORECASE)

READ_INPUT: Final[JsonObject] = {
    "type": "object",
    "properties": {
        "handle": {"type": "string", "description": "The handle in the notice of the cut result."},
        "offset": {
            "type": "integer",
            "minimum": 0,
            "description": "Where to start: rows of an array, members of an object, characters of a text. Default 0.",
        },
        "jmespath": {
            "type": "string",
            "description": "The part to read, for JSON: `items[20:40].name`, `items[?price > `10`]`.",
        },
        "grep": {
            "type": "string",
            "description": "Only rows, members or lines that contain this text, in any letter case.",
        },
    },
    "required": ["handle"],
}


@dataclass(frozen=True, slots=True)
class KeptResult:
    """One kept value: `data` is JSON, text in UTF-8, or bytes of `media_type`. It is compressed if `is_packed`.

    `size` is its number of bytes when it is not.
    """

    owner: str
    data: bytes = field(repr=False)
    media_type: str
    is_text: bool
    size: int
    is_packed: bool = False

    @classmethod
    def of(cls, owner: str, value: Any) -> KeptResult:
        """Return a value as it is kept."""
        if isinstance(value, Binary):
            return cls(owner, value.data, value.media_type, is_text=False, size=len(value.data))
        data = value.encode("utf-8", "replace") if isinstance(value, str) else compact(value).encode()
        is_text = isinstance(value, str)
        return cls(owner, data, "text/plain" if is_text else "application/json", is_text, len(data))

    def written(self) -> bytes:
        """Return it in one piece, for another process."""
        about = [self.media_type, self.is_text, self.size, self.is_packed]
        return orjson.dumps(about) + b"\n" + self.data

    @classmethod
    def read(cls, owner: str, written: bytes, max_bytes: int) -> KeptResult | None:
        """Return what another process has written; None if it is something else, or more than `max_bytes`."""
        head, _, data = written.partition(b"\n")
        try:
            about: Any = orjson.loads(head)
        except orjson.JSONDecodeError:
            return None
        if not is_list(about) or [type(one) for one in about] != [str, bool, int, bool]:
            return None
        kept = cls(owner, data, *about)
        return kept if 0 <= kept.size <= max_bytes else None

    @property
    def value(self) -> Any:
        """The value: JSON, text, or `Binary`.

        :raises InvalidArguments: it was changed in a store that others write to.
        """
        try:
            data = self._unpacked() if self.is_packed else self.data
            if self.is_text:
                return data.decode()
            return orjson.loads(data) if self.media_type == "application/json" else Binary(data, self.media_type)
        except (ValueError, zlib.error):
            raise InvalidArguments("What this handle stands for is damaged.", remedy="Call the tool again.") from None

    def _unpacked(self) -> bytes:
        reader = zlib.decompressobj()
        data = reader.decompress(self.data, self.size + 1)  # not more than it should be
        if not reader.eof or len(data) != self.size:
            raise ValueError("It has another size.")
        return data

    @property
    def is_large(self) -> bool:
        """Whether reading it takes so long that a worker reads it."""
        return self.size > _LARGE

    def packed(self) -> KeptResult:
        """Return it compressed, if it is large and that makes it smaller. It takes some 10 ms for each megabyte."""
        if self.is_packed or not self.is_large:
            return self
        data = zlib.compress(self.data, _LEVEL)
        return replace(self, data=data, is_packed=True) if len(data) < self.size else self


class KeptResults:
    """The kept results of all callers."""

    def __init__(self, max_bytes: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.max_bytes = max_bytes
        self._seconds = seconds
        self._clock = clock
        self._kept: OrderedDict[str, tuple[float, KeptResult]] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None
        self.size = 0
        self.copy: Callable[[str, KeptResult], None] | None = None
        """Receives what is kept, by its handle."""

    def allow(self, max_bytes: int, seconds: float) -> None:
        """Keep at most so much, and from the next reading on for so long."""
        self.max_bytes, self._seconds = max_bytes, seconds

    def keep(self, owner: str, value: Any) -> str | None:
        """Keep a value for its owner and return its handle; None if it is too large."""
        kept = KeptResult.of(owner, value)
        if kept.size > self.max_bytes:
            return None
        handle = new_ident()
        self.put(handle, kept)
        return handle

    def put(self, handle: str, kept: KeptResult) -> None:
        """Keep what has a handle already."""
        self._kept[handle] = self._clock() + self._seconds, kept
        self.size += len(kept.data)
        self._make_room()
        self._wake_at_end()
        if self.copy is not None:
            self.copy(handle, kept)

    def find(self, owner: str, handle: str) -> KeptResult | None:
        """Return what an owner's handle stands for, and prolong it; None if it is unknown or has ended."""
        self._make_room()
        found = self._kept.get(handle)
        if found is None or found[1].owner != owner:
            return None
        self._kept[handle] = self._clock() + self._seconds, found[1]
        self._kept.move_to_end(handle)
        return found[1]

    def written(self, owner: str, handle: str) -> bytes | None:
        """Return what `find` does, written for another process."""
        kept = self.find(owner, handle)
        return None if kept is None else kept.written()

    def handles(self, owner: str) -> list[tuple[str, KeptResult]]:
        """Return an owner's handles, the oldest first."""
        self._make_room()
        return [(handle, kept) for handle, (_, kept) in self._kept.items() if kept.owner == owner]

    def _wake_at_end(self) -> None:
        """Forget the first result when it ends, also if nobody asks for another one."""
        if self._timer is None and self._kept:
            with suppress(RuntimeError):  # a caller without an event loop keeps results until it asks
                loop = asyncio.get_running_loop()
                end, _ = next(iter(self._kept.values()))
                self._timer = loop.call_later(max(0.0, end - self._clock()), self._forget_ended)

    def _forget_ended(self) -> None:
        self._timer = None
        before = self.size
        self._make_room()
        if before - self.size > _LARGE:
            give_back()
        self._wake_at_end()

    def _make_room(self) -> None:
        """Forget what has ended, and the oldest while there is too much. The order is that of the ends."""
        now = self._clock()
        while self._kept:
            end, kept = next(iter(self._kept.values()))
            if end > now and self.size <= self.max_bytes and len(self._kept) <= _MAX_COUNT:
                return
            self._kept.popitem(last=False)
            self.size -= len(kept.data)


@dataclass(frozen=True, slots=True)
class Shelf:
    """The kept results of one owner. Calling it keeps a value and returns its handle; None if that is too large."""

    results: KeptResults
    owner: str

    def __call__(self, value: Any) -> str | None:
        return self.results.keep(self.owner, value)


def selected(kept: KeptResult, arguments: JsonObject) -> Any:
    """Return the part of a kept result that `jmespath` and `grep` name, without `offset`. It may take long.

    :raises InvalidArguments: one of them does not fit.
    """
    expression, pattern = arguments.get("jmespath"), arguments.get("grep")
    for name, given, limit in (("jmespath", expression, _MAX_EXPRESSION), ("grep", pattern, _MAX_GREP)):
        if given is not None and (not isinstance(given, str) or not 0 < len(given) <= limit):
            raise InvalidArguments(f"`{name}` must be a text of 1 to {limit:,} characters.")
    return _select(kept, expression, pattern)


def _select(kept: KeptResult, expression: str | None, pattern: str | None) -> Any:
    value = kept.value
    if isinstance(value, Binary):
        raise InvalidArguments(
            f"The handle names {len(value.data):,} bytes of {value.media_type}, which are not text.",
            remedy="Read them as a resource.",
        )
    if expression is not None:
        if isinstance(value, str):
            raise InvalidArguments("This result is text, not JSON, so `jmespath` does not fit.", remedy="Use `grep`.")
        value = _search(expression, value)
    return value if pattern is None else _matching(value, pattern.casefold())


def _search(expression: str, value: Any) -> Any:
    import jmespath
    from jmespath.exceptions import JMESPathError

    try:
        compiled: Any = jmespath.compile(expression)
        nodes, copies = list(_nodes(compiled.parsed)), _copies(compiled.parsed)
        if any(_joins_with_much(node) for node in nodes):
            message = f"The separator of `join` in `jmespath` must be a literal of at most {_MAX_REPEATED} characters."
            raise InvalidArguments(message)
        found = compiled.search(value) if copies <= _MAX_COPIES else None
        grows = copies > 1 or any(_adds_much(node) for node in nodes)
        if copies > _MAX_COPIES or (grows and not _has_at_most(found, _MAX_NODES)):
            raise InvalidArguments("`jmespath` repeats the same part too often.", remedy="Use a simpler expression.")
        return found
    except RecursionError:
        raise InvalidArguments("`jmespath` is nested too deep.", remedy="Use a simpler expression.") from None
    except (JMESPathError, TypeError, ValueError, AttributeError) as error:
        first = (str(error).splitlines() or [""])[0].rstrip(":.")[:300]
        raise InvalidArguments(f"`jmespath` cannot be applied: {first}.", remedy="See jmespath.org.") from None


def _nodes(node: JsonObject) -> Iterator[JsonObject]:
    """Yield a node of an expression and those below it."""
    yield node
    for child in node.get("children", ()):
        if is_object(child):
            yield from _nodes(child)


def _joins_with_much(node: JsonObject) -> bool:
    """Return whether a `join` repeats a text that may be long: the result has it between each two rows."""
    if node.get("type") != "function_expression" or node.get("value") != "join" or not node["children"]:
        return False
    separator = node["children"][0]
    return separator["type"] != "literal" or _adds_much(separator)


def _adds_much(node: JsonObject) -> bool:
    """Return whether a node is a long literal or a long name, which a projection repeats for each row."""
    return node.get("type") in {"literal", "key_val_pair"} and json_size(node.get("value")) > _MAX_REPEATED + 2


def _copies(node: JsonObject) -> int:
    """Return how many copies of one part an expression can make, in the worst case."""
    children = [child for child in node.get("children", ()) if is_object(child)]
    own = len(children) if str(node.get("type")).startswith("multi_select") else 2 if _repeats(node) else 1
    return max(own, 1) * prod(_copies(child) for child in children)


def _repeats(node: JsonObject) -> bool:
    """Return whether a function returns more text than it reads: quotes grow with each `to_string`."""
    return node.get("type") == "function_expression" and node.get("value") in {"to_string", "join", "merge"}


def _has_at_most(root: Any, count: int) -> bool:
    """Return whether a value has at most `count` parts. Shared parts count each time, because JSON repeats them."""
    waiting = [root]
    while waiting and count > 0:
        value = waiting.pop()
        count -= 1 + (len(value) >> 4 if isinstance(value, str) else 0)
        if is_object(value):
            count -= sum(len(key) >> 4 for key in value)
            waiting += value.values()
        elif is_list(value):
            waiting += value
    return not waiting


def _matching(value: Any, pattern: str) -> Any:
    """Return the rows, members or lines that contain a text in any letter case."""
    if isinstance(value, str):
        lines = value.splitlines(keepends=True)
        return "".join(f"{number}: {line}" for number, line in enumerate(lines, 1) if pattern in line.casefold())
    if is_list(value):
        return [row for row in value if pattern in compact(row).casefold()]
    if is_object(value):
        return {as_jmespath(path): leaf for path, leaf in _leaves(value) if _holds(path, leaf, pattern)}
    return value if pattern in compact(value).casefold() else None


def _holds(path: tuple[str | int, ...], leaf: Any, pattern: str) -> bool:
    return pattern in str(path[-1]).casefold() or pattern in compact(leaf).casefold()


def _leaves(root: JsonObject) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Yield each scalar of an object with the way to it, in order."""
    waiting: list[tuple[tuple[str | int, ...], Any]] = [((), root)]
    while waiting:
        path, value = waiting.pop()
        if is_object(value):
            waiting += [((*path, key), member) for key, member in reversed(list(value.items()))]
        elif is_list(value):
            waiting += [((*path, place), member) for place, member in reversed(list(enumerate(value)))]
        else:
            yield path, value


@dataclass(frozen=True, slots=True)
class Page:
    """One part of a value: from `offset` to `next`, of `total` rows, members or characters, as its `unit` says."""

    text: str
    offset: int
    next: int
    total: int
    unit: str
    cuts: list[str]
    """What was left out within this part, in words."""

    @property
    def is_last(self) -> bool:
        """Whether nothing follows."""
        return self.next >= self.total

    def notice(self, how: str) -> str:
        """Return the sentence about this part. `how` says how to get the next one."""
        shown = f"{self.unit.capitalize()} {self.offset + 1:,} to {self.next:,} of {self.total:,} are shown."
        if not self.total:
            shown = f"This part contains no {self.unit}."
        shorter = "".join(f" {cut} are shown." for cut in self.cuts[:2])
        return f"[{shown}{shorter} {'This is the end.' if self.is_last else how}]"


def page_of(value: Any, offset: int, limit: int) -> Page:
    """Return the part of a value from an offset on, of at most `limit` bytes within a JSON string.

    :raises InvalidArguments: the offset is behind the end.
    """
    total = len(value) if isinstance(value, str) or is_list(value) or is_object(value) else 1
    unit = _unit(value)
    if offset and offset >= total:
        raise InvalidArguments(f"`offset` {offset:,} is behind the end: there are {total:,} {unit}.")
    if isinstance(value, str):
        text = first_text(value[offset:], limit, json_size)
        return Page(text, offset, offset + len(text), total, unit, [])
    rows = value[offset:] if is_list(value) else _members_from(value, offset) if is_object(value) else value
    shrinker = Shrinker(_size_in_text)
    shown = shrinker.first(rows, limit - 2)
    following = offset + max(1, len(shown) if is_list(shown) or is_object(shown) else 1)
    return Page(compact(shown), offset, following, total, unit, [str(cut) for cut in shrinker.cuts if cut.path])


def _unit(value: Any) -> str:
    return "characters" if isinstance(value, str) else "rows" if is_list(value) else "members"


def _members_from(value: JsonObject, offset: int) -> JsonObject:
    return dict(list(value.items())[offset:]) if offset else value


def _size_in_text(value: Any) -> int:
    data = compact([value]).encode()
    return len(data) - 2 + data.count(b'"') + data.count(b"\\")


def handle_and_offset(uri: str) -> tuple[str, int]:
    """Return what the URI of a kept result names.

    :raises InvalidArguments: it is another URI.
    """
    found = _URI.fullmatch(uri)
    if found is None:
        raise InvalidArguments(
            f"The URI {shorten(uri, 200)!r} matches no kept result.", remedy="Send the URI of a result that was cut."
        )
    return found[1], int(found[2] or 0)


def resource_contents(kept: KeptResult, handle: str, offset: int, limit: int) -> list[JsonObject]:
    """Return a kept result as contents of `resources/read`: whole if it fits, otherwise a part and where it goes on.

    :raises InvalidArguments: the offset is behind the end, or bytes are too large for one message.
    """
    uri = f"{RESULT_SCHEME}{handle}" + (f"?offset={offset}" if offset else "")
    value = kept.value
    if isinstance(value, Binary):
        if len(value.data) * 4 // 3 + _NOTE_BYTES > limit:
            raise InvalidArguments(
                f"The result has {len(value.data):,} bytes of {value.media_type}, too many for one message.",
                remedy="Call the tool through the library or the command line.",
            )
        return [{"uri": uri, "mimeType": value.media_type, "blob": base64.b64encode(value.data).decode()}]
    page = page_of(value, offset, limit - _NOTE_BYTES)
    contents: list[JsonObject] = [{"uri": uri, "mimeType": kept.media_type, "text": page.text}]
    if not page.is_last:
        following = f"{RESULT_SCHEME}{handle}?offset={page.next}"
        notice = page.notice(f"Read on at {following}.")
        contents.append({"uri": following, "mimeType": "text/plain", "text": notice})
    return contents
