"""The assignment of rows to running sequences."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t5engine.rows import assign_rows, padded_rows

parent_rows = st.lists(st.integers(0, 23), max_size=20)


@pytest.mark.parametrize(
    ("count", "expected"),
    [(0, 0), (1, 1), (2, 2), (3, 4), (4, 4), (5, 8), (8, 8), (17, 20), (20, 20)],
)
def test_rows_are_computed_in_fours(count: int, expected: int) -> None:
    """One and two rows cost less than four; beyond two the kernels take four at once."""
    assert padded_rows(count) == expected


@pytest.mark.parametrize(
    ("parents", "rows"),
    [
        ([], []),
        ([0], [0]),
        ([7], [0]),  # the remaining sequence moves down
        ([0, 0, 0, 0], [0, 1, 2, 3]),
        ([1, 0], [1, 0]),
        ([1, 1], [1, 0]),
        ([3, 1], [0, 1]),
        ([3, 1, 1], [3, 1, 0]),
        ([9, 2, 9, 0], [1, 2, 3, 0]),
    ],
)
def test_assignments(parents: list[int], rows: list[int]) -> None:
    """Worked out by hand."""
    assert assign_rows(parents) == rows


@given(parent_rows)
def test_rows_are_distinct_and_low(parents: list[int]) -> None:
    """No two sequences share a row, and no row is above the padded number of sequences."""
    rows = assign_rows(parents)
    assert len(set(rows)) == len(rows) == len(parents)
    assert all(0 <= row < padded_rows(len(parents)) for row in rows)


@given(parent_rows)
def test_the_first_to_claim_a_row_stays(parents: list[int]) -> None:
    """A sequence moves only if its parent's row is too high or claimed by an earlier sequence."""
    for index, (parent, row) in enumerate(zip(parents, assign_rows(parents), strict=True)):
        stays = parent < padded_rows(len(parents)) and parent not in parents[:index]
        assert not stays or row == parent
