"""Whether two systems' figures differ by more than chance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

ROUNDS = 10_000
TOGETHER = 500  # rounds in memory at once


def randomisation(
    one: Sequence[float], other: Sequence[float], *, seed: int, rounds: int = ROUNDS
) -> float:
    """Two-sided p-value of a paired randomisation test of the means (Smucker et al. 2007).

    If the two are the same, each query's figures could as well stand the other way round: how
    many of the random exchanges, with the one observed, differ at least as much.

    Args:
        one: a figure for each query.
        other: another system's, in the same order.
        seed: of the exchanges.
        rounds: how many of them; the least p is 1 / (rounds + 1).
    """
    differences = np.subtract(one, other, dtype=np.float64)
    differences = differences[differences != 0]
    observed = abs(differences.sum()) * (1 - 1e-9)  # sums in another order are rounded otherwise
    random = np.random.default_rng(seed)
    extreme = 0
    for start in range(0, rounds, TOGETHER):
        signs = random.integers(0, 2, (min(TOGETHER, rounds - start), differences.size)) * 2 - 1
        extreme += int(np.count_nonzero(np.abs(signs @ differences) >= observed))
    return (extreme + 1) / (rounds + 1)
