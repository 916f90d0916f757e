"""Compares the throughput of `t5serve batch --ray` with the plain command's, on the same cores.

    taskset -c 0,1 python tests/load/ray_throughput.py --lines 20000 --rounds 3

Both run in turn, with as many workers as there are cores and a thread each, on queries that all
differ. The time counts from the first row on: each command tells how far it is, and Ray starts for
several seconds. The time with the start is printed as well.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

POLL_SECONDS = 0.1
ACTIONS = ("clean", "sell", "repair", "carry", "paint", "store", "wrap", "weigh")
THINGS = ("a laptop screen", "an old bicycle", "a garden chair", "my winter coat", "a wooden door")


@dataclass(frozen=True)
class Times:
    """The seconds of a run: from its first finished rows to the last one, and all of them."""

    steady: float
    whole: float
    steady_rows: int


def write_queries(path: Path, lines: int) -> None:
    """Writes queries that all differ."""
    path.write_text(
        "".join(
            f"how do i {ACTIONS[number % 8]} {THINGS[number // 8 % 5]} for {number} days\n"
            for number in range(lines)
        )
    )


def count_rows(out: Path) -> int:
    """Returns how many rows of an unfinished output are on disk."""
    part = out.with_name(f"{out.name}.part")
    files = [part] if part.exists() else list(out.with_name(f"{out.name}.parts").glob("*.rows"))
    try:
        return sum(file.read_bytes().count(b"\n") for file in files)
    except FileNotFoundError:  # the job has just ended
        return 0


def measure(command: list[str], out: Path, lines: int) -> Times:
    """Runs a command, and measures from its first rows on disk."""
    started = time.monotonic()
    with subprocess.Popen([*command, "--output", str(out)], stderr=subprocess.PIPE) as process:
        while process.poll() is None and not (first := count_rows(out)):
            time.sleep(POLL_SECONDS)
        first_at = time.monotonic()
        _, errors = process.communicate()
    ended = time.monotonic()
    if process.returncode or out.read_bytes().count(b"\n") != lines:
        raise RuntimeError(errors.decode())
    return Times(ended - first_at, ended - started, lines - first)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    ratios, whole_ratios = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "in.txt"
        write_queries(source, options.lines)
        command = [sys.executable, "-m", "t5serve", "batch", str(source), "--strategy", "greedy"]
        command += ["--threads", "1", "--workers", str(options.workers)]
        for number in range(options.rounds):
            found = []
            for kind, more in (("plain", []), ("ray", ["--ray", "local"])):
                out = folder / f"{kind}-{number}.jsonl"
                times = measure([*command, *more], out, options.lines)
                rate = times.steady_rows / times.steady
                whole_rate = options.lines / times.whole
                tqdm.write(f"{kind}: {rate:.0f} rows a second, {whole_rate:.0f} with the start")
                found.append((rate, whole_rate))
            (plain, whole_plain), (ray, whole_ray) = found
            ratios.append(ray / plain)
            whole_ratios.append(whole_ray / whole_plain)
        pair = [(folder / f"{kind}-0.jsonl").read_bytes() for kind in ("plain", "ray")]
    tqdm.write(f"ray / plain: {statistics.median(ratios):.2f} (median of {len(ratios)})")
    tqdm.write(f"with the start: {statistics.median(whole_ratios):.2f}")
    tqdm.write(f"same bytes: {pair[0] == pair[1]}")
    return 0 if statistics.median(ratios) >= 0.85 and pair[0] == pair[1] else 1


if __name__ == "__main__":
    sys.exit(main())
