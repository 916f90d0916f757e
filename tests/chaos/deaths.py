"""Workers die or hang under clients: no answer may be lost or wrong, and how often it is ready.

`python tests/chaos/deaths.py --seconds 300 --workers 2` sends KILL, STOP, ABRT and SEGV in turn to
a worker, every four seconds. The clients run on the same machine.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1]))  # for a run as a command

from support.serving import Server, start, stop

QUERIES = (Path(__file__).parents[2] / "gguf/t5gguf/calibration.txt").read_text().splitlines()
SIGNALS = (signal.SIGKILL, signal.SIGSTOP, signal.SIGABRT, signal.SIGSEGV)
PROBE_SECONDS = 0.05


@dataclass
class Outcome:
    """What happened in a run.

    Attributes:
        right: answers that the model gave, equal to those without deaths.
        fallbacks: answers that had the original query.
        refused: answers with 429 or 503, which tell when to come back.
        wrong: answers of another text, for these queries.
        lost: requests without an answer of the contract.
        probes: answers of /readyz, True for ready.
        deaths: number of signals sent.
    """

    right: int = 0
    fallbacks: int = 0
    refused: int = 0
    wrong: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    probes: list[bool] = field(default_factory=list)
    deaths: int = 0

    @property
    def longest_outage(self) -> float:
        """Seconds of the longest time without readiness."""
        runs = (list(run) for is_ready, run in itertools.groupby(self.probes) if not is_ready)
        return PROBE_SECONDS * max(map(len, runs), default=0)

    def __str__(self) -> str:
        ready = sum(self.probes) / max(1, len(self.probes))
        return (
            f"{self.deaths} deaths; {self.right} right, {self.fallbacks} fallbacks, "
            f"{self.refused} refused, {len(self.wrong)} wrong, {len(self.lost)} lost; "
            f"ready {ready:.1%} of the time, longest outage {self.longest_outage:.1f} s"
        )


def run(
    *,
    seconds: float,
    workers: int = 2,
    clients: int = 16,
    pause: float = 4.0,
    signals: tuple[signal.Signals, ...] = SIGNALS,
    threads: str = "1",
) -> Outcome:
    """Runs the service under clients while its workers die."""
    server = start(workers=f"{workers}", threads=threads)
    try:
        server.wait_until_ready()
        return asyncio.run(_run(server, seconds, clients, pause, signals))
    finally:
        stop(server)


async def _run(
    server: Server,
    seconds: float,
    clients: int,
    pause: float,
    signals: tuple[signal.Signals, ...],
) -> Outcome:
    outcome = Outcome()
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=server.url, timeout=60, limits=limits) as client:
        expected = {query: await _ask(client, query) for query in QUERIES[:32]}
        ended = time.monotonic() + seconds

        async def ask(number: int) -> None:
            for query in itertools.islice(itertools.cycle(expected), number, None):
                if time.monotonic() > ended:
                    return
                await _judge(client, query, expected[query], outcome)

        async def probe() -> None:
            while time.monotonic() < ended:
                response = await client.get("/readyz")
                outcome.probes.append(response.status_code == 200)
                await asyncio.sleep(PROBE_SECONDS)

        async def kill() -> None:
            for number in itertools.cycle(signals):
                await asyncio.sleep(pause)
                if time.monotonic() > ended:
                    return
                for pid in server.workers()[:1]:
                    with suppress(ProcessLookupError):
                        os.kill(pid, number)
                        outcome.deaths += 1

        await asyncio.gather(probe(), kill(), *map(ask, range(clients)))
    return outcome


async def _ask(client: httpx.AsyncClient, query: str) -> list[str]:
    response = await client.post("/v1/reformulate", json={"query": query})
    (result,) = response.json()["results"]
    queries: list[str] = result["queries"]
    return queries


async def _judge(
    client: httpx.AsyncClient, query: str, expected: list[str], outcome: Outcome
) -> None:
    try:
        response = await client.post("/v1/reformulate", json={"query": query})
        body = response.json()
    except (httpx.HTTPError, ValueError) as error:
        outcome.lost.append(f"{query}: {error!r}")
        return
    if response.status_code in (429, 503):
        outcome.refused += 1
        await asyncio.sleep(float(response.headers["retry-after"]))
    elif response.status_code != 200:
        outcome.lost.append(f"{query}: {response.status_code} {body}")
    elif body["results"][0]["fallback"]:
        outcome.fallbacks += 1
        await asyncio.sleep(0.05)
    elif body["results"][0]["queries"] == expected:
        outcome.right += 1
    else:
        outcome.wrong.append(f"{query}: {body['results'][0]['queries']}, not {expected}")


def main() -> None:
    """Prints what happened."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--threads", default="1", help="of each worker")
    names = [number.name.removeprefix("SIG") for number in SIGNALS]
    parser.add_argument("--signals", nargs="+", choices=names, default=names, help="in turn")
    options = parser.parse_args()
    outcome = run(
        seconds=options.seconds,
        workers=options.workers,
        clients=options.clients,
        threads=options.threads,
        signals=tuple(signal.Signals[f"SIG{name}"] for name in options.signals),
    )
    tqdm.write("\n".join([*outcome.wrong, *outcome.lost, str(outcome)]))


if __name__ == "__main__":
    main()
