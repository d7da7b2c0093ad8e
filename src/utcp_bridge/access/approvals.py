"""Approvals: a person says yes to one call, with these arguments, of this principal, once, within a time.

The person is asked on the first way that works: at the host (elicitation), at a webhook, or the operator, who decides
with `utcp-bridge approvals`. Only the last one does not wait: the call is refused, and passes when the caller sends it
again after it was approved. Whatever goes wrong on the way refuses the call.
"""

from __future__ import annotations

import hmac
import json
import logging
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import anyio
import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError

from utcp_bridge.access.principals import Principal
from utcp_bridge.auth.redaction import Redactor
from utcp_bridge.auth.results import masked_arguments
from utcp_bridge.errors import ConfigError, PolicyError, UtcpError, explain
from utcp_bridge.foreign import visible, visible_json
from utcp_bridge.model import Call, JsonObject, Source, Tool, in_seconds, is_object
from utcp_bridge.net.guard import Guard
from utcp_bridge.net.http import HttpPool
from utcp_bridge.pipeline import canonical_json
from utcp_bridge.placement.request import RequestParts
from utcp_bridge.processes.systems import own_folder
from utcp_bridge.settings import ReplicaSettings, with_secret_files
from utcp_bridge.stores.opening import open_replica_store, open_store
from utcp_bridge.stores.port import Store
from utcp_bridge.upstream import HOST, ProtocolError, ask_host
from utcp_bridge.urls import endpoint_of_url

__all__ = ["ApprovalDesk", "ApprovalOptions", "ApprovalRecords", "Pending", "binding_of", "signature"]

_logger = logging.getLogger(__name__)
_MAX_PENDING: Final = 1_000
_MAX_SHOWN: Final = 4_000
"""Characters of the arguments that a person is shown."""
_MAX_NAME: Final = 200
_MAX_BY: Final = 100
_MAX_REPLY: Final = 64 * 1024
_ID: Final = 12
_LATEST: Final = 253_402_300_799
"""The last second of the year 9999: no date is later."""
_TEXTS: Final = ("id", "principal", "tool", "shown", "rule", "why", "digest", "state")
_OK: Final = 200
_SCHEMA: Final[JsonObject] = {
    "type": "object",
    "properties": {"approve": {"type": "boolean", "title": "Approve this call", "default": False}},
    "required": ["approve"],
}
Way = Literal["host", "webhook", "operator"]
State = Literal["approved", "denied"]


def _https_or_loopback(url: str) -> str:
    if not url.startswith(("https://", "http://127.0.0.1:", "http://localhost:", "http://[::1]:")):
        raise ValueError("The URL must begin with https://, or be on this machine")
    return url


class ApprovalOptions(BaseModel):
    """The setting `access.approvals`."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    ways: tuple[Way, ...] = ("host", "webhook", "operator")
    """Who may be asked, in order."""
    seconds: float = Field(default=600.0, gt=0, le=86_400)
    """How long an approval may be used, and how long a request for one is kept."""
    timeout: float = Field(default=300.0, gt=0, le=86_400)
    """How long a host or a webhook may take."""
    webhook: Annotated[str, AfterValidator(_https_or_loopback)] | None = Field(default=None, repr=False)
    key: SecretStr | None = Field(default=None, min_length=16)
    """Signs what is sent to the webhook, and what it replies."""
    store: str = Field(default="file", repr=False)
    """Where requests and approvals are: as `token_store`. Replicas with a store keep them there unless this is set."""

    @classmethod
    def read(cls, written: Mapping[str, Any]) -> ApprovalOptions:
        """Return the options of a configuration. `key_file` names a file with the key.

        :raises ConfigError: an option is wrong.
        """
        options = dict(written)
        if (file := options.pop("key_file", None)) is not None:
            options["key"] = with_secret_files({"audit_key_file": file})["audit_key"]
        try:
            made = cls.model_validate(options)
        except ValidationError as error:
            raise ConfigError(
                f"`access.approvals`: {explain(error)}.", remedy="`utcp-bridge help rules` lists the options."
            ) from None
        if made.webhook is not None and made.key is None:
            raise ConfigError("`access.approvals`: `webhook` needs a `key`.", remedy="Set `key` or `key_file`.")
        return made

    def open_store(self, root: Path, settings: ReplicaSettings) -> Store:
        """Return the store of requests and approvals. `settings` names the store that replicas share.

        :raises ConfigError: `store` does not name one.
        """
        if "store" not in self.model_fields_set and (shared := open_replica_store(settings, "approvals")):
            return shared
        return open_store(self.store, folder=own_folder() / "approvals", root=root)


@dataclass(frozen=True, slots=True)
class Pending:
    """What is asked: which call of whom, in words that a person can read."""

    id: str
    principal: str
    tool: str
    shown: str
    """The arguments as JSON, with secrets masked and cut to a bounded length."""
    rule: str
    why: str
    digest: str
    """Of the arguments as they are sent."""
    asked: float
    ends: float
    """Both in seconds since 1970."""

    def text(self) -> str:
        """Return the question for a person."""
        why = f"\n{self.why}" if self.why else ""
        return (
            f"{self.principal} asks to call {self.tool}.\nThe rule {self.rule!r} requires an approval.{why}\n"
            f"Arguments:\n{self.shown}"
        )

    def as_json(self) -> JsonObject:
        """Return it as an object for stores and webhooks."""
        return {name: getattr(self, name) for name in Pending.__slots__}


def binding_of(principal: str, tool: Tool, arguments: JsonObject) -> str:
    """Return a digest that is the same only for the same principal, tool and arguments. A changed tool is another one.

    :raises ValueError: the arguments are not JSON.
    """
    parts = [principal, tool.qualified_name, tool.kind, tool.template, tool.overlay, arguments]
    return sha256(canonical_json(parts)).hexdigest()


def signature(key: str, timestamp: str, body: bytes) -> str:
    """Return what the header `X-Utcp-Signature` has: HMAC-SHA-256 of the timestamp, a dot and the body."""
    return f"sha256={hmac.digest(key.encode(), timestamp.encode() + b'.' + body, 'sha256').hex()}"


class ApprovalRecords:
    """Requests for approvals and approvals in a store, by the id that people use. Each approval is taken once."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def waiting(self) -> list[JsonObject]:
        """Return every record that is still valid, the oldest first, and remove the others."""
        found: list[JsonObject] = []
        for key in await self._store.keys():
            record = await self._store.get(key)
            if record is not None and not _is_valid(record):
                await self._remove_ended(key)
            elif record is not None:
                found.append({**record, "key": key})
        return sorted(found, key=lambda record: record["asked"])

    async def _remove_ended(self, key: str) -> None:
        async with self._store.lock(key):
            record = await self._store.get(key)
            if record is not None and not _is_valid(record):
                await self._store.delete(key)

    async def add(self, binding: str, pending: Pending) -> JsonObject:
        """Keep a request, unless one for the same call waits; return the record.

        :raises PolicyError: too many wait.
        """
        async with self._store.lock(binding):
            known = await self._store.get(binding)
            if known is not None and _is_valid(known):
                return known
            if len(await self._store.keys()) >= _MAX_PENDING and len(await self.waiting()) >= _MAX_PENDING:
                raise PolicyError(
                    "Too many calls wait for an approval.", remedy="The operator decides about them first."
                )
            record = {**pending.as_json(), "state": "pending"}
            await self._store.put(binding, record)
            return record

    async def decide(
        self, ident: str, state: Literal["approved", "denied"], by: str, seconds: float, *, principal: str | None = None
    ) -> JsonObject | None:
        """Note a decision about the request whose id begins so; None if none or several do, or it is decided.

        `principal` is who decides, if that may be one who calls.

        :raises PolicyError: a principal would approve its own call.
        """
        found = [one for one in await self.waiting() if ident and one["id"].startswith(ident)]
        if len(found) != 1:
            return None
        if state == "approved" and principal is not None and found[0]["principal"] == _line(principal):
            command = f"utcp-bridge approvals approve {found[0]['id']}"
            raise PolicyError(
                "This token made the call, so it cannot approve it.",
                remedy=f"Use another token with the scope `console`, or `{command}`.",
            )
        key = found[0]["key"]
        async with self._store.lock(key):
            record = await self._store.get(key)
            if record is None or record.get("state") != "pending" or not _is_valid(record):
                return None
            decided = {**record, "state": state, "by": by[:_MAX_BY], "ends": time.time() + seconds}
            await self._store.put(key, decided)
            return decided

    async def take(self, binding: str) -> JsonObject | None:
        """Return the approval or the denial of a call; an approval is used up by this."""
        async with self._store.lock(binding):
            record = await self._store.get(binding)
            if record is None or record.get("state") not in {"approved", "denied"}:
                return None
            if record["state"] == "approved" or not _is_valid(record):
                await self._store.delete(binding)
            return record if _is_valid(record) else None

    async def give_back(self, binding: str, approval: JsonObject) -> None:
        """Keep an approval for the same call again."""
        async with self._store.lock(binding):
            await self._store.put(binding, {**approval, "state": "approved"})


def _is_valid(record: JsonObject) -> bool:
    """Return whether a record has not ended. What has another form in a store that others write to counts as ended."""
    asked, ends = record.get("asked"), record.get("ends")
    if not isinstance(asked, int | float) or not isinstance(ends, int | float):
        return False
    return time.time() < ends < _LATEST and all(isinstance(record.get(name), str) for name in _TEXTS)


class ApprovalDesk:
    """Asks for approvals (`rules.Asker`)."""

    def __init__(self, options: ApprovalOptions, store: Store, redactor: Redactor) -> None:
        self._options = options
        self._records = ApprovalRecords(store)
        self._redactor = redactor

    async def approve(self, call: Call, principal: Principal, rule: str, why: str) -> JsonObject:
        """Return an approval of a call, which is used up.

        :raises PolicyError: nobody approved the call. The message says how it can be approved.
        """
        try:
            binding = binding_of(principal.name, call.tool, call.arguments)
            digest = sha256(canonical_json(call.arguments)).hexdigest()
        except ValueError:
            raise PolicyError(f"The arguments of {call.tool.qualified_name} cannot be shown to a person.") from None
        pending = self._pending(call, principal, rule, why, digest)
        known = await self._records.take(binding)
        if known is not None and known["state"] == "approved":
            return {**known, "key": binding}
        if known is not None:
            raise _denied(pending, str(known.get("by", "")))
        for way in self._options.ways:
            if way == "host" and _can_be_asked():
                return self._decided(pending, binding, await self._ask_host(pending))
            if way == "webhook" and self._options.webhook is not None:
                return self._decided(pending, binding, await self._ask_webhook(pending, self._options.webhook))
            if way == "operator":
                raise await self._left_for_the_operator(pending, binding)
        raise PolicyError(
            f"{pending.tool} needs an approval, and nobody can be asked.",
            remedy="The operator adds a way to `access.approvals`.",
        )

    async def give_back(self, approval: JsonObject) -> None:
        """Let an approval be used once more: the call was not made."""
        record = {key: value for key, value in approval.items() if key != "key"}
        await self._records.give_back(approval["key"], record)

    def _pending(self, call: Call, principal: Principal, rule: str, why: str, digest: str) -> Pending:
        shown = json.dumps(visible_json(masked_arguments(call.arguments, self._redactor)), ensure_ascii=False, indent=2)
        if len(shown) > _MAX_SHOWN:
            rest = len(shown) - _MAX_SHOWN
            shown = (
                f"{shown[:_MAX_SHOWN]}\n… {rest:,} more characters are not shown. SHA-256 of all arguments: {digest}"
            )
        now = time.time()
        name, tool = (_line(text) for text in (principal.name, call.tool.qualified_name))
        return Pending(
            secrets.token_hex(_ID // 2), name, tool, shown, rule, _line(why), digest, now, now + self._options.seconds
        )

    def _decided(self, pending: Pending, binding: str, by: str) -> JsonObject:
        return {**pending.as_json(), "by": by, "key": binding}

    async def _ask_host(self, pending: Pending) -> str:
        params: JsonObject = {"mode": "form", "message": pending.text(), "requestedSchema": _SCHEMA}
        try:
            reply = await ask_host(HOST.get(), "elicitation/create", params, seconds=self._options.timeout)
        except ProtocolError as error:
            raise PolicyError(
                f"{pending.tool} needs an approval, and the person at the client did not decide.", remedy=None
            ) from error
        content = reply.get("content")
        if reply.get("action") == "accept" and is_object(content) and content.get("approve") is True:
            return "host"
        raise _denied(pending, "the person at the client")

    async def _ask_webhook(self, pending: Pending, url: str) -> str:
        try:
            with anyio.fail_after(self._options.timeout):
                decision, by = await self._posted(pending, url)
        except (TimeoutError, OSError, ValueError, UtcpError) as error:
            _logger.warning("The webhook for approvals did not decide about %s (%s).", pending.id, type(error).__name__)
            message = f"{pending.tool} needs an approval, and the webhook did not decide."
            raise PolicyError(message, remedy="The operator finds the reason in the log.") from None
        if decision == "approve":
            return by
        raise _denied(pending, by)

    async def _posted(self, pending: Pending, url: str) -> tuple[str, str]:
        """Return the decision of the webhook, and who made it.

        :raises ValueError: the reply is not signed for this request, or is not a decision.
        """
        key = "" if self._options.key is None else self._options.key.get_secret_value()
        body, timestamp = orjson.dumps(pending.as_json()), str(int(time.time()))
        headers = [
            ("Content-Type", "application/json"),
            ("X-Utcp-Timestamp", timestamp),
            ("X-Utcp-Signature", signature(key, timestamp, body)),
        ]
        pool = HttpPool(Guard(), max_response_bytes=_MAX_REPLY)
        try:
            session = pool.session(Source("approvals", exempt=frozenset({endpoint_of_url(url)})))
            reply = await session.request(RequestParts("POST", url, headers, body))
        finally:
            with anyio.CancelScope(shield=True):
                await pool.aclose()
        expected = signature(key, f"{timestamp}.{pending.id}", reply.body)
        signed = reply.headers.get("X-Utcp-Signature", "")
        if reply.status != _OK or not hmac.compare_digest(signed.encode(errors="replace"), expected.encode()):
            raise ValueError("The reply is not signed for this request.")
        found: Any = orjson.loads(reply.body)
        if not is_object(found) or found.get("id") != pending.id or found.get("decision") not in {"approve", "deny"}:
            raise ValueError("The reply is not a decision.")
        return found["decision"], _line(str(found.get("by") or "webhook"))[:_MAX_BY]

    async def _left_for_the_operator(self, pending: Pending, binding: str) -> PolicyError:
        record = await self._records.add(binding, pending)
        within = in_seconds(round(max(record["ends"] - time.time(), 1)))
        return PolicyError(
            f"{pending.tool} needs an approval, which waits for the operator under the id {record['id']}.",
            remedy=f"When the operator has run `utcp-bridge approvals approve {record['id']}`, call again with the "
            f"same arguments. The request ends in {within}.",
        )


def _can_be_asked() -> bool:
    host = HOST.get()
    return host is not None and "form" in host.capabilities.get("elicitation", ())


def _denied(pending: Pending, by: str) -> PolicyError:
    return PolicyError(
        f"{by or 'A person'} did not approve the call of {pending.tool}.", remedy="Do not send it again."
    )


def _line(text: str) -> str:
    """Return a text on one line as a person sees it, of a bounded length."""
    return " ".join(visible(text).split())[:_MAX_NAME]
