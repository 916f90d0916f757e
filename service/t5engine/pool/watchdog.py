"""Ends workers that hang. A worker that works sends a message every half second."""

from __future__ import annotations

import asyncio
import logging
import time

from t5engine.messages import PULSE_SECONDS
from t5engine.pool.worker import Worker

logger = logging.getLogger(__name__)

CHECK_SECONDS = 0.1
STEP_FACTOR = 3.0  # times the predicted time of a step or encode, which sends no messages
STARVED_FACTOR = 10.0  # the same factor for a worker that waits for a processor


async def watch_worker(worker: Worker, stall_seconds: float) -> None:
    """Kills a worker that is silent for too long.

    A silent worker becomes suspect first: it gets no new jobs, and does not count as ready.

    Args:
        worker: the worker.
        stall_seconds: allowed silence, beyond the pulse interval and the longest native call.
    """
    checked = time.perf_counter()
    while True:
        await asyncio.sleep(CHECK_SECONDS)
        now = time.perf_counter()
        if now - checked > 2 * CHECK_SECONDS:  # this process was busy, so messages may be unread
            checked = now
            continue
        checked = now
        allowed = PULSE_SECONDS + stall_seconds + STEP_FACTOR * worker.longest_call_seconds
        silence = now - worker.heard_at
        is_late = silence > allowed
        if is_late and worker.process.is_runnable():
            is_late = silence > STARVED_FACTOR * allowed
        if is_late:
            logger.error(
                "worker %d has said nothing for %.1f s; ending it", worker.process.pid, silence
            )
            worker.is_suspect = True
            worker.process.kill()
            return
