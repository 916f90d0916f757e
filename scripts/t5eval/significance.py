"""Tests whether the scores of two systems differ by more than chance."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

ROUNDS = 10_000
BATCH = 500  # rounds in memory at once


def randomisation_p_value(
    scores: Sequence[float],
    baseline: Sequence[float],
    *,
    seed: int,
    rounds: int = ROUNDS,
    units: Sequence[Hashable] | None = None,
) -> float:
    """Returns the two-sided p-value of a paired randomisation test of the means.

    If the systems are equally good, the scores of a query can be exchanged. The p-value is the
    share of random exchanges, the observed order included, whose means differ at least as much
    (Smucker et al. 2007).

    Args:
        scores: The score of each query.
        baseline: The other system's scores, in the same order.
        seed: The seed of the exchanges.
        rounds: How many exchanges are drawn; the least p-value is 1 / (rounds + 1).
        units: The unit of each query; queries of one unit are exchanged together, because
            wordings of one question are no independent evidence. None: each query is a unit.
    """
    differences = np.subtract(scores, baseline, dtype=np.float64)
    if units is not None:
        numbers = {unit: number for number, unit in enumerate(dict.fromkeys(units))}
        differences = np.bincount([numbers[unit] for unit in units], weights=differences)
    differences = differences[differences != 0]
    observed = abs(differences.sum()) * (1 - 1e-9)  # the order of a sum changes its rounding
    random = np.random.default_rng(seed)
    extreme = 0
    for start in range(0, rounds, BATCH):
        signs = random.integers(0, 2, (min(BATCH, rounds - start), differences.size)) * 2 - 1
        extreme += int(np.count_nonzero(np.abs(signs @ differences) >= observed))
    return (extreme + 1) / (rounds + 1)
