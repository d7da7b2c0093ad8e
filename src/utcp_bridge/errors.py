"""Every error this package raises on purpose.

    UtcpError
    ├── OperatorError            the configuration is at fault
    │   ├── ConfigError          a file, key or value we cannot read
    │   ├── VariableNotFound     a template names a variable that no source holds
    │   ├── MissingExtra         the transport's optional packages are not installed
    │   ├── Unexplainable        the transport does not tell what it would send
    │   └── PolicyError          the security policy refuses it; the operator may allow it
    ├── CallerError              the arguments are at fault
    │   ├── UnknownTool
    │   └── InvalidArguments
    ├── UpstreamError            the other side is at fault
    │   ├── ManualError          what was fetched is not a manual we understand
    │   ├── Unreachable          no connection: nothing was sent, so a retry is safe
    │   ├── ConnectionLost       broke after something was sent
    │   ├── Rejected             an answer that says no: HTTP status, gRPC status, exit code
    │   ├── MalformedReply       an answer that cannot be read
    │   ├── ReplyTooLarge        an answer above the size limit
    │   └── TokenError           the authorization server gave no token
    ├── DeadlineExceeded         the call's wall-clock time is over
    └── Busy                     the provider's queue or rate limit is full

Rule 1. A message is one sentence for a person: what, where. `remedy` says what to do.
Rule 2. A message never holds a secret, a header, a URL's query or a traceback.
Rule 3. The first level says whose fault it is; only that level decides who is told and whether to retry.
"""

from __future__ import annotations

from typing import Any, ClassVar

__all__ = [
    "Busy",
    "CallerError",
    "ConfigError",
    "ConnectionLost",
    "DeadlineExceeded",
    "InvalidArguments",
    "MalformedReply",
    "ManualError",
    "MissingExtra",
    "OperatorError",
    "PolicyError",
    "Rejected",
    "ReplyTooLarge",
    "TokenError",
    "Unexplainable",
    "UnknownTool",
    "Unreachable",
    "UpstreamError",
    "UtcpError",
    "VariableNotFound",
]


class UtcpError(Exception):
    """Base of all; `code` is stable and documented in docs/errors.md."""

    code: ClassVar[str] = "error"
    retryable: bool = False
    """Whether the same call may be sent again, provided that it is idempotent."""

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}" if self.remedy else self.message


class OperatorError(UtcpError):
    """Something that only a change of the configuration cures."""

    code = "operator"


class ConfigError(OperatorError):
    """A configuration file, key or value that cannot be used."""

    code = "config"


class VariableNotFound(OperatorError):
    """A template names a variable that no source holds; `key` is the exact name to set."""

    code = "variable_not_found"

    def __init__(self, key: str, *, where: str, remedy: str | None = None) -> None:
        super().__init__(
            f"Variable {key!r} is not set ({where}).",
            remedy=remedy or f"Set {key} in `variables`, in a dotenv file or in the environment.",
        )
        self.key = key


class MissingExtra(OperatorError):
    """A transport whose optional packages are not installed."""

    code = "missing_extra"

    def __init__(self, kind: str, extra: str) -> None:
        super().__init__(
            f"The {kind} transport needs packages that are not installed.",
            remedy=f"Install them with: pip install 'utcp-bridge[{extra}]'",
        )


class Unexplainable(OperatorError):
    """A transport of another package that does not tell what a call would send."""

    code = "unexplainable"


class PolicyError(OperatorError):
    """The security policy refuses this target, transport or credential (docs/security.md)."""

    code = "policy"


class CallerError(UtcpError):
    """Something that only other arguments cure."""

    code = "caller"


class UnknownTool(CallerError):
    """No tool has this name."""

    code = "unknown_tool"


class InvalidArguments(CallerError):
    """The arguments do not fit the tool's input schema."""

    code = "invalid_arguments"


class UpstreamError(UtcpError):
    """The tool's own side failed."""

    code = "upstream"


class ManualError(UpstreamError):
    """A fetched document that is neither a UTCP manual nor an OpenAPI description."""

    code = "manual"


class Unreachable(UpstreamError):
    """No connection could be made: name resolution, refusal, TLS handshake."""

    code = "unreachable"
    retryable = True


class ConnectionLost(UpstreamError):
    """The connection broke after the request was sent, before the answer was complete."""

    code = "connection_lost"


class Rejected(UpstreamError):
    """The other side answered with an error.

    `status` is its own status (HTTP status, gRPC code, exit code), `detail` its decoded body,
    `retry_after` seconds if it named any.
    """

    code = "rejected"

    def __init__(
        self,
        message: str,
        *,
        status: int | str,
        detail: Any = None,
        retry_after: float | None = None,
        retryable: bool = False,
        remedy: str | None = None,
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.status = status
        self.detail = detail
        self.retry_after = retry_after
        self.retryable = retryable


class MalformedReply(UpstreamError):
    """An answer that does not parse as what it claims to be."""

    code = "malformed_reply"


class ReplyTooLarge(UpstreamError):
    """An answer above the size limit; the rest was not read."""

    code = "reply_too_large"


class TokenError(UpstreamError):
    """The authorization server did not give an access token."""

    code = "token"


class DeadlineExceeded(UtcpError):
    """The wall-clock time of the call is over; what was in flight was cancelled."""

    code = "deadline_exceeded"


class Busy(UtcpError):
    """The provider's concurrency queue or rate limit is full; nothing was sent."""

    code = "busy"
    retryable = True
