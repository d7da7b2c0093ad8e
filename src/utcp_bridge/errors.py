"""Every error that this package raises on purpose.

    UtcpError
    ├── OperatorError            the configuration must change
    │   ├── ConfigError          a file, key or value that cannot be used
    │   ├── VariableNotFound     a template names a variable that no source has
    │   ├── MissingExtra         the transport's optional packages are not installed
    │   ├── Unexplainable        the transport cannot show what it would send
    │   └── PolicyError          the security policy refuses it; the operator may allow it
    ├── CallerError              the request must change
    │   ├── UnknownTool          no tool has this name
    │   ├── InvalidArguments     the arguments do not match the tool's input schema
    │   └── StaleCursor          the cursor of `tools/list` is invalid or out of date
    ├── UpstreamError            the other side failed
    │   ├── ManualError          the document is not a manual that can be read
    │   ├── Unreachable          no connection: nothing was sent, so a retry is safe
    │   │   └── CircuitOpen      earlier calls failed: nothing was sent, and the message says when a call is tried again
    │   ├── ConnectionLost       the connection broke after something was sent
    │   ├── Rejected             the other side returned an error: HTTP status, gRPC status, exit code
    │   ├── MalformedReply       the reply cannot be read
    │   ├── ReplyTooLarge        the reply is above the size limit
    │   ├── TokenError           the authorization server returned no access token
    │   ├── AuthRequired         a person must log in first, or again: `utcp-bridge login NAME`
    │   └── LoginFailed          a login was begun and did not succeed
    ├── DeadlineExceeded         the time limit of the call is over
    ├── Busy                     the queue or the rate limit of the provider is full, or no descriptors are left
    └── InternalError            utcp-bridge itself failed

Rule 1. A message is one sentence for a person: what happened, and where. `remedy` says what to do.
Rule 2. A message never holds a secret, a header, a URL's query or a traceback.
Rule 3. The first level says who must act. Only this level decides whom to notify and whether to retry.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from itertools import pairwise
from math import ceil, isfinite
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, ClassVar, Final

if TYPE_CHECKING:
    from pydantic import ValidationError

__all__ = [
    "AuthRequired",
    "Busy",
    "CallerError",
    "CircuitOpen",
    "ConfigError",
    "ConnectionLost",
    "DeadlineExceeded",
    "InternalError",
    "InvalidArguments",
    "LoginFailed",
    "MalformedReply",
    "ManualError",
    "MissingExtra",
    "OperatorError",
    "PolicyError",
    "Rejected",
    "ReplyTooLarge",
    "StaleCursor",
    "TokenError",
    "Unexplainable",
    "UnknownTool",
    "Unreachable",
    "UpstreamError",
    "UtcpError",
    "VariableNotFound",
]


class UtcpError(Exception):
    """Base of all errors. `code` stays the same from release to release."""

    code: ClassVar[str] = "error"
    retryable: bool = False
    """Whether an idempotent call may be sent again."""
    retry_after: float | None = None
    """Seconds after which a new call may succeed, if the other side or the bridge named them."""

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}" if self.remedy else self.message


class OperatorError(UtcpError):
    """An error that only a change of the configuration can fix."""

    code = "operator"


class ConfigError(OperatorError, ValueError):
    """A configuration file, key or value that cannot be used; also a `ValueError`, as in the reference library."""

    code = "config"


class VariableNotFound(OperatorError):
    """A template names a variable that no source has; `key` is the exact name to set.

    `file` is the path of the dotenv file to which a line can be added, if the configuration has one.
    """

    code = "variable_not_found"

    def __init__(
        self, key: str, *, where: str = "the program", remedy: str | None = None, file: str | None = None
    ) -> None:
        super().__init__(
            f"Variable {key!r} is not set ({where}).",
            remedy=remedy or f"Set {key} in `variables`, in a dotenv file or in the environment.",
        )
        self.key = key
        self.file = file

    @property
    def variable_name(self) -> str:
        """The same as `key`: its name in the reference library."""
        return self.key


class MissingExtra(OperatorError):
    """The transport needs optional packages that are not installed."""

    code = "missing_extra"

    def __init__(self, kind: str, extra: str) -> None:
        super().__init__(
            f"The {kind} transport needs packages that are not installed.",
            remedy=f"Install them with: {self.install_line(extra)}",
        )

    @staticmethod
    def install_line(extra: str, prefix: str | None = None, origin: str | None = None) -> str:
        """Return the command that adds an extra in the way that the program was installed.

        `prefix` is the folder of the environment; by default this one. uv and pipx keep the environments of tools in
        folders of their own, where `pip install` has no effect on the program or is lost with the next upgrade.
        `origin` is the record of what was installed (PEP 610); by default that of this program. A program from a
        checkout gets its extras from there, because an index may have another version, or none. The line does not
        have the path, because callers may see it.
        """
        record = _origin() if origin is None else origin
        is_local = '"file://' in record and '"dir_info"' in record
        package = f"'.[{extra}]'" if is_local else f"'utcp-bridge[{extra}]'"
        if '"editable": true' in record:
            package = f"-e {package}"
        line = MissingExtra._line(package, PurePath(sys.prefix if prefix is None else prefix).parts)
        return f"{line} (in the folder of the repository)" if is_local else line

    @staticmethod
    def _line(package: str, parts: tuple[str, ...]) -> str:
        pairs = set(pairwise(parts))
        if ("uv", "tools") in pairs:
            return f"uv tool install {package}"
        if "uv" in parts and any(part.startswith(("archive-", "environments-")) for part in parts):
            return f"uvx --from {package} utcp-bridge"
        if ("pipx", "venvs") in pairs:
            return f"pipx install --force {package}"
        if "pipx" in parts:
            return f"pipx run --spec {package} utcp-bridge"
        return f"pip install {package}"


def _origin() -> str:
    """Return the record of what this program was installed from; it is empty for a package of an index."""
    from importlib import metadata  # slow to import, and most runs never need it

    try:
        return metadata.distribution("utcp-bridge").read_text("direct_url.json") or ""
    except metadata.PackageNotFoundError:  # a folder of sources on the path
        return ""


class Unexplainable(OperatorError):
    """A transport of another package that cannot show what a call would send."""

    code = "unexplainable"


class PolicyError(OperatorError):
    """The security policy refuses this target, transport or credential (docs/security.md)."""

    code = "policy"


class CallerError(UtcpError):
    """An error that only a different request can fix."""

    code = "caller"


class UnknownTool(CallerError, ValueError):
    """No tool has this name. It is also a `ValueError`, as in the reference library."""

    code = "unknown_tool"


class InvalidArguments(CallerError):
    """The arguments do not match the tool's input schema."""

    code = "invalid_arguments"


class StaleCursor(CallerError):
    """A `tools/list` cursor that is invalid or belongs to an earlier list."""

    code = "stale_cursor"


class UpstreamError(UtcpError):
    """The upstream service failed."""

    code = "upstream"


class ManualError(UpstreamError):
    """A document that cannot be read as a UTCP manual or as an OpenAPI description.

    `line` and `column` say where, if the text itself cannot be parsed; they count from 1.
    """

    code = "manual"

    def __init__(
        self, message: str, *, line: int | None = None, column: int | None = None, remedy: str | None = None
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.line = line
        self.column = column


class Unreachable(UpstreamError):
    """No connection: the name was not found, the connection was refused, or the TLS handshake failed."""

    code = "unreachable"
    retryable = True


class CircuitOpen(Unreachable):
    """Earlier calls did not reach the upstream, so nothing was sent. After `retry_after` seconds, one call tries it."""

    code = "circuit_open"
    retryable = False

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message, remedy=_in_seconds(retry_after))
        self.retry_after = retry_after


class ConnectionLost(UpstreamError):
    """The connection broke after the request was sent and before the reply was complete."""

    code = "connection_lost"


class Rejected(UpstreamError):
    """The other side returned an error.

    `status` is its own status (HTTP status, gRPC code, exit code), `detail` its decoded body, and `retry_after` the
    seconds to wait, if it named them: then the remedy says so.
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
        super().__init__(message, remedy=remedy or _in_seconds(retry_after))
        self.status = status
        self.detail = detail
        self.retry_after = retry_after
        self.retryable = retryable


class MalformedReply(UpstreamError):
    """A reply that cannot be read as the format that it declares."""

    code = "malformed_reply"


class ReplyTooLarge(UpstreamError):
    """A reply above the size limit; the rest was not read."""

    code = "reply_too_large"


class TokenError(UpstreamError):
    """The authorization server returned no access token."""

    code = "token"


class AuthRequired(UpstreamError):
    """A person must log in first, or again. While the bridge serves it opens no browser, so the call fails.

    `scope` has the scopes that the request needs, if the upstream named them, and `status` the HTTP status with which
    it refused the request. The bridge uses the login as soon as there is one.
    """

    code = "auth_required"

    def __init__(
        self, message: str, *, remedy: str | None = None, scope: str | None = None, status: int | str = 401
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.scope = scope
        self.status = status


class LoginFailed(UpstreamError):
    """A login was begun and did not succeed."""

    code = "login_failed"


class DeadlineExceeded(UtcpError):
    """The time limit of the call is over; the request was cancelled."""

    code = "deadline_exceeded"


class Busy(UtcpError):
    """The queue or the rate limit of the provider is full, or utcp-bridge has no descriptors left; nothing was sent."""

    code = "busy"
    retryable = True


class InternalError(UtcpError):
    """An internal error of utcp-bridge; the log has its traceback at the level `debug`."""

    code = "internal"

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(
            message, remedy=remedy or "Run with --debug, or set log_level to debug: the log then has the traceback."
        )


def _in_seconds(seconds: float | None) -> str | None:
    if seconds is None or not isfinite(seconds) or seconds <= 0:
        return None
    return f"Try again in {ceil(seconds)} s."


_EXPECTED: Final[Mapping[str, str]] = {
    **dict.fromkeys(("tuple_type", "list_type", "frozen_set_type"), "Input should be a list"),
    **dict.fromkeys(
        ("dict_type", "dataclass_type", "model_type", "model_attributes_type"), "Input should be an object"
    ),
}
"""What people call the types that pydantic names by their Python classes, by pydantic's type of fault."""


_FORMS: Final[Mapping[str, str]] = {
    "^/": "it must begin with `/`",
    "^(rediss?|unix)://": "it must begin with redis://, rediss:// or unix://",
    "^[0-9a-fA-F]{64}$": "it must be 64 hexadecimal digits",
}
"""What a regular expression asks for, in words."""


def expectation(fault: Mapping[str, Any]) -> str:
    """Return what pydantic expects of a value, from one of its faults, without the names of Python's classes."""
    if fault["type"] == "string_pattern_mismatch" and (words := _FORMS.get(fault["ctx"]["pattern"])):
        return words
    text = re.sub(r"^Value should have (at \w+ \d+) items?.*", r"it must have \1 characters", str(fault["msg"]))
    return _EXPECTED.get(fault["type"], text.removeprefix("Value error, ").rstrip("."))


def explain(error: ValidationError) -> str:
    """Return one sentence for the first fault of a pydantic error: field and expectation, without the value."""
    first = error.errors(include_input=False, include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"]) or ("" if first["type"] == "value_error" else "the value")
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{field}: {expectation(first)}{more}" if field else f"{expectation(first)}{more}"
