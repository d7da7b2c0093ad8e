"""The project's files name nothing outside the project: no path of a machine, no registry, no key, no tracker."""

import re
from pathlib import Path

import pytest
from tests.support.source import ROOT, tracked_files

RULES = {
    "a path of somebody's machine": (
        r"(?<![\w.:/~])/(?:home|Users|work|root|mnt|workspace)/(?!(?:user|me|you|alice|app)/)[\w.-]+"
    ),
    "a package registry's address": (
        r"(?:--(?:extra-)?index-url|--find-links|^registry\s*=|https?://[^\s\"'<>]*/simple/?(?=[\s\"'<>]|$))"
    ),
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----\n[A-Za-z0-9+/=\n]{60,}",
    "a token in the form of a well-known service": (
        r"\b(?:ghp_[A-Za-z0-9]{36}|sk-[A-Za-z0-9]{40,}|AKIA[0-9A-Z]{16}|xox[bp]-\d{6,}-\w+)"
    ),
    "a tracker's reference": r"(?:(?<![\w&/])#\d{2,5}(?![\w;])|\b(?:JIRA|TODO|FIXME|XXX)\b)",
}
OWN_RULES = Path(__file__).name
NOT_OURS = ("LICENSE", "tests/data/")
"""Quoted as they are: a licence, and samples that other people wrote."""

ALLOWED = {"a tracker's reference": {"CHANGELOG.md"}}
"""Files that a rule leaves out: the changelog names the reports that a change answers."""


def texts() -> dict[str, str]:
    found = {}
    for path in tracked_files():
        name = str(path.relative_to(ROOT))
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        if path.name != OWN_RULES and not name.startswith(NOT_OURS):
            found[name] = text
    return found


@pytest.mark.parametrize("rule", RULES)
def test_no_file_contains(rule: str) -> None:
    pattern = re.compile(RULES[rule], re.MULTILINE)
    checked = {name: text for name, text in texts().items() if name not in ALLOWED.get(rule, ())}
    found = [f"{name}: {match[0]}" for name, text in checked.items() for match in pattern.finditer(text)]
    assert found == []


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("a path of somebody's machine", "see /home/carol/project/x"),
        ("a package registry's address", "pip install --index-url https://x.test/simple/ y"),
        ("a token in the form of a well-known service", "AKIA" + "A" * 16),
        ("a tracker's reference", "fixes " + "#" + "4711"),
    ],
)
def test_a_rule_finds_an_example_of_its_kind(rule: str, text: str) -> None:
    assert re.search(RULES[rule], text, re.MULTILINE)


def test_python_files_end_with_one_newline_and_have_no_trailing_spaces() -> None:
    faults = [
        name
        for name, text in texts().items()
        if name.endswith(".py") and text and (not text.endswith("\n") or text.endswith("\n\n") or " \n" in text)
    ]
    assert faults == []
