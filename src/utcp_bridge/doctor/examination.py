"""One manual from its entry to its tools: configuration, name, connection, tls, auth, discovery."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from utcp_bridge.doctor import local, network
from utcp_bridge.doctor.credentials import STEP as AUTH
from utcp_bridge.doctor.credentials import judge, present
from utcp_bridge.doctor.discovery import loaded
from utcp_bridge.doctor.needs import Probe, Ways
from utcp_bridge.doctor.steps import Course, Finding
from utcp_bridge.errors import VariableNotFound
from utcp_bridge.model import JsonObject, Source
from utcp_bridge.transport import Endpoint, LocalFile, Need, Program

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from utcp_bridge.auth.credentials import Credentials
    from utcp_bridge.client.client import UtcpClient
    from utcp_bridge.manuals.registration import ManualState
    from utcp_bridge.net.guard import Guard

__all__ = ["Examination"]

_CHECK_HOST: Final = "Check the host in the manual, and this machine's name resolution."
_CHECK_PEER: Final = "Check that the server is running and that this is its port."


@dataclass(slots=True)
class Examination:
    """An entry on its way. `state` is there where its manual is loaded already: one of a registry."""

    client: UtcpClient
    guard: Guard
    entry: JsonObject
    course: Course
    state: ManualState | None = None
    _ways: Ways = field(default_factory=lambda: Ways(()))
    _source: Source = field(default_factory=lambda: Source(""))
    _credentials: Credentials | None = field(default=None, repr=False)

    async def run(self) -> None:
        """Take every step up to the discovery. Never raises."""
        take = self.course.take
        if self.state is not None and self.state.kind == "registry":
            await take("discovery", self._discover)
            return
        await take("configuration", self._read)
        await take("name", self._name, _CHECK_HOST)
        await take("connection", self._connection, _CHECK_PEER)
        await take("tls", self._tls)
        await take(AUTH, lambda: present(self._credentials))
        await take("discovery", self._discover)
        judge(self.course, self._credentials)

    async def _read(self) -> Finding:
        try:
            target, needs = self.client.reach(self.entry)
        except VariableNotFound as error:
            missing = self.client.unset_variables(self.entry)
            if len(missing) < 2:
                raise
            raise _all_missing(missing, error) from None
        self._source, self._credentials, self._ways = target.source, target.credentials, Ways(needs)
        return Finding("The entry is read and its variables are set.")

    async def _name(self) -> Finding:
        async def look(need: Need) -> Finding | None:
            if isinstance(need, Program):
                return await local.program(need)
            if isinstance(need, LocalFile):
                return await local.file(need, self.client.settings.max_manual_bytes)
            return await network.name(network.peer_of(need, self._source, self.guard), self.guard)

        return await self._ways.look(look, "There is no host, command or file to look for.", _CHECK_HOST)

    async def _connection(self) -> Finding:
        return await self._ways.look(self._probe(network.connection), "There is no TCP connection to try.", _CHECK_PEER)

    async def _tls(self) -> Finding:
        return await self._ways.look(self._probe(network.tls), "No TLS is spoken.")

    def _probe(self, probe: Callable[[network.Peer, Guard], Awaitable[Finding | None]]) -> Probe:
        async def look(need: Need) -> Finding | None:
            if not isinstance(need, Endpoint):
                return None
            return await probe(network.peer_of(need, self._source, self.guard), self.guard)

        return look

    async def _discover(self) -> Finding:
        return loaded(self.state or await self.client.register_manual(self.entry))


def _all_missing(keys: list[str], first: VariableNotFound) -> VariableNotFound:
    """All at once: whoever sets one after the other runs the command as many times."""
    first.message = f"{len(keys)} variables are not set: {', '.join(keys)}."
    first.remedy = "Set them in `variables`, in a dotenv file or in the environment."
    return first
