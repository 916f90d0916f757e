"""Popular queries, as in a search's log: what the cache of results saves.

`python tests/load/popular.py` asks for 5,000 reformulations of 1,000 queries whose frequency falls
with their rank (Zipf, exponent 1), and prints the hit rate, the throughput beside that of
`cache: false`, and what a hit costs: the service's own time and its processor's, for one client.
The clients run on the same machine.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1]))  # for a run as a command

from support.memory import cpu_seconds
from support.serving import Server, start, stop

CALIBRATION = Path(__file__).parents[2] / "gguf/t5gguf/calibration.txt"
PLACES = ("", " in berlin", " in a small town", " near the sea", " abroad")


def distinct_queries(count: int) -> list[str]:
    """Returns different queries, at most five times as many as there are in the file."""
    pairs = itertools.product(PLACES, CALIBRATION.read_text().splitlines())
    return [query + place for place, query in itertools.islice(pairs, count)]


def draw(queries: Sequence[str], count: int, exponent: float = 1.0) -> list[str]:
    """Draws queries, each as often as its rank says: proportional to 1 / rank ** exponent."""
    weights = [1 / rank**exponent for rank in range(1, len(queries) + 1)]
    return random.Random(1).choices(queries, weights, k=count)


@dataclass
class Run:
    """Answers to queries by several clients.

    Attributes:
        seconds: the duration of the run.
        answers: for each request the query, its reformulations, and whether they were cached.
    """

    seconds: float = 0.0
    answers: list[tuple[str, list[str], bool]] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.answers) / self.seconds

    @property
    def hit_rate(self) -> float:
        """The share of requests for which nothing was decoded."""
        return statistics.mean(cached for _, _, cached in self.answers)


def ask(server: Server, queries: Sequence[str], clients: int, **body: Any) -> Run:
    """Asks every query in turn, as many at once as there are clients."""
    run = Run()
    waiting = iter(queries)
    bar = tqdm(total=len(queries), unit="query", disable=None)

    def work(client: httpx.Client) -> None:
        for query in waiting:
            response = client.post("/v1/reformulate", json={"query": query, **body})
            (result,) = response.raise_for_status().json()["results"]
            if result["fallback_reason"] not in (None, "no_usable_output"):
                raise RuntimeError(f"{query}: {result['fallback_reason']}")
            run.answers.append((query, result["queries"], result["cached"]))
            bar.update()

    connections = [server.client() for _ in range(clients)]
    started = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(work, connections))
    run.seconds = time.perf_counter() - started
    for connection in connections:
        connection.close()
    bar.close()
    return run


@dataclass(frozen=True)
class HitCost:
    """What hits cost the service, in milliseconds each.

    Attributes:
        own: by the line in the log, from the request's head to the last byte of the answer.
        processor: of the parent process, on average.
    """

    own: list[float]
    processor: float


def measure_hits(
    server: Server, queries: Sequence[str], repeats: int, **body: Any
) -> tuple[list[str], float]:
    """Asks for known results, one after another; their request ids, and processor seconds each."""
    ids = [f"hit-{number}" for number in range(repeats)]
    with server.client() as client:
        before = cpu_seconds(server.process.pid)
        for request_id, query in zip(ids, itertools.cycle(queries), strict=False):
            headers = {"x-request-id": request_id}
            client.post("/v1/reformulate", json={"query": query, **body}, headers=headers)
        used = cpu_seconds(server.process.pid) - before
    return ids, used / repeats


def own_times(log: str, ids: Sequence[str]) -> list[float]:
    """Returns the milliseconds of requests for which nothing was decoded, from the log."""
    wanted = set(ids)
    lines = (json.loads(line) for line in log.splitlines() if line.startswith("{"))
    return [
        line["ms"]
        for line in lines
        if line.get("request_id") in wanted and line.get("cached") and not line.get("inputs")
    ]


@dataclass(frozen=True)
class Outcome:
    """A measurement: the same load with and without the cache, and the cost of a hit."""

    cached: Run
    decoded: Run
    hits: HitCost
    metrics: Counter[str]


def measure(
    requests: int, distinct: int, clients: int, *, uncached: int, hits: int, **body: Any
) -> Outcome:
    """Runs the load on a service of its own.

    Args:
        requests: the number of requests.
        distinct: the number of queries they are drawn from.
        clients: the number of clients.
        uncached: how many of the requests are sent with `cache: false` for comparison.
        hits: how many known results are asked for by a single client.
        body: further fields of the requests.
    """
    queries = draw(distinct_queries(distinct), requests)
    server = start(cache_bytes="", log_format="json", timeout_ms="60000")
    try:
        server.wait_until_ready()
        ask(server, queries[: 2 * clients], clients, cache=False, **body)  # graphs are built
        decoded = ask(server, queries[:uncached], clients, cache=False, **body)
        cached = ask(server, queries, clients, **body)
        ids, processor = measure_hits(server, queries, hits, **body)
        with server.client() as client:
            metrics = _read_metrics(client.get("/metrics").text)
    finally:
        log = stop(server)
    return Outcome(cached, decoded, HitCost(own_times(log, ids), 1000 * processor), metrics)


def _read_metrics(text: str) -> Counter[str]:
    """Returns the figures of the cache, by name and label."""
    lines = [line.rpartition(" ") for line in text.splitlines() if line.startswith("t5serve_cache")]
    return Counter({name: int(float(value)) for name, _, value in lines if "_created" not in name})


def main() -> None:
    """Prints what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--distinct", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--uncached", type=int, default=1000, help="requests without the cache")
    parser.add_argument("--hits", type=int, default=2000, help="of a single client")
    parser.add_argument("--body", type=json.loads, default={}, help="further fields, as JSON")
    options = vars(parser.parse_args())
    outcome = measure(**options.pop("body"), **options)
    percentiles = statistics.quantiles(outcome.hits.own, n=100, method="inclusive")
    tqdm.write(
        f"hit rate {outcome.cached.hit_rate:.1%}; {outcome.cached.rate:.0f} answers/s, without the "
        f"cache {outcome.decoded.rate:.0f}: {outcome.cached.rate / outcome.decoded.rate:.1f}x\n"
        f"a hit: {percentiles[49]:.2f} ms of the service's own time at the median, "
        f"{percentiles[94]:.2f} at the 95th percentile; {outcome.hits.processor:.2f} ms of a "
        f"processor\n{dict(outcome.metrics)}"
    )


if __name__ == "__main__":
    main()
