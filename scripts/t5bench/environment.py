"""The environment of a candidate's process: variables and cores."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from t5engine.config import WorkerConfig
from t5engine.cpus import Share, plan

SCRIPTS = Path(__file__).parents[1]


def extend_environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Returns this process's environment with more variables, and `scripts` in PYTHONPATH."""
    path = os.pathsep.join([str(SCRIPTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, **variables}


def openmp_variables(share: Share) -> dict[str, str]:
    """Returns the variables that OpenMP reads when it is loaded, as in a worker."""
    return WorkerConfig("", share.threads, list(share.cpus), 1).environment()


def pin_like_worker(threads: int | None) -> Share:
    """Pins this process to cores like a worker, and returns the cores and threads.

    OpenMP reads its variables when it is loaded, so a process without them starts again with them.

    Args:
        threads: the number of threads; None: the number of cores.
    """
    share = plan(1, threads)[0]
    if "OMP_NUM_THREADS" not in os.environ:
        variables = {**os.environ, **openmp_variables(share)}
        os.execve(sys.executable, [sys.executable, *sys.argv], variables)  # noqa: S606
    if share.cpus:
        os.sched_setaffinity(0, share.cpus)
    return share
