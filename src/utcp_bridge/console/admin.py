"""What the console shows and does, as JSON: the answers of the admin API, which the page is made of too.

Texts of manuals, tools and errors come from other programs. They are clean and masked here; a page still
has to write them as text.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Container, Generator, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

import anyio

from utcp_bridge import __version__
from utcp_bridge.access.approvals import ApprovalOptions, ApprovalRecords
from utcp_bridge.auth.results import masked_result
from utcp_bridge.catalogue.catalogue import BYTES_PER_TOKEN
from utcp_bridge.catalogue.fitting import Budget, json_size
from utcp_bridge.catalogue.render import Rendering, render_error, render_result
from utcp_bridge.catalogue.text import clean, clean_line, clean_schema
from utcp_bridge.errors import AuthRequired, ConfigError, LoginFailed, UnknownTool, UtcpError
from utcp_bridge.foreign import visible_json
from utcp_bridge.manuals.states import source_of, word_of
from utcp_bridge.model import REQUESTER, JsonObject, Requester, grouped_faults, is_list, is_object
from utcp_bridge.tasks import in_slices, loop_time, setting
from utcp_bridge.telemetry.recent import MAX_CALLS
from utcp_bridge.upstream import InputRequired, ProtocolError

if TYPE_CHECKING:
    from utcp_bridge.catalogue.catalogue import Catalogue, Entry
    from utcp_bridge.client.client import UtcpClient
    from utcp_bridge.manuals.registration import ManualState
    from utcp_bridge.model import Outage, Tool

__all__ = ["MAX_PAGE", "Admin", "LockPort"]

MAX_PAGE: Final = 200
"""Most tools of one answer."""
_ENTRY: Final = "utcp"
"""The name of the bridge's entry in the file of a host."""
_MAX_TEXT: Final = 4_000
_MAX_NAME: Final = 256
_MAX_FAULTS: Final = 50
_MAX_RESULT: Final = 200_000
"""Bytes of a result that the page shows. A larger one is cut as for a host."""
_OPTION: Final = "--show-values shows them."
"""What a note of an explanation says about the command's option."""
_MAX_WEIGHED: Final = 1_000
"""Tools whose definitions are made to know what a list costs."""
_LOGIN: Final = "oauth2_login"
_REMEDIES: Final = {
    "needs login": "Log in to it: `utcp-bridge login {manual}`.",
    "lost": "The next call connects again. Retry to connect now.",
    "waiting": "It is started at its first use, or tried again by itself. Retry to connect now.",
}


class LockPort(Protocol):
    """What compares the tools with `utcp.lock`, and approves differences. It loads each manual once more."""

    async def differences(self) -> JsonObject:
        """Return {file, differences: [{name, change, what, text}], not_loaded}."""
        ...

    async def approve(self, names: list[str]) -> JsonObject:
        """Approve differences by their names; return {file, approved, lines}: `lines` are for `adopt`."""
        ...

    async def adopt(self, lines: Mapping[str, JsonObject | None]) -> JsonObject:
        """Approve what another bridge did, as far as it is the same here; return {file, approved, refused}."""
        ...


class Admin:
    """The state of one client, and what an operator may do with it.

    `summary` returns the counts of the readiness probe. `launch` are the words with which a host starts this
    configuration; None if hosts reach it by a URL. `lock` compares with `utcp.lock`, where that is possible.
    `catalogue` returns what hosts see, and `overview` what is known of the other bridges, if there may be some.
    """

    def __init__(
        self,
        client: UtcpClient,
        summary: Callable[[], JsonObject],
        *,
        launch: Sequence[str] | None = None,
        lock: LockPort | None = None,
        catalogue: Callable[[], Catalogue] | None = None,
        overview: Callable[[], Awaitable[JsonObject]] | None = None,
    ) -> None:
        self.client = client
        self.overview: Final = overview
        self.lock = lock
        self._launch = launch
        self._summary = summary
        self._opened: tuple[Any, ApprovalOptions, ApprovalRecords] | None = None
        self._catalogue = catalogue
        self._cost: tuple[int | None, JsonObject] = None, {}
        self._counting = anyio.Lock()
        self._login_manuals: tuple[int | None, set[str]] = None, set()

    # --- state ---

    def status(self) -> JsonObject:
        """Return the counts of `/readyz`, the version, and the faults of the configuration."""
        faults = [self._fault(str(group.faults[0].severity), group) for group in grouped_faults(self.client.faults())]
        return {"version": __version__, **self._summary(), "faults": faults[:_MAX_FAULTS]}

    async def replicas(self) -> JsonObject:
        """Return the bridges that share an address or a store with this one, and which one this is.

        {seen, ready, store, replicas: [{name, is_seen, state, tools, failed, open, connections, version}]}
        """
        found = await self._overview()
        shown = [{key: value for key, value in one.items() if key != "marks"} for one in found["replicas"]]
        return {**found, "replicas": shown}

    async def _overview(self) -> JsonObject:
        if self.overview is None:
            return {"seen": None, "ready": int(bool(self._summary().get("ready"))), "store": None, "replicas": []}
        found: JsonObject = visible_json(await self.overview())
        return found

    def manuals(self) -> list[JsonObject]:
        """Return each manual with its state, and with cause and remedy where something is wrong."""
        servers, outages = self.client.servers(), self.client.outages()
        return [self._manual(state, servers, outages) for state in self.client.report()]

    def _manual(self, state: ManualState, servers: list[Any], outages: list[Outage]) -> JsonObject:
        error = None
        if state.error is not None:
            error = {
                "code": state.error.code,
                "cause": self._text(state.error.message),
                "remedy": self._text(
                    state.error.remedy or f"`utcp-bridge doctor {state.name}` shows which step fails."
                ),
            }
        groups = grouped_faults(state.faults)
        pause = None if state.next_try is None else round(max(0.0, state.next_try - loop_time()), 1)
        return {
            "name": state.name,
            "kind": state.kind,
            "state": word_of(state, servers),
            "title": clean_line(state.title, _MAX_NAME),
            "source": self._line(source_of(state.entry.template)),
            "tools": state.tools,
            "seconds": round(state.seconds, 3),
            "retries_in": pause,
            "login": self._login_of(state, servers),
            "error": error,
            "faults": [self._fault(group.faults[0].severity, group) for group in groups[:_MAX_FAULTS]],
            "more_faults": max(0, len(groups) - _MAX_FAULTS),
            "servers": [self._server(one) for one in servers if one.manual == state.name],
            "breakers": [
                {"peer": self._line(one.peer), "failures": one.failures, "seconds": round(one.seconds, 1)}
                for one in outages
                if one.manual == state.name
            ],
        }

    def _login_of(self, state: ManualState, servers: list[Any]) -> str | None:
        """Return `needed` if a person has to log in, `possible` if the services know logins, else None."""
        is_asked = isinstance(state.error, AuthRequired | LoginFailed)
        if is_asked or any(one.manual == state.name and one.status == "needs login" for one in servers):
            return "needed"
        own = (state.entry.template.get(key) for key in ("auth", "auth_tools"))
        return "possible" if state.name in self._with_logins or any(map(_names_login, own)) else None

    def _server(self, server: Any) -> JsonObject:
        remedy = _REMEDIES.get(server.status, "").format(manual=server.manual)
        return {
            "name": clean_line(server.shown, _MAX_NAME),
            "state": server.status,
            "tools": server.tools,
            "cause": self._text(server.failure),
            "remedy": remedy,
        }

    def _fault(self, severity: str, group: Any) -> JsonObject:
        first = group.faults[0]
        return {
            "severity": severity,
            "where": self._line(group.where),
            "what": self._text(first.what),
            "remedy": self._text(first.remedy),
        }

    async def marks(self) -> dict[str, int]:
        """Return a number for each part of the page that changes when the part does, here or in another bridge."""
        try:
            waiting = [(one["id"], one["state"]) for one in await self.approvals()]
        except UtcpError as error:  # such as a store that is away: the page shows it in its place
            waiting = [(error.message, "")]
        every = (await self._overview())["replicas"]
        marks = [(one["name"], one["marks"]) for one in every if is_list(one["marks"]) and len(one["marks"]) == 2]
        manuals, calls = ([(name, repr(one[place])) for name, one in marks] for place in (0, 1))
        moving = {"connections", "marks"}  # they change all the time
        replicas = [tuple(value for key, value in one.items() if key not in moving) for one in every]
        own = self.own_marks()
        return {
            "replicas": hash(tuple(replicas)),
            "manuals": hash((own[0], *manuals)),
            "tools": self.client.generation,
            "calls": hash((own[1], *calls)),
            "approvals": hash(tuple(waiting)),
        }

    def own_marks(self) -> list[int]:
        """Return two numbers, which change with the manuals and with the calls of this bridge."""
        states = [(one.name, one.status, one.tools, str(one.error), len(one.faults)) for one in self.client.report()]
        servers = [(one.manual, one.name, one.status, one.failure) for one in self.client.servers()]
        outages = [(one.manual, one.peer, one.seconds > 0) for one in self.client.outages()]
        configuration = self.client.configuration or {}
        written = (configuration.get("error"), str(configuration.get("needs_restart")))
        return [hash((*states, *servers, *outages, written)), self.client.recent.number]

    def marks_for_others(self) -> JsonObject:
        """Return what other bridges may know of this one, if somebody has looked at a console."""
        return {"marks": self.own_marks()} if self.client.recent.is_on else {}

    async def retry(self, name: str) -> JsonObject:
        """Load a manual again, and return its state afterwards.

        :raises ConfigError: no manual has this name.
        """
        self.insist_on_manual(name)
        with anyio.move_on_after(self.client.settings.discovery_timeout + 5):
            await self.client.refresh(name)
        return next((one for one in self.manuals() if one["name"] == name), {"name": name, "state": "gone"})

    def insist_on_manual(self, name: str) -> None:
        """Refuse the name of no manual.

        :raises ConfigError: no manual has this name.
        """
        if not any(state.name == name for state in self.client.report()):
            raise ConfigError(f"No manual is named {clean_line(name, _MAX_NAME)!r}.")

    async def connect(self, name: str) -> str:
        """Load a manual again after a login, unless it works already, and return its state afterwards."""
        shown = next((one for one in self.manuals() if one["name"] == name), None)
        if shown is None or (shown["state"] == "ready" and shown["login"] != "needed"):
            return "gone" if shown is None else "ready"
        return str((await self.retry(name))["state"])

    @property
    def _with_logins(self) -> Container[str]:
        """The manuals with a tool to whose service a person logs in."""
        if self._login_manuals[0] != self.client.generation:
            found = {tool.manual for tool in self.client.tools() if _names_login(tool.template.get("auth"))}
            self._login_manuals = self.client.generation, found
        return self._login_manuals[1]

    def problem(self, error: UtcpError) -> JsonObject:
        """Return {error, message, remedy} of an error. Its secrets are masked."""
        found = {"error": error.code, "message": self._text(error.message)}
        return {**found, "remedy": self._text(error.remedy)} if error.remedy else found

    # --- tools ---

    def tools(self, query: str = "", manual: str = "", *, offset: int = 0, limit: int = 50) -> JsonObject:
        """Return a page of the tools: those of a manual if one is named, best first for a query, else by name."""
        limit = max(1, min(limit, MAX_PAGE))
        of_manual = {manual} if manual else None
        if query.strip():
            hits = self.client.search(query.strip()[:512], limit=MAX_PAGE, providers=of_manual)
            found = [hit.tool for hit in hits]
        else:
            found = [tool for tool in self.client.tools() if of_manual is None or tool.manual == manual]
        page = found[max(0, offset) : max(0, offset) + limit]
        return {"total": len(found), "offset": max(0, offset), "tools": [self._listed(tool) for tool in page]}

    def _listed(self, tool: Tool) -> JsonObject:
        return {
            "name": tool.qualified_name,
            "manual": tool.manual,
            "kind": tool.kind,
            "title": clean_line(tool.title, _MAX_NAME),
            "description": clean_line(self.client.redactor(tool.description), 240),
            "deprecated": tool.deprecated,
        }

    def tool(self, name: str) -> JsonObject:
        """Return one tool with its schemas.

        :raises UnknownTool: no tool has this name.
        """
        tool = self._find(name)
        return {
            **self._listed(tool),
            "description": clean(self.client.redactor(tool.description), _MAX_TEXT),
            "tags": [clean_line(tag, _MAX_NAME) for tag in tool.tags],
            "hints": dict(tool.annotations),
            "inputs": clean_schema(tool.inputs),
            "outputs": None if tool.outputs is None else clean_schema(tool.outputs, is_output=True),
        }

    def _find(self, name: str) -> Tool:
        found = self.client.find(name)
        if found is None:
            raise UnknownTool(f"There is no tool {clean_line(name, _MAX_NAME)!r}.")
        return found

    async def explain(self, name: str, arguments: JsonObject) -> JsonObject:
        """Return the request that a call would send, and what the rules would decide about it.

        :raises UnknownTool: no tool has this name.
        :raises UtcpError: the call could not be made.
        """
        tool = self._find(name)
        request = await self.client.explain(tool, arguments)
        rules = await self.client.explain_rules(tool, arguments)
        shown = request.as_json()
        shown["notes"] = [note.replace(_OPTION, "").strip() for note in shown["notes"]]
        return {"tool": tool.qualified_name, "text": request.as_text(), **shown, "rules": rules}

    async def call(self, name: str, arguments: JsonObject, requester: Requester) -> JsonObject:
        """Call a tool for `requester`, and return {seconds, result}: the result as a host gets it, without secrets.

        A failed call is a result with `isError`.

        :raises UnknownTool: no tool has this name.
        """
        tool = self._find(name)
        started = loop_time()
        result = await self._called(tool, arguments, requester)
        return {"seconds": round(loop_time() - started, 4), "result": result}

    async def _called(self, tool: Tool, arguments: JsonObject, requester: Requester) -> JsonObject:
        client = self.client
        try:
            with setting(REQUESTER, requester):
                found = await client.call(tool, arguments)
            return render_result(await masked_result(found, client.redactor), Rendering(Budget(_MAX_RESULT)))
        except (InputRequired, ProtocolError):
            message = "The tool asks something of its host. The console cannot answer; call it from an MCP host."
            return render_error(ConfigError(message))
        except Exception as error:  # noqa: BLE001 - an error of any kind is a result, as for hosts
            return render_error(error)

    # --- calls and approvals ---

    def calls(self, limit: int = 50) -> JsonObject:
        """Return the last calls, the newest first, and how many there were since the start.

        Arguments are in the audit line of a call, if the operator records them there.
        """
        found = list(islice(self.client.recent.found(), min(limit, MAX_CALLS)))
        return {"number": self.client.recent.number, "calls": [self._shown_call(one) for one in found]}

    async def tokens(self) -> JsonObject:
        """Return the tokens of `tools/list` now and of a list of all tools, and those that results were shortened by.

        {tools: {listed, all, listed_tokens, all_tokens}, results: {tokens}}; `tools` is None without a catalogue.
        A token is taken for four bytes, as for the setting `exposure`.
        """
        saved: JsonObject = {"results": {"tokens": self.client.recent.saved // BYTES_PER_TOKEN}}
        if self._catalogue is None:
            return {"tools": None, **saved}
        async with self._counting:
            if self._cost[0] != self.client.generation:
                generation = self.client.generation
                self._cost = generation, await in_slices(_cost_of(self._catalogue()))
        return {"tools": self._cost[1], **saved}

    def _shown_call(self, call: JsonObject) -> JsonObject:
        shown: JsonObject = visible_json({**call, "seconds": round(call["seconds"], 6)})
        return shown

    def _approvals(self) -> tuple[ApprovalOptions, ApprovalRecords] | None:
        settings = self.client.settings
        if not settings.access_rules and not settings.approvals:
            return None
        written = settings.approvals  # a changed configuration brings other ones
        if self._opened is None or self._opened[0] != written:
            options = ApprovalOptions.read(written)
            self._opened = written, options, ApprovalRecords(options.open_store(self.client.root, settings))
        return self._opened[1:]

    async def approvals(self) -> list[JsonObject]:
        """Return the calls that wait for an approval, the oldest first. Their secrets are masked."""
        found = self._approvals()
        if found is None:
            return []
        waiting = await found[1].waiting()
        return [{key: value for key, value in one.items() if key not in {"key", "digest"}} for one in waiting]

    async def decide(self, ident: str, decision: str, by: str, principal: str | None = None) -> JsonObject:
        """Approve or deny a call that waits, and return its record. `principal` has the token that decides.

        :raises PolicyError: it made the call itself.
        :raises ConfigError: no call waits under this id, or the decision is not one.
        """
        states: dict[str, Literal["approved", "denied"]] = {"approve": "approved", "deny": "denied"}
        if decision not in states:
            raise ConfigError("The decision must be `approve` or `deny`.")
        record = None
        if (found := self._approvals()) is not None:
            options, records = found
            record = await records.decide(ident, states[decision], by, options.seconds, principal=principal)
        if record is None:
            raise ConfigError(f"No single call waits under the id {clean_line(ident, 40)!r}.")
        return {key: value for key, value in record.items() if key not in {"key", "digest"}}

    # --- tools that differ, hosts ---

    async def differences(self) -> JsonObject:
        """Return what differs from `utcp.lock`.

        :raises ConfigError: this bridge cannot compare.
        """
        return await self._lock.differences()

    async def approve(self, names: list[str]) -> JsonObject:
        """Approve differences in `utcp.lock`, and load their manuals again. Return {file, approved, lines}.

        :raises ConfigError: this bridge cannot compare, or the file has changed.
        """
        done = await self._lock.approve(names)
        await self.refresh_of(names)
        return done

    async def adopt(self, lines: Mapping[str, JsonObject | None]) -> JsonObject:
        """Approve in the `utcp.lock` of this bridge what another one approved, and load the manuals again.

        :raises ConfigError: this bridge cannot compare, or the file cannot be written.
        """
        try:
            return await self._lock.adopt(lines)
        finally:
            await self.refresh_of([*lines])

    async def refresh_of(self, names: list[str]) -> None:
        """Load the manuals again whose tools, prompts or instructions were approved."""
        for manual in sorted({name.partition(".")[0].partition("/")[0] for name in names}):
            await self.client.refresh(manual)

    @property
    def _lock(self) -> LockPort:
        if self.lock is None:
            raise ConfigError(
                "This console does not compare with `utcp.lock`.", remedy="Use `utcp-bridge console` or `diff`."
            )
        return self.lock

    def hosts(self, address: str) -> list[JsonObject]:
        """Return the entry for the file of each host. `address` is the URL of the MCP endpoint."""
        return list(self._entries(address))

    def _entries(self, address: str) -> Iterator[JsonObject]:
        from utcp_bridge.configuration.hosts.editing import edit
        from utcp_bridge.configuration.hosts.table import HOSTS

        token = self.client.settings
        is_protected = token.bearer_token is not None or token.tokens_file is not None
        headers = {"Authorization": "Bearer YOUR_TOKEN"} if is_protected else {}
        for host in HOSTS.values():
            if self._launch is None and not host.has_http:
                continue
            if self._launch is None:
                entry = host.http_entry(address, headers, name=_ENTRY)
            else:
                entry = host.entry(self._launch[0], self._launch[1:], {}, name=_ENTRY)
            form = "jsonc" if host.form == "json" else host.form
            text = edit("", form, host.key, {_ENTRY: entry}, where=host.title, listed=host.is_list)
            yield {"host": host.name, "title": host.title, "text": text.strip(), "after": host.after}

    def _text(self, text: str) -> str:
        return clean(self.client.redactor(text), _MAX_TEXT)

    def _line(self, text: str) -> str:
        return clean_line(self.client.redactor(text), _MAX_NAME)


def _cost_of(catalogue: Catalogue) -> Generator[None, None, JsonObject]:
    """Return what a list costs for a host without settings of its own. Of many tools, every n-th is weighed."""
    view, entries = catalogue.view(), list(catalogue.entries.values())
    listed = view.listed
    everything = yield from _weight_of(entries)
    own = everything if len(listed) == len(entries) else (yield from _weight_of(listed))
    own += 0 if view.part.exposure == "pinned" else json_size(catalogue.meta_tools)
    return {
        "listed": len(listed),
        "all": len(entries),
        "listed_tokens": own // BYTES_PER_TOKEN,
        "all_tokens": everything // BYTES_PER_TOKEN,
    }


def _weight_of(entries: Sequence[Entry]) -> Generator[None, None, int]:
    some = entries[:: len(entries) // _MAX_WEIGHED + 1]
    found = 0
    for entry in some:
        yield from entry.steps()
        found += entry.weight[0]
        yield
    return found * len(entries) // len(some) if some else 0


def _names_login(auth: Any) -> bool:
    """Return whether an `auth`, or one of its alternatives, is the login of a person."""
    if is_list(auth):
        return any(map(_names_login, auth))
    if not is_object(auth):
        return False
    return auth.get("auth_type") == _LOGIN or any(
        _names_login(one) for one in auth.values() if not isinstance(one, str)
    )
