"""Drafts of the tokens that come next: a reformulation copies words of its input.

Prompt lookup, as in transformers' generate (`prompt_lookup_num_tokens`): no second model, and what
was drafted stands only where the search chooses the same.
"""

from __future__ import annotations

from collections.abc import Sequence

LONGEST = 3  # tokens that are looked up


def draft(source: Sequence[int], target: Sequence[int], count: int) -> list[int]:
    """What follows the last tokens of the target where they stand in the source.

    The longest run of last tokens counts, at its first place.

    Returns:
        At most `count` ids; none if the source does not have the last token, or ends with it.
    """
    for size in range(min(LONGEST, len(target)), 0, -1):
        last = list(target[-size:])
        for start in range(len(source) - size):
            end = start + size
            if list(source[start:end]) == last:
                return list(source[end : end + count])
    return []
