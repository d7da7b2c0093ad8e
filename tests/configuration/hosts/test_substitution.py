"""Variables as hosts write them."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.configuration.hosts.substitution import Substitution, inputs_of
from utcp_bridge.configuration.hosts.table import HOSTS
from utcp_bridge.model import Trust
from utcp_bridge.variables import Variables

PROJECT, HOME = Path("/srv/the shop"), Path("/h/ada")
INPUTS = {"inputs": [{"id": "a-b", "description": "d"}, {"id": "city", "default": "Bonn"}, {"id": 5}, "x"]}


def made(text: str, host: str = "vscode", **known: str) -> str:
    forms = HOSTS[host].variables
    return Substitution(forms, inputs_of(INPUTS), project=PROJECT, home=HOME, known=known).text(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain {text}", "plain {text}"),
        ("${V}", "${V}"),
        ("a${V}b${W:-x y}c", "a${V}b${W:-x y}c"),
        ("${V:-}", "${V:-}"),
        ("${V:-http://127.0.0.1:9/$x}", "${V:-http://127.0.0.1:9/$x}"),
        ("${env:V}", "${V}"),
        ("${env:V:-d}", "${V:-d}"),
        ("${input:a-b} ${input:city} ${input:new one}", "${a_b} ${city:-Bonn} ${new_one}"),
        ("${workspaceFolder}/x ${workspaceFolderBasename}", f"{PROJECT}/x the shop"),
        ("${userHome}${/}x${pathSeparator}", f"{HOME}{os.sep}x{os.sep}"),
        ("$V", "$$V"),
        ("$ $5 $$ x$", "$ $$5 $$$ x$"),
        ("$${V}", "$$${V}"),
        ("${V", "$${V"),
        ("{env:V}", "{env:V}"),
    ],
)
def test_forms_of_editors(text: str, expected: str) -> None:
    assert made(text) == expected


@pytest.mark.parametrize(
    ("host", "text", "expected"),
    [
        ("gemini-cli", "$V-${W}/$$", "${V}-${W}/$$$"),
        ("gemini-cli", "$1 $", "$$1 $"),
        ("opencode", "Bearer {env:V} ${W}", "Bearer ${V} ${W}"),
        ("continue", "${{ secrets.KEY }}", "${KEY}"),
        ("goose", "${A} ${B}", "1$$2 ${B}"),
    ],
)
def test_forms_of_other_hosts(host: str, text: str, expected: str) -> None:
    assert made(text, host, A="1$2") == expected


@pytest.mark.parametrize(
    "text",
    ["${command:x}", "${V:?why}", "${A:-${B}}", "${config:a.b}", "${}", "${a b}", "${V-d}", "${workspaceFolder:x}"],
)
def test_a_form_that_is_not_known_stays_and_is_named(text: str) -> None:
    substitution = Substitution(frozenset())
    written = substitution.text(f"<{text}>")
    assert list(substitution.strange) == [text]
    assert Variables(environ={"V": "v", "B": "b"}).resolve(written, manual="m", trust=Trust.OPERATOR) == f"<{text}>"


def test_a_file_that_a_host_would_read_is_named() -> None:
    substitution = Substitution(frozenset({"{env:V}"}))
    assert substitution.text("{file:~/key}") == "{file:~/key}"
    assert list(substitution.strange) == ["{file:~/key}"]


@given(st.text(alphabet="$ {}:-aV_1\\", max_size=30))
def test_the_hosts_text_arrives_as_it_was_written(text: str) -> None:
    """Without variables that are set, a text comes out of both steps as the host has it."""
    substitution = Substitution(frozenset())
    written = substitution.text(text)
    values = dict.fromkeys(substitution.used, "")
    if not values:
        assert Variables(environ={}).resolve(written, manual="m", trust=Trust.OPERATOR) == text
