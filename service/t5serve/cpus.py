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
    """Processors that the tightest `cpu.max` on the way to the root grants; None if unlimited.

    Rounded down, at least one.
    """
    try:
        path = membership.read_text().rpartition("0::")[2].strip().lstrip("/")
    except OSError:
        path = ""
    group = cgroup / path
    limits = [_limit(folder) for folder in (group, *group.parents) if folder.is_relative_to(cgroup)]
    return min((limit for limit in limits if limit is not None), default=None)


def _limit(folder: Path) -> int | None:
    try:
        limit, period = (folder / "cpu.max").read_text().split()
        return None if limit == "max" else max(1, int(limit) // int(period))
    except (OSError, ValueError):
        return None
