"""Assigns processors to workers: one per physical core, at most as many as the cgroup's quota."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

SYSFS = Path("/sys/devices/system/cpu")
CGROUP = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


@dataclass(frozen=True)
class Share:
    """One worker's share of the machine.

    Attributes:
        threads: number of threads.
        cpus: processors that the threads are pinned to; empty: not pinned.
    """

    threads: int
    cpus: tuple[int, ...]


def plan(workers: int, threads: int | None) -> list[Share]:
    """Plans each worker's share of the machine.

    More threads than cores or quota collapse the throughput: running threads spin at barriers
    while they wait for a thread that is not running. Workers are pinned on Linux only.

    Args:
        workers: number of worker processes.
        threads: number of threads per worker; None: cores / workers, at least 1.
    """
    if not hasattr(os, "sched_getaffinity"):
        threads = threads or max(1, (os.cpu_count() or 1) // workers)
        return [Share(threads, ())] * workers
    allowed = os.sched_getaffinity(0)
    cores = physical_cores(allowed)
    budget = min(len(cores), quota() or len(cores))
    threads = threads or max(1, budget // workers)
    if threads * workers > len(cores):  # too few cores to pin exclusively: the kernel schedules
        return [Share(threads, ())] * workers
    starts = range(0, threads * workers, threads)
    return [Share(threads, tuple(cores[start : start + threads])) for start in starts]


def physical_cores(allowed: Iterable[int], sysfs: Path = SYSFS) -> list[int]:
    """Returns the lowest allowed processor of each physical core, ascending."""
    seen: set[str] = set()
    cores = []
    for cpu in sorted(allowed):
        try:
            siblings = (sysfs / f"cpu{cpu}/topology/thread_siblings_list").read_text().strip()
        except OSError:
            siblings = str(cpu)
        if siblings not in seen:
            seen.add(siblings)
            cores.append(cpu)
    return cores


def quota(cgroup: Path = CGROUP, membership: Path = MEMBERSHIP) -> int | None:
    """Returns the number of processors that the cgroup may use; None if unlimited.

    The tightest limit counts, of the process's own group and its ancestors. Reads `cpu.max` of
    cgroup v2, or `cpu.cfs_quota_us` of v1; rounds down to at least 1.
    """
    limits = [
        _limit(folder)
        for root, group in _groups(cgroup, membership)
        for folder in (group, *group.parents)
        if folder.is_relative_to(root)
    ]
    return min((limit for limit in limits if limit is not None), default=None)


def _groups(cgroup: Path, membership: Path) -> list[tuple[Path, Path]]:
    """Returns (root, group) of each cgroup hierarchy that may limit this process.

    A container may see the host's path although its own group is at the root. Callers therefore
    include the root.
    """
    try:
        lines = [line.split(":", 2) for line in membership.read_text().splitlines()]
    except OSError:
        return [(cgroup, cgroup), (cgroup / "cpu", cgroup / "cpu")]
    roots = [
        (cgroup / "cpu" if controllers else cgroup, path)
        for _, controllers, path in lines
        if not controllers or "cpu" in controllers.split(",")
    ]
    return [(root, root / path.lstrip("/")) for root, path in roots]


def _limit(folder: Path) -> int | None:
    """Returns the limit that a group sets, in processors; None if it sets none."""
    try:
        if (folder / "cpu.max").is_file():
            limit, period = (folder / "cpu.max").read_text().split()
        else:
            limit = (folder / "cpu.cfs_quota_us").read_text()
            period = (folder / "cpu.cfs_period_us").read_text()
        return max(1, int(limit) // int(period)) if int(limit) > 0 else None
    except (OSError, ValueError):  # no such file, or "max"
        return None
