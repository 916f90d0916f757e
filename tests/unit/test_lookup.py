"""Drafts from the input."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t5engine.worker.prompt_lookup import LONGEST, draft

IDS = st.lists(st.integers(0, 4), max_size=12)


@pytest.mark.parametrize(
    ("source", "target", "count", "expected"),
    [
        ([7, 8, 9, 1], [8], 2, [9, 1]),
        ([7, 8, 9, 1], [8], 1, [9]),
        ([7, 8, 9, 1], [9], 3, [1]),  # the source ends
        ([7, 8, 9, 1], [1], 3, []),
        ([7, 8, 9, 1], [5], 3, []),
        ([7, 8, 9, 1], [], 3, []),
        ([4, 6, 5, 6, 7, 1], [6], 1, [5]),  # the first place
        ([4, 6, 5, 6, 7, 1], [5, 6], 1, [7]),  # the longer run
        ([2, 3, 4, 9, 3, 4, 8, 3, 4, 1], [0, 9, 3, 4], 1, [8]),
    ],
)
def test_what_follows_in_the_source(
    source: list[int], target: list[int], count: int, expected: list[int]
) -> None:
    assert draft(source, target, count) == expected


@given(source=IDS, target=IDS, count=st.integers(1, 4))
def test_no_longer_run_is_passed_over(source: list[int], target: list[int], count: int) -> None:
    """A draft follows a run of last tokens, and none is there that is longer; or there is none."""

    def follows(size: int) -> list[list[int]]:
        places = range(len(source) - size)
        return [
            source[start + size :][:count]
            for start in places
            if source[start : start + size] == target[len(target) - size :]
        ]

    sizes = range(1, min(LONGEST, len(target)) + 1)
    found = draft(source, target, count)
    longest = max((size for size in sizes if follows(size)), default=0)
    assert found == (follows(longest)[0] if longest else [])
