"""One of two models dies again and again: the other must answer as if nothing had happened.

`python tests/chaos/isolation.py --rounds 6 --seconds 10` lets undisturbed rounds and rounds with
deaths take turns, and compares the times of the other model's answers. The clients run on the same
machine.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import signal
import statistics
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1]))  # for a run as a command

from support.serving import Server, start, stop
from support.several import build_models, write_models_file

QUERIES = (Path(__file__).parents[2] / "gguf/t5gguf/calibration.txt").read_text().splitlines()
TIMEOUT_MS = "60000"


@dataclass
class Outcome:
    """What happened in a run.

    Attributes:
        undisturbed_ms: times of the other model's answers without deaths.
        disturbed_ms: the same while the first model's worker died.
        failed: requests to the other model without its usual answer.
        deaths: workers killed.
    """

    undisturbed_ms: list[float] = field(default_factory=list)
    disturbed_ms: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    deaths: int = 0

    def __str__(self) -> str:
        return (
            f"{self.deaths} deaths, {len(self.failed)} failed; undisturbed "
            f"{_describe(self.undisturbed_ms)}; with deaths {_describe(self.disturbed_ms)}"
        )


def _describe(times: list[float]) -> str:
    cuts = statistics.quantiles(times, n=100)
    return f"p50 {cuts[49]:.1f} ms, p99 {cuts[98]:.1f} ms of {len(times)}"


def run(*, rounds: int, seconds: float, clients: int = 4, pause: float = 2.0) -> Outcome:
    """Kills workers of one model while clients ask another."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = build_models(folder)
        file = write_models_file(
            folder / "models.toml",
            {"name": "victim", "model": files["lists"]},
            {"name": "other", "model": files["included"]},
        )
        server = start(models_file=str(file), threads="1", timeout_ms=TIMEOUT_MS)
        try:
            server.wait_until_ready()
            return asyncio.run(_run(server, files["lists"], rounds, seconds, clients, pause))
        finally:
            stop(server)


async def _run(
    server: Server, victim: Path, rounds: int, seconds: float, clients: int, pause: float
) -> Outcome:
    outcome = Outcome()
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=server.url, timeout=120, limits=limits) as client:
        expected = {query: await _ask(client, query) for query in QUERIES}
        for number in range(rounds):
            is_disturbed = number % 2 == 1
            times = outcome.disturbed_ms if is_disturbed else outcome.undisturbed_ms
            ended = time.monotonic() + seconds
            asking = [
                _keep_asking(client, n, expected, ended, times, outcome) for n in range(clients)
            ]
            if is_disturbed:
                asking.append(_keep_killing(server, victim, pause, ended, outcome))
            await asyncio.gather(*asking)
    return outcome


async def _keep_asking(
    client: httpx.AsyncClient,
    number: int,
    expected: dict[str, list[str]],
    ended: float,
    times: list[float],
    outcome: Outcome,
) -> None:
    for query in itertools.islice(itertools.cycle(expected), number, None):
        if (started := time.monotonic()) > ended:
            return
        try:
            answer = await _ask(client, query)
        except (httpx.HTTPError, KeyError, ValueError) as error:
            outcome.failed.append(f"{query}: {error!r}")
            continue
        times.append(1000 * (time.monotonic() - started))
        if answer != expected[query]:
            outcome.failed.append(f"{query}: {answer}, not {expected[query]}")


async def _keep_killing(
    server: Server, victim: Path, pause: float, ended: float, outcome: Outcome
) -> None:
    while time.monotonic() + pause < ended:
        await asyncio.sleep(pause)
        outcome.deaths += _kill_worker(server, victim)


def _kill_worker(server: Server, victim: Path) -> int:
    """Kills the workers that have mapped a file; returns how many."""
    killed = 0
    for pid in server.workers():
        with suppress(OSError):
            if str(victim) in Path(f"/proc/{pid}/maps").read_text():
                os.kill(pid, signal.SIGKILL)
                killed += 1
    return killed


async def _ask(client: httpx.AsyncClient, query: str) -> list[str]:
    """Returns the answer to a query, and after it the reason if it is a fallback."""
    response = await client.post("/v1/reformulate", json={"query": query, "model": "other"})
    (result,) = response.json()["results"]
    return [*result["queries"], str(result["fallback_reason"])]


def main() -> None:
    """Prints what happened."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=6, help="every other one has deaths")
    parser.add_argument("--seconds", type=float, default=10.0, help="of a round")
    parser.add_argument("--clients", type=int, default=4)
    options = parser.parse_args()
    outcome = run(rounds=options.rounds, seconds=options.seconds, clients=options.clients)
    tqdm.write("\n".join([*outcome.failed, str(outcome)]))


if __name__ == "__main__":
    main()
