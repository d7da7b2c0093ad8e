"""The reading of one document, from its bytes to its tools, in this process or in a worker.

`DocumentWork` is the reading. `DocumentJob` does it in a worker process (`workers/program.py`): the lines of a reply
are the tools.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import field, replace
from typing import TYPE_CHECKING, Any, Final

from utcp_bridge.dialects.crossing import ToolWriter
from utcp_bridge.dialects.documents import count_values, parse_document
from utcp_bridge.dialects.manuals import read_manual
from utcp_bridge.dialects.readings import ParsedManual, RawTool
from utcp_bridge.dialects.shapes import Shape, detect
from utcp_bridge.errors import ManualError, UtcpError
from utcp_bridge.late.records import dataclass
from utcp_bridge.model import Fault, JsonObject, is_list, is_object
from utcp_bridge.tasks import at_once
from utcp_bridge.workers.failures import stated_error
from utcp_bridge.workers.program import last_line

if TYPE_CHECKING:
    from utcp_bridge.dialects.formats.described import ForeignDescription
    from utcp_bridge.dialects.openapi import ConversionOptions

__all__ = ["DOCUMENT_JOB", "DocumentJob", "DocumentWork", "Outline", "ReadTools"]

_NAME: Final = "The document"
DOCUMENT_JOB: Final = "utcp_bridge.dialects.worker:DocumentJob"


@dataclass(frozen=True, slots=True)
class Outline:
    """What a parsed document is: its shape, what it is called in messages, and the addresses of its references."""

    shape: Shape
    described: str
    references: list[str] = field(default_factory=list[str])
    way: str = ""
    """What to do with a document in a format of others."""


@dataclass(frozen=True, slots=True)
class ReadTools:
    """The tools of a document in any dialect, and what it says of itself."""

    tools: list[RawTool]
    faults: list[Fault]
    dialect: str
    info: JsonObject
    auth: JsonObject | None = None
    protocols: tuple[str, ...] | None = None
    maps: JsonObject = field(default_factory=dict[str, Any])
    """The `resources` and `prompts` of a manual, as they were written."""
    is_narrowed: bool = False
    """Whether one tool was wanted, and the document has more."""


@dataclass(frozen=True, slots=True)
class OneTool:
    """The one tool of a manual that is wanted. `name` is its own name, `most` the number of tools that are used."""

    manual: str
    name: str
    most: int

    def among(self, tools: list[RawTool]) -> list[RawTool]:
        """Return this tool, or all tools if it is not there."""
        found = [tool for tool in tools[: self.most] if self._is(tool.name)]
        return found if len(found) == 1 else tools

    def alone_in(self, manual: Any) -> JsonObject | None:
        """Return a manual with this tool alone, which is found by names; None if it is not one of the first.

        Reading ten thousand tools takes longer than parsing them.
        """
        if not is_object(manual) or not is_list(tools := manual.get("tools")):
            return None
        found = [tool for tool in tools if is_object(tool) and self._is(tool.get("name"))]
        is_used = len(found) == 1 < len(tools) and any(tool is found[0] for tool in tools[: self.most])
        return {**manual, "tools": found} if is_used else None

    def _is(self, name: Any) -> bool:
        return isinstance(name, str) and name.removeprefix(f"{self.manual}.") == self.name


class DocumentWork:
    """One document, with the files that it refers to. All steps are without I/O. `most` is the most values in all."""

    def __init__(self, most: int) -> None:
        self._left = most
        self._counted = False
        self._content: Any = None
        self._url: str | None = None
        self._shape = Shape.UNKNOWN
        self.files: dict[str, Any] = {}

    def parse(self, data: Any, *, url: str | None, hint: str, jsonc: bool) -> Outline:
        """Parse a document, bytes or text; anything else is parsed already. `url` is where references start.

        :raises ManualError: it cannot be parsed.
        """
        self._url = url
        self._content = data
        if isinstance(data, bytes | str):
            self._content = parse_document(data, hint=hint, jsonc=jsonc, where="The manual", most=self._left)
        shape = detect(self._content)
        described, way = self._describe(shape)
        self._shape = shape
        return Outline(shape, described, self._references(self._content, url, shape), way)

    def add(self, place: str, data: bytes) -> list[str]:
        """Parse a file that is referred to, and return the addresses of its own references.

        :raises ManualError: it cannot be parsed.
        """
        self.files[place] = None
        if not self._counted:
            self._counted = True
            self._left -= count_values(self._content)
        content = parse_document(data, hint=place, where=place, most=max(self._left, 0))
        self._left -= count_values(content)
        self.files[place] = content
        return self._references(content, place, Shape.OPENAPI) if self._shape is Shape.OPENAPI else []

    def miss(self, place: str) -> None:
        """Note that a file cannot be read."""
        self.files[place] = None

    def manual(self, entry: JsonObject, where: str, only: OneTool | None = None) -> ReadTools:
        """Return the tools of a UTCP manual or of a list of tools, or only one of them.

        `entry` is the manual's own call template.
        """
        if only is not None and (alone := only.alone_in(self._content)) is not None:
            found = read_manual(alone, default_template=entry, where=where)
            if found.tools:
                return _read_tools(found, found.tools, is_narrowed=True)
        found = read_manual(self._content, default_template=entry, where=where)
        tools = found.tools if only is None else only.among(found.tools)
        return _read_tools(found, tools, is_narrowed=len(tools) < len(found.tools))

    def openapi(self, options: JsonObject) -> Generator[None, None, ReadTools]:
        """Return the tools of an OpenAPI description, in steps; `options` are the fields of `ConversionOptions`.

        A description in a format of others is read as the OpenAPI description that it becomes.

        :raises ManualError: it is not an OpenAPI description, and cannot become one.
        :raises ConfigError: the operator's choice of tools is not valid.
        """
        from utcp_bridge.dialects.openapi import ConversionOptions, convert_in_steps

        wanted = ConversionOptions(**options)
        made = self._described(wanted) if self._shape is Shape.FOREIGN else None
        if made is None:
            found = yield from convert_in_steps(self._content, url=self._url, options=wanted, files=self.files)
            return ReadTools(found.tools, found.faults, "openapi", found.info)
        wanted = replace(wanted, base_url=made.base_url)
        found = yield from convert_in_steps(made.openapi, url=made.url, options=wanted, files={})
        tools = [_placed(tool, made) for tool in found.tools]
        faults = [replace(one, where=one.where.removeprefix(f"{_NAME}, ")) for one in made.faults]
        return ReadTools(tools, [*faults, *found.faults], "openapi", found.info)

    def _described(self, options: ConversionOptions) -> ForeignDescription:
        """Return what a description in a format of others becomes."""
        from utcp_bridge.dialects.formats.described import DescriptionOptions, declarations_in, described

        found = declarations_in(self.files, self._content, self._url)
        given = DescriptionOptions(self._url, options.base_url, options.server_variables)
        return described(self._content, _NAME, given, found)

    def _describe(self, shape: Shape) -> tuple[str, str]:
        """Return what a message calls the document, and what to do with it if that is known."""
        if is_list(self._content) and not self._content:
            return "an empty list", ""
        if shape is not Shape.UNKNOWN:
            return f"a {shape.value}", ""
        from utcp_bridge.dialects.formats import format_of_document  # its table is seldom needed

        if found := format_of_document(self._content):
            return found.name, found.way
        return ("an object of an unknown kind" if is_object(self._content) else "not a JSON object"), ""

    def _references(self, content: Any, url: str | None, shape: Shape) -> list[str]:
        if shape is Shape.FOREIGN:
            from utcp_bridge.dialects.formats.described import referred_places

            return referred_places(content, url)
        if shape is not Shape.OPENAPI:
            return []
        from utcp_bridge.dialects.openapi import external_references

        return external_references(content, url)


def _placed(tool: RawTool, made: ForeignDescription) -> RawTool:
    """Return a tool with its final call template."""
    whole = made.placed(tool.as_json())
    outputs = whole.get("outputs")
    return replace(tool, template=whole["tool_call_template"], inputs=whole["inputs"], outputs=outputs or None)


def _read_tools(found: ParsedManual, tools: list[RawTool], *, is_narrowed: bool) -> ReadTools:
    return ReadTools(
        tools, found.faults, found.dialect, found.info, found.auth, found.protocols, found.maps, is_narrowed
    )


# --- what crosses the border ----------------------------------------------------------------------------------------


def _error_line(error: UtcpError) -> bytes:
    return last_line({"error": stated_error(error, ManualError)})


# --- the job of a worker --------------------------------------------------------------------------------------------


class DocumentJob:
    """Reads one document after another, step by step."""

    def __init__(self) -> None:
        self._work = DocumentWork(0)

    def reply(self, request: JsonObject, data: bytes) -> Iterator[bytes]:
        """Return the lines of the reply."""
        try:
            yield from self._steps[request["step"]](self, request, data)
        except UtcpError as error:
            yield _error_line(error)
        except MemoryError:
            self._work = DocumentWork(0)
            yield _error_line(ManualError(TOO_MUCH_MEMORY))
        except RecursionError:
            yield _error_line(ManualError("The document is nested too deeply."))

    def _parse(self, request: JsonObject, data: bytes) -> Iterator[bytes]:
        self._work = DocumentWork(request["most"])
        text = data.decode("utf-8", "surrogatepass") if request["is_text"] else data
        outline = self._work.parse(text, url=request["url"], hint=request["hint"], jsonc=request["jsonc"])
        yield last_line(
            {
                "shape": outline.shape,
                "described": outline.described,
                "references": outline.references,
                "way": outline.way,
            }
        )

    def _add(self, request: JsonObject, data: bytes) -> Iterator[bytes]:
        yield last_line({"references": self._work.add(request["place"], data)})

    def _miss(self, request: JsonObject, _data: bytes) -> Iterator[bytes]:
        self._work.miss(request["place"])
        yield last_line({})

    def _manual(self, request: JsonObject, _data: bytes) -> Iterator[bytes]:
        only = request.get("only")
        yield from self._tools(self._work.manual(request["entry"], request["where"], only and OneTool(*only)))

    def _openapi(self, request: JsonObject, _data: bytes) -> Iterator[bytes]:
        yield from self._tools(at_once(self._work.openapi(request["options"])))

    def _tools(self, found: ReadTools) -> Iterator[bytes]:
        self._work = DocumentWork(0)
        writer = ToolWriter()
        for tool in found.tools:
            yield writer.line(tool)
        faults = [[one.where, one.what, one.remedy, one.severity, one.code] for one in found.faults]
        yield last_line(
            {
                "faults": faults,
                "dialect": found.dialect,
                "info": found.info,
                "auth": found.auth,
                "protocols": found.protocols,
                "maps": found.maps,
                "is_narrowed": found.is_narrowed,
            }
        )

    _steps: Final[dict[str, Callable[[DocumentJob, JsonObject, bytes], Iterator[bytes]]]] = {
        "parse": _parse,
        "add": _add,
        "miss": _miss,
        "manual": _manual,
        "openapi": _openapi,
    }


TOO_MUCH_MEMORY: Final = "Reading the document needs more memory than it may have."
