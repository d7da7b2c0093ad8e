"""Quality and cost of tool search: `python -m benchmarks.search [--data FOLDER] [--sample N] [--cost] [--tokens]
[--memory] [--model FOLDER] [--write docs/benchmarks.md]`.

Quality: recall, mean reciprocal rank and nDCG of the default strategy, of UTCP's reference algorithm and
of plain Okapi BM25, for each query set and as the mean over sets, each query against every tool; then the
same queries with spelling mistakes. Cost: CPU time and resident memory of building an index of 1k, 10k and
50k tools, and CPU time of a query. Times are CPU times of this process. Tokens: what a model receives of 100, 1k and
10k tools, as the list and as the result of a search; a token counts as 4 bytes. Memory: each set is split, the tools of
one half are remembered with their queries (one or five for each tool, some of them for a wrong tool), and the other
half is asked. The weights of the memory were chosen on the halves of the seeds in `TUNED`; those of `HELD_BACK` were
only measured, with the weights as they are now. Model: a folder of an embedding model; measures the search by meaning.

The data are two files: `tools.jsonl` (id, name, provider, tags, description, schema) and `queries.jsonl`
(q, gold, set).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # more threads wait for one another, which counts as CPU time

import anyio
import orjson

from utcp_bridge.model import Source, Tool, discard
from utcp_bridge.search import create_strategy
from utcp_bridge.search.encoders import LocalScorer
from utcp_bridge.search.memory import (
    MAX_TOOLS,
    Meaning,
    SearchMemory,
    has_only_words,
    remembering,
    terms_to_learn,
)
from utcp_bridge.search.semantic import SemanticStrategy

__all__ = ["Queries", "evaluate", "load_queries", "load_tools", "macro", "misspell", "ranker"]

DATA = Path(__file__).parents[1].parent / "shared" / "search-eval"
SIZES = (1_000, 10_000, 50_000)
METRICS = ("R@1", "R@5", "R@10", "C@10", "MRR", "nDCG")
SEED = 0
WIDTHS = (8, 12, 12, 12, 10, 13)
TUNED, HELD_BACK = (1, 2, 3, 4), (5, 6, 7, 8, 21, 22)
MEMORIES = ((1, 0.0), (1, 0.3), (5, 0.0), (5, 0.3))
"""The most queries of each tool, and the share of wrong ones."""
DIMENSIONS = 384
DAY = 86_400.0
"""Seconds for the vectors of all questions: a busy machine must not change what is measured."""
BEGIN, END = "<!-- search -->", "<!-- end of search -->"
"""What is between these lines of a page is replaced."""

Queries = Mapping[str, Sequence[Mapping[str, Any]]]
"""Query records by set."""
Ranker = Callable[[str], list[str]]
"""The ids of the ten best tools for a query."""


def load_tools(folder: Path) -> dict[str, Tool]:
    """The tools by their ids."""
    sources: dict[str, Source] = {}
    found: dict[str, Tool] = {}
    for record in _records(folder / "tools.jsonl"):
        provider = record["provider"]
        found[record["id"]] = Tool(
            source=sources.setdefault(provider, Source(provider)),
            name=record["name"],
            kind="http",
            template={},
            description=record["description"],
            inputs=record["schema"],
            tags=tuple(record["tags"]),
        )
    return found


def load_queries(folder: Path, sample: int | None = None) -> Queries:
    """Queries by set, at most `sample` of each, always the same ones."""
    sets: dict[str, list[dict[str, Any]]] = {}
    for record in _records(folder / "queries.jsonl"):
        sets.setdefault(record["set"], []).append(record)
    if sample is not None:
        chance = random.Random(SEED)
        sets = {name: chance.sample(found, min(sample, len(found))) for name, found in sets.items()}
    return sets


def ranker(strategy_id: str, tools: Mapping[str, Tool]) -> Ranker:
    """A strategy over these tools."""
    strategy = create_strategy(strategy_id)
    strategy.add(tools.values())
    ids = {id(tool): key for key, tool in tools.items()}
    return lambda query: [ids[id(hit.tool)] for hit in strategy.search(query, limit=10)]


def evaluate(rank: Ranker, queries: Queries) -> dict[str, list[float]]:
    """Mean of each of `METRICS`, by set."""
    scores: dict[str, list[float]] = {}
    for name, records in queries.items():
        rows = [_metrics(rank(record["q"]), record["gold"]) for record in records]
        scores[name] = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    return scores


def macro(scores: Mapping[str, list[float]]) -> dict[str, float]:
    """Mean over the sets of each metric."""
    columns = zip(*scores.values(), strict=True)
    return {metric: sum(column) / len(scores) for metric, column in zip(METRICS, columns, strict=True)}


def misspell(queries: Queries) -> Queries:
    """The queries with one edit in about a third of the words of five letters or more."""
    chance = random.Random(SEED)

    def edited(match: re.Match[str]) -> str:
        word = match.group()
        if chance.random() > 1 / 3:
            return word
        place, letter = chance.randrange(len(word) - 1), chance.choice("abcdefghijklmnopqrstuvwxyz")
        head, tail = word[:place], word[place:]
        return chance.choice(
            (head + tail[1:], head + letter + tail, head + letter + tail[1:], head + tail[1] + tail[0] + tail[2:])
        )

    return {
        name: [{**record, "q": re.sub(r"[A-Za-z]{5,}", edited, record["q"])} for record in records]
        for name, records in queries.items()
    }


class PlainBm25:
    """Okapi BM25 over all the text of a tool, lower-cased words as they are."""

    def __init__(self, tools: Mapping[str, Tool], k1: float = 1.5, b: float = 0.75) -> None:
        self._ids = list(tools)
        documents = [_words(_all_text(tool)) for tool in tools.values()]
        average = sum(map(len, documents)) / len(documents)
        self._postings: dict[str, list[tuple[int, float]]] = {}
        for number, document in enumerate(documents):
            norm = k1 * (1 - b + b * len(document) / average)
            for word, count in Counter(document).items():
                self._postings.setdefault(word, []).append((number, count * (k1 + 1) / (count + norm)))

    def __call__(self, query: str) -> list[str]:
        scores: Counter[int] = Counter()
        for word in _words(query):
            postings = self._postings.get(word, ())
            idf = math.log(1 + (len(self._ids) - len(postings) + 0.5) / (len(postings) + 0.5))
            for number, weight in postings:
                scores[number] += idf * weight
        return [self._ids[number] for number, _ in scores.most_common(10)]


def plain_bm25(tools: Mapping[str, Tool]) -> tuple[str, Ranker]:
    """rank-bm25's Okapi BM25 where it is installed, else `PlainBm25`."""
    try:
        from rank_bm25 import BM25Okapi
    except ImportError:
        return "plain BM25", PlainBm25(tools)
    ids = list(tools)
    engine = BM25Okapi([_words(_all_text(tool)) for tool in tools.values()])
    return "rank-bm25", lambda query: engine.get_top_n(_words(query), ids, n=10)


def report_quality(folder: Path, sample: int | None) -> None:
    tools, queries = load_tools(folder), load_queries(folder, sample)
    name, plain = plain_bm25(tools)
    systems = {"bm25 (default)": ranker("bm25", tools), name: plain}
    systems["UTCP reference"] = ranker("tag_and_description_word_match", tools)
    print(f"{len(tools)} tools, {sum(map(len, queries.values()))} queries\n")
    print(f"{'':32}" + "".join(f"{metric:>8}" for metric in METRICS))
    ndcg: dict[str, float] = {}
    for system, rank in systems.items():
        scores = evaluate(rank, queries)
        for name, row in scores.items():
            print(f"{system:16}{name:16}" + "".join(f"{value:8.3f}" for value in row))
        ndcg[system] = _print_macro(system, scores)["nDCG"]
    default = systems["bm25 (default)"]
    misspelt = _print_macro("bm25, misspelt", evaluate(default, misspell(queries)))["nDCG"]
    best = ndcg.pop("bm25 (default)")
    for system, value in ndcg.items():
        print(f"nDCG against {system}: {best / value:.2f}x")
    print(f"nDCG misspelt / clean: {misspelt / best:.3f}\n")


def split_history(queries: Queries, seed: int) -> tuple[list[Mapping[str, Any]], Queries]:
    """The first half of each set in an order of this seed, and up to 100 queries of the other half."""
    past, asked = [], {}
    for name in sorted(queries):
        records = list(queries[name])
        random.Random(seed).shuffle(records)
        past += records[: len(records) // 2]
        asked[name] = records[len(records) // 2 :][:100]
    return past, asked


def remembered(
    tools: Mapping[str, Tool],
    past: Sequence[Mapping[str, Any]],
    most: int,
    wrong: float,
    meanings: Mapping[str, Meaning | None],
) -> SearchMemory:
    """A memory of at most `most` queries of each tool. The share `wrong` is noted for another tool of its source."""
    chance, ids, counts = random.Random(SEED), list(tools), Counter[str]()
    memory = SearchMemory(max_tools=len(tools))
    for record in past:
        for gold in record["gold"]:
            tool = gold
            if chance.random() < wrong:
                source = gold.partition("/")[0]
                tool = next((one for one in chance.sample(ids, 400) if one.partition("/")[0] == source), gold)
            if counts[tool] < most:
                counts[tool] += 1
                text = record["q"]
                memory.learn(tools[tool].qualified_name, terms_to_learn(text), 0.0, meanings.get(text))
    return memory


Gains = dict[tuple[int, float], list[dict[str, float]]]
"""The gain of nDCG of each set, for each split, by the queries of each tool and the share of wrong ones."""


async def memory_gains(tools: Mapping[str, Tool], queries: Queries, seeds: Sequence[int], meaning: Meaningful) -> Gains:
    """What remembered searches bring to a strategy that contains the tools."""
    ids = {id(tool): key for key, tool in tools.items()}
    gains: Gains = {}

    def rank(query: str) -> list[str]:
        return [ids[id(hit.tool)] for hit in meaning.strategy.search(query, limit=10)]

    for seed in seeds:
        past, asked = split_history(queries, seed)
        meanings = await meaning.prepare([record["q"] for record in past])
        await meaning.prepare([record["q"] for records in asked.values() for record in records])
        without = evaluate(rank, asked)
        for most, wrong in MEMORIES:
            with remembering(remembered(tools, past, most, wrong, meanings)):
                scores = evaluate(rank, asked)
            gain = {name: row[-1] - without[name][-1] for name, row in scores.items()}
            gains.setdefault((most, wrong), []).append(gain)
            mean = macro(scores)["nDCG"]
            print(
                f"split {seed}, {most} queries a tool, {wrong:.0%} wrong: nDCG {mean:.4f}, {_gain_of(gain)}", flush=True
            )
    return gains


def _gain_of(gain: Mapping[str, float]) -> str:
    worst = min(gain, key=lambda name: gain[name])
    return f"gain {sum(gain.values()) / len(gain):+.4f}, least {gain[worst]:+.3f} ({worst})"


class Meaningful:
    """A strategy, and what makes the vectors of its queries if it has them."""

    def __init__(self, strategy: Any) -> None:
        self.strategy = strategy

    async def prepare(self, queries: Sequence[str]) -> dict[str, Meaning | None]:
        """The vectors that the server would learn from these queries."""
        if not isinstance(self.strategy, SemanticStrategy):
            return {}
        await self.strategy.prepare(queries)
        return {query: self.strategy.meaning_of(query) for query in queries if has_only_words(query)}


class KeptVectors:
    """A scorer that computes the vector of each text once."""

    def __init__(self, scorer: LocalScorer) -> None:
        self.model = scorer.model
        self._scorer = scorer
        self._known: dict[str, Any] = {}

    async def embed(self, texts: list[str]) -> list[Any]:
        missing = [text for text in dict.fromkeys(texts) if text not in self._known]
        if missing:
            self._known.update(zip(missing, await self._scorer.embed(missing), strict=True))
        return [self._known[text] for text in texts]


class DrawnVectors:
    """A scorer for costs alone: vectors of a usual length that say nothing."""

    model = "drawn"

    def __init__(self) -> None:
        self._chance = random.Random(SEED)

    async def embed(self, texts: list[str]) -> list[list[float]]:
        return [[self._chance.gauss(0, 1) for _ in range(DIMENSIONS)] for _ in texts]


def report_memory(tools: Mapping[str, Tool], queries: Queries, seeds: Sequence[int], strategy: Any) -> Iterator[str]:
    """Print each split; return the lines of a table."""
    gains = anyio.run(memory_gains, tools, queries, seeds, Meaningful(strategy))
    yield "| past questions | wrong ones | gain of nDCG@10 (range) | least gain of a set, mean | in one split |"
    yield "| --- | --- | --- | --- | --- |"
    for (most, wrong), found in gains.items():
        means = [sum(gain.values()) / len(gain) for gain in found]
        sets = min(sum(gain[name] for gain in found) / len(found) for name in found[0])
        least = min(min(gain.values()) for gain in found)
        mean = f"{sum(means) / len(means):+.3f} ({min(means):+.3f} to {max(means):+.3f})"
        yield f"| {most} | {wrong:.0%} | {mean} | {sets:+.3f} | {least:+.3f} |"


async def with_vectors(tools: Iterable[Tool], model: Path, cache: Path) -> SemanticStrategy:
    """The search by meaning with the model of a folder. Vectors of tools are kept in `cache`."""
    strategy = SemanticStrategy(create_strategy(), KeptVectors(LocalScorer(model)), seconds=DAY, cache=cache)
    strategy.add(tools)
    started = time.process_time()
    await strategy.index()
    print(f"{time.process_time() - started:.0f} s CPU for the vectors of the tools, without those in the cache")
    return strategy


def report_meaning(
    folder: Path, tools: Mapping[str, Tool], queries: Queries, strategy: SemanticStrategy
) -> Iterator[str]:
    """Quality of the search by meaning, and its CPU time beside the words and the encoder; return lines of tables."""
    ids = {id(tool): key for key, tool in tools.items()}
    anyio.run(strategy.prepare, [record["q"] for records in queries.values() for record in records])
    scores = evaluate(lambda query: [ids[id(hit.tool)] for hit in strategy.search(query, limit=10)], queries)
    mean = macro(scores)
    _print_macro("by meaning", scores)
    yield "| R@5 | R@10 | nDCG@10 | " + " | ".join(scores) + " |"
    yield "| --- " * (3 + len(scores)) + "|"
    figures = [mean["R@5"], mean["R@10"], mean["nDCG"], *(row[-1] for row in scores.values())]
    yield "| " + " | ".join(f"{figure:.3f}"[1:] for figure in figures) + " |"
    yield ""
    yield "| tools | CPU of vectors, ms: p50, p99 | with a memory of 400 tools: p50, p99 |"
    yield "| --- | --- | --- |"
    for size in SIZES[1:]:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            plain, learned = pool.submit(measure_vectors, folder, size).result()
        yield f"| {size:,} | {plain[0]:.2f}, {plain[1]:.2f} | {learned[0]:.2f}, {learned[1]:.2f} |"


def measure_vectors(folder: Path, size: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """p50 and p99 in ms of CPU that vectors add to the words of a query: without a memory, and with a full one."""
    tools = _grown(list(load_tools(folder).values()), size)
    asked = [record["q"] for records in load_queries(folder, 50).values() for record in records]
    words, strategy = create_strategy(), SemanticStrategy(create_strategy(), DrawnVectors(), seconds=DAY)
    words.add(tools)
    strategy.add(tools)
    anyio.run(strategy.index)
    anyio.run(strategy.prepare, asked)
    memory = SearchMemory()
    for query, tool in zip(asked * 2, random.Random(SEED).sample(tools, MAX_TOOLS), strict=False):
        memory.learn(tool.qualified_name, terms_to_learn(query), 0.0, strategy.meaning_of(query))

    def beside(query: str) -> float:
        at = time.process_time()
        words.search(query, limit=100)
        between = time.process_time()
        strategy.search(query, limit=10)
        return (time.process_time() - between - (between - at)) * 1_000

    def times() -> tuple[float, float]:
        taken = sorted(beside(query) for query in asked)
        return taken[len(taken) // 2], taken[int(len(taken) * 0.99)]

    plain = times()
    with remembering(memory):
        return plain, times()


def report_cost(folder: Path) -> None:
    print(f"{'tools':>8}{'build ms/tool':>16}{'KB/tool':>10}{'query p50 ms':>14}{'p99 ms':>10}{'misspelt p99':>14}")
    for size in SIZES:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            build, memory, clean, misspelt = pool.submit(measure_cost, folder, size).result()
        print(f"{size:>8}{build:>16.3f}{memory:>10.2f}{clean[0]:>14.2f}{clean[1]:>10.2f}{misspelt[1]:>14.2f}")


def measure_cost(folder: Path, size: int) -> tuple[float, float, tuple[float, float], tuple[float, float]]:
    """Milliseconds and KB a tool for building; p50 and p99 in ms a query, clean and misspelt."""
    tools = _grown(list(load_tools(folder).values()), size)
    queries = load_queries(folder, 100)
    strategy = create_strategy()
    memory, started = _resident(), time.process_time()
    strategy.add(tools)
    build = (time.process_time() - started) / size * 1_000
    grown = (_resident() - memory) / size / 1_024

    def times(asked: Queries) -> tuple[float, float]:
        taken: list[float] = []
        for record in (record for records in asked.values() for record in records):
            started = time.process_time()
            strategy.search(record["q"], limit=10)
            taken.append((time.process_time() - started) * 1_000)
        taken.sort()
        return taken[len(taken) // 2], taken[int(len(taken) * 0.99)]

    return build, grown, times(queries), times(misspell(queries))


def report_tokens(folder: Path) -> None:
    asked = [record["q"] for records in load_queries(folder, 5).values() for record in records]
    print(f"{'tools':>8}{'in the list':>12}{'its tokens':>12}{'meta-tools':>12}{'a search':>10}{'full detail':>13}")
    for size in (100, 1_000, 10_000):
        print(
            "".join(f"{value:>{width},}" for value, width in zip(token_row(folder, size, asked), WIDTHS, strict=True))
        )


def token_row(folder: Path, size: int, asked: Sequence[str]) -> tuple[int, ...]:
    """Tools; tools in the list by default; tokens of the list, of its meta-tools, and of a search in the mean."""
    from tests.support.server_client import StandIn

    from utcp_bridge.server.app import BridgeServer

    tools = list(load_tools(folder).values())
    client = StandIn()
    for tool in _grown(random.Random(SEED).sample(tools, len(tools)), size):
        client.add(tool.manual or "m", tool.name, description=tool.description, inputs=tool.inputs, tags=tool.tags)
    server = BridgeServer(client)
    page = server.catalogue.page()

    async def searched(**options: str) -> int:
        found = [
            await server.meta_tools.call("search_tools", {"query": query[:1_000], **options}, discard)
            for query in asked
        ]
        return sum(_tokens([one["content"], one.get("structuredContent")]) for one in found) // len(found)

    meta = len(server.catalogue.meta_tools)
    costs = anyio.run(searched), anyio.run(partial(searched, detail="full"))
    return size, len(page.tools) - meta, _tokens(page.tools), _tokens(server.catalogue.meta_tools), *costs


def _tokens(value: object) -> int:
    return len(orjson.dumps(value)) // 4


def _grown(tools: list[Tool], size: int) -> list[Tool]:
    """`size` tools; beyond those there are, the same again with another last word in the name."""
    suffixes = ("", "alpha", "beta", "gamma", "delta", "epsilon", "zeta")
    copies = (dataclasses.replace(tool, name=f"{tool.name} {word}".strip()) for word in suffixes for tool in tools)
    return [tool for tool, _ in zip(copies, range(size), strict=False)]


def _print_macro(system: str, scores: Mapping[str, list[float]]) -> dict[str, float]:
    mean = macro(scores)
    print(f"{system:16}{'MACRO':16}" + "".join(f"{value:8.4f}" for value in mean.values()) + "\n", flush=True)
    return mean


def _metrics(ranked: Sequence[str], gold: Sequence[str]) -> list[float]:
    wanted = set(gold)
    places = [place for place, found in enumerate(ranked) if found in wanted]

    def recall(k: int) -> float:
        return sum(place < k for place in places) / len(wanted)

    ideal = sum(1 / math.log2(place + 2) for place in range(min(10, len(wanted))))
    gain = sum(1 / math.log2(place + 2) for place in places)
    reciprocal = 1 / (places[0] + 1) if places else 0.0
    return [recall(1), recall(5), recall(10), float(recall(10) == 1), reciprocal, gain / ideal]


def _records(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


def _all_text(tool: Tool) -> str:
    parameters = " ".join(
        f"{name} {schema.get('description', '')}" for name, schema in tool.inputs["properties"].items()
    )
    return f"{tool.name} {tool.manual} {' '.join(tool.tags)} {tool.description} {parameters}"


def _resident() -> int:
    """Resident bytes of this process (Linux; elsewhere the peak)."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4_096
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1_024


def words_with_memory(folder: Path, title: str, seeds: Sequence[int]) -> list[str]:
    """What remembered searches bring to the search by words, as lines for the page."""
    tools, words = load_tools(folder), create_strategy()
    words.add(tools.values())
    heading = f"Remembered searches, splits {title} ({', '.join(map(str, seeds))}):"
    return ["", heading, "", *report_memory(tools, load_queries(folder), seeds, words)]


def by_meaning(options: argparse.Namespace) -> Iterator[str]:
    """What vectors bring and cost, as lines for the page."""
    tools, queries = load_tools(options.data), load_queries(options.data)
    strategy = anyio.run(with_vectors, tools.values(), options.model, options.cache)
    yield from ("", "By meaning, all questions: the macro means, and nDCG@10 of each set:", "")
    yield from report_meaning(options.data, tools, queries, strategy)
    if options.memory:
        seeds = HELD_BACK[:2]
        heading = f"By meaning, with remembered searches, splits held back ({', '.join(map(str, seeds))}):"
        yield from ("", heading, "", *report_memory(tools, queries, seeds, strategy))


def _measured(options: argparse.Namespace) -> list[str]:
    """Return the lines for the page, about all questions; print the details on the way."""
    splits = (("for tuning", TUNED), ("held back", HELD_BACK)) if options.memory else ()
    with ProcessPoolExecutor(len(splits) or 1, mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(words_with_memory, options.data, title, seeds) for title, seeds in splits]
        vectors = [*by_meaning(options)] if options.model else []
        return [line for job in jobs for line in job.result()] + vectors


def _write(page: Path, lines: Sequence[str]) -> None:
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text("\n".join((f"{before}{BEGIN}", "", *lines, "", f"{END}{after}")), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of tools.jsonl and queries.jsonl")
    parser.add_argument("--sample", type=int, default=100, help="queries of each set; 0 for all (default 100)")
    parser.add_argument("--cost", action="store_true", help="measure the cost as well")
    parser.add_argument("--tokens", action="store_true", help="measure what a model receives as well")
    parser.add_argument("--memory", action="store_true", help="measure what remembered searches bring as well")
    parser.add_argument(
        "--model", type=Path, help="folder of an embedding model: measure the search by meaning as well"
    )
    parser.add_argument("--cache", type=Path, default=Path(".tools/vectors"), help="folder that keeps its vectors")
    parser.add_argument("--write", type=Path, help="page whose part about the search is replaced by the tables")
    options = parser.parse_args()
    report_quality(options.data, options.sample or None)
    lines = _measured(options)[1:]
    print("\n".join(lines))
    if options.write:
        _write(options.write, lines)
    if options.cost:
        report_cost(options.data)
    if options.tokens:
        report_tokens(options.data)


if __name__ == "__main__":
    main()
