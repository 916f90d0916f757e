"""More clients than the service can answer in time: how many good answers remain.

`python tests/chaos/overload.py --seconds 10` measures the peak with clients that wait for long,
then the same and more clients with short deadlines. The clients run on the same machine, and take
a part of its processors.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1]))  # for a run as a command

from support.serving import Server, start, stop

QUERIES = (Path(__file__).parents[2] / "gguf/t5gguf/calibration.txt").read_text().splitlines()
LATE_MS = 1.25  # an answer later than this times its deadline is not a good one


@dataclass
class Load:
    """What the clients of one run saw.

    Attributes:
        seconds: duration of the run.
        good: milliseconds of answers by the model.
        refused: milliseconds of other answers.
    """

    seconds: float
    good: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)

    @property
    def good_rate(self) -> float:
        """Good answers a second."""
        return len(self.good) / self.seconds

    def __str__(self) -> str:
        parts = [f"{self.good_rate:.0f} good answers/s"]
        for name, times in (("good", self.good), ("refused", self.refused)):
            if len(times) > 1:
                p50, p99 = (statistics.quantiles(times, n=100)[index] for index in (49, 98))
                parts.append(f"{len(times)} {name}, p50 {p50:.0f} ms, p99 {p99:.0f} ms")
        return "; ".join(parts)


async def run(server: Server, clients: int, timeout_ms: int, seconds: float) -> Load:
    """Asks in closed loops, without a pause after a refusal."""
    load = Load(seconds)
    url = httpx.URL(server.url)
    ended = time.perf_counter() + seconds

    async def ask(client: int) -> None:
        reader, writer = await asyncio.open_connection(url.host, url.port)
        number = client
        while (started := time.perf_counter()) < ended:
            body = {"query": QUERIES[number % len(QUERIES)], "timeout_ms": timeout_ms}
            number += clients
            answer = await post(reader, writer, body)
            milliseconds = 1000 * (time.perf_counter() - started)
            is_good = not answer["results"][0]["fallback"]
            is_good &= milliseconds < LATE_MS * timeout_ms
            (load.good if is_good else load.refused).append(milliseconds)
        writer.close()

    await asyncio.gather(*map(ask, range(clients)))
    return load


async def post(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: dict[str, object]
) -> dict[str, list[dict[str, bool]]]:
    """Sends a request; returns the JSON of its answer, whose status must be 200."""
    content = json.dumps(body).encode()
    head = "POST /v1/reformulate HTTP/1.1\r\nhost: localhost\r\n"
    head += f"content-length: {len(content)}\r\n\r\n"
    writer.write(head.encode() + content)
    answer = await reader.readuntil(b"\r\n\r\n")
    if not answer.startswith(b"HTTP/1.1 200 "):
        raise RuntimeError(answer.decode())
    length = int(answer.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
    result: dict[str, list[dict[str, bool]]] = json.loads(await reader.readexactly(length))
    return result


def measure(seconds: float, loads: list[tuple[int, int]], **settings: str) -> list[Load]:
    """Runs the loads, (clients, timeout_ms) each, one after another on one service."""
    server = start(**settings)
    try:
        server.wait_until_ready()
        return [asyncio.run(run(server, *load, seconds)) for load in loads]
    finally:
        stop(server)


def main() -> None:
    """Prints a line per load."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each load")
    parser.add_argument("--threads", help="of the worker; fewer where others use the processors")
    options = parser.parse_args()
    seconds = options.seconds
    settings = {} if options.threads is None else {"threads": options.threads}
    loads = [(8, 10_000), (16, 10_000), (60, 10_000), (60, 100), (60, 50), (300, 100)]
    results = measure(seconds, loads, **settings)
    peak = max(result.good_rate for result in results[:3])
    for (clients, timeout_ms), result in zip(loads, results, strict=True):
        share = result.good_rate / peak
        tqdm.write(f"{clients} clients, {timeout_ms} ms: {share:.0%} of the peak; {result}")


if __name__ == "__main__":
    main()
