"""Why a session with a server could not be opened: what happened, where, and what to do, in words."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

from utcp_bridge.errors import MalformedReply, Rejected, Unreachable, UtcpError
from utcp_bridge.foreign import visible
from utcp_bridge.model import in_seconds
from utcp_bridge.net.gate.shortage import descriptor_shortage
from utcp_bridge.processes.systems import find_program, has_folder, settings_folder

__all__ = ["Attempt", "handshake_failure", "is_end_of_session", "is_end_of_stream", "late_failure", "response_failure"]

_MAX_DETAIL: Final = 200
_CONNECTION_CLOSED: Final = -32000
"""The SDK's code for an end of the connection. Servers use it for errors of their own."""
_END_OF_SESSION: Final = "Connection closed"
_END_OF_STREAM: Final = re.compile(r"SSE stream (?:ended|failed)")
_FOLDERS: Final = ("~/.local/bin", "/opt/homebrew/bin", "/usr/local/bin", "~/.cargo/bin", "~/.bun/bin", "~/.deno/bin",
                   "~/.volta/bin", "~/go/bin", "~/bin", "~/scoop/shims",
                   "C:/Program Files/nodejs")  # fmt: skip
"""Where installers put commands that desktop programs do not find."""
_REMEDIES: Final[Mapping[int | str, str]] = {
    401: "Give it credentials: `headers` or `auth_token` of the server, or `auth` of the manual.",
    403: "Check that its credentials may use this server.",
    404: "Check the path of the URL. Many servers are at /mcp or /sse.",
    405: 'Check the path of the URL. For a server of the older HTTP+SSE transport, write `"transport": "sse"`.',
    407: "Check `proxy` and its credentials.",
}
_WANTS: Final[Mapping[int | str, str]] = {
    401: "wants a login",
    403: "forbids the access",
    404: "is not at this address",
    405: "does not accept MCP requests at this address",
}
_PYTHON_MODULE: Final = re.compile(r"No module named '?(\w+(?:\.\w+)*)'?")
_NODE_MODULE: Final = re.compile(r"Cannot find (?:module|package) '([^']+)'")
_NO_COMMAND: Final = re.compile(r"(?:command not found|: not found|No such file or directory)")


_NO_MESSAGE: Final[Mapping[str, str]] = {
    "Unexpected content type": "returned a response without a message",
    "server answered": "accepted the request and returned no reply (status 202)",
    "Failed to parse": "sent a response that cannot be read",
}
"""How the SDK begins what it says of a response over HTTP, and what that means."""
_REDIRECT: Final = re.compile(r"Redirect to (\S{1,500}) not followed")


@dataclass(slots=True)
class Attempt:
    """What is known of one attempt to open a session.

    `command` is None for a server over HTTP. `words` says how its process ended and what it wrote
    last; `code` is the exit code. `refusal` is what HTTP returned last.
    """

    where: str
    command: str | None = None
    folder: Path = field(default_factory=Path)
    path: str | None = None
    """The PATH in which the command is searched."""
    words: str = ""
    code: int | None = None
    refusal: UtcpError | None = None


def handshake_failure(error: BaseException, attempt: Attempt) -> UtcpError:
    """Return the error for an exception around the opening of a session, by its first cause."""
    cause: Any = error
    while isinstance(cause, BaseExceptionGroup):
        cause = cast("Any", cause).exceptions[0]
    for candidate in (cause, cause.__cause__):
        if isinstance(candidate, UtcpError):
            return _refused(candidate, attempt)
    if shortage := descriptor_shortage(error):
        return shortage
    if isinstance(cause, OSError) and attempt.command is not None:
        return _not_started(cause, attempt)
    return _unopened(cause, attempt) if attempt.refusal is None else _refused(attempt.refusal, attempt)


def is_end_of_session(code: int, message: str) -> bool:
    """Return whether an error of the SDK says that the session with the server has ended."""
    return code == _CONNECTION_CLOSED and message == _END_OF_SESSION


def is_end_of_stream(code: int, message: str) -> bool:
    """Return whether an error of the SDK says that the events of one request ended before its reply."""
    return code == _CONNECTION_CLOSED and _END_OF_STREAM.match(message) is not None


def response_failure(message: str, where: str) -> UtcpError | None:
    """Return the error for a response over HTTP that is not one of MCP, by what the SDK says of it; None for others."""
    if redirect := _REDIRECT.match(message):
        what = f"{where} redirects to {visible(redirect[1])}, and the bridge does not follow that."
        return Rejected(what, status="redirect", remedy="If the server is there, write this address as its `url`.")
    means = next((means for words, means in _NO_MESSAGE.items() if message.startswith(words)), None)
    return None if means is None else MalformedReply(f"{where} {means}.", remedy="Check the path of its URL.")


def late_failure(attempt: Attempt, seconds: float, *, is_open: bool, goes_on: bool = True) -> Unreachable:
    """Return the error for a server that says nothing useful for so long.

    `is_open`: the handshake is over, so it owes its list. `goes_on`: the attempt continues.
    """
    owed = "list its tools" if is_open else "finish its handshake"
    what = f"{attempt.where} did not {owed} within {in_seconds(seconds)}."
    more = " The bridge keeps waiting for it." if goes_on else ""
    remedy = "Raise `timeout` of the server if it starts slowly." if attempt.command is not None else "Check its URL."
    return Unreachable(f"{what} {attempt.words}".rstrip() + more, remedy=remedy)


def _refused(refusal: UtcpError, attempt: Attempt) -> UtcpError:
    """Return the refusal of an HTTP server with what it means for a session."""
    if not isinstance(refusal, Rejected):
        return refusal
    status = refusal.status
    if wants := _WANTS.get(status):
        refusal.message = f"{attempt.where} {wants}: it {refusal.message.removeprefix(f'{attempt.where} ')}"
    detail = refusal.detail
    if isinstance(detail, str) and detail.strip() and status not in _WANTS:
        refusal.message = f"{refusal.message} It says: {' '.join(detail.split())[:_MAX_DETAIL].rstrip('. ')}."
    if refusal.remedy is None:
        refusal.remedy = _REMEDIES.get(status)
    return refusal


def _not_started(cause: OSError, attempt: Attempt) -> Unreachable:
    command = str(attempt.command)
    if not attempt.folder.is_dir():
        what = f"{attempt.where} does not start: its folder {str(attempt.folder)!r} does not exist."
        return Unreachable(what, remedy="Check `cwd` of the server.")
    what = f"The command {command!r} of {attempt.where} does not start:"
    if cause.errno == errno.EINVAL:
        remedy = "Change `args` of the server, or write the program that the batch file starts as `command`."
        return Unreachable(f"{what} {cause.strerror}.", remedy=remedy)
    if has_folder(command):
        reason = "it does not exist" if isinstance(cause, FileNotFoundError) else cause.strerror or "it is refused"
        return Unreachable(f"{what} {reason}.", remedy="Check its path, and that it may be executed.")
    if not isinstance(cause, FileNotFoundError):
        return Unreachable(f"{what} {cause.strerror}.", remedy="Check that it may be executed.")
    looked = attempt.path or os.defpath
    folders = [os.path.expanduser(folder) for folder in _FOLDERS]  # noqa: PTH111
    npm = settings_folder(Path(os.path.expanduser("~"))) / "npm"  # noqa: PTH111
    found = find_program(command, os.pathsep.join([*folders, str(npm)]), attempt.folder)
    remedy = (
        f"It is at {found}: write this path as `command`, or add its folder to PATH in `env`."
        if found
        else "Install it, write its absolute path as `command`, or set PATH in `env`."
    )
    return Unreachable(f"{what} it is not on the PATH ({looked}).", remedy=remedy)


def _ended(attempt: Attempt) -> Unreachable:
    """Return the error of a command that ended before its session was open."""
    remedy = "Run the command by hand to see more, and check its `args` and `env`."
    if module := _PYTHON_MODULE.search(attempt.words):
        remedy = f"Install the Python module {module[1]!r} for the Python that the command runs."
    elif module := _NODE_MODULE.search(attempt.words):
        remedy = f"Install the Node module {module[1]!r} where the command runs (`npm install`)."
    elif attempt.code == 127 or (attempt.code and _NO_COMMAND.search(attempt.words)):
        remedy = "Install the program that is missing, or write its absolute path."
    return Unreachable(f"{attempt.where} did not start: {attempt.words[:1].lower()}{attempt.words[1:]}", remedy=remedy)


def _unopened(cause: Any, attempt: Attempt) -> UtcpError:
    """Return the error for any other failure of the handshake."""
    if type(cause).__name__ == "UnknownVersion":
        said = f" It speaks {cause}." if str(cause) else ""
        what = f"{attempt.where} speaks no version of MCP that the bridge speaks.{said}"
        return Unreachable(what, remedy="Update the server or the bridge.")
    code = getattr(cause, "code", None)
    message = " ".join(str(cause).split())[:_MAX_DETAIL].rstrip(". ")
    words = f" {attempt.words}" if attempt.words and attempt.code is None else ""
    if attempt.command is None and (failure := response_failure(str(cause), attempt.where)) is not None:
        return failure
    is_end = isinstance(code, int) and (is_end_of_session(code, str(cause)) or is_end_of_stream(code, str(cause)))
    if isinstance(code, int) and not is_end:
        what = f"{attempt.where} refused to open a session: {message or 'it gave no reason'} ({code}).{words}"
        return Unreachable(what, remedy="Check that it is an MCP server, and what its log says.")
    if attempt.code is not None:
        return _ended(attempt)
    if isinstance(cause, ValueError | RuntimeError | TypeError):
        return MalformedReply(f"{attempt.where} did not answer as an MCP server does.{words}")
    what = f"{attempt.where} ended the connection before it was ready.{words}"
    remedy = "Check its command and `args`." if attempt.command is not None else "Check its URL, and what its log says."
    return Unreachable(what, remedy=remedy)
