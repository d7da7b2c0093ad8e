"""mcpb and uv: the bundle of a release is valid, installs itself, and starts as a host starts it."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from hashlib import sha256
from pathlib import Path

import jsonschema_rs
import pytest
from tests.interop.software import Npm, PyPI
from tests.support.published import SERVER_JSON

ROOT = Path(__file__).parents[3]
MCPB = Npm("@anthropic-ai/mcpb@2.1.2 node@22", "mcpb", newest="@anthropic-ai/mcpb@latest node@22")
UV = PyPI("uv>=0.8", "uv", light=False)
HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "host", "version": "1"}},
}

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel, the bundle and the registry's entry."""
    folder = tmp_path_factory.mktemp("release")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    [wheel] = folder.glob("*.whl")
    subprocess.run([sys.executable, str(ROOT / "scripts/bundle.py"), str(wheel)], check=True)
    return folder


@pytest.fixture(scope="module")
def unpacked(release: Path) -> Path:
    [bundle] = release.glob("*.mcpb")
    folder = release / "unpacked"
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(folder)
    return folder


def uv_environment() -> dict[str, str]:
    """Return the environment in which uv installs from where pip does."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    settings = dict(line.split("=", 1) for line in listed.stdout.splitlines() if "=" in line)
    values = {key.rpartition(".")[2].strip(): value.strip("'\"") for key, value in settings.items()}
    names = {"index-url": "UV_DEFAULT_INDEX", "extra-index-url": "UV_INDEX", "find-links": "UV_FIND_LINKS"}
    found = {names[key]: value for key, value in values.items() if key in names}
    certificates = {"SSL_CERT_FILE": values["cert"]} if "cert" in values else {}
    return {**UV.environment, **found, **certificates, "UV_INDEX_STRATEGY": "unsafe-best-match"}


@pytest.mark.needs(MCPB)
def test_the_manifest_is_valid(unpacked: Path) -> None:
    command = [MCPB.command, "validate", str(unpacked / "manifest.json")]
    done = subprocess.run(command, env=MCPB.environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.needs(UV)
def test_a_host_starts_the_bundle_with_what_the_manifest_says(unpacked: Path, tmp_path: Path) -> None:
    tool = {"name": "greet", "tool_call_template": {"call_template_type": "text", "content": "hello"}}
    manual = {"name": "m", "call_template_type": "text", "content": {"utcp_version": "1.0.1", "tools": [tool]}}
    configuration = tmp_path / "utcp.json"
    configuration.write_text(json.dumps({"manual_call_templates": [manual]}), encoding="utf-8")
    started = json.loads((unpacked / "manifest.json").read_text(encoding="utf-8"))["server"]["mcp_config"]
    values = {"${__dirname}": str(unpacked), "${user_config.configuration}": str(configuration)}
    assert started["command"] == "uv"
    words = [UV.command, *(values.get(word, word) for word in started["args"])]
    done = subprocess.run(
        words,
        input=json.dumps(HELLO) + "\n",
        env={**uv_environment(), "UV_PYTHON": sys.executable},
        cwd=Path.home(),
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    [line] = done.stdout.splitlines() or [done.stderr[-2000:]]
    assert json.loads(line)["result"]["serverInfo"]["name"] == "utcp-bridge"


def test_the_entry_of_the_registry_names_the_package_and_the_bundle(release: Path) -> None:
    entry = json.loads((release / "server.json").read_text(encoding="utf-8"))
    [bundle] = release.glob("*.mcpb")
    package, bundled = entry["packages"]
    assert f"mcp-name: {entry['name']}" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert (package["registryType"], package["identifier"]) == ("pypi", "utcp-bridge")
    assert package["version"] == entry["version"] == bundle.stem.rpartition("-")[2]
    assert bundled["fileSha256"] == sha256(bundle.read_bytes()).hexdigest()
    assert bundled["identifier"].endswith(f"/v{entry['version']}/{bundle.name}")
    jsonschema_rs.validate(SERVER_JSON, entry)


def test_two_runs_write_the_same_bytes(release: Path) -> None:
    [bundle] = release.glob("*.mcpb")
    [wheel] = release.glob("*.whl")
    before = bundle.read_bytes(), (release / "server.json").read_bytes()
    subprocess.run([sys.executable, str(ROOT / "scripts/bundle.py"), str(wheel)], check=True)
    assert (bundle.read_bytes(), (release / "server.json").read_bytes()) == before
