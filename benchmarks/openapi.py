"""How much of OpenAPI comes out right: `python benchmarks/openapi.py [--examples 5000] [--folder DIR]`.

Converts every sample document (of the folder `shared/openapi-samples` beside the repository, else of
`tests/data/openapi`), sends drawn calls to a loopback server and holds them against the oracle in
`tests/openapi_oracle`. Prints one line per goal; exit status 1 if a goal is missed.
"""

import argparse
import gc
import sys
import time
import tracemalloc
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import orjson
from hypothesis import HealthCheck, given, settings
from tests.openapi_oracle.checking import faults_of
from tests.openapi_oracle.fuzzing import Documents, broken, check
from tests.openapi_oracle.loopback import recorder
from tests.openapi_oracle.matrix import documents as matrix_documents
from tests.openapi_oracle.reading import Reader
from tests.openapi_oracle.running import MODES, Score, run
from tests.openapi_oracle.samples import OWN, SHARED, load, sample_files
from tests.openapi_oracle.securing import is_right
from tests.support.server_client import StandIn

from utcp_bridge.catalogue.catalogue import Catalogue
from utcp_bridge.dialects.openapi import ConversionOptions, convert
from utcp_bridge.errors import UtcpError
from utcp_bridge.settings import BridgeSettings

MATRIX_URL = "https://docs.example.com/openapi.json"


class Table:
    """Prints measured against wanted, and remembers whether all was reached."""

    def __init__(self):
        self.reached = True

    def line(self, what, measured, goal, *, reached):
        self.reached &= reached
        print(f"{'ok  ' if reached else 'MISS'}  {what:<48} {measured:<24} goal {goal}")

    def share(self, what, part, whole, goal):
        share = part / whole if whole else 1.0
        self.line(what, f"{share:7.2%} ({part}/{whole})", f">= {goal:.1%}", reached=share >= goal)


def main():
    arguments = _arguments()
    table = Table()
    paths = sample_files(arguments.folder)
    loaded = {path.name: load(path) for path in paths}
    _conversion(table, loaded)
    _weight(table, paths)
    with recorder() as loopback:
        _requests(table, loaded, loopback, arguments.operations, arguments.verbose)
        _matrix(table, loopback)
    _fuzz(table, arguments.examples)
    return 0 if table.reached else 1


def _arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=SHARED if SHARED.is_dir() else OWN)
    parser.add_argument("--operations", type=int, default=12, help="operations judged per document")
    parser.add_argument("--examples", type=int, default=5_000, help="broken documents to try")
    parser.add_argument("--verbose", action="store_true", help="print what is wrong")
    return parser.parse_args()


def _conversion(table, loaded):
    converted = operations = tools = secured = placed = 0
    faults = Counter()
    slowest, taken = "", 0.0
    for name, (document, url, files) in loaded.items():
        declared = list(Reader(document, url, files).operations())
        operations += len(declared)
        start = time.process_time()
        try:
            made = convert(document, url=url, options=ConversionOptions(), files=files).tools
        except UtcpError:
            continue
        seconds = time.process_time() - start
        made = [tool.as_json() for tool in made]
        if seconds > taken:
            slowest, taken = f"{name}, {len(made)} operations", seconds
        converted += 1
        tools += len(made)
        faults.update(fault for fault, _ in faults_of(made))
        if len(made) == len(declared):
            secured += len(declared)
            placed += sum(map(is_right, declared, made))
    table.share("documents converted", converted, len(loaded), 0.995)
    table.share("operations that became tools", tools, operations, 0.995)
    table.share("security placed as declared", placed, secured, 0.99)
    bad = sum(faults.values())
    table.line("invalid, dangling, illegal, duplicate", str(dict(faults) or 0), "0", reached=bad == 0)
    table.line("slowest conversion, CPU s", f"{taken:.2f} ({slowest})", "< 1", reached=taken < 1)


def _weight(table, paths):
    """Memory and listed bytes of the document with the most operations, if it is a large one."""
    path = max(paths, key=lambda path: sum(1 for _ in Reader(*load(path)).operations()))
    document, url, files = load(path)
    gc.collect()
    tracemalloc.start()
    tools = convert(document, url=url, options=ConversionOptions(), files=files).tools
    gc.collect()
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    if len(tools) < 1_000:
        return
    client = StandIn(BridgeSettings(exposure="all"))
    for tool in tools:
        client.add("api", tool.name, description=tool.description, inputs=tool.inputs, outputs=tool.outputs)
    entries = [entry.listed for entry in Catalogue(client).listed]
    schemas = sum(len(orjson.dumps(entry.get(key))) for entry in entries for key in ("inputSchema", "outputSchema"))
    whole = sum(len(orjson.dumps(entry)) for entry in entries)
    table.line(
        "memory above the document, MB", f"{kept / 1e6:.1f} ({len(tools)} operations)", "< 60", reached=kept < 60e6
    )
    table.line("schemas of one whole tools/list, MB", f"{schemas / 1e6:.2f}", "< 1.5", reached=schemas < 1.5e6)
    print(f"      the whole list, descriptions and all: {whole / 1e6:.2f} MB")


def _requests(table, loaded, loopback, most, verbose):
    scores = {"3.x": Score(), "2.0": Score()}
    for name, (document, url, files) in loaded.items():
        score = run(document, url, loopback, files=files, most=most)
        scores["2.0" if "swagger" in document else "3.x"].add(score)
        for wrong in score.wrong if verbose else ():
            print("     ", name, *wrong)
    for family, goal in (("3.x", 0.999), ("2.0", 0.99)):
        score = scores[family]
        table.share(f"requests right in every mode, {family}", score.right, score.operations, goal)
        modes = ", ".join(f"{mode} {score.modes[mode]}" for mode in MODES)
        print(f"      {modes}; {score.unjudged} not judged")


def _matrix(table, loopback):
    total = Score()
    for _, document in matrix_documents():
        total.add(run(document, MATRIX_URL, loopback, most=100_000))
    table.share("matrix of styles, types and media", total.right, total.operations, 0.97)


def _fuzz(table, examples):
    sound = Documents(load(path)[0] for path in sample_files(OWN) if path.stat().st_size < 15_000)

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(broken(sound))
    def trial(document):
        check(document)

    try:
        trial()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
        table.line("broken documents", f"{type(error).__name__}: {error}"[:200], f"0 of {examples} fail", reached=False)
    else:
        table.line("broken documents", f"0 of {examples} fail", f"0 of {examples} fail", reached=True)


if __name__ == "__main__":
    sys.exit(main())
