"""Which row each running sequence gets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t5engine.rows import assign, height

parent_rows = st.lists(st.integers(0, 23), max_size=20)


@pytest.mark.parametrize(
    ("rows", "computed"),
    [(0, 0), (1, 1), (2, 2), (3, 4), (4, 4), (5, 8), (8, 8), (17, 20), (20, 20)],
)
def test_rows_are_computed_in_fours(rows: int, computed: int) -> None:
    """One and two rows cost less than four; from there on the kernels take four at once."""
    assert height(rows) == computed


@pytest.mark.parametrize(
    ("parents", "rows"),
    [
        ([], []),
        ([0], [0]),
        ([7], [0]),  # what is left moves down
        ([0, 0, 0, 0], [0, 1, 2, 3]),
        ([1, 0], [1, 0]),
        ([1, 1], [1, 0]),
        ([3, 1], [0, 1]),
        ([3, 1, 1], [3, 1, 0]),
        ([9, 2, 9, 0], [1, 2, 3, 0]),
    ],
)
def test_a_few_assignments(parents: list[int], rows: list[int]) -> None:
    """Worked out by hand."""
    assert assign(parents) == rows


@given(parent_rows)
def test_rows_are_distinct_and_low(parents: list[int]) -> None:
    """No two sequences share a row, and none costs more than so many need."""
    rows = assign(parents)
    assert len(set(rows)) == len(rows) == len(parents)
    assert all(0 <= row < height(len(parents)) for row in rows)


@given(parent_rows)
def test_the_first_to_claim_a_row_stays(parents: list[int]) -> None:
    """A sequence moves only if its row is too high, or taken by one before it."""
    for place, (parent, row) in enumerate(zip(parents, assign(parents), strict=True)):
        stays = parent < height(len(parents)) and parent not in parents[:place]
        assert not stays or row == parent
