"""Which processors each worker gets: physical cores first, never more than the cgroup's quota."""

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
    """One worker's threads, and the processors that they are pinned to (empty: not pinned)."""

    threads: int
    cpus: tuple[int, ...]


def plan(workers: int, threads: int | None) -> list[Share]:
    """Shares out the machine among workers.

    More threads than cores or quota collapse the throughput, since they spin at barriers for a
    thread that is not running. Linux only; elsewhere nothing is pinned.

    Args:
        workers: number of worker processes.
        threads: per worker; by default cores over workers, at least one.
    """
    if not hasattr(os, "sched_getaffinity"):
        each = threads or max(1, (os.cpu_count() or 1) // workers)
        return [Share(each, ())] * workers
    allowed = os.sched_getaffinity(0)
    cores = physical_cores(allowed)
    budget = min(len(cores), quota() or len(cores))
    each = threads or max(1, budget // workers)
    if each * workers > len(cores):  # nothing to hand out exclusively: the kernel places them
        return [Share(each, ())] * workers
    return [
        Share(each, tuple(cores[index * each : (index + 1) * each])) for index in range(workers)
    ]


def physical_cores(allowed: Iterable[int], sysfs: Path = SYSFS) -> list[int]:
    """One processor of each core among the allowed ones, in order."""
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
    """Processors that the tightest limit on the way to the root grants; None if unlimited.

    `cpu.max` of cgroup v2, or v1's `cpu.cfs_quota_us`. Rounded down, at least one.
    """
    limits = [
        _limit(folder)
        for root, group in _groups(cgroup, membership)
        for folder in (group, *group.parents)
        if folder.is_relative_to(root)
    ]
    return min((limit for limit in limits if limit is not None), default=None)


def _groups(cgroup: Path, membership: Path) -> list[tuple[Path, Path]]:
    """The roots of the hierarchies that may limit this process, and its group in each.

    A container may see the host's path but have its own group at the root, which thus counts.
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
    try:
        if (folder / "cpu.max").is_file():
            limit, period = (folder / "cpu.max").read_text().split()
        else:
            limit = (folder / "cpu.cfs_quota_us").read_text()
            period = (folder / "cpu.cfs_period_us").read_text()
        return max(1, int(limit) // int(period)) if int(limit) > 0 else None
    except (OSError, ValueError):  # "max", for one
        return None
