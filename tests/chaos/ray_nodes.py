"""Actors, a node and the command itself are killed while `t5serve batch --ray` works.

`python tests/chaos/ray_nodes.py --lines 200000 --distinct 2000` starts a cluster of two nodes on
this machine. In a first run an actor is killed, then the second node; in a second run the command
is killed twice, or as often as `--kills` says, and resumed. Each good row must be there once and in
order, each malformed one must be reported, and both runs must give the same bytes. It runs a
process per node of its own.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1]))  # for a run as a command

from load.batch import is_complete, write_queries

POLL_SECONDS = 0.2
STORE_BYTES = 128 << 20
ACTOR = "ray::MapWorker"


@dataclass(frozen=True)
class Outcome:
    """What the runs have shown.

    Attributes:
        is_complete: whether each row is there once, in order, or reported.
        is_equal: whether a run with a killed command gives the bytes of the other one.
        rows, bad: how many were written.
        seconds: of the run in which an actor and a node were killed.
    """

    is_complete: bool
    is_equal: bool
    rows: int
    bad: int
    seconds: float

    def __str__(self) -> str:
        rate = (self.rows + self.bad) / self.seconds
        return (
            f"complete: {self.is_complete}, equal: {self.is_equal}; {self.rows:,} rows,"
            f" {self.bad:,} bad rows; {self.seconds:.0f} s, {rate:.0f} rows a second"
        )


class Nodes:
    """A cluster of two nodes with a processor each; the command uses the first one."""

    def __init__(self) -> None:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        from ray.cluster_utils import Cluster

        arguments = {"num_cpus": 1, "object_store_memory": STORE_BYTES}
        self._arguments = {**arguments, "include_dashboard": False}
        self._cluster: Any = Cluster(initialize_head=True, head_node_args=self._arguments)
        self._second: Any = None
        self.start_second()
        self.address: str = self._cluster.address

    def start_second(self) -> None:
        self._second = self._cluster.add_node(**self._arguments)

    def kill_second(self) -> None:
        self._cluster.remove_node(self._second, allow_graceful=False)

    def kill_actor(self) -> None:
        """Kills an actor, once there is one."""
        while not (pids := list(self._find_actors())):
            time.sleep(POLL_SECONDS)
        os.kill(pids[0], signal.SIGKILL)

    def _find_actors(self) -> Iterator[int]:
        for node in (self._second, self._cluster.head_node):
            (raylet,) = node.all_processes["raylet"]
            for children in Path(f"/proc/{raylet.process.pid}/task").glob("*/children"):
                for pid in map(int, children.read_text().split()):
                    try:
                        title = Path(f"/proc/{pid}/cmdline").read_text()
                    except OSError:
                        continue  # it has just ended
                    if title.startswith(ACTOR):
                        yield pid

    def stop(self) -> None:
        self._cluster.shutdown()


@contextmanager
def start_nodes() -> Iterator[Nodes]:
    nodes = Nodes()
    try:
        yield nodes
    finally:
        nodes.stop()


class Job:
    """A run of the command.

    Args:
        command: the command.
        out: the output.
    """

    def __init__(self, command: list[str], out: Path) -> None:
        self._process = subprocess.Popen(
            [*command, "--output", str(out), "--resume"], stderr=subprocess.PIPE, text=True
        )
        self._parts = out.with_name(f"{out.name}.parts")

    def wait_for_parts(self, count: int) -> None:
        """Waits until so many parts are finished.

        Raises:
            RuntimeError: the run has ended before.
        """
        while len(list(self._parts.glob("*.rows"))) < count:
            if self._process.poll() is not None:
                raise RuntimeError(f"the run has ended too soon: {self._process.communicate()[1]}")
            time.sleep(POLL_SECONDS)

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()

    def wait(self) -> None:
        _, errors = self._process.communicate()
        tqdm.write(errors.strip())
        if self._process.returncode:
            raise RuntimeError(errors)


def run(folder: Path, lines: int, distinct: int, kills: int, *, replaces: bool) -> Outcome:
    """Kills in turn an actor, a node, and in another run the command.

    Args:
        folder: for the files.
        lines: of the input.
        distinct: queries among them.
        kills: how often the command is killed in the second run.
        replaces: whether another node takes the place of the killed one.
    """
    source, first, second = (folder / f"{name}.jsonl" for name in ("in", "nodes", "command"))
    write_queries(source, lines, distinct)
    parts = count_parts(source)
    command = [sys.executable, "-m", "t5serve", "batch", str(source), "--strategy", "greedy"]
    with start_nodes() as nodes:
        command += ["--ray", nodes.address]
        started = time.monotonic()
        job = Job(command, first)
        job.wait_for_parts(parts // 4)
        nodes.kill_actor()
        tqdm.write("an actor is killed")
        job.wait_for_parts(parts // 2)
        nodes.kill_second()
        tqdm.write("a node is killed")
        if replaces:
            nodes.start_second()
        job.wait()
        seconds = time.monotonic() - started
        if not replaces:
            nodes.start_second()
        for number in range(1, kills + 1):
            job = Job(command, second)
            job.wait_for_parts(number * parts // (kills + 1))
            job.kill()
            tqdm.write("the command is killed")
        Job(command, second).wait()
    pairs = [(first, second), (_errors(first), _errors(second))]
    return Outcome(
        is_complete=is_complete(source, first),
        is_equal=all(one.read_bytes() == other.read_bytes() for one, other in pairs),
        rows=first.read_bytes().count(b"\n"),
        bad=_errors(first).read_bytes().count(b"\n"),
        seconds=seconds,
    )


def count_parts(source: Path) -> int:
    """Returns into how many parts the command cuts the file."""
    from t5serve.commands.batch.parts import cut
    from t5serve.commands.batch.rows import LineFile, Shard

    return len(cut(LineFile(source, "jsonl", Shard())))


def _errors(out: Path) -> Path:
    return out.with_name(f"{out.name}.errors.jsonl")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=200_000)
    parser.add_argument("--distinct", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=2, help="of the command")
    parser.add_argument("--replace", action="store_true", help="start a node for the killed one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        sizes = (Path(name), options.lines, options.distinct, options.kills)
        outcome = run(*sizes, replaces=options.replace)
    tqdm.write(str(outcome))
    return 0 if outcome.is_complete and outcome.is_equal else 1


if __name__ == "__main__":
    sys.exit(main())
