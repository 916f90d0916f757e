"""Assigns processors to workers: one per physical core, at most as many as the cgroup's quota."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from t5engine.cgroup import CGROUP, MEMBERSHIP, limiting_groups

SYSFS = Path("/sys/devices/system/cpu")
SHORT_STEP = 0.001  # seconds on one thread; below that more threads gain too little
MOST_WORKERS = 8  # that a model is split into: the service itself can't feed more


@dataclass(frozen=True)
class Share:
    """One worker's share of the machine.

    Attributes:
        threads: number of threads.
        cpus: processors that the worker may run on; as many as threads: each thread is pinned to
            one; empty: any processor.
        can_split: whether several workers of one thread may take the place of the worker.
    """

    threads: int
    cpus: tuple[int, ...]
    can_split: bool = False


@dataclass(frozen=True)
class Demand:
    """The workers of one model.

    Attributes:
        workers: number of worker processes; None: one, which may be split into several of one
            thread if the number of threads is None as well.
        threads: number of threads per worker; None: as many as the cores allow.
    """

    workers: int | None
    threads: int | None = None

    @property
    def count(self) -> int:
        """Number of workers to plan for."""
        return self.workers or 1

    @property
    def can_split(self) -> bool:
        """Whether several workers of one thread may take the place of the worker."""
        return self.workers is None and self.threads is None

    @property
    def most_workers(self) -> int:
        """The most workers that the model may have in the end."""
        return min(MOST_WORKERS, len(usable_cores())) if self.can_split else self.count


def plan(workers: int | None, threads: int | None, cpu_set: Sequence[int] = ()) -> list[Share]:
    """Plans each worker's share of the machine, for one model; see `plan_pools`."""
    return plan_pools([Demand(workers, threads)], cpu_set)[0]


def plan_pools(demands: Sequence[Demand], cpu_set: Sequence[int] = ()) -> list[list[Share]]:
    """Plans the shares of the workers of several models.

    More threads than cores or quota collapse the throughput: running threads spin at barriers
    while they wait for a thread that is not running. Demands without a number of threads divide
    what the others leave.

    Workers are pinned if the cores are theirs: `cpu_set` names them, or the demands claim each
    core that this process may use. Otherwise the kernel places them, since another process may
    have planned as well. Workers are pinned on Linux only.

    Args:
        demands: what each model needs.
        cpu_set: processors that this process has to itself; empty: none are reserved.

    Returns:
        The shares of each demand, one per worker.

    Raises:
        ValueError: `cpu_set` has a processor that this process may not use.
    """
    cores = usable_cores(cpu_set)
    budget = min(len(cores), quota() or len(cores))
    counts = _count_threads(demands, budget)
    total = sum(demand.count * threads for demand, threads in zip(demands, counts, strict=True))
    claims_all = total == len(cores) or any(demand.threads is None for demand in demands)
    is_reserved = bool(cpu_set) or (claims_all and budget == len(cores))
    if not is_reserved or total > len(cores) or not hasattr(os, "sched_setaffinity"):
        return [
            [Share(threads, tuple(cpu_set), demand.can_split and threads > 1)] * demand.count
            for demand, threads in zip(demands, counts, strict=True)
        ]
    free = iter(cores)
    return [
        [
            Share(threads, tuple(islice(free, threads)), demand.can_split and threads > 1)
            for _ in range(demand.count)
        ]
        for demand, threads in zip(demands, counts, strict=True)
    ]


def usable_cores(cpu_set: Sequence[int] = ()) -> list[int]:
    """Returns one processor of each physical core that this process may use, ascending.

    Args:
        cpu_set: the processors to choose from; empty: all that the affinity mask allows.

    Raises:
        ValueError: `cpu_set` has a processor that this process may not use.
    """
    if not hasattr(os, "sched_getaffinity"):
        if cpu_set:
            raise ValueError("this system can't pin threads to processors")
        return list(range(os.cpu_count() or 1))
    allowed = os.sched_getaffinity(0)
    if forbidden := sorted(set(cpu_set) - allowed):
        raise ValueError(
            f"this process may not use {', '.join(map(str, forbidden))}; "
            f"it may use {', '.join(map(str, sorted(allowed)))}"
        )
    return physical_cores(cpu_set or allowed)


def _count_threads(demands: Sequence[Demand], budget: int) -> list[int]:
    """Returns the threads per worker of each demand; at least one."""
    taken = sum(demand.count * (demand.threads or 0) for demand in demands)
    dividing = sum(demand.count for demand in demands if demand.threads is None)
    usual = max(1, (budget - taken) // dividing) if dividing else 1
    return [demand.threads or usual for demand in demands]


def count_threads(step_seconds: Mapping[int, float]) -> int:
    """Returns the number of threads for a model whose steps take so long by number of threads.

    Only the step on one thread decides. It is the most reliable figure: a busy neighbour makes
    steps of several threads many times slower.
    """
    return 1 if step_seconds[1] < SHORT_STEP else max(step_seconds)


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
    limits = [_limit(folder) for folder in limiting_groups("cpu", cgroup, membership)]
    return min((limit for limit in limits if limit is not None), default=None)


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
