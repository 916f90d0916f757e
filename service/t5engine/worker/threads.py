"""Decides at the start whether the worker computes with one thread."""

from __future__ import annotations

import time

from t5engine.cpus import count_threads
from t5engine.graph.graph_backend import GraphBackend
from t5engine.worker.meter import time_step
from t5engine.worker.model import Model

MEASURING_SECONDS = 0.05  # for each number of threads
MOST_STEPS = 16


def choose_threads(model: Model, threads: int, *, can_split: bool) -> tuple[int, dict[int, float]]:
    """Measures a step of one sequence, and lets a model with short steps use one thread.

    Args:
        model: the loaded model.
        threads: the threads of the worker.
        can_split: whether the worker may do with one thread; if not, nothing is measured.

    Returns:
        The number of threads to use, and the seconds of a step by the number of threads.
    """
    backend = model.backend
    if threads == 1 or not can_split or not isinstance(backend, GraphBackend):
        return threads, {}
    seconds = {}
    for count in (1, threads):
        backend.limit_threads(count)
        seconds[count] = _measure_step(model)
    chosen = count_threads(seconds)
    backend.limit_threads(chosen)
    return chosen, seconds


def _measure_step(model: Model) -> float:
    """Returns the seconds of the fastest of several steps."""
    time_step(model, 1)  # builds the graph, or wakes the threads
    ended = time.perf_counter() + MEASURING_SECONDS
    fastest = time_step(model, 1)
    for _ in range(MOST_STEPS - 1):
        if time.perf_counter() > ended:
            break
        fastest = min(fastest, time_step(model, 1))
    return fastest
