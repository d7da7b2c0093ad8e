"""Fixtures: the command in this process, a terminal for its output, and a configuration."""

import os
import sys
from dataclasses import dataclass

import pytest

from utcp_bridge.cli.command import run


@dataclass
class Outcome:
    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def logging_restored_after_each_verb(restored_logging):
    """Verbs configure logging for the whole process."""


@pytest.fixture(autouse=True)
def no_configuration_at_hand(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("UTCP_CONFIG_FILE", raising=False)


@pytest.fixture
def command(capfdbinary):
    """Run `utcp-bridge` with these arguments and return exit code, stdout and stderr."""

    def call(*arguments: str) -> Outcome:
        capfdbinary.readouterr()
        code = run(list(arguments))
        sys.stdout.flush()
        captured = capfdbinary.readouterr()
        return Outcome(code, captured.out.decode(errors="replace"), captured.err.decode(errors="replace"))

    return call


class Terminal:
    """A pseudo-terminal that replaces stdout and stderr while it is entered."""

    def __init__(self) -> None:
        self._main, other = os.openpty()
        self.stream = os.fdopen(other, "w", encoding="utf-8")

    def shown(self) -> str:
        """Return everything written so far."""
        self.stream.flush()
        os.set_blocking(self._main, False)
        parts = []
        try:
            while part := os.read(self._main, 65_536):
                parts.append(part)
        except OSError:
            pass
        return b"".join(parts).decode().replace("\r\n", "\n")

    def __enter__(self) -> None:
        # Within the test: pytest puts its own streams back between a fixture and the test.
        self._before = sys.stdout, sys.stderr
        sys.stdout = sys.stderr = self.stream

    def __exit__(self, *_error) -> None:
        sys.stdout, sys.stderr = self._before

    def close(self) -> None:
        self.stream.close()
        os.close(self._main)


@pytest.fixture
def terminal(monkeypatch):
    """Return a terminal of 60 columns; `with terminal:` makes it stdout and stderr."""
    opened = Terminal()
    monkeypatch.setenv("COLUMNS", "60")
    yield opened
    opened.close()


@pytest.fixture
def manual(tmp_path):
    """Return the path of a configuration with a valid manual, a missing one and an invalid entry."""
    path = tmp_path / "utcp.yaml"
    path.write_text(
        """
manual_call_templates:
  - name: notices
    call_template_type: text
    content:
      utcp_version: "1.0.1"
      manual_version: "1.0.0"
      tools:
        - name: door
          description: The notice at the door. It is short.
          tags: [Door]
          tool_call_template: {call_template_type: text, content: "Mind the step."}
        - name: list
          description: "All notices, as data."
          deprecated: true
          inputs: {type: object, properties: {limit: {type: [integer, "null"]}}}
          tool_call_template: {call_template_type: text, content: {notices: ["Mind the step."]}}
        - name: broken
          tool_call_template: {call_template_type: no_such_type}
  - {name: gone, call_template_type: file, file_path: gone.json}
  - {name: odd, call_template_type: no_such_type}
""",
        encoding="utf-8",
    )
    return str(path)
