"""How long the service takes to be ready, and what memory its worker takes.

`python tests/load/footprint.py FILE.gguf ..` prints a table, a column for each file. Files should
be in the page cache: run it twice. Times are medians over `--starts`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).parents[1]))  # for a run as a command

from support.serving import Server, start, stop

QUERIES = (Path(__file__).parents[2] / "gguf/t5gguf/calibration.txt").read_text().splitlines()
MANY, TOGETHER = 48, 16


def main() -> None:
    """Prints a column for each file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--starts", type=int, default=5)
    options = parser.parse_args()
    columns = [measure(file, options.starts) for file in options.files]
    print(f"| | {' | '.join(file.name for file in options.files)} |")
    print("|---" * (1 + len(columns)) + "|")
    for name in columns[0]:
        print(f"| {name} | {' | '.join(column[name] for column in columns)} |")


def measure(file: Path, starts: int) -> dict[str, str]:
    """What is told of one file."""
    seconds = []
    for _ in range(starts):
        began = time.perf_counter()
        server = start(model=str(file))
        server.wait_until_ready()
        seconds.append(time.perf_counter() - began)
        if len(seconds) < starts:
            stop(server)
    try:
        ready = private_megabytes(server)
        ask(server, QUERIES[0])
        once = private_megabytes(server)
        with ThreadPoolExecutor(TOGETHER) as pool:
            list(pool.map(lambda query: ask(server, query), QUERIES[:MANY]))
        return {
            "process start to ready": f"{statistics.median(seconds):.2f} s",
            "private memory of the worker when ready": f"{ready} MB",
            "after a request": f"{once} MB",
            f"after {MANY} requests, {TOGETHER} at a time": f"{private_megabytes(server)} MB",
        }
    finally:
        stop(server)


def ask(server: Server, query: str) -> None:
    """One reformulation."""
    response = httpx.post(f"{server.url}/v1/reformulate", json={"query": query}, timeout=60)
    response.raise_for_status()


def private_megabytes(server: Server) -> int:
    """Memory that the worker shares with nobody."""
    (worker,) = server.workers()
    lines = Path(f"/proc/{worker}/smaps_rollup").read_text().splitlines()
    (kilobytes,) = (int(line.split()[1]) for line in lines if line.startswith("Private_Dirty"))
    return round(kilobytes / 1024)


if __name__ == "__main__":
    main()
