"""Write what hosts and registries install from, for a wheel: `python scripts/bundle.py WHEEL [OWNER/REPOSITORY]`.

Beside the wheel it writes two files:

- `utcp-bridge-VERSION.mcpb`: a bundle for hosts that install MCP servers by a click (manifest 0.4, server type `uv`).
  It has the wheel inside, and uv installs what the wheel depends on.
- `server.json`: the entry of the MCP Registry (schema 2025-12-11), for the package and the bundle. Its name belongs to
  the owner of the repository, and README.md has the same name as `mcp-name:`, by which the registry checks ownership.

Two runs on one wheel give the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
DESCRIPTION = "One MCP server in front of APIs, commands and other MCP servers that UTCP manuals describe."
"""At most 100 characters, which the registry allows."""
MAIN = '"""Starts the server, as the host says in the manifest."""\n\nfrom utcp_bridge.cli import main\n\nmain()\n'
STABLE_DATE = (1980, 1, 1, 0, 0, 0)


def manifest(version: str, repository: str) -> dict[str, Any]:
    """Return the bundle's `manifest.json`."""
    address = f"https://github.com/{repository}"
    return {
        "manifest_version": "0.4",
        "name": "utcp-bridge",
        "display_name": "UTCP bridge",
        "version": version,
        "description": DESCRIPTION,
        "author": {"name": "utcp-bridge developers"},
        "repository": {"type": "git", "url": address},
        "homepage": address,
        "license": "Apache-2.0",
        "keywords": ["utcp", "mcp", "openapi"],
        "server": {
            "type": "uv",
            "entry_point": "main.py",
            "mcp_config": {
                "command": "uv",
                "args": ["run", "--directory", "${__dirname}", "main.py", "serve", "${user_config.configuration}"],
                "env": {},
            },
        },
        "tools_generated": True,
        "prompts_generated": True,
        "compatibility": {"platforms": ["darwin", "win32", "linux"], "runtimes": {"python": ">=3.11"}},
        "user_config": {
            "configuration": {
                "type": "file",
                "title": "Configuration",
                "description": "A UTCP configuration, such as utcp.yaml, or an OpenAPI description.",
                "required": True,
            }
        },
    }


def project(wheel: Path, version: str) -> str:
    """Return the bundle's `pyproject.toml`, with the wheel as its one dependency."""
    return (
        f'[project]\nname = "utcp-bridge-bundle"\nversion = "{version}"\nrequires-python = ">=3.11"\n'
        f'dependencies = ["utcp-bridge"]\n\n[tool.uv]\npackage = false\n\n'
        f'[tool.uv.sources]\nutcp-bridge = {{ path = "{wheel.name}" }}\n'
    )


def registry_entry(version: str, repository: str, bundle: Path) -> dict[str, Any]:
    """Return `server.json`."""
    address = f"https://github.com/{repository}"
    configuration = {
        "type": "positional",
        "valueHint": "configuration",
        "description": "A UTCP configuration, such as utcp.yaml, or an OpenAPI description.",
        "format": "filepath",
        "isRequired": True,
    }
    package: dict[str, Any] = {
        "registryType": "pypi",
        "identifier": "utcp-bridge",
        "version": version,
        "runtimeHint": "uvx",
        "transport": {"type": "stdio"},
        "packageArguments": [{"type": "positional", "value": "serve"}, configuration],
    }
    bundled: dict[str, Any] = {
        "registryType": "mcpb",
        "identifier": f"{address}/releases/download/v{version}/{bundle.name}",
        "fileSha256": hashlib.sha256(bundle.read_bytes()).hexdigest(),
        "transport": {"type": "stdio"},
    }
    return {
        "$schema": "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json",
        "name": registry_name(repository),
        "title": "UTCP bridge",
        "description": DESCRIPTION,
        "version": version,
        "repository": {"url": address, "source": "github"},
        "packages": [package, bundled],
    }


def registry_name(repository: str) -> str:
    """Return the name that the registry gives to a repository's owner, such as `io.github.OWNER/utcp-bridge`."""
    owner, _, name = repository.partition("/")
    return f"io.github.{owner}/{name}"


def write_bundle(wheel: Path, version: str, repository: str) -> Path:
    """Write the bundle beside the wheel, and return its path."""
    bundle = wheel.parent / f"utcp-bridge-{version}.mcpb"
    files = {
        "manifest.json": json.dumps(manifest(version, repository), indent=2) + "\n",
        "pyproject.toml": project(wheel, version),
        "main.py": MAIN,
        wheel.name: wheel.read_bytes(),
    }
    with zipfile.ZipFile(bundle, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, STABLE_DATE), content, zipfile.ZIP_DEFLATED)
    return bundle


def repository_of(readme: Path) -> str:
    """Return the repository whose name README.md states as `mcp-name: io.github.OWNER/REPOSITORY`."""
    found = re.search(r"mcp-name: io\.github\.([\w.-]+/[\w.-]+)", readme.read_text(encoding="utf-8"))
    if found is None:
        sys.exit(f"{readme} has no `mcp-name:`, by which the registry checks who owns the package.")
    return found[1]


def main() -> None:
    """Write both files."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("wheel", type=Path, metavar="WHEEL")
    options.add_argument("repository", nargs="?", metavar="OWNER/REPOSITORY", help="default: the one in README.md")
    given = options.parse_args()
    wheel: Path = given.wheel.resolve()
    if not wheel.is_file() or wheel.suffix != ".whl":
        options.error(f"{given.wheel} is not a wheel. Make one: python -m pip wheel --no-deps --wheel-dir dist .")
    repository = given.repository or repository_of(ROOT / "README.md")
    version = wheel.name.split("-")[1]
    bundle = write_bundle(wheel, version, repository)
    entry = json.dumps(registry_entry(version, repository, bundle), indent=2) + "\n"
    (wheel.parent / "server.json").write_text(entry, encoding="utf-8")


if __name__ == "__main__":
    main()
