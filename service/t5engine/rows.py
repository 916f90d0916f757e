"""Which row of the backend each running sequence gets."""

from __future__ import annotations

from collections.abc import Sequence


def height(rows: int) -> int:
    """Rows that are computed for so many: the matrix kernels take four at once."""
    return rows if rows <= 2 else -(-rows // 4) * 4


def assign(parents: Sequence[int]) -> list[int]:
    """Rows for sequences that go on from these parent rows.

    A step costs what its highest row makes it cost, so none is above what so many sequences need.
    Below that a sequence stays where its parent was, if it is the first to claim that row: moving
    copies what was decoded.
    """
    limit = height(len(parents))
    rows: dict[int, int] = {}
    """Of each sequence, by its place."""
    claimed: set[int] = set()
    for place, parent in enumerate(parents):
        if parent < limit and parent not in claimed:
            rows[place] = parent
            claimed.add(parent)
    free = (row for row in range(limit) if row not in claimed)
    return [rows[place] if place in rows else next(free) for place in range(len(parents))]
