"""The environment variables of a candidate's process."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from t5engine.config import WorkerConfig
from t5engine.cpus import Share

SCRIPTS = Path(__file__).parents[1]


def extend_environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Returns this process's environment with more variables, and `scripts` in PYTHONPATH."""
    path = os.pathsep.join([str(SCRIPTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, **variables}


def openmp_variables(share: Share) -> dict[str, str]:
    """Returns the variables that OpenMP reads when it is loaded, as in a worker."""
    return WorkerConfig("", share.threads, list(share.cpus), 1).environment()
