"""Checks of the Dockerfile without building it. Other tests install the package."""

import json
import re
import shlex
from pathlib import Path

from utcp_bridge.cli.command import every_command
from utcp_bridge.configuration.environment import settings_from_environment
from utcp_bridge.settings import BridgeSettings

ROOT = Path(__file__).parents[2]
RECIPE = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
FINAL = RECIPE[RECIPE.index(" AS runtime") :]
"""What the slim and the full image have; the last stage is the slim one."""


def test_the_container_does_not_run_as_root():
    assert re.findall(r"^USER (\w+)$", FINAL, re.MULTILINE) == ["10001"]  # a cluster checks numbers alone


def test_build_tools_are_not_in_the_final_image():
    assert " AS build" in RECIPE
    assert "pip install" not in FINAL
    assert "COPY --from=build" in FINAL


def test_every_copied_file_exists_and_is_not_ignored():
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = [word for line in re.findall(r"^COPY (?!--from)(.*)$", RECIPE, re.MULTILINE) for word in line.split()[:-1]]
    assert [name for name in copied if not (ROOT / name).exists()] == []
    assert {name.removeprefix("./") for name in copied} <= let_through


def test_the_settings_of_the_container_are_settings():
    block = re.search(r"^ENV (.*)$", FINAL, re.MULTILINE)[1]
    environ = dict(pair.split("=", 1) for pair in shlex.split(block) if pair.startswith("UTCP_BRIDGE_"))
    settings = BridgeSettings.model_validate(settings_from_environment(environ))
    assert (settings.transport, settings.host) == ("http", "0.0.0.0")
    assert f"EXPOSE {settings.port}" in FINAL


def test_the_health_check_and_the_default_command_are_verbs():
    check = re.search(r"^HEALTHCHECK .*CMD (\[.*\])$", FINAL, re.MULTILINE)[1]
    program, verb = json.loads(check)
    assert program == json.loads(re.search(r"^ENTRYPOINT (.*)$", FINAL, re.MULTILINE)[1])[0]
    assert {verb, re.search(r'^CMD \["(\w+)"', FINAL, re.MULTILINE)[1]} <= set(dict(every_command()))


def test_the_slim_image_is_the_default_and_the_full_one_adds_programs_only():
    full, _, slim = FINAL.partition(" AS full")[2].rpartition("FROM ")
    assert slim.split()[-2:] == ["AS", "slim"]
    assert set(re.findall(r"^([A-Z]+) ", full, re.MULTILINE)) == {"COPY", "ENV"}
