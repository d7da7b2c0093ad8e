"""The parts of a client that an embedding program may supply."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utcp_bridge.auth.redaction import Redactor
from utcp_bridge.late.records import dataclass
from utcp_bridge.manuals.repository import ToolRepository
from utcp_bridge.model import Document
from utcp_bridge.net.guard import Guard
from utcp_bridge.pipeline.metrics import MetricsHook
from utcp_bridge.pipeline.policy import Rule
from utcp_bridge.pipeline.post_processing import PostProcessor
from utcp_bridge.pipeline.ruling import RulingPort
from utcp_bridge.search import ToolSearchStrategy
from utcp_bridge.stores.replicas import SharedStore
from utcp_bridge.transport import Transport
from utcp_bridge.upstream import CallingHost, HostAhead
from utcp_bridge.variables import EnvFile, VariableLoader

if TYPE_CHECKING:
    pass


__all__ = ["Extensions"]


@dataclass(frozen=True, slots=True)
class Extensions:
    """Parts that an embedding program may supply. The default of each is the built-in part."""

    repository: ToolRepository | None = None
    search_strategy: ToolSearchStrategy | None = None
    transports: tuple[type[Transport[Any]], ...] = ()
    guard: Guard | None = None
    rules: Sequence[Rule] = ()
    ruling: RulingPort | None = None
    """What enforces `access.rules` of the configuration: `utcp_bridge.access.rules.open_rules` returns it."""
    metrics: Sequence[MetricsHook] = ()
    audit: Callable[[bytes], None] | None = None
    redactor: Redactor = field(default_factory=Redactor)
    post_processors: Sequence[PostProcessor] = ()
    variable_loaders: Sequence[VariableLoader] = ()
    """The client asks these before the loaders of the configuration."""
    documents: Mapping[str, Document] = field(default_factory=dict[str, Document], repr=False)
    """Manuals that were fetched already, by URL. Each is used once, for an entry that has only this URL."""
    env_files: Sequence[EnvFile] = field(default=(), repr=False)
    """The client asks these after all other sources of variables."""
    host: CallingHost | HostAhead | None = None
    """Answers MCP servers that ask for something during a call. Without it they cannot ask."""
    only: str | None = None
    """The UTCP name of the one tool that is called. A manual that has it loads no other tool; see `widen`."""
    shared: SharedStore | None = None
    """What bridges behind one balancer share. The client closes it."""
    lock_file: Path | None = None
    """Where the hashes of approved tools are kept if the configuration sets `pin`; None: in memory."""
    index_folder: Path | None = None
    """Where the search index of many tools, and the tools of large manuals, are kept for the next start; None: in
    memory."""
