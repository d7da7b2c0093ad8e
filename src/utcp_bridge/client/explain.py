"""What a client would do, without doing it: for diagnosis, and for `utcp-bridge explain`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from utcp_bridge.auth.redaction import Redactor
from utcp_bridge.client.reference import Template, as_mapping
from utcp_bridge.configuration.loading import as_entry
from utcp_bridge.dialects import ManualEntry
from utcp_bridge.errors import UtcpError
from utcp_bridge.manuals.registration import Registration
from utcp_bridge.model import Call, Emit, JsonObject, Result, Tool, discard
from utcp_bridge.net.preview import NativeRequest
from utcp_bridge.pipeline.validation import validation
from utcp_bridge.transport import Need, Target
from utcp_bridge.transports.registry import TransportRegistry

__all__ = ["Inspection"]


class Inspection:
    """What `UtcpClient` inherits; nothing here calls a tool."""

    if TYPE_CHECKING:
        redactor: Redactor
        _registration: Registration
        _registry: TransportRegistry

        def _redact(self, error: UtcpError) -> None: ...

    def reach(self, template: Template) -> tuple[Target[Any], Sequence[Need]]:
        """What a manual's template amounts to once its variables are filled in, and what must be there for it to be
        loaded; nothing is asked of the network. For diagnosis: the target holds secrets.

        :raises UtcpError: as the manual's `ManualState.error` would say.
        """
        entry = self._entry(template)
        _, target = self._registration.reach(entry)
        return target, self._registration.transport(entry.kind).needs(target)

    def unset_variables(self, template: Template) -> list[str]:
        """Keys of the variables that a manual's template needs and no source holds.

        :raises ConfigError: it is no call template, or a source cannot be read.
        """
        return self._registration.unset_variables(self._entry(template))

    async def explain(self, tool: Tool, arguments: JsonObject) -> NativeRequest:
        """The request that a call with these arguments would send, without its credentials.

        Arguments are checked and completed as for a call. Built by the code that calls, which sends nothing here.

        :raises InvalidArguments: they do not fit. :raises Unexplainable: the tool's transport cannot tell.
        :raises UtcpError: the call could not be made.
        """

        async def tell(call: Call, _emit: Emit) -> Result:
            target = self._registration.bind(tool)
            if target.credentials is not None:
                self.redactor.learn(target.credentials.secrets(), force=True)
            return Result(await self._registration.transport(tool.kind).explain(target, call))

        try:
            told = await validation(tool, tell)(Call(tool, arguments), discard)
        except UtcpError as error:
            self._redact(error)
            raise
        request: NativeRequest = told.value
        return request.masked(self.redactor)

    def _entry(self, template: Template) -> ManualEntry:
        return as_entry(as_mapping(template), known_fields=self._registry.fields)
