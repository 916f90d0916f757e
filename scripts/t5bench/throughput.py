"""Measures how many queries a second a service answers, for docs/scale.md.

`bench.py throughput FILE.gguf .. --n 1 4` starts a service for each file, and keeps it busy over a
few connections, each of which waits for its answer before it asks again. Each query is asked once,
or, with a cache, by a popularity that falls with its rank (Zipf, exponent 1), as in a search's log.
Rounds go through all cells in turn. The clients are one process on the same machine, and what they
take of its cores is printed beside the service's.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import random
import re
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from t5bench import process
from t5bench.errors import BenchError
from t5bench.service import Service
from t5bench.tables import format_table
from t5gguf.convert import QUERIES

HEAD = b"POST /v1/reformulate HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n"
FALLBACK = re.compile(rb"x-t5serve-fallback: (\w+)")
YEARS = range(1900, 2026)  # put after a query, for more queries that differ


@dataclass(frozen=True)
class Load:
    """What one service is asked for.

    Attributes:
        file: the model.
        n: reformulations per query.
        cached: whether queries repeat, and results are kept.
    """

    file: Path
    n: int
    cached: bool

    def queries(self, lines: Sequence[str], number: int) -> Iterator[str]:
        """Yields queries without end; those of different rounds differ unless they repeat."""
        variants = [f"{line} {year}" for year in YEARS for line in lines]
        draw = random.Random(number)  # noqa: S311 - seeded on purpose
        if not self.cached:
            draw.shuffle(variants)
            yield from itertools.cycle(variants)
        popular = variants[:1000]
        weights = [*itertools.accumulate(1 / rank for rank in range(1, len(popular) + 1))]
        while True:
            yield from draw.choices(popular, cum_weights=weights, k=1000)


@dataclass(frozen=True)
class Round:
    """What one service did in one round.

    Attributes:
        queries_per_second: answers over time.
        median_ms: the median time of an answer, as the client saw it.
        cpu_seconds: the service's processor time per thousand queries.
        client_cores: the cores that the clients took.
    """

    queries_per_second: float
    median_ms: float
    cpu_seconds: float
    client_cores: float


def run(options: argparse.Namespace) -> None:
    """Measures, prints a table, and writes the figures if asked to."""
    lines = options.queries.read_text(encoding="utf-8").split("\n")
    lines = [line for line in lines if line.strip()]
    kinds = {"never": [False], "only": [True], "both": [False, True]}[options.cache]
    loads = [Load(*cell) for cell in itertools.product(options.files, options.n, kinds)]
    rounds: dict[Load, list[Round]] = {load: [] for load in loads}
    for number in range(options.rounds):
        for load in loads:
            rounds[load].append(_measure(load, lines, number, options))
    print(format_table(COLUMNS, [_row(load, rounds[load]) for load in loads]))
    if options.out is not None:
        cells = [
            {"file": load.file.name, "n": load.n, "cached": load.cached}
            | {"rounds": [asdict(one) for one in rounds[load]]}
            for load in loads
        ]
        document = {"cores": len(os.sched_getaffinity(0)), "cells": cells}
        options.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


COLUMNS = [
    *("model", "n", "cache", "queries/s", "per core", "median ms"),
    *("CPU s per 1,000", "cores of the clients"),
]


def _row(load: Load, rounds: Sequence[Round]) -> list[str]:
    def median(name: str) -> float:
        return float(statistics.median(getattr(one, name) for one in rounds))

    rate = median("queries_per_second")
    return [
        load.file.stem,
        str(load.n),
        "popular queries" if load.cached else "none",
        f"{rate:,.0f}",
        f"{rate / len(os.sched_getaffinity(0)):,.0f}",
        f"{median('median_ms'):.1f}",
        f"{median('cpu_seconds'):.2f}",
        f"{median('client_cores'):.2f}",
    ]


def _measure(load: Load, lines: Sequence[str], number: int, options: argparse.Namespace) -> Round:
    settings = {"T5SERVE_MODEL": str(load.file), **dict(options.set)}
    if not load.cached:
        settings["T5SERVE_CACHE_BYTES"] = "0"
    service = Service(load.file.stem, settings)
    try:
        queries = load.queries(lines, number)
        fields = {"n": load.n}
        if options.max_tokens:
            fields["max_tokens"] = options.max_tokens
        bodies = (json.dumps({"query": query, **fields}).encode() for query in queries)
        asyncio.run(_keep_busy(service.port, bodies, options.clients, options.warm_up))
        busy, clients, started = process.busy_seconds(service.pid), time.process_time(), _now()
        times = asyncio.run(_keep_busy(service.port, bodies, options.clients, options.seconds))
        elapsed = _now() - started
        return Round(
            queries_per_second=len(times) / elapsed,
            median_ms=1000 * statistics.median(times),
            cpu_seconds=1000 * (process.busy_seconds(service.pid) - busy) / len(times),
            client_cores=(time.process_time() - clients) / elapsed,
        )
    finally:
        service.close()


_now = time.perf_counter


async def _keep_busy(
    port: int, bodies: Iterator[bytes], clients: int, seconds: float
) -> list[float]:
    """Asks over some connections for some seconds; returns the seconds of each answer."""
    times: list[float] = []
    end = _now() + seconds

    async def ask() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with closing(writer):
            while _now() < end:
                started = _now()
                body = next(bodies)
                writer.write(HEAD % len(body) + body)
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].split()[0])
                answer = await reader.readexactly(length)
                fallback = FALLBACK.search(head)
                is_usable = fallback is None or fallback[1] == b"no_usable_output"
                if not head.startswith(b"HTTP/1.1 200") or not is_usable:
                    raise BenchError(f"the service answered {answer.decode()}")
                times.append(_now() - started)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(ask())
    except* BenchError as errors:
        raise errors.exceptions[0] from None
    return times


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("files", nargs="+", type=Path, help="GGUF files")
    parser.add_argument("--n", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--cache", choices=("never", "only", "both"), default="both")
    parser.add_argument("--clients", type=int, default=16, help="connections")
    parser.add_argument("--seconds", type=float, default=5.0, help="of a round")
    parser.add_argument("--warm-up", type=float, default=1.0, help="seconds before it")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--max-tokens", type=int, help="for weights that never end an answer")
    parser.add_argument(
        "--set",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        type=lambda text: tuple(text.split("=", 1)),
        help="a setting of the service, such as T5SERVE_WORKERS=2",
    )
    parser.add_argument("--queries", type=Path, default=QUERIES, help="a query a line")
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
