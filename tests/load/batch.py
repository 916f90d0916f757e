"""Runs `t5serve batch`, kills it, continues it, and compares with a run that was not disturbed.

    python tests/load/batch.py --lines 1000000 --distinct 100000 --kills 3
    python tests/load/batch.py --lines 20000 --distinct 2000 --kills 3 --real

Without --real a service of the test's own answers, with the queries in capitals: then the command
itself is what is measured. One line in a thousand is malformed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.memory import private_kb
from support.scripted_service import result, serve

POLL_SECONDS = 0.05
MALFORMED_EVERY = 1000


@dataclass(frozen=True)
class Outcome:
    """What a run has shown.

    Attributes:
        is_equal: whether rows and bad rows are those of the undisturbed run.
        is_complete: whether there is a row for each good line, in order, and a bad row for each
            other one.
        rows, bad: how many were written.
        first_kb: memory of the process when its first rows were written.
        most_kb: the most memory of a process.
        seconds: of the undisturbed run.
    """

    is_equal: bool
    is_complete: bool
    rows: int
    bad: int
    first_kb: int
    most_kb: int
    seconds: float


def write_queries(path: Path, lines: int, distinct: int) -> None:
    """Writes queries in random order, one line in a thousand malformed."""
    chance = random.Random(24)
    with path.open("w", encoding="utf-8") as file:
        for number in range(1, lines + 1):
            if number % MALFORMED_EVERY == 0:
                file.write('{"id": "x", "text": \n')
            else:
                query = f"how do i clean laptop number {chance.randrange(distinct)}"
                file.write(f'{{"id": "{number}", "text": "{query}"}}\n')


def is_complete(source: Path, out: Path) -> bool:
    """Whether each good line has its row, in order, and each malformed line is reported."""
    with source.open("rb") as lines, out.open("rb") as rows:
        for number, line in enumerate(lines, 1):
            if number % MALFORMED_EVERY:
                query, row = json.loads(line), json.loads(rows.readline())
                if (row["id"], row["original"]) != (query["id"], query["text"]):
                    return False
        has_more = bool(rows.readline())
    bad = [json.loads(line)["line"] for line in _errors(out).read_bytes().splitlines()]
    return not has_more and bad == list(range(MALFORMED_EVERY, number + 1, MALFORMED_EVERY))


def _errors(out: Path) -> Path:
    return out.with_name(f"{out.name}.errors.jsonl")


class Run:
    """A run of the command, whose memory is watched.

    Args:
        command: the command.
        out: the output.
    """

    def __init__(self, command: Sequence[str], out: Path) -> None:
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self._part = out.with_name(f"{out.name}.part")
        self.first_kb = self.most_kb = 0

    def watch(self, kill_at: int | None = None) -> bool:
        """Waits for the end, or kills once the unfinished output has so many bytes.

        Returns:
            Whether the process was killed.
        """
        while self._process.poll() is None:
            self._measure()
            if kill_at is not None and self._size() >= kill_at:
                self._process.kill()
                self._process.communicate()
                return True
            time.sleep(POLL_SECONDS)
        _, errors = self._process.communicate()
        if self._process.returncode:
            raise RuntimeError(errors)
        return False

    def _size(self) -> int:
        return self._part.stat().st_size if self._part.exists() else 0

    def _measure(self) -> None:
        try:
            kb = private_kb(self._process.pid)
        except (OSError, ValueError):
            return  # it has just ended
        if not self.first_kb and self._size():
            self.first_kb = kb
        self.most_kb = max(self.most_kb, kb)


def measure(folder: Path, lines: int, distinct: int, kills: int, options: list[str]) -> Outcome:
    """Runs the command once undisturbed, and once with kills.

    Args:
        folder: for the files.
        lines: of the input.
        distinct: queries among them.
        kills: how often the second run is killed.
        options: of the command.
    """
    source, whole, killed = folder / "in.jsonl", folder / "whole.jsonl", folder / "killed.jsonl"
    write_queries(source, lines, distinct)
    command = [sys.executable, "-m", "t5serve", "batch", str(source), *options]
    started = time.monotonic()
    run = Run([*command, "--output", str(whole)], whole)
    run.watch()
    seconds = time.monotonic() - started
    first_kb, most_kb = run.first_kb, run.most_kb
    for number in range(1, kills + 1):
        run = Run([*command, "--output", str(killed), "--resume"], killed)
        if not run.watch(kill_at=whole.stat().st_size * number // (kills + 1)):
            raise RuntimeError("the run ended before it was killed")
        most_kb = max(most_kb, run.most_kb)
    run = Run([*command, "--output", str(killed), "--resume"], killed)
    run.watch()
    pairs = [(whole, killed), (_errors(whole), _errors(killed))]
    return Outcome(
        is_equal=all(one.read_bytes() == other.read_bytes() for one, other in pairs),
        is_complete=is_complete(source, whole),
        rows=whole.read_bytes().count(b"\n"),
        bad=_errors(whole).read_bytes().count(b"\n"),
        first_kb=first_kb,
        most_kb=max(most_kb, run.most_kb),
        seconds=seconds,
    )


def measure_with_service(folder: Path, lines: int, distinct: int, kills: int) -> Outcome:
    """Measures with a service of the test's own; each query may be asked again after a kill."""
    with serve() as service:
        asked = 0

        def count(query: str) -> dict[str, Any]:
            nonlocal asked
            asked += 1
            service.requests.clear()
            return result(query)

        service.results = count
        return measure(folder, lines, distinct, kills, ["--url", service.url])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--distinct", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--real", action="store_true", help="with the included model")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        sizes = (Path(name), options.lines, options.distinct, options.kills)
        if options.real:
            found = measure(*sizes, ["--strategy", "greedy"])
        else:
            found = measure_with_service(*sizes)
    print(found)
    print(f"{options.lines / found.seconds:.0f} rows a second, pid {os.getpid()}")
    grown = found.most_kb - found.first_kb
    print(f"memory grew by {grown / 1024:.1f} MB")
    return 0 if found.is_equal and found.is_complete and grown < 200 * 1024 else 1


if __name__ == "__main__":
    sys.exit(main())
