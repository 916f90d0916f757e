"""Assigns rows of the backend to running sequences."""

from __future__ import annotations

from collections.abc import Sequence


def padded_rows(count: int) -> int:
    """Returns how many rows are computed for `count`: the matrix kernels take four at once."""
    return count if count <= 2 else -(-count // 4) * 4


def assign_rows(parents: Sequence[int], first: int = 0) -> list[int]:
    """Returns a row for each sequence, given the row of its parent.

    The highest row determines the cost of a step, so every row is below `padded_rows`. A sequence
    stays in its parent's row if that is low enough and no earlier sequence claims it, because a
    move copies the keys and values decoded so far.

    Args:
        parents: the row of each sequence's parent.
        first: number of sequences, from the first on, that are stepped without the others too, so
            that their rows are the lowest.
    """
    rows = _assign_below(padded_rows(first), parents[:first], set())
    return rows + _assign_below(padded_rows(len(parents)), parents[first:], set(rows))


def _assign_below(limit: int, parents: Sequence[int], claimed: set[int]) -> list[int]:
    rows: dict[int, int] = {}
    """Row by index of the sequence."""
    for index, parent in enumerate(parents):
        if parent < limit and parent not in claimed:
            rows[index] = parent
            claimed = claimed | {parent}
    free = (row for row in range(limit) if row not in claimed)
    return [rows[index] if index in rows else next(free) for index in range(len(parents))]
