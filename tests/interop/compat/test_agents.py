"""The agents in examples/ with their frameworks, in an environment of their own, with a fake model on loopback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.interop.serving import free_port, serving
from tests.interop.software import PyPI
from tests.support.fake_model import FakeModel
from tests.upstreams.registry_service import served

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "examples"
AGENTS = PyPI(
    f"openai==3.51.0 langchain==1.5.2 langchain-openai==1.7.4 pydantic-ai-slim[openai]==2.68.0 -e {ROOT}",
    program="python",
    light=False,
)


@pytest.mark.timeout(150)
@pytest.mark.needs(AGENTS)
@pytest.mark.parametrize("name", ["langchain_agent.py", "openai_agent.py", "pydantic_ai_agent.py"])
def test_an_agent_calls_a_tool_and_answers(name: str, tmp_path: Path) -> None:
    port, model = free_port(), FakeModel("find_books", {"below": 15})
    provider = [sys.executable, str(EXAMPLES / "provider.py"), "--port", str(port)]
    with serving(provider, port=port), served(model.app) as base:
        own = {"OPENAI_BASE_URL": f"{base.rstrip('/')}/v1", "OPENAI_API_KEY": "k1", "MODEL": "fake"}
        done = subprocess.run(
            [AGENTS.command, str(EXAMPLES / "agents" / name), f"http://127.0.0.1:{port}/utcp", "Which books?"],
            env={**os.environ, **own},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            cwd=tmp_path,
        )
    assert done.returncode == 0, done.stderr
    assert "The tool says: " in done.stdout
    assert "Cheese" in done.stdout
    assert model.keys[0] == "Bearer k1"
