"""One manual from its entry to its tools: configuration, name, connection, tls, auth, discovery.

A manual with several needs, such as several MCP servers, continues as long as one of them is met.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from utcp_bridge.doctor import probes
from utcp_bridge.doctor.steps import DoctorStep, ManualSteps, StepResult
from utcp_bridge.errors import AuthRequired, LoginFailed, Rejected, UtcpError, VariableNotFound
from utcp_bridge.model import JsonObject, Source, counted
from utcp_bridge.transport import Endpoint, LocalFile, Need, Program
from utcp_bridge.urls import bare_url

if TYPE_CHECKING:
    from utcp_bridge.auth.credentials import Credentials
    from utcp_bridge.client.client import UtcpClient
    from utcp_bridge.manuals.registration import ManualState
    from utcp_bridge.net.guard import Guard

__all__ = ["Examination", "Probe", "RemainingNeeds", "result_of"]

Probe = Callable[[Need], Awaitable[StepResult | None]]
"""Examines one need; None if the probe does not apply to it. May raise UtcpError."""

_AUTH: Final = "auth"
_CHECK_HOST: Final = "Check the host in the manual and this machine's name resolution."
_CHECK_BASE: Final = "Start the service, or correct `base_url` of the manual."
_CHECK_PEER: Final = "Check that the server is running and that this is its port."
_REFUSALS: Final = frozenset({401, 403, "UNAUTHENTICATED", "PERMISSION_DENIED"})


@dataclass(slots=True)
class Examination:
    """The examination of one entry. `state` is set if its manual is loaded already, as those of a registry are."""

    client: UtcpClient
    guard: Guard
    entry: JsonObject
    manual: ManualSteps
    state: ManualState | None = None
    _needs: RemainingNeeds = field(default_factory=lambda: RemainingNeeds(()))
    _source: Source = field(default_factory=lambda: Source(""))
    _credentials: Credentials | None = field(default=None, repr=False)

    async def run(self) -> None:
        """Take every step up to discovery. Never raises."""
        take = self.manual.take
        if self.state is not None and self.state.kind == "registry":
            await take("discovery", self._discover)
            return
        await take("configuration", self._read)
        await take("name", self._name, _CHECK_HOST)
        await take("connection", self._connection, _CHECK_PEER)
        await take("tls", self._tls)
        await take(_AUTH, self._auth)
        await take("discovery", self._discover)
        _judge_credentials(self.manual, self._credentials)

    async def reach_target(self) -> None:
        """Take the step `target`, if the operator wrote where the calls of the manual's tools go."""
        base = self.entry.get("base_url")
        tool = next((tool for tool in self.client.tools() if tool.manual == self.manual.name), None)
        if isinstance(base, str) and "://" in base and "$" not in base and tool is not None:
            await self.manual.take("target", partial(self._target, base, tool.source), _CHECK_BASE)

    async def _target(self, base: str, source: Source) -> StepResult:
        peer = probes.peer_of(Endpoint(base), source, self.guard)
        found = await probes.probe_connection(peer, self.guard)
        await probes.probe_tls(peer, self.guard)
        return found or StepResult("The address of the calls is not checked.", "skipped")

    async def _read(self) -> StepResult:
        try:
            target, needs = self.client.reach(self.entry)
        except VariableNotFound as error:
            missing = self.client.unset_variables(self.entry)
            if len(missing) < 2:
                raise
            raise _all_missing(missing, error) from None
        self._source, self._credentials, self._needs = target.source, target.credentials, RemainingNeeds(needs)
        return StepResult("The entry is valid and its variables are set.")

    async def _name(self) -> StepResult:
        async def look(need: Need) -> StepResult | None:
            if isinstance(need, Program):
                return await probes.probe_program(need)
            if isinstance(need, LocalFile):
                return await probes.probe_file(need, self.client.settings.max_manual_bytes)
            return await probes.probe_name(probes.peer_of(need, self._source, self.guard), self.guard)

        return await self._needs.look(look, "The manual names no host, command or file.", _CHECK_HOST)

    async def _connection(self) -> StepResult:
        return await self._needs.look(
            self._probe(probes.probe_connection), "The manual needs no TCP connection.", _CHECK_PEER
        )

    async def _tls(self) -> StepResult:
        return await self._needs.look(self._probe(probes.probe_tls), "The manual uses no TLS.")

    def _probe(self, probe: Callable[[probes.NetworkPeer, Guard], Awaitable[StepResult | None]]) -> Probe:
        async def look(need: Need) -> StepResult | None:
            if not isinstance(need, Endpoint):
                return None
            return await probe(probes.peer_of(need, self._source, self.guard), self.guard)

        return look

    async def _auth(self) -> StepResult:
        """Fetch an access token if `auth` says so; the following steps use it."""
        credentials = self._credentials
        if credentials is None:
            return StepResult("The manual has no `auth`.", "skipped")
        if credentials.token_url is None:
            return StepResult(f"{_kind(credentials)} is set.")
        await credentials.additions()
        return StepResult(f"{bare_url(credentials.token_url)} issued an access token.")

    async def _discover(self) -> StepResult:
        state = self.state or await self.client.register_manual(self.entry)
        servers = [one.status for one in self.client.servers() if one.manual == state.name]
        if servers and set(servers) == {"disabled"}:
            return StepResult("The configuration switches it off.", "skipped")
        return result_of(state)


def result_of(state: ManualState) -> StepResult:
    """Return the outcome of a manual's discovery in words.

    :raises UtcpError: the discovery failed; the error is the manual's own.
    """
    if state.status == "failed" and state.error is not None:
        raise state.error
    details = tuple(f"{fault.severity}: {fault}" for fault in state.faults)
    what = state.description if state.kind == state.dialect == "registry" else counted(state.tools, "tool")
    message = f"{what}{f' ({state.dialect})' if state.dialect else ''}"
    if details:
        return StepResult(f"{message}, {counted(len(details), 'fault')}.", "warning", details=details)
    if not state.tools and state.kind != "registry":
        return StepResult(
            "The manual contains no tools.",
            "warning",
            "Check that this is the right document, and that `include` does not leave out everything.",
        )
    return StepResult(f"{message}.")


def _all_missing(keys: list[str], first: VariableNotFound) -> VariableNotFound:
    """Name all missing variables at once, so that one run is enough to learn them."""
    first.message = f"{len(keys)} variables are not set: {', '.join(keys)}."
    place = "a dotenv file" if first.file is None else f"{first.file} (lines such as `{keys[0]}=…`)"
    first.remedy = f"Set them in `variables`, in {place} or in the environment."
    return first


class RemainingNeeds:
    """The needs of a manual that no step has found unmet."""

    def __init__(self, needs: Sequence[Need]) -> None:
        self._met = list(needs)

    async def look(self, probe: Probe, otherwise: str, remedy: str = "") -> StepResult:
        """Probe all remaining needs in one step: fail if none is met, warn if one is not.

        `otherwise` is the message if the probe applies to none of them, `remedy` is for errors without a remedy.

        :raises UtcpError: no need is met; the error is that of the first.
        """
        results: list[StepResult] = []
        unmet: list[tuple[Need, UtcpError]] = []
        for need in self._met:
            try:
                if (result := await probe(need)) is not None:
                    results.append(result)
            except UtcpError as error:
                unmet.append((need, error))
        if unmet and len(unmet) == len(self._met):
            raise unmet[0][1]
        self._met = [need for need in self._met if all(need is not other for other, _ in unmet)]
        results += [StepResult(error.message, "warning", error.remedy or remedy) for _, error in unmet]
        return _combined(results) if results else StepResult(otherwise, "skipped")


def _combined(results: list[StepResult]) -> StepResult:
    """Return the first warning, or else the first result, with the messages of the others as details."""
    if len(results) == 1:
        return results[0]
    worst = next((one for one in results if one.status == "warning"), results[0])
    status = worst.status if worst.status == "warning" else "ok"
    return StepResult(worst.message, status, worst.remedy, tuple(one.message for one in results if one is not worst))


def _judge_credentials(manual: ManualSteps, credentials: Credentials | None) -> None:
    """Complete the step `auth` from the outcome of discovery: a 401 or 403 is a failure of `auth`."""
    step, discovery = manual.step(_AUTH), manual.step("discovery")
    if step is None or discovery is None or step.status == "failed":
        return
    error = discovery.error
    if isinstance(error, AuthRequired | LoginFailed) or (isinstance(error, Rejected) and error.status in _REFUSALS):
        _blame_credentials(step, discovery, error, credentials)
    elif credentials is None:
        return
    elif discovery.status in {"ok", "warning"}:
        step.message = f"{step.message.removesuffix('.')}; discovery succeeded with it."
    else:
        step.message = f"{step.message.removesuffix('.')}; discovery failed before it could be checked."


def _blame_credentials(
    step: DoctorStep,
    discovery: DoctorStep,
    error: Rejected | AuthRequired | LoginFailed,
    credentials: Credentials | None,
) -> None:
    if not isinstance(error, Rejected):
        message, step.remedy = error.message, error.remedy or ""
    elif credentials is None:
        message = f"The upstream requires credentials ({error.status}) and the manual has none."
        step.remedy = 'Add "auth" to the manual\'s entry: `utcp-bridge help configuration`.'
    else:
        message = f"{_kind(credentials)} was refused ({error.status})."
        step.remedy = "Check that it is correct, has not expired, and may read this manual."
    step.details, discovery.details = discovery.details, ()
    step.status, step.message, step.error = "failed", message, error
    discovery.status, discovery.message, discovery.remedy = "skipped", f"skipped because {_AUTH} failed.", ""
    discovery.error = None


def _kind(credentials: Credentials) -> str:
    kinds = {"api_key": "The API key", "basic": "The user name with its password", "all": "Every scheme of `auth`"}
    kind: Any = credentials.auth.auth_type
    return kinds.get(kind, "The access token")
