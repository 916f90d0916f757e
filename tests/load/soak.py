"""Many requests on one engine: memory, file descriptors and threads must stay flat.

`python tests/load/soak.py --requests 50000`; with `--model FILE.gguf --workers 2 --requests 200` it
also tells what a second worker on the same file adds.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from t5engine.config import WorkerConfig
from t5engine.cpus import plan
from t5engine.decoding.parameters import GenerationConfig
from t5engine.pool.engine import Engine
from t5gguf import recipe

QUERIES = (Path(__file__).parents[2] / "gguf/t5gguf/calibration.txt").read_text().splitlines()
TOGETHER = 48


@dataclass(frozen=True)
class Usage:
    """What a process holds: memory of its own in kB (not the file's), descriptors, threads."""

    private: int
    files: int
    threads: int

    @classmethod
    def of(cls, pid: int) -> Usage:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        (private,) = (int(line.split()[1]) for line in rollup if line.startswith("Private_Dirty"))
        files, threads = (list(Path(f"/proc/{pid}/{name}").iterdir()) for name in ("fd", "task"))
        return cls(private, len(files), len(threads))

    def __str__(self) -> str:
        return f"{self.private / 1000:.1f} MB private, {self.files} files, {self.threads} threads"


def children() -> list[int]:
    """The worker processes of this one."""
    pid = os.getpid()
    return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def texts(count: int, long: float) -> Iterator[str]:
    """Queries, of which a share is eight in one: a hundred tokens and more."""
    chance = random.Random(1)
    for _ in range(count):
        yield " ".join(chance.choices(QUERIES, k=8 if chance.random() < long else 1))


async def soak(
    model: Path, workers: int, requests: int, long: float = 0.05
) -> tuple[list[Usage], list[Usage]]:
    """Usage of this process and then the workers, after a tenth of the requests and at the end."""
    configs = [
        WorkerConfig(str(model), share.threads, list(share.cpus), 512)
        for share in plan(workers, None)
    ]
    early: list[Usage] = []
    queue = texts(requests, long)
    done = 0
    async with Engine(configs, max_queue=TOGETHER) as engine:
        pids = [os.getpid(), *children()]

        async def caller() -> None:
            nonlocal done
            for text in queue:
                await engine.generate(GenerationConfig(max_tokens=48), text=text, timeout=120)
                done += 1
                if done == requests // 10:
                    early.extend(map(Usage.of, pids))

        await asyncio.gather(*(caller() for _ in range(TOGETHER)))
        late = [Usage.of(pid) for pid in pids]
    return early, late


def main() -> None:
    """Prints both and the speed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, default=recipe.load("tiny-t5").model_path())
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--requests", type=int, default=50_000)
    parser.add_argument("--long", type=float, default=0.05, help="share of long queries")
    options = parser.parse_args()
    started = time.perf_counter()
    early, late = asyncio.run(soak(options.model, options.workers, options.requests, options.long))
    seconds = time.perf_counter() - started
    print(f"{options.requests} requests in {seconds:.0f} s, {options.requests / seconds:.0f} /s")
    names = ["service", *["worker"] * options.workers]
    for name, before, after in zip(names, early, late, strict=True):
        print(f"{name}: {before} after a tenth; {after} at the end")


if __name__ == "__main__":
    main()
