"""Ends workers that fail at every input, because their weights are broken."""

from __future__ import annotations

import asyncio
import logging

from t5engine.decoding.parameters import GenerationConfig
from t5engine.messages import Failed, Generate, Outcome
from t5engine.pool.job import Job
from t5engine.pool.worker import Worker

logger = logging.getLogger(__name__)

MAX_FAILURES = 5  # in a row, before a worker is probed
PROBE = Generate(0, GenerationConfig(max_tokens=2), text="how do i learn python")


def examine(worker: Worker, job: Job, outcome: Outcome) -> Job | None:
    """Counts the failures of a worker, and ends a worker that fails at a harmless input.

    Some inputs fail with any worker. If a harmless input also fails, the weights are broken, for
    example because the file was overwritten.

    Returns:
        After too many failures in a row: a job with a harmless input, which the worker must run.
    """
    if not isinstance(outcome, Failed):
        worker.failures = 0
        return None
    worker.failures += 1
    if job.message == PROBE:
        logger.error("worker %d fails at everything; ending it", worker.process.pid)
        worker.is_suspect = True
        worker.process.kill()
        return None
    if worker.failures < MAX_FAILURES or PROBE.job in worker.jobs:
        return None
    probe = Job(PROBE, asyncio.get_running_loop().create_future())
    probe.future.cancel()  # nobody waits for it, and no other worker has to try it
    return probe if worker.accepts(probe) else None
