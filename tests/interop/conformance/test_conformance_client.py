"""The client suites of the protocol's makers: the bridge calls the suite's servers, for a host in front of it.

`client.py` is started once for each scenario. All scenarios of a revision are one test, because the suite says which
there are.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.interop.conformance.suite import ALPHA, REVISIONS, Report, Verdict, judge_client, required

pytestmark = [pytest.mark.timeout(900), pytest.mark.needs(ALPHA), pytest.mark.long]

COMMAND = shlex.join([sys.executable, str(Path(__file__).with_name("client.py"))])
AT_ONCE = 2
"""Clients that run at the same time. The suite limits the time of each, so all at once would be too slow."""


@pytest.mark.parametrize("revision", REVISIONS)
def test_the_bridge_passes_every_scenario_as_a_client(
    revision: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    scored, reported = required("client", revision)

    def judge(scenario: str) -> Verdict:
        folder = tmp_path / scenario.replace("/", "_")
        return judge_client(COMMAND, scenario, revision, folder, scored=scenario in scored)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = dict(zip([*scored, *reported], pool.map(judge, [*scored, *reported]), strict=True))
    report = Report({name: found[name] for name in scored}, {name: found[name] for name in reported})
    record_property("suite", report.line("the bridge as a client", revision))
    if report.failures:
        pytest.fail(report.described, pytrace=False)
