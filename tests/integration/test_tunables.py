"""The short version of tests/load/tunables.py."""

from __future__ import annotations

import asyncio
from pathlib import Path

from load.tunables import Load, compare
from t5engine.config import WorkerConfig
from t5engine.cpus import plan


def test_every_setting_has_its_turns(embedded: Path) -> None:
    """As many requests of each under each load; those of the first round do not count."""
    (share,) = plan(1, None)
    configs = [
        WorkerConfig(str(embedded), share.threads, list(share.cpus), 512, batch_window_ms=window)
        for window in (0, 2)
    ]
    loads = [Load(1, 0, 3), Load(2, 1, 4)]
    measured = asyncio.run(compare(configs, loads, rounds=2))
    assert {key: len(taken) for key, (taken, _) in measured.items()} == {
        (0, 0): 6,
        (0, 1): 6,
        (1, 0): 8,
        (1, 1): 8,
    }
    for taken, seconds in measured.values():
        assert min(taken) > 0
        assert max(taken) <= 1000 * seconds
