"""What a real peer of one kind brings to the shared suite; the head of contract.py says what each part is for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
import yaml

from utcp_bridge.errors import ConnectionLost, MalformedReply, ReplyTooLarge, Unreachable, UtcpError
from utcp_bridge.model import Document, JsonObject
from utcp_bridge.settings import BridgeSettings
from utcp_bridge.transport import Transport

LIMIT = 64 * 1024
"""`max_reply_bytes` and `max_manual_bytes` during the suite."""

DEADLINE = 10.0
"""Seconds within which every step of the suite must be over."""

CANARY = "canary-5f0c9a7be1"

FAULTS: Mapping[str, type[UtcpError]] = {
    "refused": Unreachable,
    "reset": ConnectionLost,
    "malformed": MalformedReply,
    "oversized": ReplyTooLarge,
}

Dialect = Literal["v0", "v1"]
V0_NAMES = {"streamable_http": "http_stream", "file": "text"}


@dataclass(frozen=True)
class Case:
    """One call: the template, the arguments, and for a fault the class of error expected (None: the suite's)."""

    template: JsonObject
    arguments: JsonObject = field(default_factory=dict)
    error: type[UtcpError] | tuple[type[UtcpError], ...] | None = None


class Peer(ABC):
    """A real peer of one kind; see the head of contract.py."""

    transport: ClassVar[type[Transport[Any]]]
    streams: ClassVar[bool] = False
    impossible: ClassVar[Mapping[str, str]] = {}
    settings: ClassVar[BridgeSettings] = BridgeSettings(max_reply_bytes=LIMIT, max_manual_bytes=LIMIT, idle_timeout=5.0)
    root: Path = Path()
    """Folder that relative paths start from."""

    @abstractmethod
    async def start(self) -> None: ...

    @abstractmethod
    async def stop(self) -> None: ...

    @abstractmethod
    def manual(self, dialect: Dialect) -> JsonObject: ...

    @abstractmethod
    def echo(self, text: str) -> Case: ...

    @abstractmethod
    def fault(self, name: str) -> Case: ...

    def echoed(self, value: Any) -> str:
        return value["text"]

    def stream(self, count: int) -> Case:
        raise NotImplementedError

    def items(self, count: int) -> list[Any]:
        return [{"n": number} for number in range(count)]

    def slow(self) -> Case:
        raise NotImplementedError

    async def arrived(self) -> None:
        raise NotImplementedError

    async def gone(self) -> None:
        raise NotImplementedError

    def with_secret(self, case: Case, secret: str) -> Case:
        return replace(case, template={**case.template, "headers": {"X-Canary": secret}})

    def with_auth(self, template: JsonObject) -> JsonObject:
        return {**template, "auth": {"auth_type": "api_key", "api_key": CANARY, "var_name": "X-Auth"}}

    def authenticated(self) -> bool:
        raise NotImplementedError

    def in_dialect(self, template: JsonObject, dialect: Dialect) -> JsonObject:
        """The template as a tool of a manual of that dialect holds it."""
        fields = {key: value for key, value in template.items() if key not in {"call_template_type", "provider_type"}}
        kind = self.transport.kinds[0]
        if dialect == "v1":
            return {"call_template_type": kind, **fields}
        return {"provider_type": V0_NAMES.get(kind, kind), **fields}

    def names_in(self, document: Document) -> set[str]:
        content = document.content
        parsed = yaml.safe_load(content) if isinstance(content, bytes | str) else content
        return {tool["name"] for tool in parsed["tools"]}

    def need(self, fault: str) -> None:
        if reason := self.impossible.get(fault):
            pytest.skip(f"{self.transport.kinds[0]}: {reason}")
