"""Planning the processors of workers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from t5engine import cpus
from t5engine.cpus import Demand, Share, physical_cores, plan, plan_pools, quota

linux_only = pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="pinning is Linux's")


def machine(root: Path, cores: int, threads: int) -> Path:
    """A sysfs of that many cores; processor n and n + cores are siblings."""
    for cpu in range(cores * threads):
        folder = root / f"cpu{cpu}/topology"
        folder.mkdir(parents=True)
        siblings = ",".join(str(cpu % cores + cores * t) for t in range(threads))
        (folder / "thread_siblings_list").write_text(siblings + "\n")
    return root


def test_one_processor_of_each_core(tmp_path: Path) -> None:
    """Hyperthreads share a core's units: the second one of a core gets no thread."""
    sysfs = machine(tmp_path, cores=4, threads=2)
    assert physical_cores(range(8), sysfs) == [0, 1, 2, 3]
    assert physical_cores([1, 5, 6], sysfs) == [1, 6]


def test_without_topology_every_processor_is_a_core(tmp_path: Path) -> None:
    """Some containers hide sysfs."""
    assert physical_cores([0, 3], tmp_path) == [0, 3]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max 100000", None),
        ("250000 100000", 2),
        ("50000 100000", 1),
        ("nonsense", None),
    ],
)
def test_quota_is_rounded_down(tmp_path: Path, text: str, expected: int | None) -> None:
    """2.5 processors carry two threads; half of one still carries one."""
    (tmp_path / "cpu.max").write_text(text)
    assert quota(tmp_path, tmp_path / "no-such-file") == expected


def test_tightest_quota_of_the_ancestors_counts(tmp_path: Path) -> None:
    """A limit may stand on any group between the process's own and the root."""
    inner = tmp_path / "system.slice/t5serve.service"
    inner.mkdir(parents=True)
    (inner / "cpu.max").write_text("max 100000")
    (inner.parent / "cpu.max").write_text("300000 100000")
    (tmp_path / "cpu.max").write_text("800000 100000")
    membership = tmp_path / "membership"
    membership.write_text("0::/system.slice/t5serve.service\n")
    assert quota(tmp_path, membership) == 3


@pytest.mark.parametrize(("limit", "expected"), [("-1", None), ("250000", 2), ("50000", 1)])
def test_quota_of_version_1(tmp_path: Path, limit: str, expected: int | None) -> None:
    """A container sees the host's path, and its own group at the root; version 2 has no limits."""
    membership = tmp_path / "membership"
    membership.write_text("3:cpuset:/\n2:cpu,cpuacct:/docker/0123\n0::/docker/0123\n")
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text(f"{limit}\n")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000\n")
    assert quota(tmp_path, membership) == expected


@pytest.fixture
def four_cores(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine of four cores without hyperthreads, and without a quota."""
    sysfs = machine(tmp_path, cores=4, threads=1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1, 2, 3})
    monkeypatch.setattr(cpus, "physical_cores", lambda allowed: physical_cores(allowed, sysfs))
    monkeypatch.setattr(cpus, "quota", lambda: None)


@linux_only
@pytest.mark.usefixtures("four_cores")
@pytest.mark.parametrize(
    ("workers", "threads", "limit", "expected"),
    [
        (None, None, None, [Share(4, (0, 1, 2, 3), can_split=True)]),
        (None, 4, None, [Share(4, (0, 1, 2, 3))]),
        (None, None, 1, [Share(1, ())]),
        (1, None, None, [Share(4, (0, 1, 2, 3))]),
        (2, None, None, [Share(2, (0, 1)), Share(2, (2, 3))]),
        (3, None, None, [Share(1, (0,)), Share(1, (1,)), Share(1, (2,))]),
        (1, 4, None, [Share(4, (0, 1, 2, 3))]),
        (1, None, 3, [Share(3, ())]),
        (1, 2, None, [Share(2, ())]),
        (8, None, None, [Share(1, ())] * 8),
        (2, 4, None, [Share(4, ())] * 2),
    ],
)
def test_plan(
    monkeypatch: pytest.MonkeyPatch,
    workers: int | None,
    threads: int | None,
    limit: int | None,
    expected: list[Share],
) -> None:
    """Workers are pinned only if they use each core: another process may use the others.

    A worker can be split if neither number was given, and it has several threads.
    """
    monkeypatch.setattr(cpus, "quota", lambda: limit)
    assert plan(workers, threads) == expected


@linux_only
@pytest.mark.usefixtures("four_cores")
@pytest.mark.parametrize(
    ("workers", "threads", "cpu_set", "expected"),
    [
        (1, None, (2, 3), [Share(2, (2, 3))]),
        (1, 1, (2, 3), [Share(1, (2,))]),
        (2, 1, (1, 3), [Share(1, (1,)), Share(1, (3,))]),
        (3, 1, (1, 3), [Share(1, (1, 3))] * 3),
    ],
)
def test_reserved_processors(
    workers: int, threads: int | None, cpu_set: tuple[int, ...], expected: list[Share]
) -> None:
    """Workers are pinned to named processors, and stay within them if there are too few."""
    assert plan(workers, threads, cpu_set) == expected


@linux_only
@pytest.mark.usefixtures("four_cores")
def test_processors_that_are_not_allowed() -> None:
    """A named processor that this process may not use is refused, with those that it may."""
    with pytest.raises(ValueError, match="may not use 4, 7; it may use 0, 1, 2, 3"):
        plan(1, None, (3, 4, 7))


@linux_only
@pytest.mark.usefixtures("four_cores")
def test_models_divide_the_cores() -> None:
    """Models with a number of threads get it; the others divide what is left, and none overlap."""
    assert plan_pools([Demand(1), Demand(1)]) == [[Share(2, (0, 1))], [Share(2, (2, 3))]]
    assert plan_pools([Demand(1, 3), Demand(1)]) == [[Share(3, (0, 1, 2))], [Share(1, (3,))]]
    assert plan_pools([Demand(2, 1), Demand(1)]) == [
        [Share(1, (0,)), Share(1, (1,))],
        [Share(2, (2, 3))],
    ]
    assert plan_pools([Demand(1, 4), Demand(1)]) == [[Share(4, ())], [Share(1, ())]]
    assert plan_pools([]) == []
