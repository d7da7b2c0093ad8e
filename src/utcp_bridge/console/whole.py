"""What the console shows and does for all bridges that share an address or a store, and not for its own alone.

Each bridge answers the questions of the others' consoles. One that gives no answer in time is named, and the rest is
shown. What others say is read with care: they may run another version.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, Protocol

import anyio

from utcp_bridge.catalogue.catalogue import BYTES_PER_TOKEN
from utcp_bridge.errors import ConfigError, UtcpError
from utcp_bridge.model import JsonObject, is_list, is_object
from utcp_bridge.telemetry.recent import MAX_CALLS

if TYPE_CHECKING:
    from utcp_bridge.console.admin import Admin

__all__ = ["OthersPort", "Whole"]

_SECONDS: Final = 2.0
"""For what others show."""
_MORE_SECONDS: Final = 7.0
"""How much longer than a discovery the others may take to load a manual."""
_MAX_DETAILED: Final = 50
"""Calls of another bridge that come with their audit lines: the page shows no more."""
_LATEST: Final = 4e9
_EMPTY: Final[JsonObject] = {
    "name": "", "kind": "", "state": "", "title": "", "source": "", "tools": 0, "seconds": 0.0, "retries_in": None,
    "login": None, "error": None, "faults": [], "more_faults": 0, "servers": [], "breakers": [],
}  # fmt: skip
"""A manual of which nothing is known."""


class OthersPort(Protocol):
    """The other bridges (`server.replicas.fleet.Fleet`)."""

    @property
    def name(self) -> str:
        """The name of this bridge."""
        ...

    def serve(self, work: Callable[[JsonObject], Awaitable[JsonObject]]) -> None:
        """Answer the questions of the others with what `work` returns."""
        ...

    async def ask(self, asked: JsonObject, seconds: float) -> tuple[dict[str, JsonObject], list[str]]:
        """Return the answers of the others by their names, and the names of those that gave none in time."""
        ...


class Whole:
    """The console of all bridges, seen from one of them. Without `others`, it is that of this one."""

    def __init__(self, admin: Admin, others: OthersPort | None = None) -> None:
        self._admin, self._others = admin, others
        if others is not None:
            others.serve(self.answer)

    async def manuals(self) -> JsonObject:
        """Return {manuals, silent}: each manual as `Admin.manuals` shows it here, or as another bridge does.

        With others, each has `replicas`: [{replica, is_seen, state, tools, login, error, servers, breakers}]. `silent`
        are the names of bridges that gave no answer.
        """
        found: dict[str, JsonObject] = {one["name"]: one for one in self._admin.manuals()}
        if self._others is None:
            return {"manuals": list(found.values()), "silent": []}
        places = {name: [_place(self._others.name, one, is_seen=True)] for name, one in found.items()}
        answers, silent = await self._others.ask({"what": "manuals"}, _SECONDS)
        for replica, answer in sorted(answers.items()):
            for one in map(_manual_of, _objects(answer.get("manuals"))):
                found.setdefault(one["name"], one)
                places.setdefault(one["name"], []).append(_place(replica, one, is_seen=False))
        return {"manuals": [{**one, "replicas": places[name]} for name, one in found.items()], "silent": silent}

    async def calls(self, limit: int) -> JsonObject:
        """Return {number, calls, silent, savings, saved} of all, the newest call first.

        With others, each call has `replica`. `savings` are (time, bytes), and `saved` bytes of results in all.
        """
        own = self._calls_here(limit)
        if self._others is None:
            return {**own, "silent": []}
        answers, silent = await self._others.ask({"what": "calls", "limit": limit}, _SECONDS)
        calls = [{**one, "replica": self._others.name} for one in own["calls"]]
        for replica, answer in answers.items():
            calls += [{**one, "replica": replica} for one in map(_call_of, _objects(answer.get("calls"))) if one]
        calls.sort(key=lambda one: one["time"], reverse=True)
        every = [own, *answers.values()]
        return {
            "number": sum(_number(one.get("number")) for one in every),
            "calls": calls[:limit],
            "silent": silent,
            "savings": sorted(chain.from_iterable(_pairs(one.get("savings")) for one in every)),
            "saved": sum(_number(one.get("saved")) for one in every),
        }

    async def tokens(self) -> JsonObject:
        """Return what `Admin.tokens` does, with the results of all bridges."""
        return {**await self._admin.tokens(), **self.saved(await self.calls(0))}

    @staticmethod
    def saved(calls: JsonObject) -> JsonObject:
        """Return the part of `tokens` that `calls` knows."""
        return {"results": {"tokens": calls["saved"] // BYTES_PER_TOKEN}}

    async def retry(self, manual: str) -> JsonObject:
        """Load a manual again in all bridges, and return its state here, or where it exists, with that of the others.

        :raises ConfigError: no bridge has a manual of this name.
        """
        return await self._everywhere("retry", manual, self._admin.retry)

    async def connect(self, manual: str) -> str:
        """Load a manual again in all bridges after a login, unless it works there, and return its state here."""

        async def connect(name: str) -> JsonObject:
            return {"name": name, "state": await self._admin.connect(name)}

        return str((await self._everywhere("connect", manual, connect))["state"])

    async def approve(self, names: list[str]) -> JsonObject:
        """Approve differences in `utcp.lock`, here and in all bridges where they are the same.

        Each bridge writes its own file, which may be one that they share. Return {file, approved}, and with others
        `silent` and `replicas`: [{replica, approved, problem}]. `problem` is a sentence, or None.

        :raises ConfigError: see `Admin.approve`.
        """
        done = await self._admin.approve(names)
        lines = done.pop("lines")
        if self._others is None:
            return done
        seconds = 2 * self._admin.client.settings.discovery_timeout + _MORE_SECONDS  # they load the manuals twice
        answers, silent = await self._others.ask({"what": "approved", "names": names, "lines": lines}, seconds)
        places = [_adopted(replica, answer) for replica, answer in sorted(answers.items())]
        return {**done, "replicas": places, "silent": silent}

    async def _everywhere(self, what: str, manual: str, here: Callable[[str], Awaitable[JsonObject]]) -> JsonObject:
        if self._others is None:
            return await here(manual)
        own: list[JsonObject | ConfigError] = []
        answers: dict[str, JsonObject] = {}
        silent: list[str] = []

        async def at_home() -> None:
            try:
                own.append(await here(manual))
            except ConfigError as error:  # another bridge may have a manual of this name
                own.append(error)

        seconds = self._admin.client.settings.discovery_timeout + _MORE_SECONDS
        async with anyio.create_task_group() as group:
            group.start_soon(at_home)
            answers, silent = await self._others.ask({"what": what, "manual": manual}, seconds)
        states = {name: state for name, one in answers.items() if isinstance(state := one.get("state"), str)}
        [found] = own
        if isinstance(found, ConfigError):
            if not states:
                raise found
            found = {"name": manual, "state": next(iter(states.values()))}
        places = [{"replica": name, "state": state} for name, state in sorted(states.items())]
        return {**found, "replicas": places, "silent": silent}

    # --- questions of others ---

    async def answer(self, asked: JsonObject) -> JsonObject:
        """Return the answer to a question of another bridge; empty where this one has none."""
        self._admin.client.keep_recent_calls()  # somebody looks
        what, manual = asked.get("what"), str(asked.get("manual"))
        try:
            if what == "manuals":
                return {"manuals": self._admin.manuals()}
            if what == "calls":
                return self._calls_here(_number(asked.get("limit")), most_detailed=_MAX_DETAILED)
            if what in {"retry", "connect"}:
                load = self._admin.retry if what == "retry" else self._admin.connect
                state = await load(manual)
                return {"state": state["state"] if is_object(state) else state}
            if what == "approved":
                return await self._admin.adopt(_lines_of(asked.get("lines")))
        except UtcpError as error:  # such as a name that this bridge does not have
            return self._admin.problem(error)
        return {}

    def _calls_here(self, limit: int, *, most_detailed: int = MAX_CALLS) -> JsonObject:
        found, recent = self._admin.calls(limit), self._admin.client.recent
        calls = [one if place < most_detailed else _without_audit(one) for place, one in enumerate(found["calls"])]
        return {**found, "calls": calls, "savings": recent.savings() if limit else [], "saved": recent.saved}


def _place(replica: str, one: JsonObject, *, is_seen: bool) -> JsonObject:
    kept = ("state", "tools", "login", "error", "servers", "breakers")
    return {"replica": replica, "is_seen": is_seen, **{key: one[key] for key in kept}}


def _lines_of(said: Any) -> dict[str, JsonObject | None]:
    found = said.items() if is_object(said) else ()
    return {name: line for name, line in found if line is None or is_object(line)}


def _adopted(replica: str, answer: JsonObject) -> JsonObject:
    """Return what became of an approval in another bridge."""
    approved, refused = answer.get("approved"), answer.get("refused")
    names = [one for one in approved if isinstance(one, str)] if is_list(approved) else []
    said = [f"{name}: {why}" for name, why in refused.items()] if is_object(refused) else []
    if not is_list(approved):
        message = answer.get("message")
        said = [message if isinstance(message, str) else "it does not say what it has done"]
    return {"replica": replica, "approved": names, "problem": "; ".join(said) or None}


def _without_audit(call: JsonObject) -> JsonObject:
    return {key: value for key, value in call.items() if key != "audit"}


# --- what others say ---


def _objects(value: Any) -> list[JsonObject]:
    return [one for one in value if is_object(one)] if is_list(value) else []


def _number(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _manual_of(said: JsonObject) -> JsonObject:
    """Return a manual of another bridge with all members that a page reads."""
    texts = {key: said[key] for key in ("name", "kind", "state", "title", "source") if isinstance(said.get(key), str)}
    login, seconds = said.get("login"), said.get("seconds")
    error = said.get("error")
    return {
        **_EMPTY,
        **texts,
        "tools": _number(said.get("tools")),
        "seconds": seconds if isinstance(seconds, float) else 0.0,
        "login": login if isinstance(login, str) else None,
        "error": _texts_of(error, ("code", "cause", "remedy")) if is_object(error) else None,
        "servers": [
            {**_texts_of(one, ("name", "state", "cause", "remedy")), "tools": _number(one.get("tools"))}
            for one in _objects(said.get("servers"))
        ],
        "breakers": [
            {**_texts_of(one, ("peer",)), "failures": _number(one.get("failures")), "seconds": _seconds(one)}
            for one in _objects(said.get("breakers"))
        ],
    }


def _texts_of(said: JsonObject, keys: Sequence[str]) -> JsonObject:
    return {key: str(said.get(key) or "") for key in keys}


def _seconds(said: JsonObject) -> float:
    value = said.get("seconds")
    return float(value) if isinstance(value, int | float) else 0.0


def _call_of(said: JsonObject) -> JsonObject | None:
    at = said.get("time")
    if not isinstance(at, int | float) or not 0 <= at < _LATEST:
        return None
    call = {"time": at, **_texts_of(said, ("tool", "manual", "kind", "outcome")), "seconds": _seconds(said)}
    audit = said.get("audit")
    return {**call, "audit": audit} if is_object(audit) else call


def _pairs(value: Any) -> Iterator[tuple[float, int]]:
    for one in value if is_list(value) else ():
        match one:
            case [int() | float() as at, int() as size]:
                yield at, size
            case _:
                pass
