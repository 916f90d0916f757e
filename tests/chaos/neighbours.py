"""A lone small query beside one other client: how long it takes.

`python tests/chaos/neighbours.py` asks one query after another while another client asks for as
much as the limits allow. The clients run on the same machine.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1]))  # for a run as a command

from support.serving import Server, start, stop

NEIGHBOURS: dict[str, dict[str, Any]] = {
    "none": {},
    "32 queries x n = 16": {"queries": [f"how do i learn {i}" for i in range(32)], "n": 16},
    "32 queries x 20 beams": {
        "queries": [f"laptop of {1990 + i}" for i in range(32)],
        "num_beams": 20,
    },
    "32 prompts of 512 tokens": {
        "queries": [f"{i} " + "how do i learn python " * 100 for i in range(32)]
    },
    "one query after another": {"query": "how do i learn python", "max_tokens": 64},
}


def ask_beside(server: Server, body: dict[str, Any], seconds: float) -> list[float]:
    """Returns the milliseconds of each lone query while a neighbour repeats its request."""
    is_over = threading.Event()

    def repeat() -> None:
        with httpx.Client(base_url=server.url, timeout=600) as client:
            while body and not is_over.is_set():
                client.post("/v1/reformulate", json={**body, "strict": True}).raise_for_status()

    times: list[float] = []
    with ThreadPoolExecutor(1) as pool, httpx.Client(base_url=server.url, timeout=600) as client:
        neighbour = pool.submit(repeat)
        time.sleep(0.2)
        ended = time.monotonic() + seconds
        while time.monotonic() < ended:
            query = {"query": f"what is a black hole {len(times)}", "strict": True}
            started = time.perf_counter()
            client.post("/v1/reformulate", json=query).raise_for_status()
            times.append(1000 * (time.perf_counter() - started))
            time.sleep(0.005)
        is_over.set()
        neighbour.result()
    return times


def measure(seconds: float, threads: str = "1") -> dict[str, list[float]]:
    """Returns the milliseconds of lone queries beside each neighbour, of one service."""
    server = start(threads=threads, timeout_ms="600000")
    try:
        server.wait_until_ready()
        return {name: ask_beside(server, body, seconds) for name, body in NEIGHBOURS.items()}
    finally:
        stop(server)


def main() -> None:
    """Prints a line per neighbour."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="beside each neighbour")
    parser.add_argument("--threads", default="1", help="of the worker")
    options = parser.parse_args()
    for name, times in measure(options.seconds, options.threads).items():
        p50, p95 = (statistics.quantiles(times, n=20)[index] for index in (9, 18))
        tqdm.write(f"beside {name}: {len(times)} queries, p50 {p50:.1f} ms, p95 {p95:.1f} ms")


if __name__ == "__main__":
    main()
