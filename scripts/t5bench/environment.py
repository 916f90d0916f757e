"""What a contestant's process finds in its environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from t5engine.config import WorkerConfig
from t5engine.cpus import Share

SCRIPTS = Path(__file__).parents[1]


def inherited(variables: Mapping[str, str]) -> dict[str, str]:
    """This process's, with variables of its own, and with these modules to be found."""
    path = os.pathsep.join([str(SCRIPTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, **variables}


def pinned(share: Share) -> dict[str, str]:
    """What OpenMP reads when it is loaded, as in a worker."""
    return WorkerConfig("", share.threads, list(share.cpus), 1).environment()
