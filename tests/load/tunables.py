"""What a setting of the worker does to speed: the table that its default is chosen by.

`python tests/load/tunables.py --set batch_window_ms=0,1,3 --clients 1 4 16` has an engine for each
value, all loaded at once, and lets so many clients ask one after the other, without a pause; in
every round each engine has its turn, in another order. `--think 20` has clients wait up to so many
milliseconds between an answer and the next query.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import msgspec

from t5engine.config import WorkerConfig
from t5engine.cpus import plan
from t5engine.decoding.parameters import GenerationConfig
from t5engine.pool.engine import Engine
from t5gguf import recipe

QUERIES = (Path(__file__).parents[2] / "gguf/t5gguf/calibration.txt").read_text().splitlines()
MAX_TOKENS = 48


@dataclass(frozen=True)
class Load:
    """Clients, each with a query at a time, and milliseconds that they wait at most."""

    clients: int
    think: float
    requests: int


async def turn(engine: Engine, load: Load, seed: int) -> tuple[list[float], float]:
    """Milliseconds of each request, and the seconds of all."""
    chance = random.Random(seed)
    queries = iter([chance.choice(QUERIES) for _ in range(load.requests)])
    taken: list[float] = []

    async def client() -> None:
        for query in queries:
            await asyncio.sleep(chance.random() * load.think / 1000)
            started = time.perf_counter()
            await engine.generate(GenerationConfig(max_tokens=MAX_TOKENS), text=query, timeout=120)
            taken.append(1000 * (time.perf_counter() - started))

    started = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(load.clients)))
    return taken, time.perf_counter() - started


async def compare(
    configs: Sequence[WorkerConfig], loads: Sequence[Load], rounds: int
) -> dict[tuple[int, int], tuple[list[float], float]]:
    """By place of the load and of the configuration: milliseconds of requests, and seconds."""
    times: defaultdict[tuple[int, int], list[float]] = defaultdict(list)
    seconds: defaultdict[tuple[int, int], float] = defaultdict(float)
    async with AsyncExitStack() as stack:
        engines = [
            await stack.enter_async_context(
                Engine([config], max_queue=max(load.clients for load in loads))
            )
            for config in configs
        ]
        for round_ in range(rounds + 1):
            for place, load in enumerate(loads):
                for index in random.sample(range(len(engines)), len(engines)):
                    taken, lasted = await turn(engines[index], load, round_)
                    if round_:  # the first one builds graphs
                        times[place, index] += taken
                        seconds[place, index] += lasted
    return {key: (times[key], seconds[key]) for key in times}


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":", maxsplit=1)[0])
    parser.add_argument("--model", type=Path, default=recipe.load("tiny-t5").model_path())
    parser.add_argument("--set", required=True, help="NAME=VALUE,VALUE.. of WorkerConfig")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--think", type=float, default=0.0)
    parser.add_argument("--requests", type=int, default=200, help="a turn")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    name, _, values = options.set.partition("=")
    (share,) = plan(1, None)
    base = msgspec.to_builtins(
        WorkerConfig(
            str(options.model), share.threads, list(share.cpus), 512, prompt_lookup_num_tokens=3
        )
    )
    configs = [
        msgspec.convert(base | {name: value}, WorkerConfig, strict=False)
        for value in values.split(",")
    ]
    loads = [Load(count, options.think, options.requests) for count in options.clients]
    measured = asyncio.run(compare(configs, loads, options.rounds))
    print(f"| clients | {name} | median, ms | p95, ms | a second |\n|--:|--:|--:|--:|--:|")
    for (place, index), (taken, seconds) in sorted(measured.items()):
        p95 = statistics.quantiles(taken, n=20)[-1]
        print(
            f"| {loads[place].clients} | {getattr(configs[index], name)} | "
            f"{statistics.median(taken):.2f} | {p95:.2f} | {len(taken) / seconds:.0f} |"
        )


if __name__ == "__main__":
    main()
