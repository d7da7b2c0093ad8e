"""Errors: the drawn tree is complete, codes are stable, messages are sentences."""

import inspect
import re

import pytest

from utcp_bridge import errors
from utcp_bridge.errors import (
    Busy,
    CircuitOpen,
    ConfigError,
    ConnectionLost,
    DeadlineExceeded,
    MissingExtra,
    Rejected,
    Unreachable,
    UtcpError,
    VariableNotFound,
)


def drawn() -> dict[str, str | None]:
    """Return the parent of each class in the tree of the module's docstring."""
    parents: dict[str, str | None] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.fullmatch(r"    ([│ ]*(?:[├└]── )?)([A-Z]\w+)(?:  +.*)?", line)
        if match:
            depth = len(match[1]) // 4
            parents[match[2]] = path[depth - 1] if depth else None
            path[depth:] = [match[2]]
    return parents


def defined() -> dict[str, type[UtcpError]]:
    """Return each error class of the module by its name."""
    return {
        name: one for name, one in vars(errors).items() if inspect.isclass(one) and one.__module__ == errors.__name__
    }


def test_the_drawn_tree_equals_the_classes() -> None:
    assert drawn() == {name: None if one is UtcpError else one.__mro__[1].__name__ for name, one in defined().items()}
    assert len(drawn()) > 15, "the tree was read"


def test_all_names_are_public_and_sorted() -> None:
    assert errors.__all__ == sorted(defined())


def test_each_class_has_its_own_code_in_snake_case() -> None:
    codes = {name: vars(one).get("code") for name, one in defined().items()}
    assert None not in codes.values(), codes
    assert len(set(codes.values())) == len(codes)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", str(code)) for code in codes.values())


def test_only_errors_before_anything_was_sent_are_retryable() -> None:
    assert {name for name, one in defined().items() if one.retryable} == {Unreachable.__name__, Busy.__name__}
    assert not ConnectionLost.retryable
    assert not DeadlineExceeded.retryable


def test_the_text_is_the_message_and_then_the_remedy() -> None:
    assert str(ConfigError("The port is taken.")) == "The port is taken."
    error = ConfigError("The port is taken.", remedy="Choose another.")
    assert (error.message, error.remedy) == ("The port is taken.", "Choose another.")
    assert str(error) == "The port is taken. Choose another."


def test_a_missing_variable_names_the_exact_key_to_set() -> None:
    error = VariableNotFound("shop__KEY", where="the url of shop")
    assert error.key == "shop__KEY"
    assert error.message == "Variable 'shop__KEY' is not set (the url of shop)."
    assert "Set shop__KEY in" in str(error)
    assert str(VariableNotFound("K", where="x", remedy="Ask the operator.")).endswith("Ask the operator.")


def test_a_missing_extra_gives_the_line_that_installs_it() -> None:
    assert str(MissingExtra("grpc", "grpc")).endswith(MissingExtra.install_line("grpc"))


@pytest.mark.parametrize("retryable", [True, False])
def test_a_rejection_has_the_status_and_detail_of_the_other_side(*, retryable: bool) -> None:
    error = Rejected(
        "503 from shop.", status=503, detail={"a": 1}, retry_after=2.5, retryable=retryable, remedy="Wait."
    )
    assert (error.status, error.detail, error.retry_after, error.retryable) == (503, {"a": 1}, 2.5, retryable)
    assert str(error) == "503 from shop. Wait."


@pytest.mark.parametrize(
    ("seconds", "remedy"),
    [(2.2, "Try again in 3 s."), (3600, "Try again in 3600 s."), (0, None), (-5, None), (None, None)]
    + [(float(odd), None) for odd in ("nan", "inf")],
)
def test_an_error_says_when_to_try_again(seconds: float | None, remedy: str | None) -> None:
    assert Rejected("503 from shop.", status=503, retry_after=seconds).remedy == remedy
    if seconds is not None:
        assert CircuitOpen("shop is away.", retry_after=seconds).remedy == remedy
    assert Rejected("503 from shop.", status=503, retry_after=9, remedy="Wait.").remedy == "Wait."


CHECKOUT = '{"dir_info": {}, "url": "file:///srv/ada/utcp-bridge"}'
EDITABLE = '{"dir_info": {"editable": true}, "url": "file:///srv/ada/utcp-bridge"}'
WHEEL = '{"archive_info": {"hash": "sha256=0"}, "url": "file:///srv/ada/utcp_bridge-0.1.0-py3-none-any.whl"}'
UV, PIPX = "/srv/ada/.local/share/uv/tools/utcp-bridge", "/srv/ada/.local/share/pipx/venvs/utcp-bridge"


@pytest.mark.parametrize(
    ("prefix", "origin", "line"),
    [
        ("/srv/ada/project/.venv", "", "pip install 'utcp-bridge[grpc]'"),
        (UV, "", "uv tool install 'utcp-bridge[grpc]'"),
        ("/srv/ada/.cache/uv/archive-v0/Zq1", "", "uvx --from 'utcp-bridge[grpc]' utcp-bridge"),
        ("/srv/ada/.cache/uv/environments-v2/utcp-1", "", "uvx --from 'utcp-bridge[grpc]' utcp-bridge"),
        (PIPX, "", "pipx install --force 'utcp-bridge[grpc]'"),
        ("/srv/ada/.cache/pipx/4f1", "", "pipx run --spec 'utcp-bridge[grpc]' utcp-bridge"),
        ("/srv/uv/pipx-notes/.venv", "", "pip install 'utcp-bridge[grpc]'"),
        ("/srv/ada/project/.venv", WHEEL, "pip install 'utcp-bridge[grpc]'"),
        (PIPX, CHECKOUT, "pipx install --force '.[grpc]' (in the folder of the repository)"),
        (UV, CHECKOUT, "uv tool install '.[grpc]' (in the folder of the repository)"),
        ("/srv/ada/project/.venv", EDITABLE, "pip install -e '.[grpc]' (in the folder of the repository)"),
    ],
)
def test_an_extra_is_installed_in_the_way_of_the_program(prefix, origin, line):
    assert MissingExtra.install_line("grpc", prefix, origin) == line
