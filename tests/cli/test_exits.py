"""Exit codes of errors."""

import pytest

from utcp_bridge import errors
from utcp_bridge.cli import exits


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ConfigError("x"), exits.CONFIGURATION),
        (errors.VariableNotFound("KEY", where="here"), exits.CONFIGURATION),
        (errors.MissingExtra("grpc", "grpc"), exits.CONFIGURATION),
        (errors.PolicyError("x"), exits.POLICY),
        (errors.UnknownTool("x"), exits.NO_TOOL),
        (errors.InvalidArguments("x"), exits.ARGUMENTS),
        (errors.Unreachable("x"), exits.UPSTREAM),
        (errors.Rejected("x", status=500), exits.UPSTREAM),
        (errors.Busy("x"), exits.UPSTREAM),
        (errors.DeadlineExceeded("x"), exits.DEADLINE),
        (errors.InternalError("x"), exits.INTERNAL),
        (errors.UtcpError("x"), exits.UPSTREAM),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_kind_of_error_has_its_exit_code(error, code):
    assert exits.exit_code(error) == code


def test_every_possible_exit_code_has_a_meaning():
    kinds = [vars(errors)[name] for name in errors.__all__]
    assert {exits.exit_code(kind.__new__(kind)) for kind in kinds} < set(exits.MEANINGS)


def test_the_help_of_a_verb_lists_only_its_own_meanings_of_codes():
    assert exits.listed(exits.OK, exits.USAGE) == "  0   done\n  1   the command line is wrong"
    assert len(exits.listed().splitlines()) == len(exits.MEANINGS)
