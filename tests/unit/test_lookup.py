"""Prompt lookup: drafts from the input."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t5engine.worker.prompt_lookup import MAX_NGRAM_SIZE, draft

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
        ([4, 6, 5, 6, 7, 1], [6], 1, [5]),  # the first occurrence
        ([4, 6, 5, 6, 7, 1], [5, 6], 1, [7]),  # the longer n-gram
        ([2, 3, 4, 9, 3, 4, 8, 3, 4, 1], [0, 9, 3, 4], 1, [8]),
    ],
)
def test_drafts(source: list[int], target: list[int], count: int, expected: list[int]) -> None:
    assert draft(source, target, count) == expected


@given(source=IDS, target=IDS, count=st.integers(1, 4))
def test_the_longest_ngram_is_used(source: list[int], target: list[int], count: int) -> None:
    """A draft follows the longest n-gram of last tokens in the source; without one it is empty."""

    def follows(size: int) -> list[list[int]]:
        starts = range(len(source) - size)
        return [
            source[start + size :][:count]
            for start in starts
            if source[start : start + size] == target[len(target) - size :]
        ]

    sizes = range(1, min(MAX_NGRAM_SIZE, len(target)) + 1)
    longest = max((size for size in sizes if follows(size)), default=0)
    assert draft(source, target, count) == (follows(longest)[0] if longest else [])
