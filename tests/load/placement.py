"""Two services beside each other on two cores, against one service with two workers.

`python tests/load/placement.py --rounds 5 --seconds 3` interleaves rounds of three arrangements:
one service with two workers, two services with one thread each, and two services that are both
pinned to the same core. The clients run on the same machine.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1]))  # for a run as a command

from support.serving import Server, start, stop

QUERIES = (Path(__file__).parents[2] / "gguf/t5gguf/calibration.txt").read_text().splitlines()
UNHURRIED = {"timeout_ms": "60000", "max_queue": "1000"}
ONE, TWO, SAME = "one service, two workers", "two services", "two services on one core"


def measure(*, rounds: int, seconds: float, clients: int = 8) -> dict[str, list[float]]:
    """Returns requests per second of each round, by arrangement."""
    arrangements = {
        ONE: [start(workers="2", threads="1", **UNHURRIED)],
        TWO: [start(threads="1", **UNHURRIED) for _ in range(2)],
        SAME: [start(threads="1", cpu_set="0", **UNHURRIED) for _ in range(2)],
    }
    servers = [server for group in arrangements.values() for server in group]
    try:
        for server in servers:
            server.wait_until_ready()
        rates: dict[str, list[float]] = {name: [] for name in arrangements}
        for _ in range(rounds):
            for name, group in arrangements.items():
                rates[name].append(asyncio.run(_ask_all(group, seconds, clients)))
        return rates
    finally:
        for server in servers:
            stop(server)


async def _ask_all(group: Sequence[Server], seconds: float, clients: int) -> float:
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(timeout=60, limits=limits) as client:
        ended = time.monotonic() + seconds

        async def ask(number: int) -> int:
            url = f"{group[number % len(group)].url}/v1/reformulate"
            answered = 0
            for query in itertools.islice(itertools.cycle(QUERIES), number, None):
                if time.monotonic() > ended:
                    return answered
                response = await client.post(url, json={"query": query})
                answered += not response.json()["results"][0]["fallback"]
            raise AssertionError("the queries never end")

        return sum(await asyncio.gather(*map(ask, range(clients)))) / seconds


def main() -> None:
    """Prints the rates, and their ratios to the first arrangement, round by round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of a round")
    parser.add_argument("--clients", type=int, default=8)
    options = parser.parse_args()
    rates = measure(rounds=options.rounds, seconds=options.seconds, clients=options.clients)
    for name, values in rates.items():
        ratios = [value / one for value, one in zip(values, rates[ONE], strict=True)]
        tqdm.write(
            f"{name}: {statistics.median(values):.1f} requests/s, "
            f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
