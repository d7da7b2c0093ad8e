"""The step `auth`: whether there are credentials, whether a token can be had, and what the other side made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from utcp_bridge.doctor.steps import Course, Finding, Step
from utcp_bridge.errors import Rejected, UtcpError
from utcp_bridge.urls import bare_url

if TYPE_CHECKING:
    from utcp_bridge.auth.credentials import Credentials

__all__ = ["STEP", "judge", "present"]

STEP: Final = "auth"
_NONE: Final = "The manual has no `auth`."
_REFUSALS: Final = frozenset({401, 403, "UNAUTHENTICATED", "PERMISSION_DENIED"})


async def present(credentials: Credentials | None) -> Finding:
    """What there is to send. An access token is really fetched, and used by what follows. Raises TokenError."""
    if credentials is None:
        return Finding(_NONE, "skipped")
    if credentials.token_url is None:
        return Finding(f"{_kind(credentials)} is there.")
    await credentials.additions()
    return Finding(f"{bare_url(credentials.token_url)} gave an access token.")


def judge(course: Course, credentials: Credentials | None) -> None:
    """Complete the step by what became of the discovery: an answer 401 or 403 is a failure of `auth`."""
    step, discovery = course.step(STEP), course.step("discovery")
    if step is None or discovery is None or step.status == "failed":
        return
    if _is_refusal(discovery.error):
        _blame(step, discovery, credentials)
    elif credentials is None:
        return
    elif discovery.status in {"ok", "warning"}:
        step.message = f"{_said(step)}; the manual was read with it."
    else:
        step.message = f"{_said(step)}; whether it is accepted is not known."


def _blame(step: Step, discovery: Step, credentials: Credentials | None) -> None:
    error = discovery.error
    assert error is not None  # noqa: S101 - it was looked at by the caller
    status = getattr(error, "status", "")
    if credentials is None:
        message = f"The other side wants credentials ({status}) and the manual has none."
        step.remedy = 'Write "auth" into the manual\'s entry, as docs/configuration.md shows.'
    else:
        message = f"{_kind(credentials)} is refused ({status})."
        step.remedy = "Check that it is right, still valid, and may read this manual."
    step.details, discovery.details = discovery.details, ()
    step.status, step.message, step.error = "failed", message, error
    discovery.status, discovery.message, discovery.remedy = "skipped", f"not read: {STEP} failed.", ""
    discovery.error = None


def _is_refusal(error: UtcpError | None) -> bool:
    return isinstance(error, Rejected) and error.status in _REFUSALS


def _kind(credentials: Credentials) -> str:
    kinds = {"api_key": "The API key", "basic": "The user name with its password", "all": "Every scheme of `auth`"}
    kind: Any = credentials.auth.auth_type
    return kinds.get(kind, "The access token")


def _said(step: Step) -> str:
    return step.message.removesuffix(".")
